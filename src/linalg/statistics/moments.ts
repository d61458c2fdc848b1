/** Means, spreads and quantiles of numbers; standard scores. All in float64, in two passes. */
import { usageError } from "../../errors.js";
import { toPair, toVector, type Vector } from "../vector.js";

export interface DegreesOption {
  /** Sums of squares are divided by n - ddof. */
  readonly ddof?: number;
}

/** The mean of at least one number. */
export function mean(x: Vector): number {
  return meanOf(toVector(x, "x"));
}

/** The variance of at least two numbers; `ddof` is 1 unless given. */
export function variance(x: Vector, options: DegreesOption = {}): number {
  return covariance(x, x, options);
}

/** The covariance of pairs; `ddof` is 1 unless given. Throws unless there are more pairs than `ddof`. */
export function covariance(x: Vector, y: Vector, { ddof = 1 }: DegreesOption = {}): number {
  const [a, b] = toPair(x, y).map(deviations) as [Float64Array, Float64Array];
  return dot(a, b) / degrees(a.length, ddof);
}

/** (x - mean) / standard deviation; `ddof` is 0 unless given. Throws where all numbers are equal. */
export function zScore(x: Vector, { ddof = 0 }: DegreesOption = {}): Float64Array {
  const centred = deviations(toVector(x, "x"));
  const deviation = Math.sqrt(dot(centred, centred) / degrees(centred.length, ddof));
  if (deviation === 0) throw usageError("a standard score needs numbers that differ; all are equal");
  return centred.map((value) => value / deviation);
}

/** The number below which a share `probability` lies, interpolated linearly between order statistics (NumPy's default). */
export function quantile(x: Vector, probability: number): number {
  if (!(probability >= 0 && probability <= 1))
    throw usageError(`a quantile's probability lies between 0 and 1, not at ${probability}`);
  return sortedQuantile(toVector(x, "x").sort(), probability);
}

/** The quantile of numbers in rising order. */
export function sortedQuantile(sorted: Float64Array, probability: number): number {
  const place = probability * (sorted.length - 1);
  const below = Math.floor(place);
  const [low, high] = [sorted[below] as number, sorted[Math.ceil(place)] as number];
  return low + (place - below) * (high - low);
}

/** The mean of checked numbers. */
export function meanOf(x: Float64Array): number {
  const first = x.reduce((a, b) => a + b, 0) / x.length;
  return first + x.reduce((sum, value) => sum + (value - first), 0) / x.length; // what rounding left over
}

/** Checked numbers minus their mean: exactly zero where all are equal. */
export function deviations(x: Float64Array): Float64Array {
  const centre = meanOf(x);
  return x.every((value) => value === x[0]) ? new Float64Array(x.length) : x.map((value) => value - centre);
}

/** The sum of products. */
export function dot(x: Float64Array, y: Float64Array): number {
  return x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
}

function degrees(count: number, ddof: number): number {
  if (!(ddof >= 0 && count > ddof)) throw usageError(`${count} numbers are too few for ddof = ${ddof}`);
  return count - ddof;
}
