/** The data room: datasets and signals, as batches that are functions of the step's number. */
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
export * from "./text/index.js";
