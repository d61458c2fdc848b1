/**
 * Examples are rows of a float64 matrix. What comes in is checked once, at the door; what is estimated from some rows
 * (a mean, a scale, a covariance) is estimated here and handed on, so that it is plain which rows it came from.
 */
import { usageError } from "../../errors.js";
import {
  cholesky,
  columnMoments,
  gram,
  type Matrix,
  type ProductOptions,
  scaleColumns,
  subtractFromRows,
} from "../../linalg/index.js";
import { type Tensor, tensor } from "../../runtime/index.js";

/**
 * `value` [rows, columns], float32 or float64, as float64. Throws, under `name`, where it is not that or not finite.
 */
export function readRows(value: Tensor, name: string, minimum = 2): Matrix {
  const [rows = 0] = value.shape;
  if (value.shape.length !== 2 || value.data.length === 0)
    throw usageError(`${name} must have shape [rows, columns], not [${value.shape.join(", ")}]`);
  if (value.dtype !== "float32" && value.dtype !== "float64")
    throw usageError(`${name} must be float32 or float64, not ${value.dtype}`);
  if (rows < minimum) throw usageError(`${name} has ${rows} rows; at least ${minimum} are needed`);
  const data = value.data instanceof Float64Array ? value.data : Float64Array.from(value.data as Float32Array);
  const bad = data.findIndex((number) => !Number.isFinite(number));
  if (bad >= 0) throw usageError(`${name} holds ${data[bad]} in row ${Math.floor(bad / (data.length / rows))}`);
  return tensor("float64", value.shape, data);
}

/** Rows and columns of a matrix. */
export const sizeOf = ({ shape }: Matrix) => shape as readonly [number, number];

/** Row `index`, as a view. */
export function rowAt({ shape, data }: Matrix, index: number): Float64Array {
  const width = shape[1] as number;
  return data.subarray(index * width, (index + 1) * width);
}

/** The sum of products. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number);
  return sum;
}

/** (x - shift) * factor for every column, as new memory; factors are 1 unless given. */
export function rescaled(matrix: Matrix, shift: Float64Array, factor?: Float64Array): Matrix {
  const moved = subtractFromRows(matrix, shift);
  return factor === undefined ? moved : scaleColumns(moved, factor);
}

/** The rows minus their mean. */
export function centred(matrix: Matrix): Matrix {
  return rescaled(matrix, columnMoments(matrix).mean);
}

/** The members of each class (as numbers from 0), and the mean of their rows, [classes, columns]. */
export function classMeans(rows: Matrix, classOf: ArrayLike<number>, classes: number) {
  const width = rows.shape[1] as number;
  const counts = new Int32Array(classes);
  const data = new Float64Array(classes * width);
  for (let i = 0; i < classOf.length; i++) {
    const k = classOf[i] as number;
    counts[k] = (counts[k] as number) + 1;
    const row = rowAt(rows, i);
    for (let j = 0; j < width; j++) data[k * width + j] = (data[k * width + j] as number) + (row[j] as number);
  }
  const means = data.map((sum, at) => sum / (counts[Math.floor(at / width)] as number));
  return { counts, means: tensor("float64", [classes, width], means) };
}

/** Every row minus the mean of its class. */
export function residualsOf(rows: Matrix, classOf: ArrayLike<number>, means: Matrix): Matrix {
  const width = rows.shape[1] as number;
  const data = rows.data.map(
    (value, at) => value - (means.data[(classOf[Math.floor(at / width)] as number) * width + (at % width)] as number),
  );
  return { ...rows, data };
}

/** How far a covariance is drawn to a multiple of the identity: a share from 0 to 1, or `auto` (Ledoit & Wolf). */
export type Shrinkage = number | "auto";

/**
 * The covariance of `residuals` [rows, columns], whose means are zero, shrunk towards its mean variance:
 * (1 - s) S + s (trace S / columns) I, with S divided by `degrees` (the rows unless given). For `auto`, s minimises the
 * expected squared error (Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
 * matrices").
 */
export async function shrunkCovariance(
  residuals: Matrix,
  shrinkage: Shrinkage,
  { degrees, ...options }: ProductOptions & { readonly degrees?: number } = {},
): Promise<Matrix> {
  if (shrinkage !== "auto" && !(shrinkage >= 0 && shrinkage <= 1))
    throw usageError(`shrinkage must be a number from 0 to 1 or "auto", not ${shrinkage}`);
  const [rows, columns] = sizeOf(residuals);
  const squares = await gram(residuals, options);
  const share = shrinkage === "auto" ? optimalShrinkage(residuals, squares) : shrinkage;
  const divisor = degrees ?? rows;
  let trace = 0;
  for (let j = 0; j < columns; j++) trace += squares.data[j * (columns + 1)] as number;
  const level = (share * trace) / (columns * divisor);
  const data = squares.data.map((sum, at) => ((1 - share) * sum) / divisor + (at % (columns + 1) === 0 ? level : 0));
  return { ...squares, data };
}

/** Lemma 3.2 to 3.4 there: the part of S's squared distance to the identity's multiple that is error of estimation. */
function optimalShrinkage(residuals: Matrix, squares: Matrix): number {
  const [rows, columns] = sizeOf(residuals);
  let trace = 0;
  for (let j = 0; j < columns; j++) trace += (squares.data[j * (columns + 1)] as number) / rows;
  const size = squares.data.reduce((sum, value) => sum + (value / rows) ** 2, 0);
  let fourth = 0;
  for (let i = 0; i < rows; i++) fourth += rowAt(residuals, i).reduce((sum, value) => sum + value * value, 0) ** 2;
  const error = (fourth / rows - size) / rows;
  const distance = size - trace ** 2 / columns;
  return distance <= 0 ? 0 : Math.min(1, Math.max(0, error / distance));
}

/** The Cholesky factor of a covariance, or a message that says what makes it invertible. */
export async function covarianceFactor(covariance: Matrix, options: ProductOptions): Promise<Matrix> {
  try {
    return await cholesky(covariance, options);
  } catch (error) {
    throw usageError("the covariance can't be inverted: give a shrinkage above 0, or more rows than features", error);
  }
}
