/** The data room: datasets and signals, as batches that are functions of the step's number. */

export * from "./audio/index.js";
export {
  type Augmentation,
  type Batch,
  type Batches,
  type BatchesOptions,
  batches,
  mixture,
  shuffled,
  split,
  takeRows,
} from "./batches.js";
export * from "./images/index.js";
export { type Prefetched, type PrefetchOptions, prefetch } from "./prefetch.js";
export * from "./sequences/index.js";
export * from "./text/index.js";
