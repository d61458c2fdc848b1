/** Reads and writes the files that weights and recordings live in. */
export type { Checkpoint, StoredTensor } from "./checkpoint.js";
export { narrowHalf } from "./encodings.js";
export { removeUnfinished } from "./files.js";
export { openGguf } from "./gguf.js";
export type { WeightPlan } from "./plan.js";
export { openSafetensors, readSafetensors, writeSafetensors } from "./safetensors.js";
export { type ConvertOptions, convertWeights, openWeights, readWeight, type WeightFile } from "./weights.js";
