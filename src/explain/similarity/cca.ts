/**
 * Canonical correlations (Hotelling 1936) and what is made of them: how much of two representations is the same up to
 * any invertible linear map of each. With orthonormal bases U and V of the centred features, the correlations are the
 * singular values of U'V.
 */

import { usageError } from "../../errors.js";
import { type Matrix, type ProductOptions, product, svd } from "../../linalg/index.js";
import type { Runtime, Tensor } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { centred, rowAt, sizeOf } from "../probes/rows.js";
import { readPair } from "./cka.js";

export interface CcaOptions extends ProductOptions {
  /**
   * Directions whose singular value is below this part of the largest are no part of the features; the rounding of the
   * features' type times the larger side unless given.
   */
  readonly relativeCut?: number;
}

export interface CanonicalCorrelations {
  /** Falling; as many as the smaller rank. */
  readonly correlations: Float64Array;
  /** Their mean. */
  readonly mean: number;
  /** The mean of their squares: the share of variance of one orthonormal basis that the other explains. */
  readonly meanSquared: number;
  /** Correlations that are 1 for any data, because there are too few examples: rank + rank - (examples - 1), or 0. */
  readonly forced: number;
}

/**
 * The canonical correlations of two representations [examples, features] of the same examples. Unchanged by invertible
 * linear maps of either. With fewer examples than features of both together, `forced` of them mean nothing.
 *
 * Throws for unequal numbers of examples, fewer than 3, and features that are constant.
 *
 * @example const { mean, forced } = await cca(layer, otherLayer);
 */
export async function cca(x: Tensor, y: Tensor, options: CcaOptions = {}): Promise<CanonicalCorrelations> {
  const [a, b] = readPair(x, y, 3);
  return withRuntime(options.runtime, async (runtime) => {
    const [u, v] = [await basisOf(a, cutOf(x, options), runtime), await basisOf(b, cutOf(y, options), runtime)];
    return summary(await correlationsOf(u.basis, v.basis, runtime), u.basis, v.basis);
  });
}

export interface SvccaOptions extends ProductOptions {
  /** The share of variance that the kept directions hold; 0.99 unless given. */
  readonly keep?: number;
}

/**
 * SVCCA (Raghu et al. 2017, "SVCCA: Singular Vector Canonical Correlation Analysis"): canonical correlations of the
 * fewest principal components that hold `keep` of the variance of each side. Its similarity is the `mean`. Errors as
 * for `cca`.
 */
export async function svcca(x: Tensor, y: Tensor, options: SvccaOptions = {}): Promise<CanonicalCorrelations> {
  const [a, b] = readPair(x, y, 3);
  return withRuntime(options.runtime, async (runtime) => {
    const [u, v] = [await principalBasis(a, options, runtime), await principalBasis(b, options, runtime)];
    return summary(await correlationsOf(u, v, runtime), u, v);
  });
}

/**
 * PWCCA (Morcos, Raghu & Bengio 2018, "Insights on representational similarity", equation 3): the mean of the canonical
 * correlations, each weighted by how much of x its canonical variate h_i accounts for, sum_j |h_i . x_j| over centred
 * features x_j. Not symmetric in x and y. Errors as for `cca`.
 */
export async function pwcca(x: Tensor, y: Tensor, options: CcaOptions = {}): Promise<number> {
  const [a, b] = readPair(x, y, 3);
  return withRuntime(options.runtime, async (runtime) => {
    const [u, v] = [await basisOf(a, cutOf(x, options), runtime), await basisOf(b, cutOf(y, options), runtime)];
    return projectionWeighted(u, v.basis, runtime);
  });
}

/** An orthonormal basis of centred features, and the features in it: features = basis · coordinates. */
export interface Basis {
  readonly basis: Matrix;
  /** [rank, features] */
  readonly coordinates: Matrix;
}

/** The mean of the canonical correlations, weighted by what their variates account for in the first representation. */
export async function projectionWeighted(first: Basis, second: Matrix, runtime: Runtime): Promise<number> {
  const cross = await product(first.basis, second, { runtime, transpose: { left: true } });
  const { u, values } = await svd(cross, { runtime });
  const along = await product(u, first.coordinates, { runtime, transpose: { left: true } }); // h_i . x_j
  const weights = values.map((_, i) => rowAt(along, i).reduce((sum, value) => sum + Math.abs(value), 0));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return values.reduce((sum, value, i) => sum + Math.min(1, value) * (weights[i] as number), 0) / total;
}

/** The rounding of the features' own type, which makes dependent features look independent. */
export function cutOf(features: Tensor, { relativeCut }: CcaOptions): number {
  const rounding = features.dtype === "float32" ? 2 ** -23 : Number.EPSILON;
  const cut = relativeCut ?? rounding * Math.max(...features.shape);
  if (!(cut >= 0 && cut < 1)) throw usageError(`relativeCut must be at least 0 and less than 1, not ${cut}`);
  return cut;
}

/** The basis of all directions with a singular value above the cut. */
export async function basisOf(rows: Matrix, cut: number, runtime: Runtime): Promise<Basis> {
  const centre = centred(rows);
  const { u, values } = await svd(centre, { runtime });
  const counted = values.filter((value) => value > cut * (values[0] as number)).length;
  const rank = Math.min(counted, sizeOf(rows)[0] - 1); // centring took one direction of the examples
  if (rank === 0) throw usageError("every example has the same features: nothing to correlate");
  const basis = leftColumns(u, rank);
  return { basis, coordinates: await product(basis, centre, { runtime, transpose: { left: true } }) };
}

/** The basis of the fewest directions that hold a share of the variance. */
export async function principalBasis(rows: Matrix, { keep = 0.99 }: SvccaOptions, runtime: Runtime): Promise<Matrix> {
  if (!(keep > 0 && keep <= 1)) throw usageError(`keep must be above 0 and at most 1, not ${keep}`);
  const { u, values } = await svd(centred(rows), { runtime });
  const total = values.reduce((sum, value) => sum + value ** 2, 0);
  if (total === 0) throw usageError("every example has the same features: nothing to correlate");
  let held = 0;
  let count = 0;
  // The margin is rounding: with all of the variance asked for, the sum may end just below the total.
  while (count < values.length && held < keep * total * (1 - 1e-12)) held += (values[count++] as number) ** 2;
  return leftColumns(u, count);
}

function leftColumns(matrix: Matrix, count: number): Matrix {
  const [rows] = sizeOf(matrix);
  const data = new Float64Array(rows * count);
  for (let i = 0; i < rows; i++) data.set(rowAt(matrix, i).subarray(0, count), i * count);
  return { dtype: "float64", shape: [rows, count], data };
}

/** The singular values of the product of two orthonormal bases. */
export async function correlationsOf(u: Matrix, v: Matrix, runtime: Runtime): Promise<Float64Array> {
  const { values } = await svd(await product(u, v, { runtime, transpose: { left: true } }), { runtime });
  return values.map((value) => Math.min(1, value));
}

function summary(correlations: Float64Array, u: Matrix, v: Matrix): CanonicalCorrelations {
  const [examples, first] = sizeOf(u);
  const mean = (of: Float64Array) => of.reduce((sum, value) => sum + value, 0) / of.length;
  return {
    correlations,
    mean: mean(correlations),
    meanSquared: mean(correlations.map((value) => value ** 2)),
    forced: Math.max(0, first + sizeOf(v)[1] - (examples - 1)),
  };
}
