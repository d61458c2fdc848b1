/**
 * Ridge regression of many targets under many penalties from one factorisation: with the eigenvalues λ and vectors of the
 * smaller Gram matrix, W(α) = B diag(1 / (λ + α)) M, and another penalty costs one product.
 * Primal (more rows than features): XᵀX = V λ Vᵀ, B = V, M = VᵀXᵀY. Dual: XXᵀ = U λ Uᵀ, B = XᵀU, M = UᵀY.
 */
import { usageError } from "../errors.js";
import type { Tensor } from "../runtime/index.js";
import { rowEigen } from "./eigen.js";
import { type Fold, folds as makeFolds } from "./folds.js";
import {
  asColumns,
  asMatrix,
  columnMeans,
  columnsOf,
  largestOf,
  type Matrix,
  rowsOf,
  subtractFromRows,
  takeRows,
  transposed,
  zeroMatrix,
} from "./matrix.js";
import { gramWith, type ProductOptions, type Products, withProducts } from "./products.js";

/** A linear map from features to targets: predictions are X weights + intercept. */
export interface LinearFit {
  /** [features, targets]. */
  readonly weights: Matrix;
  /** One a target; zeros where no intercept was asked for. */
  readonly intercept: Float64Array;
}

export interface RidgeFit extends LinearFit {
  /** The penalty of each target. */
  readonly penalties: Float64Array;
}

export interface RidgeOptions extends ProductOptions {
  /** Fit an intercept, which is not penalised, by centring features and targets; on unless given. */
  readonly intercept?: boolean;
}

/**
 * The weights W that make least ‖Y − X W‖² + α ‖W‖², for `features` X [n, p] and `targets` Y [n, t] (or a vector [n]).
 *
 * Solved in the eigenbasis of the smaller Gram matrix, so the error grows with σ² / α (σ: the largest singular value of X):
 * for no penalty at all, `leastSquares`.
 *
 * @param penalty α > 0, in the units of squared features: one for all targets, or one a target
 * @example const { weights, intercept } = await ridge(features, responses, 10);
 */
export async function ridge(
  features: Tensor,
  targets: Tensor,
  penalty: number | ArrayLike<number>,
  { runtime, intercept = true }: RidgeOptions = {},
): Promise<RidgeFit> {
  const { x, y } = checked(features, targets);
  const penalties = penaltiesOf(penalty, columnsOf(y));
  return withProducts(runtime, (products) => fitWith(products, x, y, penalties, intercept));
}

/** The predictions [n, t] of a linear `fit` for `features` [n, p]. */
export async function predictLinear(
  { weights, intercept }: LinearFit,
  features: Tensor,
  { runtime }: ProductOptions = {},
): Promise<Matrix> {
  const x = asMatrix(features, "the features");
  if (columnsOf(x) !== rowsOf(weights)) {
    throw usageError(`the fit takes ${rowsOf(weights)} features, not ${columnsOf(x)}`);
  }
  return withProducts(runtime, async (products) => {
    const linear = await products.multiply(x, asMatrix(weights));
    return subtractFromRows(
      linear,
      intercept.map((value) => -value),
    );
  });
}

export interface RidgeSearchOptions extends RidgeOptions {
  /** The folds (see `folds`); 5 contiguous ones unless given. */
  readonly folds?: readonly Fold[];
  /** Choose a penalty for each target or one for all; `perTarget` unless given. */
  readonly choice?: "perTarget" | "shared";
}

export interface RidgeSearch extends RidgeFit {
  /** [penalties, targets]: the share of the variance that is explained in held-out rows (R²), mean over folds. */
  readonly scores: Matrix;
}

/**
 * Ridge regression under the penalty, of those given, that explains most of the held-out variance; fitted on all rows.
 *
 * Every fold is factorised once, whatever the number of penalties and targets. A target that is constant in a held-out fold
 * scores 1 there if it is met exactly, else 0. Of equal scores the first penalty wins.
 *
 * @param penalties each positive
 * @example await ridgeSearch(features, responses, [1, 10, 100, 1000], { folds: folds(n, { groups: stories }) });
 */
export async function ridgeSearch(
  features: Tensor,
  targets: Tensor,
  penalties: ArrayLike<number>,
  { runtime, intercept = true, folds, choice = "perTarget" }: RidgeSearchOptions = {},
): Promise<RidgeSearch> {
  const { x, y } = checked(features, targets);
  const candidates = penaltiesOf(penalties, penalties.length);
  if (candidates.length === 0) throw usageError("there is no penalty to choose from");
  const used = folds ?? makeFolds(rowsOf(x));
  if (used.length === 0) throw usageError("there is no fold to hold out");
  return withProducts(runtime, async (products) => {
    const scores = zeroMatrix(candidates.length, columnsOf(y));
    for (const fold of used) {
      const found = await foldScores(products, x, y, fold, candidates, intercept);
      found.data.forEach((score, at) => {
        scores.data[at] = (scores.data[at] as number) + score / used.length;
      });
    }
    const chosen = chosenRows(scores, choice).map((at) => candidates[at] as number);
    return { ...(await fitWith(products, x, y, Float64Array.from(chosen), intercept)), scores };
  });
}

/** Squares of what is larger would leave the range of float64. */
const largestFeature = 1e140;

function checked(features: Tensor, targets: Tensor): { x: Matrix; y: Matrix } {
  const x = asMatrix(features, "the features");
  if (largestOf(x) > largestFeature)
    throw usageError(`features above ${largestFeature} have no squares: scale them down`);
  return { x, y: asColumns(targets, rowsOf(x), "the targets") };
}

function penaltiesOf(penalty: number | ArrayLike<number>, count: number): Float64Array {
  const list = typeof penalty === "number" ? new Float64Array(count).fill(penalty) : Float64Array.from(penalty);
  if (list.length !== count) throw usageError(`${list.length} penalties were given for ${count} targets`);
  const bad = list.find((value) => !(value > 0 && Number.isFinite(value)));
  if (bad !== undefined) throw usageError(`a ridge penalty must be positive, not ${bad} (for none, use leastSquares)`);
  return list;
}

/** What W(α) is made of, and the means that were taken off. */
interface Factors {
  /** [p, k] */
  readonly basis: Matrix;
  /** [k] */
  readonly values: Float64Array;
  /** [k, t] */
  readonly moments: Matrix;
  readonly featureMeans: Float64Array;
  readonly targetMeans: Float64Array;
}

async function factorise(products: Products, x: Matrix, y: Matrix, intercept: boolean): Promise<Factors> {
  const featureMeans = intercept ? columnMeans(x) : new Float64Array(columnsOf(x));
  const targetMeans = intercept ? columnMeans(y) : new Float64Array(columnsOf(y));
  const centred = subtractFromRows(x, featureMeans);
  const centredTargets = subtractFromRows(y, targetMeans);
  const primal = rowsOf(x) >= columnsOf(x);
  const gram = await gramWith(products, centred, primal ? "columns" : "rows");
  const { values, vectors } = await rowEigen(products, gram);
  const clamped = values.map((value) => Math.max(0, value));
  const both = { left: true, right: true };
  const basis = primal ? transposed(vectors) : await products.multiply(centred, vectors, both);
  const along = primal ? await products.multiply(centred, centredTargets, { left: true }) : centredTargets;
  const moments = await products.multiply(vectors, along);
  return { basis, values: clamped, moments, featureMeans, targetMeans };
}

/** M with entry [i, target] divided by λᵢ + α, the penalty of that target. */
function shrunk({ values, moments }: Factors, penaltyOf: (target: number) => number): Matrix {
  const targets = columnsOf(moments);
  const data = moments.data.map((value, at) => {
    return value / ((values[Math.floor(at / targets)] as number) + penaltyOf(at % targets));
  });
  return { ...moments, data };
}

async function fitWith(
  products: Products,
  x: Matrix,
  y: Matrix,
  penalties: Float64Array,
  intercept: boolean,
): Promise<RidgeFit> {
  const factors = await factorise(products, x, y, intercept);
  const weights = await products.multiply(
    factors.basis,
    shrunk(factors, (target) => penalties[target] as number),
  );
  const offsets = factors.targetMeans.slice();
  const targets = columnsOf(y);
  weights.data.forEach((weight, at) => {
    const mean = factors.featureMeans[Math.floor(at / targets)] as number;
    offsets[at % targets] = (offsets[at % targets] as number) - mean * weight;
  });
  return { weights, intercept: offsets, penalties };
}

/** R² of the held-out rows of one fold: [penalties, targets]. */
async function foldScores(
  products: Products,
  x: Matrix,
  y: Matrix,
  { train, validation }: Fold,
  penalties: Float64Array,
  intercept: boolean,
): Promise<Matrix> {
  const factors = await factorise(products, takeRows(x, train), takeRows(y, train), intercept);
  const heldOut = subtractFromRows(takeRows(y, validation), factors.targetMeans);
  const along = await products.multiply(subtractFromRows(takeRows(x, validation), factors.featureMeans), factors.basis);
  const scores = zeroMatrix(penalties.length, columnsOf(y));
  for (const [k, penalty] of penalties.entries()) {
    const misses = await products.subtractProduct(
      heldOut,
      along,
      shrunk(factors, () => penalty),
    );
    scores.data.set(explained(heldOut, misses), k * columnsOf(y));
  }
  return scores;
}

/** 1 − (sum of squared misses) / (sum of squares around the mean), of every column. */
function explained(targets: Matrix, misses: Matrix): Float64Array {
  const centred = subtractFromRows(targets, columnMeans(targets));
  const left = columnSquares(misses);
  return columnSquares(centred).map((total, j) => {
    const missed = left[j] as number;
    if (total === 0) return missed === 0 ? 1 : 0;
    return 1 - missed / total;
  });
}

function columnSquares(matrix: Matrix): Float64Array {
  const columns = columnsOf(matrix);
  const sums = new Float64Array(columns);
  matrix.data.forEach((value, at) => {
    sums[at % columns] = (sums[at % columns] as number) + value * value;
  });
  return sums;
}

/** For every target the row of `scores` that is best for it, or for the mean of all. */
function chosenRows(scores: Matrix, choice: "perTarget" | "shared"): number[] {
  const [count, targets] = [rowsOf(scores), columnsOf(scores)];
  const best = (scoreOf: (row: number) => number) => {
    let at = 0;
    for (let k = 1; k < count; k++) if (scoreOf(k) > scoreOf(at)) at = k;
    return at;
  };
  const row = (k: number) => scores.data.subarray(k * targets, (k + 1) * targets);
  const shared = best((k) => row(k).reduce((sum, score) => sum + score, 0));
  return Array.from({ length: targets }, (_, j) => (choice === "shared" ? shared : best((k) => row(k)[j] as number)));
}
