/**
 * k-means: Lloyd's algorithm from starts drawn by greedy k-means++ (Arthur & Vassilvitskii, "k-means++: the advantages of
 * careful seeding", 2007). Distances to centres are matrix products in the runtime:
 *   argmin_k |x - c_k|^2 = argmax_k (2 x . c_k - |c_k|^2).
 */
import { usageError } from "../errors.js";
import { matmul, mul, reduceSum, sub, topK, trace, transpose } from "../graph/index.js";
import { type Program, type Random, type Runtime, random, type Tensor, withRuntime } from "../runtime/index.js";
import {
  asMatrix,
  columnsOf,
  type Matrix,
  matrixOf,
  rowsBetween,
  rowsOf,
  subtractFromRows,
  takeRows,
} from "./matrix.js";
import type { ProductOptions } from "./products.js";
import { columnMoments } from "./statistics/columns.js";
import { checkWhole } from "./vector.js";

export interface KMeansStep {
  /** From 0. */
  readonly restart: number;
  /** Iterations of this restart so far, from 1. */
  readonly iteration: number;
  /** Sum of squared distances to the centres that this iteration began with. */
  readonly inertia: number;
}

export interface KMeansOptions extends ProductOptions {
  readonly clusters: number;
  /** Centres to start from, [clusters, columns]: there is then one start. Drawn by k-means++ unless given. */
  readonly start?: Tensor;
  /** Starts, of which the best result is kept; 10 unless given. */
  readonly restarts?: number;
  /** A whole number from 0; 0 unless given. */
  readonly seed?: number;
  /** Iterations of one restart; 300 unless given. */
  readonly maxIterations?: number;
  /**
   * Done when no row changes its cluster, or when the squared movement of all centres is at most this times the mean
   * variance of the columns; 1e-4 unless given.
   */
  readonly tolerance?: number;
  readonly onStep?: (step: KMeansStep) => void;
  /** Checked before every iteration. */
  readonly signal?: AbortSignal;
}

export interface KMeansResult {
  /** [clusters, columns]. */
  readonly centres: Matrix;
  /** The cluster of every row: its nearest centre, the lower one of two that are equally near. */
  readonly labels: Int32Array;
  /** Sum of squared distances of the rows to their centres. */
  readonly inertia: number;
  /** Of the restart that was kept. */
  readonly iterations: number;
  /** Whether the restart that was kept ended before its limit of iterations. */
  readonly converged: boolean;
}

/**
 * Groups the rows of `matrix` [rows, columns] around `clusters` centres so that the sum of squared distances is small.
 * A cluster that loses all its rows starts again at the row that lies farthest from its centre.
 */
export async function kMeans(matrix: Tensor, options: KMeansOptions): Promise<KMeansResult> {
  const { clusters, restarts = 10, seed = 0, maxIterations = 300, tolerance = 1e-4 } = options;
  checkWhole(clusters, "clusters", 1);
  checkWhole(restarts, "restarts", 1);
  checkWhole(maxIterations, "maxIterations", 1);
  const given = asMatrix(matrix);
  if (clusters > rowsOf(given)) throw usageError(`${clusters} clusters need as many rows; there are ${rowsOf(given)}`);
  const start = options.start === undefined ? undefined : asMatrix(options.start, "the start");
  if (start !== undefined && start.shape.join() !== `${clusters},${columnsOf(given)}`)
    throw usageError(`the start has shape [${start.shape.join(", ")}], not [${clusters}, ${columnsOf(given)}]`);
  // Squared norms lose the digits of a common offset, and nothing depends on it.
  const { mean, variance } = columnMoments(given);
  const x = subtractFromRows(given, mean);
  const bound = (tolerance * variance.reduce((a, b) => a + b, 0)) / variance.length;
  return withRuntime(options.runtime, async (runtime) => {
    const data: Data = { x, squares: squaredNorms(x), programs: compilePrograms(runtime) };
    let best: KMeansResult | undefined;
    for (let restart = 0; restart < (start === undefined ? restarts : 1); restart++) {
      const first =
        start === undefined
          ? await plusPlus(data, clusters, random(seed, restart), options.signal)
          : subtractFromRows(start, mean);
      const result = await lloyd(data, first, { maxIterations, bound, restart, options });
      if (best === undefined || result.inertia < best.inertia) best = result;
    }
    const { centres, ...rest } = best as KMeansResult;
    const shift = mean.map((offset) => -offset);
    return { ...rest, centres: subtractFromRows(centres, shift) };
  });
}

/** What stays the same through all restarts. */
interface Data {
  readonly x: Matrix;
  /** Squared norms of the rows of `x`. */
  readonly squares: Float64Array;
  readonly programs: { readonly nearest: Program; readonly products: Program };
}

/** Both graphs see a block of rows at a time, so that their [rows, clusters] products stay small. */
const blockElements = 2 ** 20;

function compilePrograms(runtime: Runtime): Data["programs"] {
  const types = {
    rows: { dtype: "float64", shape: ["rows", "columns"] },
    centres: { dtype: "float64", shape: ["clusters", "columns"] },
  } as const;
  const nearest = trace(({ rows, centres }) => {
    const product = matmul(rows, transpose(centres, [1, 0]));
    const { values, indices } = topK(sub(mul(product, 2), reduceSum(mul(centres, centres), 1)), 1);
    return { values, indices };
  }, types);
  const products = trace(({ rows, centres }) => ({ result: matmul(rows, transpose(centres, [1, 0])) }), types);
  return { nearest: runtime.compile(nearest), products: runtime.compile(products) };
}

function squaredNorms(matrix: Matrix): Float64Array {
  const columns = columnsOf(matrix);
  return Float64Array.from({ length: rowsOf(matrix) }, (_, i) => {
    let sum = 0;
    for (let at = i * columns; at < (i + 1) * columns; at++) sum += (matrix.data[at] as number) ** 2;
    return sum;
  });
}

/** The outputs of a program for every block of rows. */
async function* inBlocks(
  program: Program,
  x: Matrix,
  centres: Matrix,
): AsyncGenerator<{ from: number; outputs: Record<string, Tensor> }> {
  const size = Math.max(1, Math.floor(blockElements / Math.max(rowsOf(centres), columnsOf(x))));
  for (let from = 0; from < rowsOf(x); from += size) {
    const rows = rowsBetween(x, from, Math.min(rowsOf(x), from + size));
    yield { from, outputs: await program.run({ rows, centres }) };
  }
}

interface Assignment {
  readonly labels: Int32Array;
  /** Squared distance of every row to its centre. */
  readonly distances: Float64Array;
}

async function assign({ x, squares, programs }: Data, centres: Matrix): Promise<Assignment> {
  const labels = new Int32Array(rowsOf(x));
  const distances = new Float64Array(rowsOf(x));
  for await (const { from, outputs } of inBlocks(programs.nearest, x, centres)) {
    const [values, indices] = [outputs.values?.data as Float64Array, outputs.indices?.data as BigInt64Array];
    labels.set(Int32Array.from(indices, Number), from);
    values.forEach((value, i) => {
      distances[from + i] = Math.max(0, (squares[from + i] as number) - value); // rounding can make it negative
    });
  }
  return { labels, distances };
}

/**
 * Centres drawn one by one, each a row with probability proportional to its squared distance to the centres so far; of a
 * few rows drawn (2 + log clusters), the one that leaves the smallest sum of squared distances.
 */
async function plusPlus(data: Data, clusters: number, source: Random, signal?: AbortSignal): Promise<Matrix> {
  const trials = 2 + Math.floor(Math.log(clusters));
  const chosen = [source.integer(rowsOf(data.x))];
  let nearest = (await distancesTo(data, chosen))[0] as Float64Array;
  while (chosen.length < clusters) {
    signal?.throwIfAborted();
    const drawn = drawRows(nearest, trials, source);
    const reduced = (await distancesTo(data, drawn)).map((distances) =>
      distances.map((distance, i) => Math.min(distance, nearest[i] as number)),
    );
    const sums = reduced.map((distances) => distances.reduce((a, b) => a + b, 0));
    const best = sums.indexOf(Math.min(...sums));
    chosen.push(drawn[best] as number);
    nearest = reduced[best] as Float64Array;
  }
  return takeRows(data.x, chosen);
}

/** Squared distances of every row to each of the rows `chosen`. */
async function distancesTo({ x, squares, programs }: Data, chosen: readonly number[]): Promise<Float64Array[]> {
  const distances = chosen.map(() => new Float64Array(rowsOf(x)));
  for await (const { from, outputs } of inBlocks(programs.products, x, takeRows(x, chosen))) {
    const products = outputs.result?.data as Float64Array;
    products.forEach((product, at) => {
      const [i, k] = [from + Math.floor(at / chosen.length), at % chosen.length];
      const distance = (squares[i] as number) + (squares[chosen[k] as number] as number) - 2 * product;
      (distances[k] as Float64Array)[i] = Math.max(0, distance);
    });
  }
  return distances;
}

/** `count` rows drawn with probability proportional to `weights`; any row where all are zero. */
function drawRows(weights: Float64Array, count: number, source: Random): number[] {
  let sum = 0;
  const cumulative = weights.map((weight) => {
    sum += weight;
    return sum;
  });
  return Array.from({ length: count }, () => {
    if (sum === 0) return source.integer(weights.length);
    const target = source.uniform() * sum;
    return firstAbove(cumulative, target);
  });
}

/** The first index whose cumulative weight exceeds `target`, by bisection. */
function firstAbove(cumulative: Float64Array, target: number): number {
  let [low, high] = [0, cumulative.length - 1];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((cumulative[middle] as number) > target) high = middle;
    else low = middle + 1;
  }
  return low;
}

interface LloydOptions {
  readonly maxIterations: number;
  /** Squared movement of all centres at which the search is done. */
  readonly bound: number;
  readonly restart: number;
  readonly options: KMeansOptions;
}

async function lloyd(data: Data, start: Matrix, settings: LloydOptions): Promise<KMeansResult> {
  const { maxIterations, bound, restart, options } = settings;
  let centres = start;
  let previous: Int32Array | undefined;
  for (let iteration = 1; ; iteration++) {
    options.signal?.throwIfAborted();
    const assignment = await assign(data, centres);
    const same = previous !== undefined && sameLabels(previous, assignment.labels);
    const inertia = assignment.distances.reduce((a, b) => a + b, 0);
    options.onStep?.({ restart, iteration, inertia });
    const moved = meansOf(data.x, assignment, rowsOf(centres));
    const movement = moved.data.reduce((sum, value, at) => sum + (value - (centres.data[at] as number)) ** 2, 0);
    centres = moved;
    previous = assignment.labels;
    const converged = same || movement <= bound;
    if (!converged && iteration < maxIterations) continue;
    const labels = same ? assignment.labels : (await assign(data, centres)).labels;
    return { centres, labels, inertia: inertiaOf(data.x, centres, labels), iterations: iteration, converged };
  }
}

function sameLabels(a: Int32Array, b: Int32Array): boolean {
  return a.every((label, i) => label === b[i]);
}

/** The mean of every cluster's rows; an empty cluster takes over the row that lies farthest from its centre. */
function meansOf(x: Matrix, assignment: Assignment, clusters: number): Matrix {
  const columns = columnsOf(x);
  const labels = withoutEmpty(assignment, clusters);
  const sums = new Float64Array(clusters * columns);
  const counts = new Float64Array(clusters);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i] as number;
    counts[label] = (counts[label] as number) + 1;
    const [to, from] = [label * columns, i * columns];
    for (let j = 0; j < columns; j++) sums[to + j] = (sums[to + j] as number) + (x.data[from + j] as number);
  }
  return matrixOf(
    clusters,
    columns,
    sums.map((sum, at) => sum / (counts[Math.floor(at / columns)] as number)),
  );
}

/** The labels, with one far row given to each cluster that has none, from clusters that have more than one. */
function withoutEmpty({ labels, distances }: Assignment, clusters: number): Int32Array {
  const counts = new Int32Array(clusters);
  for (const label of labels) counts[label] = (counts[label] as number) + 1;
  const empty = Array.from(counts.keys()).filter((k) => counts[k] === 0);
  if (empty.length === 0) return labels;
  const result = labels.slice();
  const farthest = Array.from(labels.keys()).sort((a, b) => (distances[b] as number) - (distances[a] as number));
  for (const i of farthest) {
    const from = result[i] as number;
    if ((counts[from] as number) < 2) continue;
    const to = empty.pop();
    if (to === undefined) break;
    counts[from] = (counts[from] as number) - 1;
    counts[to] = 1;
    result[i] = to;
  }
  return result;
}

/** From differences, not products: exact also where a cluster is far tighter than the data are wide. */
function inertiaOf(x: Matrix, centres: Matrix, labels: Int32Array): number {
  const columns = columnsOf(x);
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const [row, centre] = [i * columns, (labels[i] as number) * columns];
    for (let j = 0; j < columns; j++) sum += ((x.data[row + j] as number) - (centres.data[centre + j] as number)) ** 2;
  }
  return sum;
}
