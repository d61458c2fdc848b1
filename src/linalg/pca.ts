/**
 * Principal components: the directions in which centred data vary most, from the singular values of the data or, for many
 * rows and columns, from the eigenvalues of the smaller Gram matrix (faster; small variances then lose half their digits).
 */
import { usageError } from "../errors.js";
import type { Tensor } from "../runtime/index.js";
import { rowEigen } from "./eigen.js";
import {
  asMatrix,
  columnMeans,
  columnsOf,
  type Matrix,
  rowsBetween,
  rowsOf,
  scaleColumns,
  scaleRows,
  subtractFromRows,
  transposed,
} from "./matrix.js";
import { gramWith, type ProductOptions, type Products, withProducts } from "./products.js";
import { orthonormalised } from "./qr.js";
import { norm } from "./reflectors.js";
import { checkRank, thinSvd } from "./svd.js";

export interface PcaOptions extends ProductOptions {
  /** How many components; as many as the smaller side of the data unless given. */
  readonly count?: number;
  /** Give every score a variance of 1; off unless given. */
  readonly whiten?: boolean;
  /** `svd` where the smaller side is at most 512, else `gram`, unless given. */
  readonly method?: "svd" | "gram";
}

export interface Pca {
  /** [features] */
  readonly mean: Float64Array;
  /** [count, features]: a unit direction a row, its entry of largest size positive. */
  readonly components: Matrix;
  /** [rows, count]: the data in these directions. */
  readonly scores: Matrix;
  /** Variance of the data (over n − 1) along each component, descending. */
  readonly variances: Float64Array;
  /** The same as parts of the data's whole variance; zeros for data without any. */
  readonly ratios: Float64Array;
  /** What scores are multiplied by: ones, or 1 / √variance where whitened (0 where there is none). */
  readonly scales: Float64Array;
}

const largestSvdSide = 512;

/**
 * The principal components of `data` [rows, features].
 *
 * Throws for fewer than 2 rows, numbers that are not finite, and a count outside 1 … min(rows, features).
 *
 * @example const { scores, ratios } = await pca(activations, { count: 2 });
 */
export async function pca(data: Tensor, { runtime, count, whiten = false, method }: PcaOptions = {}): Promise<Pca> {
  const x = asMatrix(data, "the data");
  if (rowsOf(x) < 2) throw usageError("principal components need at least 2 rows");
  const side = Math.min(...x.shape);
  const kept = count ?? side;
  checkRank(kept, x);
  const mean = columnMeans(x);
  const centred = subtractFromRows(x, mean);
  const degrees = Math.sqrt(rowsOf(x) - 1);
  return withProducts(runtime, async (products) => {
    const bySvd = (method ?? (side <= largestSvdSide ? "svd" : "gram")) === "svd";
    const { values, directions } = bySvd ? await svdAxes(products, centred) : await gramAxes(products, centred);
    const components = signed(rowsBetween(directions, 0, kept));
    const deviations = values.subarray(0, kept).map((value) => value / degrees);
    const whole = norm(centred.data) / degrees;
    const scales = deviations.map((value) => (whiten ? (value > whole * negligible ? 1 / value : 0) : 1));
    const scores = scaleColumns(await products.multiply(centred, components, { right: true }), scales);
    const ratios = deviations.map((value) => (whole === 0 ? 0 : (value / whole) ** 2));
    return { mean, components, scores, variances: deviations.map((value) => value ** 2), ratios, scales };
  });
}

/** Deviations below this part of the whole are rounding, not data: whitening would blow them up. */
const negligible = 1e-13;

/** New `data` [rows, features] in the directions of a fit: [rows, count]. */
export async function pcaScores(fit: Pca, data: Tensor, { runtime }: ProductOptions = {}): Promise<Matrix> {
  const x = asMatrix(data, "the data");
  if (columnsOf(x) !== columnsOf(fit.components)) {
    throw usageError(`the components have ${columnsOf(fit.components)} features, the data ${columnsOf(x)}`);
  }
  const centred = subtractFromRows(x, fit.mean);
  return withProducts(runtime, async (products) =>
    scaleColumns(await products.multiply(centred, fit.components, { right: true }), fit.scales),
  );
}

/** Singular values, descending, and right singular vectors as rows. */
interface Axes {
  readonly values: Float64Array;
  readonly directions: Matrix;
}

async function svdAxes(products: Products, centred: Matrix): Promise<Axes> {
  const { values, v } = await thinSvd(products, centred);
  return { values, directions: transposed(v) };
}

async function gramAxes(products: Products, centred: Matrix): Promise<Axes> {
  const ofColumns = rowsOf(centred) >= columnsOf(centred);
  const { values, vectors } = await rowEigen(
    products,
    await gramWith(products, centred, ofColumns ? "columns" : "rows"),
  );
  const singular = values.map((value) => Math.sqrt(Math.max(0, value)));
  if (ofColumns) return { values: singular, directions: vectors };
  const along = await products.multiply(vectors, centred);
  const unit = scaleRows(
    along,
    singular.map((value) => (value === 0 ? 0 : 1 / value)),
  );
  return { values: singular, directions: await orthonormalised(products, unit) };
}

/** Rows whose entry of largest size is positive. */
function signed(rows: Matrix): Matrix {
  const width = columnsOf(rows);
  const signs = Array.from({ length: rowsOf(rows) }, (_, i) => {
    const row = rows.data.subarray(i * width, (i + 1) * width);
    const largest = row.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    return largest < 0 ? -1 : 1;
  });
  return scaleRows(rows, signs);
}
