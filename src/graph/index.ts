/**
 * The graph room: typed dataflow graphs whose operations are ONNX operations. Pure: no files, no network, no runtime.
 */
export { checkGraph } from "./check.js";
export {
  addDims,
  type Dim,
  divideDims,
  evaluateDim,
  formatShape,
  multiplyDims,
  type Shape,
  sameShape,
  subtractDims,
  symbolsOf,
} from "./dims.js";
export { type VmapOptions, vmap } from "./gradient/batch.js";
export { hessian, type JacobianOptions, jacobian } from "./gradient/jacobian.js";
export { type PullbackOptions, pullback } from "./gradient/pullback.js";
export { grad, gradients, hessianVectorProduct, jvp, pushForward, valueAndGrad, vjp } from "./gradient/transforms.js";
export { leavesOf, replaceLeaves, type Tree } from "./gradient/tree.js";
export {
  type Attribute,
  type Attributes,
  bindDims,
  constant,
  type Graph,
  input,
  inputsOf,
  type Node,
  siteValue,
  topologicalOrder,
  type Value,
  type ValueType,
  weight,
  weightsOf,
  withOutputs,
} from "./graph.js";
export { type ExportOptions, exportOnnx, opset, type WeightPlacement } from "./onnx/export.js";
export { constantLike } from "./operations/elementwise.js";
export * from "./operations/functions.js";
export type {
  BatchRule,
  Emitter,
  GradientRule,
  OnnxAttribute,
  Operation,
  ReferenceTensor,
} from "./operations/operation.js";
export { apply, applyOne, emitAs, flat, isFloat } from "./operations/operation.js";
export { operationNamed, operations } from "./operations/table.js";
export { evaluate } from "./reference.js";
export { type Edit, inline, type SiteFunction, scalarsBetween, splice, spliceAll, substitute } from "./rewrite.js";
export { nodeCount, simplify } from "./simplify.js";
export * from "./tensor.js";
export { type MarkSite, trace } from "./trace.js";
