/** The model room: open a model, record and clamp its sites, generate, read and replace its weights. */

export {
  type CachedModel,
  type CatalogueEntry,
  cachedModels,
  cacheFolder,
  catalogue,
  type ModelFiles,
  type ProgressEvent,
  resolveModel,
  type SourceOptions,
} from "../sources/index.js";
/** Readers of a checkpoint's configuration, which check what they read. */
export * as checkpointFields from "./architectures/fields.js";
export {
  type Architecture,
  architectures,
  type Fields,
  type Has,
  type Mapping,
  type Origin,
  planWeights,
  splitWeightName,
} from "./architectures/index.js";
export {
  add,
  blend,
  type Clamp,
  type ClampContext,
  type ClampFunction,
  type ClampValue,
  clamp,
  mean,
  patch,
  project,
  quantize,
  scale,
  set,
  zero,
} from "./clamps.js";
export type { ComputeContext } from "./context.js";
export { type Activation, type DecoderConfig, decoderWeights } from "./decoder/config.js";
export { type DecoderOptions, decoder } from "./decoder/decoder.js";
export { initialWeights } from "./decoder/initial.js";
export { readSafetensors, type WeightPlan, writeSafetensors } from "./formats/index.js";
export type { FinishReason, GenerateOptions, Generation } from "./generate.js";
export type { GradientOptions, Gradients } from "./gradient.js";
export type { Metric } from "./metric.js";
export type { ComputeOptions, Model, Prompt, PromptOptions, RecordOptions, Weights } from "./model.js";
export {
  createNetwork,
  type Network,
  type NetworkCall,
  type NetworkContext,
  type NetworkDefinition,
  type NetworkEdit,
  type NetworkFunction,
  type NetworkGradientOptions,
  type NetworkProgram,
} from "./network.js";
export { type OpenOptions, type OpenProgress, open } from "./open.js";
export {
  lengthsOf,
  loadRecording,
  type ModelIdentity,
  meanOverTokens,
  type Recording,
  recorded,
  recordedRow,
  saveRecording,
  selectRecorded,
} from "./recording.js";
export { type Axis, siteKind } from "./sites/names.js";
export { globPattern, type Part, parseSite, partsFor, type SiteReference } from "./sites/reference.js";
export type { SiteDescription } from "./sites/resolve.js";
export { type ChatMessage, type Token, type Tokenizer, tokenizerFromFiles } from "./tokenizer/index.js";
export { type ConvertedWeights, clearCache, convertedWeights } from "./weightsCache.js";
export { type ModelParts, writeModel } from "./writeModel.js";
