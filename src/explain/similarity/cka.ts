/**
 * Centred kernel alignment (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited"):
 * CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the examples' kernel matrices. It does not change under rotations
 * and a scale of all features, and changes under other linear maps.
 */

import { usageError } from "../../errors.js";
import { gram, type Matrix, type ProductOptions, product, quantile } from "../../linalg/index.js";
import type { Runtime, Tensor } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { centred, dot, readRows, sizeOf } from "../probes/rows.js";

export interface CkaOptions extends ProductOptions {
  /** `linear`: x . y; `rbf`: exp(-|x - y|^2 / (2 s^2)). `linear` unless given. */
  readonly kernel?: "linear" | "rbf";
  /** s as a part of the median distance between examples, each representation's own; 1 unless given. */
  readonly bandwidth?: number;
  /**
   * Use the estimate of HSIC that has no bias (Székely & Rizzo 2014; Song et al. 2012, equation 5): near 0, and
   * negative half the time, for independent features however many there are. Off unless given.
   */
  readonly debiased?: boolean;
}

/**
 * The alignment of two representations [examples, features] of the same examples, whose widths may differ. Without
 * `debiased` it grows with features per example: compare only what has equally many, or more examples than features.
 *
 * Holds kernel matrices [examples, examples] unless the kernel is linear and features are fewer; for very many examples
 * see `minibatchCka`. NaN where a representation is constant. Throws for unequal numbers of examples, fewer than 2 (4
 * where debiased), and numbers that are not finite.
 *
 * @example const alignment = await cka(layer3, layer9, { debiased: true });
 */
export async function cka(x: Tensor, y: Tensor, options: CkaOptions = {}): Promise<number> {
  const [a, b] = readPair(x, y, options.debiased === true ? 4 : 2);
  const { kernel = "linear", debiased = false } = options;
  checkOptions(options);
  const narrow = Math.max(sizeOf(a)[1], sizeOf(b)[1]) < sizeOf(a)[0];
  return withRuntime(options.runtime, async (runtime) => {
    if (kernel === "linear" && !debiased && narrow) return narrowCka(centred(a), centred(b), runtime);
    const [k, l] = [await centredKernel(a, { ...options, runtime }), await centredKernel(b, { ...options, runtime })];
    return alignment(k, l);
  });
}

/**
 * With linear kernels HSIC(K, L) = |Y'X|^2 of centred features: [features, features] instead of [examples, examples].
 */
async function narrowCka(a: Matrix, b: Matrix, runtime: Runtime): Promise<number> {
  const cross = await product(a, b, { runtime, transpose: { left: true } });
  const [own, other] = [await gram(a, { runtime }), await gram(b, { runtime })];
  return dot(cross.data, cross.data) / Math.sqrt(dot(own.data, own.data)) / Math.sqrt(dot(other.data, other.data));
}

/** <K, L> / (|K| |L|) of kernel matrices that were centred one way or the other. */
export function alignment(k: Matrix, l: Matrix): number {
  return hsic(k, l) / Math.sqrt(hsic(k, k)) / Math.sqrt(hsic(l, l));
}

const hsic = (k: Matrix, l: Matrix) => dot(k.data, l.data);

/**
 * The kernel matrix of examples, centred so that the sum of products of two of them is HSIC up to a factor: by its row,
 * column and whole means; or, debiased, U-centred, so that the sum of products over n (n - 3) is the unbiased estimate.
 */
export async function centredKernel(rows: Matrix, options: CkaOptions): Promise<Matrix> {
  const products = await gram(centred(rows), { ...options, of: "rows" });
  const kernel = options.kernel === "rbf" ? gaussian(products, options.bandwidth ?? 1) : products;
  return options.debiased === true ? uCentred(kernel) : doublyCentred(kernel);
}

function gaussian(products: Matrix, bandwidth: number): Matrix {
  const [count] = sizeOf(products);
  const norm = (i: number) => products.data[i * (count + 1)] as number;
  const squares = products.data.map((value, at) => {
    return Math.max(0, norm(Math.floor(at / count)) + norm(at % count) - 2 * value);
  });
  const between = squares.filter((_, at) => Math.floor(at / count) < at % count);
  const scale = bandwidth ** 2 * quantile(between, 0.5);
  // Where most examples are equal the median is 0: the kernel then tells equal from unequal.
  const data = squares.map((square, at) => (at % (count + 1) === 0 ? 1 : Math.exp(-square / (2 * scale)) || 0));
  return { ...products, data };
}

function rowSums({ shape, data }: Matrix): Float64Array {
  const [count] = shape as readonly [number];
  const sums = new Float64Array(count);
  data.forEach((value, at) => {
    const i = Math.floor(at / count);
    sums[i] = (sums[i] as number) + value;
  });
  return sums;
}

function doublyCentred(kernel: Matrix): Matrix {
  const [count] = sizeOf(kernel);
  const means = rowSums(kernel).map((sum) => sum / count);
  const whole = means.reduce((sum, value) => sum + value, 0) / count;
  const mean = (i: number) => means[i] as number;
  const data = kernel.data.map((value, at) => value - mean(Math.floor(at / count)) - mean(at % count) + whole);
  return { ...kernel, data };
}

/** Székely & Rizzo 2014, definition 2: a zero diagonal, and rows that sum to zero. */
function uCentred(kernel: Matrix): Matrix {
  const [count] = sizeOf(kernel);
  const bare = { ...kernel, data: kernel.data.map((value, at) => (at % (count + 1) === 0 ? 0 : value)) };
  const sums = rowSums(bare);
  const whole = sums.reduce((sum, value) => sum + value, 0) / ((count - 1) * (count - 2));
  const sum = (i: number) => (sums[i] as number) / (count - 2);
  const data = bare.data.map((value, at) => {
    return at % (count + 1) === 0 ? 0 : value - sum(Math.floor(at / count)) - sum(at % count) + whole;
  });
  return { ...kernel, data };
}

/**
 * The debiased alignment of two representations that come in batches (Nguyen, Raghu & Kornblith 2021, "Do Wide and Deep
 * Networks Learn the Same Things?", equation 2): estimates of HSIC are averaged over batches, so memory does not grow
 * with examples, and an estimate without bias has the same mean whatever the batch size. Batches should be random
 * examples.
 *
 * Throws where there is no batch, a batch has fewer than 4 examples, or its two sides do not match.
 *
 * @example await minibatchCka(batches.map(([x, y]) => [x, y] as const), { kernel: "linear" });
 */
export async function minibatchCka(
  batches: Iterable<readonly [Tensor, Tensor]> | AsyncIterable<readonly [Tensor, Tensor]>,
  options: Omit<CkaOptions, "debiased"> = {},
): Promise<number> {
  checkOptions(options);
  return withRuntime(options.runtime, async (runtime) => {
    const sums = { kl: 0, kk: 0, ll: 0 };
    let count = 0;
    for await (const [x, y] of batches) {
      const [a, b] = readPair(x, y, 4);
      const [examples] = sizeOf(a);
      const k = await centredKernel(a, { ...options, runtime, debiased: true });
      const l = await centredKernel(b, { ...options, runtime, debiased: true });
      const scale = examples * (examples - 3);
      sums.kl += hsic(k, l) / scale;
      sums.kk += hsic(k, k) / scale;
      sums.ll += hsic(l, l) / scale;
      count += 1;
    }
    if (count === 0) throw usageError("there is no batch to align");
    return sums.kl / Math.sqrt(sums.kk) / Math.sqrt(sums.ll);
  });
}

function checkOptions({ kernel = "linear", bandwidth = 1 }: CkaOptions): void {
  if (kernel !== "linear" && kernel !== "rbf") throw usageError(`a kernel is linear or rbf, not "${kernel}"`);
  if (!(bandwidth > 0 && bandwidth < Infinity)) throw usageError(`the bandwidth must be positive, not ${bandwidth}`);
}

/** Two representations of the same examples. */
export function readPair(x: Tensor, y: Tensor, minimum: number): [Matrix, Matrix] {
  const pair: [Matrix, Matrix] = [readRows(x, "x", minimum), readRows(y, "y", minimum)];
  const [[first], [second]] = [sizeOf(pair[0]), sizeOf(pair[1])];
  if (first !== second) throw usageError(`x has ${first} examples and y ${second}: they must be the same ones`);
  return pair;
}
