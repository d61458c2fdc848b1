/**
 * A matrix is a tensor of rank 2 in float64. Whatever enters this room passes `asMatrix` once: rank, element type, sizes,
 * and that every number is finite; behind that door nothing is checked again.
 */
import { usageError } from "../errors.js";
import { type Tensor, tensor, zeros } from "../runtime/index.js";

export type Matrix = Tensor<"float64">;

/** What a relative rounding error is at most, doubled: the gap between 1 and the next float64. */
export const epsilon = Number.EPSILON;

/** The number of rows of a matrix. */
export function rowsOf(matrix: Tensor): number {
  return matrix.shape[0] as number;
}

/** The number of columns of a matrix. */
export function columnsOf(matrix: Tensor): number {
  return matrix.shape[1] as number;
}

/**
 * `value` [rows, columns] as a float64 matrix (the same memory where it is one already).
 *
 * Throws, under `name`, for another rank or element type, for no rows or columns, and for a NaN or an infinity.
 */
export function asMatrix(value: Tensor, name = "the matrix"): Matrix {
  if (value.shape.length !== 2 || value.data.length === 0) {
    throw usageError(`${name} must have rows and columns, not shape [${value.shape.join(", ")}]`);
  }
  if (!(value.data instanceof Float64Array) && !(value.data instanceof Float32Array)) {
    throw usageError(`${name} must be float32 or float64, not ${value.dtype}`);
  }
  const data = value.data instanceof Float64Array ? value.data : Float64Array.from(value.data);
  const matrix = tensor("float64", value.shape, data);
  if (!allFinite(data)) {
    const at = data.findIndex((number) => !Number.isFinite(number));
    const place = `[${Math.floor(at / columnsOf(matrix))}, ${at % columnsOf(matrix)}]`;
    throw usageError(`${name} holds ${data[at]} at ${place}: every number must be finite`);
  }
  return matrix;
}

/** A square matrix, or an error that shows the shape. */
export function asSquare(value: Tensor, name = "the matrix"): Matrix {
  const matrix = asMatrix(value, name);
  if (rowsOf(matrix) !== columnsOf(matrix)) {
    throw usageError(`${name} must be square, not [${matrix.shape.join(", ")}]`);
  }
  return matrix;
}

/**
 * The columns of a right side: a rank-2 tensor as it is, a rank-1 tensor as one column.
 *
 * Throws where it does not have `rows` rows.
 */
export function asColumns(value: Tensor, rows: number, name = "the right side"): Matrix {
  const columns = value.shape.length === 1 ? { ...value, shape: [...value.shape, 1] } : value;
  const matrix = asMatrix(columns, name);
  if (rowsOf(matrix) !== rows) {
    throw usageError(`${name} has ${rowsOf(matrix)} rows where the matrix asks for ${rows}`);
  }
  return matrix;
}

function allFinite(data: Float64Array): boolean {
  let sum = 0; // x - x is 0 for a number and NaN for the others
  for (let i = 0; i < data.length; i++) sum += (data[i] as number) - (data[i] as number);
  return sum === 0;
}

/** A matrix of zeros. */
export function zeroMatrix(rows: number, columns: number): Matrix {
  return zeros("float64", [rows, columns]);
}

/** A matrix over `data` (not copied). */
export function matrixOf(rows: number, columns: number, data: Float64Array): Matrix {
  return tensor("float64", [rows, columns], data);
}

/** The first `columns` columns of the identity with `rows` rows; square unless `columns` is given. */
export function identityMatrix(rows: number, columns = rows): Matrix {
  const result = zeroMatrix(rows, columns);
  for (let i = 0; i < Math.min(rows, columns); i++) result.data[i * columns + i] = 1;
  return result;
}

/** The transpose, as new memory. */
export function transposed(matrix: Matrix): Matrix {
  const [rows, columns] = [rowsOf(matrix), columnsOf(matrix)];
  const result = zeroMatrix(columns, rows);
  const tile = 32; // tiles keep both sides within the first cache
  for (let top = 0; top < rows; top += tile) {
    for (let left = 0; left < columns; left += tile) copyTile(matrix, result, top, left, tile);
  }
  return result;
}

function copyTile(from: Matrix, to: Matrix, top: number, left: number, tile: number): void {
  const [rows, columns] = [rowsOf(from), columnsOf(from)];
  const bottom = Math.min(rows, top + tile);
  const right = Math.min(columns, left + tile);
  for (let i = top; i < bottom; i++) {
    for (let j = left; j < right; j++) to.data[j * rows + i] = from.data[i * columns + j] as number;
  }
}

/** Rows `from` to `to` (not included) as a view of the same memory. */
export function rowsBetween(matrix: Matrix, from: number, to: number): Matrix {
  const columns = columnsOf(matrix);
  return matrixOf(to - from, columns, matrix.data.subarray(from * columns, to * columns));
}

/** Rows and columns from `top`, `left` up to `bottom`, `right` (not included), as new memory. */
export function blockOf(matrix: Matrix, top: number, bottom: number, left: number, right: number): Matrix {
  const columns = columnsOf(matrix);
  const result = zeroMatrix(bottom - top, right - left);
  for (let i = top; i < bottom; i++) {
    result.data.set(matrix.data.subarray(i * columns + left, i * columns + right), (i - top) * (right - left));
  }
  return result;
}

/** The first `count` columns, as new memory. */
export function firstColumns(matrix: Matrix, count: number): Matrix {
  return blockOf(matrix, 0, rowsOf(matrix), 0, count);
}

/** The rows at `indices`, in that order, as new memory. */
export function takeRows(matrix: Matrix, indices: ArrayLike<number>): Matrix {
  const columns = columnsOf(matrix);
  const result = zeroMatrix(indices.length, columns);
  for (let i = 0; i < indices.length; i++) {
    const from = (indices[i] as number) * columns;
    result.data.set(matrix.data.subarray(from, from + columns), i * columns);
  }
  return result;
}

/** Row i times `factors[i]`, as new memory. */
export function scaleRows(matrix: Matrix, factors: ArrayLike<number>): Matrix {
  const columns = columnsOf(matrix);
  const data = matrix.data.map((value, at) => value * (factors[Math.floor(at / columns)] as number));
  return { ...matrix, data };
}

/** Column j times `factors[j]`, as new memory. */
export function scaleColumns(matrix: Matrix, factors: ArrayLike<number>): Matrix {
  const columns = columnsOf(matrix);
  const data = matrix.data.slice();
  for (let start = 0; start < data.length; start += columns)
    for (let j = 0; j < columns; j++) data[start + j] = (data[start + j] as number) * (factors[j] as number);
  return { ...matrix, data };
}

/** The largest absolute value. */
export function largestOf(matrix: Matrix): number {
  let largest = 0;
  for (const value of matrix.data) largest = Math.max(largest, Math.abs(value));
  return largest;
}

/**
 * The matrix divided by a power of two that brings its largest entry into [1, 2), and that power: squares then neither
 * overflow nor vanish, and no digit changes. A zero matrix stays as it is, with a power of 1.
 */
export function balanced(matrix: Matrix): { matrix: Matrix; power: number } {
  const largest = largestOf(matrix);
  if (largest === 0) return { matrix: { ...matrix, data: matrix.data.slice() }, power: 1 };
  const power = 2 ** Math.max(-1022, Math.floor(Math.log2(largest)));
  return { matrix: { ...matrix, data: matrix.data.map((value) => value / power) }, power };
}

/** The mean of every column. */
export function columnMeans(matrix: Matrix): Float64Array {
  const [rows, columns] = [rowsOf(matrix), columnsOf(matrix)];
  const sums = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) sums[j] = (sums[j] as number) + (matrix.data[i * columns + j] as number);
  }
  return sums.map((sum) => sum / rows);
}

/** Every row minus `offsets`, as new memory. */
export function subtractFromRows(matrix: Matrix, offsets: Float64Array): Matrix {
  const columns = columnsOf(matrix);
  const data = matrix.data.slice();
  for (let start = 0; start < data.length; start += columns)
    for (let j = 0; j < columns; j++) data[start + j] = (data[start + j] as number) - (offsets[j] as number);
  return { ...matrix, data };
}
