/** Every operation as a function of values: what a traced function is written in. */
export {
  barrier,
  type CustomContext,
  checkpoint,
  customGradient,
  identity,
  stopGradient,
  straightThrough,
} from "./barriers.js";
export {
  abs,
  add,
  and,
  cast,
  cos,
  div,
  equal,
  erf,
  exp,
  floor,
  gelu,
  greater,
  less,
  lessOrEqual,
  log,
  max,
  min,
  mul,
  neg,
  not,
  type Operand,
  or,
  pow,
  relu,
  round,
  sigmoid,
  silu,
  sin,
  sqrt,
  sub,
  tanh,
  where,
} from "./elementwise.js";
export { gather, gatherElements, gatherND, type ScatterReduction, scatterElements, scatterND } from "./indexing.js";
export { layerNorm, matmul, rmsNorm } from "./linear.js";
export { concat, dimension, expand, pad, reshape, slice, squeeze, transpose, unsqueeze } from "./movement.js";
export { range } from "./patterns.js";
export { logSoftmax, reduceMax, reduceMean, reduceMin, reduceSum, softmax } from "./reduction.js";
export { topK } from "./sorting.js";
