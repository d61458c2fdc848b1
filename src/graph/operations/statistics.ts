/** What people say of numbers along axes, written with the reductions: norms, variance, the logarithm of a sum. */
import { usageError } from "../../errors.js";
import type { Value } from "../graph.js";
import { abs, add, div, log, neg, pow, sqrt, sub } from "./elementwise.js";
import { axisOf } from "./movement.js";
import { countOf, reduceL1, reduceL2, reduceMax, reduceMean, reduceSum, reduceSumSquare } from "./reduction.js";

type Axes = number | readonly number[];

/** log sum x over axes; ONNX's ReduceLogSum. */
export function reduceLogSum(x: Value, axes: Axes, options: { keepDims?: boolean } = {}): Value {
  return log(reduceSum(x, axes, options));
}

/** `x` less its mean, written so that the gradient of the mean negates a sum and not every element of it. */
export function centre(x: Value, mean: Value): Value {
  return add(x, neg(mean));
}

interface VarianceOptions {
  /** What is taken off the number of elements that the squares are divided by: 0 unless given; 1 is Bessel's correction. */
  readonly correction?: number;
  readonly keepDims?: boolean;
}

/** The mean squared distance from the mean over axes, computed in two passes (no difference of large numbers). */
export function variance(x: Value, axes: Axes, { correction = 0, keepDims = false }: VarianceOptions = {}): Value {
  const list = (typeof axes === "number" ? [axes] : axes).map((axis) => axisOf("variance", x, axis));
  const centred = centre(x, reduceMean(x, list, { keepDims: true }));
  const count = countOf(x, list);
  return div(reduceSumSquare(centred, list, { keepDims }), correction === 0 ? count : sub(count, correction));
}

/** The square root of `variance`; its gradient is infinite where all elements are equal. */
export function standardDeviation(x: Value, axes: Axes, options: VarianceOptions = {}): Value {
  return sqrt(variance(x, axes, options));
}

interface NormOptions {
  /** 2 unless given; any positive number, or Infinity for the largest absolute value. */
  readonly order?: number;
  readonly keepDims?: boolean;
}

/** The norm (sum |x|^order)^(1/order) over axes. */
export function norm(x: Value, axes: Axes, { order = 2, keepDims = false }: NormOptions = {}): Value {
  if (!(order > 0)) throw usageError(`norm: the order must be a positive number or Infinity, not ${order}`);
  if (order === 1) return reduceL1(x, axes, { keepDims });
  if (order === 2) return reduceL2(x, axes, { keepDims });
  if (order === Infinity) return reduceMax(abs(x), axes, { keepDims });
  return pow(reduceSum(pow(abs(x), order), axes, { keepDims }), 1 / order);
}
