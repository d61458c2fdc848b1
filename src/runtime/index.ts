/** The runtime room: tensors, seeded random numbers, and programs that ONNX Runtime runs. */

export { normals, philox4x32, type Random, random } from "../graph/random.js";
export type { HostStatistics } from "./host.js";
export {
  type CompileOptions,
  createRuntime,
  type MappedWeights,
  type Program,
  type Runtime,
  type RuntimeOptions,
  type WeightMode,
} from "./runtime.js";
export * from "./tensor.js";
export { withRuntime } from "./withRuntime.js";
