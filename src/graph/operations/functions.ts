/** Every operation as a function of values: what a traced function is written in. */

export {
  type AttentionOptions,
  type AttentionResult,
  alibiBias,
  attention,
  rotaryAngles,
  rotaryEmbedding,
  rotaryFrequencies,
} from "./attention.js";
export {
  barrier,
  type CustomContext,
  checkpoint,
  checkpointIn8Bits,
  customGradient,
  identity,
  stopGradient,
  straightThrough,
} from "./barriers.js";
export { batchNorm, batchNormTraining, groupNorm, instanceNorm, localResponseNorm } from "./channelNorms.js";
export { ifElse } from "./control.js";
export {
  type ConvolutionOptions,
  type ConvolutionTransposeOptions,
  convolution,
  convolutionTranspose,
  convolutionWeight,
} from "./convolution.js";
export { cumProd, cumSum, type Running } from "./cumulative.js";
export { einsum } from "./einsum.js";
export {
  abs,
  acos,
  acosh,
  add,
  and,
  asin,
  asinh,
  atan,
  atanh,
  bitwiseAnd,
  bitwiseNot,
  bitwiseOr,
  bitwiseXor,
  cast,
  ceil,
  celu,
  clip,
  cos,
  cosh,
  div,
  elu,
  equal,
  erf,
  exp,
  expm1,
  floor,
  gelu,
  greater,
  greaterOrEqual,
  hardSigmoid,
  hardSwish,
  isInf,
  isNaN,
  leakyRelu,
  less,
  lessOrEqual,
  log,
  log1p,
  max,
  min,
  mish,
  mod,
  mul,
  neg,
  not,
  notEqual,
  type Operand,
  or,
  pow,
  prelu,
  reciprocal,
  relu,
  round,
  selu,
  sigmoid,
  sign,
  silu,
  sin,
  sinh,
  softcap,
  softplus,
  softsign,
  sqrt,
  sub,
  tan,
  tanh,
  thresholdedRelu,
  where,
  xor,
} from "./elementwise.js";
export {
  gather,
  gatherElements,
  gatherND,
  type ScatterReduction,
  scatterElements,
  scatterND,
  select,
} from "./indexing.js";
export { dot, matmul, matvec, outer } from "./linear.js";
export { type LoopOptions, loop } from "./loop.js";
export {
  concat,
  dimension,
  expand,
  type PadOptions,
  pad,
  reshape,
  slice,
  squeeze,
  transpose,
  unsqueeze,
} from "./movement.js";
export { layerNorm, lpNormalization, meanVarianceNormalization, rmsNorm } from "./normalization.js";
export { eye, oneHot, range, tril, triu, zerosLike } from "./patterns.js";
export {
  adaptiveAveragePool,
  averagePool,
  globalAveragePool,
  globalMaxPool,
  lpPool,
  maxPool,
  maxPoolIndices,
  type PoolingOptions,
} from "./pooling.js";
export {
  bernoulli,
  categorical,
  dropout,
  gumbel,
  type RandomOptions,
  randomBits,
  randomKey,
  randomNormal,
  randomUniform,
  splitKey,
} from "./random.js";
export {
  type BlockOrder,
  depthToSpace,
  flip,
  type PadMode,
  reverseSequence,
  roll,
  spaceToDepth,
  split,
  stack,
  stridedSlice,
  tile,
  unstack,
} from "./rearranging.js";
export {
  logSoftmax,
  reduceL1,
  reduceL2,
  reduceLogSumExp,
  reduceMax,
  reduceMean,
  reduceMin,
  reduceProd,
  reduceSum,
  reduceSumSquare,
  softmax,
} from "./reduction.js";
export {
  type CoordinateTransformation,
  type NearestMode,
  type ResizeOptions,
  resize,
  upsample,
} from "./resize.js";
export { affineGrid, type GridSampleOptions, gridSample } from "./sampling.js";
export { type ScanOptions, type StepResult, scan } from "./scan.js";
export { argMax, argMin, argsort, median, quantile, searchSorted, sort, topK } from "./sorting.js";
export { norm, reduceLogSum, standardDeviation, variance } from "./statistics.js";
export { fold, unfold } from "./unfolding.js";
export type { Padding, WindowOptions } from "./window.js";
