/**
 * The bootstrap: how much a statistic would vary over other samples, from samples drawn with replacement out of the one
 * there is (Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and 14).
 */
import { failure, usageError } from "../../errors.js";
import { type Random, random } from "../../runtime/index.js";
import { checkWhole } from "../vector.js";
import { checkLevel } from "./correlation.js";
import { deviations, dot, meanOf, sortedQuantile } from "./moments.js";
import { normalCdf, normalQuantile } from "./normal.js";

/** A number computed from cases, given by their indices: one array for each group that is resampled by itself. */
export type Statistic = (...indices: readonly Int32Array[]) => number;

export interface BootstrapOptions {
  /** Samples drawn; 9999 unless given. */
  readonly resamples?: number;
  /** The share of samples that the interval is to hold the true value in; 0.95 unless given. */
  readonly level?: number;
  /**
   * `percentile`: the quantiles of the resampled statistic. `bca` (the default): those corrected for bias and for a
   * spread that depends on the value; needs one evaluation more for each case.
   */
  readonly method?: "percentile" | "bca";
  /** A whole number from 0; 0 unless given. */
  readonly seed?: number;
}

export interface BootstrapInterval {
  /** The statistic of the cases as they are. */
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
  /** The standard deviation of the resampled statistic. */
  readonly standardError: number;
  /** The resampled statistic, in rising order. */
  readonly samples: Float64Array;
}

/**
 * The bootstrap interval of a statistic.
 *
 * What was measured on the same cases is resampled together, because the statistic sees indices of cases: paired data are
 * one group. Groups that were sampled apart are resampled apart. Throws where the statistic isn't finite.
 *
 * @example bootstrap(x.length, (cases) => pearson(take(x, cases), take(y, cases)))
 * @param sizes the number of cases; or one for each group, each at least 2
 */
export function bootstrap(
  sizes: number | readonly number[],
  statistic: Statistic,
  { resamples = 9999, level = 0.95, method = "bca", seed = 0 }: BootstrapOptions = {},
): BootstrapInterval {
  const groups = typeof sizes === "number" ? [sizes] : sizes;
  if (groups.length === 0) throw usageError("a bootstrap needs at least one group of cases");
  for (const size of groups) checkWhole(size, "the number of cases", 2);
  checkWhole(resamples, "resamples", 2);
  const tail = (1 - checkLevel(level)) / 2;
  const source = random(seed);
  const whole = groups.map((size) => Int32Array.from({ length: size }, (_, i) => i));
  const estimate = finite(statistic(...whole), "the cases as they are");
  const samples = Float64Array.from({ length: resamples }, (_, r) =>
    finite(statistic(...groups.map((size) => drawn(size, source))), `resample ${r}`),
  ).sort();
  const bounds = [tail, 1 - tail];
  const [low, high] = (
    method === "bca" ? bounds.map(corrected(estimate, samples, acceleration(whole, statistic))) : bounds
  ).map((bound) => sortedQuantile(samples, bound)) as [number, number];
  const spread = deviations(samples);
  return { estimate, low, high, standardError: Math.sqrt(dot(spread, spread) / (resamples - 1)), samples };
}

function finite(value: number, where: string): number {
  if (!Number.isFinite(value))
    throw failure(`the statistic is ${value} for ${where}: it must be defined for every sample`);
  return value;
}

function drawn(size: number, source: Random): Int32Array {
  return Int32Array.from({ length: size }, () => source.integer(size));
}

/** The corrected probability of a bound (equation 14.10 there), from the bias z0 and the acceleration a. */
function corrected(estimate: number, samples: Float64Array, a: number): (bound: number) => number {
  const below = samples.filter((value) => value < estimate).length;
  const equal = samples.filter((value) => value === estimate).length;
  const z0 = normalQuantile((below + equal / 2) / samples.length);
  if (!Number.isFinite(z0))
    throw failure("every resample lies on one side of the estimate, so BCa is undefined; use the percentile method");
  return (bound) => {
    const z = z0 + normalQuantile(bound);
    return normalCdf(z0 + z / (1 - a * z));
  };
}

/** How fast the spread changes with the value (equation 14.15), from the statistic with each case left out in turn. */
function acceleration(whole: readonly Int32Array[], statistic: Statistic): number {
  let cubes = 0;
  let squares = 0;
  whole.forEach((cases, g) => {
    const values = Float64Array.from(cases, (left) => {
      const fewer = whole.map((other, h) => (h === g ? other.filter((index) => index !== left) : other));
      return finite(statistic(...fewer), `the cases without case ${left}`);
    });
    const centre = meanOf(values);
    const influence = values.map((value) => ((cases.length - 1) * (centre - value)) / cases.length);
    squares += dot(influence, influence);
    cubes += dot(
      influence,
      influence.map((value) => value * value),
    );
  });
  return squares === 0 ? 0 : cubes / (6 * squares ** 1.5);
}
