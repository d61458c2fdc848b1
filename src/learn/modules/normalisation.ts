/** Normalisations with their scale and shift. Batch normalisation also keeps running statistics, as a state it returns. */
import {
  add,
  batchNorm,
  batchNormTraining,
  cast,
  dimension,
  div,
  groupNorm,
  instanceNorm,
  layerNorm,
  mul,
  multiplyDims,
  rmsNorm,
  stopGradient,
  sub,
  type Value,
  zerosLike,
} from "../../graph/index.js";
import { type Tensor, tensor, zeros } from "../../runtime/index.js";
import type { Traced } from "../parameters.js";

/** weight (the scale) and bias (the shift), [size] each: of the last axis, or of the channels. */
export type NormParameters = { readonly weight: Tensor<"float32">; readonly bias?: Tensor<"float32"> };

const ones = (size: number) => tensor("float32", [size], new Float32Array(size).fill(1));

/** The parameters that every normalisation here starts with: scale 1, and shift 0 where there is a bias (unless given). */
export function normParameters({ size, bias = true }: { size: number; bias?: boolean }): NormParameters {
  return bias ? { weight: ones(size), bias: zeros("float32", [size]) } : { weight: ones(size) };
}

const affine = ({ weight, bias = zerosLike(weight) }: Traced<NormParameters>) => ({ scale: weight, bias });

/** Over the last axis: mean 0 and variance 1 (Ba et al. 2016). `epsilon` is 1e-5 unless given. */
export function layerNormalization(parameters: Traced<NormParameters>, x: Value, epsilon = 1e-5): Value {
  const { scale, bias } = affine(parameters);
  return layerNorm(x, scale, bias, epsilon);
}

/** Over the last axis: mean square 1 (Zhang & Sennrich 2019). `epsilon` is 1e-5 unless given. */
export function rmsNormalization({ weight, bias }: Traced<NormParameters>, x: Value, epsilon = 1e-5): Value {
  const y = rmsNorm(x, weight, epsilon);
  return bias === undefined ? y : add(y, bias);
}

/** Groups of neighbouring channels of x [batch, channels, ...places] (Wu & He 2018). */
export function groupNormalization(
  parameters: Traced<NormParameters>,
  x: Value,
  { groups, epsilon = 1e-5 }: { groups: number; epsilon?: number },
): Value {
  return groupNorm(x, groups, affine(parameters), epsilon);
}

/** Every channel of every entry of x [batch, channels, ...places] by itself (Ulyanov et al. 2016). */
export function instanceNormalization(parameters: Traced<NormParameters>, x: Value, epsilon = 1e-5): Value {
  return instanceNorm(x, affine(parameters), epsilon);
}

/** Running mean and variance of each channel. */
export type BatchNormState = { readonly mean: Tensor<"float32">; readonly variance: Tensor<"float32"> };

/** The state that batch normalisation starts with: mean 0 and variance 1. */
export function batchNormState(channels: number): BatchNormState {
  return { mean: zeros("float32", [channels]), variance: ones(channels) };
}

interface BatchNormOptions {
  readonly state: Traced<BatchNormState>;
  /** By the batch's own statistics, which move the state; else by the state, which stays. On unless given. */
  readonly training?: boolean;
  /** How much of the batch's statistics goes into the running ones. 0.1 unless given. */
  readonly momentum?: number;
  /** 1e-5 unless given. */
  readonly epsilon?: number;
}

/**
 * Channels of x [batch, channels, ...places] over batch and places (Ioffe & Szegedy 2015), and the next state. The running
 * variance is that of a sample (divided by one less than the number of elements), as in PyTorch.
 */
export function batchNormalization(
  parameters: Traced<NormParameters>,
  x: Value,
  { state, training = true, momentum = 0.1, epsilon = 1e-5 }: BatchNormOptions,
): { readonly output: Value; readonly state: Traced<BatchNormState> } {
  if (!training) return { output: batchNorm(x, { ...affine(parameters), ...state }, epsilon), state };
  const { output, mean, variance } = batchNormTraining(x, affine(parameters), epsilon);
  const count = multiplyDims(...x.shape.filter((_, axis) => axis !== 1));
  const elements = cast(dimension(count), x.dtype);
  const sample = mul(variance, div(elements, sub(elements, 1)));
  const moved = (old: Value, found: Value) => add(old, mul(sub(stopGradient(found), old), momentum));
  return { output, state: { mean: moved(state.mean, mean), variance: moved(state.variance, sample) } };
}
