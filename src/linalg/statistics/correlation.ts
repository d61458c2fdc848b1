/** How two variables go together: Pearson, Spearman, Kendall, and an interval for a correlation. */
import { usageError } from "../../errors.js";
import { toPair, toVector, type Vector } from "../vector.js";
import { deviations, dot } from "./moments.js";
import { normalQuantile } from "./normal.js";

/** Pearson's correlation of at least two pairs; NaN where x or y is constant. */
export function pearson(x: Vector, y: Vector): number {
  return correlationOf(...toPair(x, y, 2));
}

/** Spearman's rank correlation of at least two pairs, tied numbers at their mean rank; NaN where x or y is constant. */
export function spearman(x: Vector, y: Vector): number {
  const [a, b] = toPair(x, y, 2);
  return correlationOf(ranksOf(a), ranksOf(b));
}

/**
 * Kendall's tau-b of at least two pairs: with n0 pairs of pairs, n1 and n2 of them tied in x and in y,
 *   (concordant - discordant) / sqrt((n0 - n1) (n0 - n2));
 * NaN where x or y is constant. Discordant ones are counted as the exchanges of a merge sort (Knight, "A computer method
 * for calculating Kendall's tau with ungrouped data", 1966), so n log n steps do.
 */
export function kendall(x: Vector, y: Vector): number {
  const [a, b] = toPair(x, y, 2);
  const count = a.length;
  const at = (values: Float64Array, i: number) => values[i] as number;
  const order = Array.from(a.keys()).sort((i, j) => at(a, i) - at(a, j) || at(b, i) - at(b, j));
  const [inX, inY] = [order.map((i) => at(a, i)), order.map((i) => at(b, i))];
  const tiedX = tiedPairs(inX.length, (i) => inX[i] === inX[i - 1]);
  const tiedBoth = tiedPairs(inX.length, (i) => inX[i] === inX[i - 1] && inY[i] === inY[i - 1]);
  const sorted = Float64Array.from(inY);
  const discordant = sortCounting(sorted);
  const tiedY = tiedPairs(count, (i) => sorted[i] === sorted[i - 1]);
  const pairs = (count * (count - 1)) / 2;
  const balance = pairs - tiedX - tiedY + tiedBoth - 2 * discordant;
  return balance / Math.sqrt(pairs - tiedX) / Math.sqrt(pairs - tiedY);
}

/** The ranks of numbers, from 1; tied numbers share the mean of their ranks. */
export function ranks(x: Vector): Float64Array {
  return ranksOf(toVector(x, "x"));
}

/**
 * The interval of a Pearson correlation `r` of `count` pairs by Fisher's z: tanh(atanh(r) +- q / sqrt(count - 3)), where q
 * is the normal quantile of `level` (0.95 unless given). Assumes normal pairs.
 */
export function fisherInterval(r: number, count: number, level = 0.95): { low: number; high: number } {
  if (!(Math.abs(r) <= 1)) throw usageError(`a correlation lies between -1 and 1, not at ${r}`);
  if (!(count > 3)) throw usageError(`Fisher's interval needs more than 3 pairs, not ${count}`);
  const reach = normalQuantile((1 + checkLevel(level)) / 2) / Math.sqrt(count - 3);
  return { low: Math.tanh(Math.atanh(r) - reach), high: Math.tanh(Math.atanh(r) + reach) };
}

/** The level of an interval, which lies between 0 and 1. */
export function checkLevel(level: number): number {
  if (!(level > 0 && level < 1)) throw usageError(`the level of an interval lies between 0 and 1, not at ${level}`);
  return level;
}

function correlationOf(x: Float64Array, y: Float64Array): number {
  const [a, b] = [unit(deviations(x)), unit(deviations(y))];
  return Math.min(1, Math.max(-1, dot(a, b)));
}

/** A vector of length 1; NaN for zeros. Divided by its largest element first, so that squares stay within range. */
function unit(x: Float64Array): Float64Array {
  const largest = x.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  const scaled = x.map((value) => value / largest);
  const length = Math.sqrt(dot(scaled, scaled));
  return scaled.map((value) => value / length);
}

function ranksOf(x: Float64Array): Float64Array {
  const order = Array.from(x.keys()).sort((i, j) => (x[i] as number) - (x[j] as number));
  const result = new Float64Array(x.length);
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && x[order[end] as number] === x[order[start] as number]) end++;
    for (let at = start; at < end; at++) result[order[at] as number] = (start + 1 + end) / 2;
  }
  return result;
}

/** Pairs within runs of equal neighbours, where `joins(i)` says that i equals i - 1. */
function tiedPairs(count: number, joins: (i: number) => boolean): number {
  let pairs = 0;
  for (let i = 1, run = 0; i < count; i++) {
    run = joins(i) ? run + 1 : 0;
    pairs += run;
  }
  return pairs;
}

/** Sorts in place by merging, and counts the pairs that stood in falling order. */
function sortCounting(values: Float64Array): number {
  if (values.length < 2) return 0;
  const middle = values.length >>> 1;
  const [left, right] = [values.slice(0, middle), values.slice(middle)];
  let exchanges = sortCounting(left) + sortCounting(right);
  for (let to = 0, i = 0, j = 0; to < values.length; to++) {
    const takeRight = i === left.length || (j < right.length && (right[j] as number) < (left[i] as number));
    if (takeRight) exchanges += left.length - i;
    values[to] = (takeRight ? right[j++] : left[i++]) as number;
  }
  return exchanges;
}
