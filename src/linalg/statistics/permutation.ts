/**
 * Permutation tests: how often a statistic is as extreme as observed when the labels mean nothing. Each of the three is a
 * sum whose terms are rearranged; all arrangements are visited where they are few, else a seeded sample of them, for which
 * p = (k + 1) / (n + 1) (Phipson & Smyth, "Permutation p-values should never be zero", 2010).
 */
import { usageError } from "../../errors.js";
import { type Random, random } from "../../runtime/index.js";
import { checkWhole, toPair, toVector, type Vector } from "../vector.js";
import { pearson } from "./correlation.js";
import { deviations, meanOf } from "./moments.js";

export interface PermutationOptions {
  /** What counts as extreme: larger in absolute value (`two-sided`, the default), larger, or smaller. */
  readonly alternative?: "two-sided" | "greater" | "less";
  /** Arrangements visited: all of them where they are no more than this, else as many random ones; 9999 unless given. */
  readonly permutations?: number;
  /** A whole number from 0; 0 unless given. */
  readonly seed?: number;
}

export interface PermutationResult {
  readonly statistic: number;
  readonly p: number;
  /** Whether every arrangement was visited. */
  readonly exact: boolean;
  /** Arrangements visited. */
  readonly permutations: number;
}

/**
 * Whether two independent groups differ: the statistic is the mean of a minus that of b; cases change groups. Under the
 * null hypothesis both groups are drawn from one distribution.
 */
export function twoSampleTest(a: Vector, b: Vector, options: PermutationOptions = {}): PermutationResult {
  const [x, y] = [toVector(a, "a"), toVector(b, "b")];
  const pooled = deviations(Float64Array.from([...x, ...y]));
  const chosen = x.length; // the pooled mean is zero, so the sum over one group says the difference
  return test(options, {
    statistic: meanOf(x) - meanOf(y),
    observed: sumOf(pooled.subarray(0, chosen)),
    scale: absoluteSum(pooled),
    count: binomial(pooled.length, chosen),
    all: () => subsetSums(pooled, chosen, 0, 0),
    draw: (source) => {
      shuffleStart(pooled, chosen, source);
      return sumOf(pooled.subarray(0, chosen));
    },
  });
}

/**
 * Whether paired measurements differ: the statistic is the mean of x - y; differences change sign. Under the null
 * hypothesis they are symmetric around zero. For one sample against a number, give that number as every y.
 */
export function pairedTest(x: Vector, y: Vector, options: PermutationOptions = {}): PermutationResult {
  const [a, b] = toPair(x, y);
  const differences = a.map((value, i) => value - (b[i] as number));
  return test(options, {
    statistic: meanOf(differences),
    observed: sumOf(differences),
    scale: absoluteSum(differences),
    count: 2 ** differences.length,
    all: () => signedSums(differences, 0, 0),
    draw: (source) => differences.reduce((sum, value) => sum + (source.word() & 1 ? value : -value), 0),
  });
}

/**
 * Whether two variables go together: the statistic is Pearson's correlation of at least two pairs; y changes partners. For
 * Spearman's, give `ranks` of both. Throws where x or y is constant.
 */
export function correlationTest(x: Vector, y: Vector, options: PermutationOptions = {}): PermutationResult {
  const [a, b] = toPair(x, y, 2).map(deviations) as [Float64Array, Float64Array];
  const statistic = pearson(a, b);
  if (Number.isNaN(statistic)) throw usageError("a correlation needs numbers that differ; x or y is constant");
  const sum = () => a.reduce((total, value, i) => total + value * (b[i] as number), 0);
  return test(options, {
    statistic,
    observed: sum(),
    scale: Math.sqrt(absoluteSum(a.map((value) => value * value)) * absoluteSum(b.map((value) => value * value))),
    count: factorial(b.length),
    all: () => pairedSums(a, b.slice(), 0, 0),
    draw: (source) => {
      shuffleStart(b, b.length, source);
      return sum();
    },
  });
}

interface Sums {
  readonly statistic: number;
  /** The sum of the arrangement as it is; the statistic rises with it, and is zero with it. */
  readonly observed: number;
  /** What sums are compared relative to: sums that differ by rounding alone are ties. */
  readonly scale: number;
  /** The number of arrangements. */
  readonly count: number;
  all(): Iterable<number>;
  draw(source: Random): number;
}

function test(options: PermutationOptions, sums: Sums): PermutationResult {
  const { alternative = "two-sided", permutations = 9999, seed = 0 } = options;
  checkWhole(permutations, "permutations", 1);
  const size = sizes[alternative];
  const bound = size(sums.observed) - 1e-12 * sums.scale;
  const exact = sums.count <= permutations;
  const source = random(seed);
  const visited = exact ? sums.all() : Array.from({ length: permutations }, () => sums.draw(source));
  let extreme = 0;
  for (const sum of visited) if (size(sum) >= bound) extreme += 1;
  const p = exact ? extreme / sums.count : (extreme + 1) / (permutations + 1);
  return { statistic: sums.statistic, p, exact, permutations: exact ? sums.count : permutations };
}

/** How extreme a sum is, by the alternative. */
const sizes = {
  "two-sided": Math.abs,
  greater: (sum: number) => sum,
  less: (sum: number) => -sum,
};

/** The sum of every choice of `chosen` numbers from index `from` on, added to `sum`. */
function* subsetSums(values: Float64Array, chosen: number, from: number, sum: number): Generator<number> {
  if (chosen === 0) yield sum;
  else {
    for (let i = from; i <= values.length - chosen; i++)
      yield* subsetSums(values, chosen - 1, i + 1, sum + (values[i] as number));
  }
}

/** The sum under every choice of signs from index `from` on, added to `sum`. */
function* signedSums(values: Float64Array, from: number, sum: number): Generator<number> {
  if (from === values.length) yield sum;
  else {
    yield* signedSums(values, from + 1, sum + (values[from] as number));
    yield* signedSums(values, from + 1, sum - (values[from] as number));
  }
}

/** The sum of products under every order of `y` from index `from` on, added to `sum`. Reorders `y` on the way. */
function* pairedSums(x: Float64Array, y: Float64Array, from: number, sum: number): Generator<number> {
  if (from === x.length) yield sum;
  for (let i = from; i < x.length; i++) {
    exchange(y, from, i);
    yield* pairedSums(x, y, from + 1, sum + (x[from] as number) * (y[from] as number));
    exchange(y, from, i);
  }
}

/** Moves a uniform choice of `count` numbers, in uniform order, to the front (Fisher and Yates). */
function shuffleStart(values: Float64Array, count: number, source: Random): void {
  for (let i = 0; i < count; i++) exchange(values, i, i + source.integer(values.length - i));
}

function exchange(values: Float64Array, i: number, j: number): void {
  const kept = values[i] as number;
  values[i] = values[j] as number;
  values[j] = kept;
}

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const absoluteSum = (values: Float64Array) => values.reduce((sum, value) => sum + Math.abs(value), 0);

function binomial(n: number, k: number): number {
  let result = 1;
  for (let i = 1; i <= Math.min(k, n - k); i++) result = (result * (n + 1 - i)) / i;
  return Math.round(result);
}

function factorial(n: number): number {
  let result = 1;
  for (let i = 2; i <= n; i++) result *= i;
  return result;
}
