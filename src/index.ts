/** Patchclamp: record and clamp any activation, in any network. Every room is also a subpath: `patchclamp/graph`, ... */
export { type ErrorKind, PatchclampError } from "./errors.js";
export * from "./explain/index.js";
export * from "./model/index.js";
export {
  createRuntime,
  normals,
  type Random,
  random,
  type Tensor,
  tensor,
  tensorOf,
  toNumbers,
} from "./runtime/index.js";
