/** Adapting opened models: low-rank adapters and their relatives, subsets of weights, and PEFT's format. */
export type {
  Adapter,
  AdapterConfig,
  AdapterTensors,
  Ia3Config,
  LoraConfig,
  VeraConfig,
  WeightsConfig,
} from "./adapter.js";
export { applyAdapter, combineAdapters, createAdapter } from "./apply.js";
export {
  type ExampleBatch,
  type ExampleBatchesOptions,
  exampleBatches,
  exampleRows,
  orderedBatches,
  type TextExample,
  type TokenRow,
  textExample,
} from "./examples.js";
export { hubConfig } from "./hub.js";
export { readAdapter } from "./peft/read.js";
export { writeAdapter } from "./peft/write.js";
export {
  type LanguageModelOptions,
  type LanguageModelStep,
  type LoraPlusOptions,
  languageModelStep,
  loraPlus,
} from "./step.js";
export type { Targets } from "./targets.js";
