/** Sequences made by rule, on which small networks learn one thing. Each says what its tokens mean. */
export { type Equations, type ModularOptions, modularArithmetic } from "./arithmetic.js";
export { type ChainOptions, type NgramOptions, ngrams, ngramTables } from "./chains.js";
export {
  type CopyOptions,
  copying,
  type DyckOptions,
  dyck,
  type InductionOptions,
  induction,
  reversing,
} from "./copying.js";
export {
  type InContextKind,
  type InContextOptions,
  type InContextVectorOptions,
  inContextTokens,
  inContextVectors,
} from "./inContext.js";
export type { SequenceOptions } from "./rows.js";
