/**
 * Linear systems: square ones by LU with partial pivoting, and least squares of any shape and rank by the singular values
 * (Golub & Van Loan 2013, 3.4 and 5.5).
 */
import { failure, usageError } from "../errors.js";
import { type Tensor, tensor } from "../runtime/index.js";
import {
  asColumns,
  asMatrix,
  asSquare,
  blockOf,
  columnsOf,
  epsilon,
  firstColumns,
  type Matrix,
  matrixOf,
  rowsOf,
  scaleRows,
  takeRows,
} from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
import { addScaled, blockSize } from "./reflectors.js";
import { thinSvd } from "./svd.js";
import { substitute } from "./triangular.js";

/**
 * The solution X of A X = B for a general square `matrix` A [n, n]; B is [n, k] or a vector [n], and X has its shape.
 *
 * Throws a `failure` with the index of the first pivot that is zero: the matrix is singular (see `leastSquares`).
 */
export async function solve(
  matrix: Tensor,
  right: Tensor,
  { runtime }: ProductOptions = {},
): Promise<Tensor<"float64">> {
  const square = asSquare(matrix);
  const columns = asColumns(right, rowsOf(square));
  return withProducts(runtime, async (products) => {
    const { factors, order } = await luFactors(products, square);
    const forward = await substitute(products, factors, takeRows(columns, order), "lower", true);
    return tensor("float64", right.shape, (await substitute(products, factors, forward, "upper")).data);
  });
}

/** L (below the diagonal, whose own entries are 1) and U in one matrix: L U is the matrix with its rows in `order`. */
async function luFactors(products: Products, matrix: Matrix): Promise<{ factors: Matrix; order: Int32Array }> {
  const size = rowsOf(matrix);
  const factors = matrixOf(size, size, matrix.data.slice());
  const order = Int32Array.from({ length: size }, (_, i) => i);
  for (let from = 0; from < size; from += blockSize) {
    const to = Math.min(size, from + blockSize);
    for (let k = from; k < to; k++) eliminateColumn(factors, order, k, to);
    if (to === size) break;
    const corner = blockOf(factors, from, to, from, to);
    const beside = await substitute(products, corner, blockOf(factors, from, to, to, size), "lower", true);
    place(factors, beside, from, to);
    const below = blockOf(factors, to, size, from, to);
    place(factors, await products.subtractProduct(blockOf(factors, to, size, to, size), below, beside), to, to);
  }
  return { factors, order };
}

/** Brings the largest entry of column k to the diagonal and eliminates below it, within columns up to `to`. */
function eliminateColumn(factors: Matrix, order: Int32Array, k: number, to: number): void {
  const size = rowsOf(factors);
  const entry = (i: number) => Math.abs(factors.data[i * size + k] as number);
  let best = k;
  for (let i = k + 1; i < size; i++) if (entry(i) > entry(best)) best = i;
  if (entry(best) === 0) throw failure(`the matrix is singular: pivot ${k} is zero`);
  if (best !== k) {
    const kept = factors.data.slice(k * size, (k + 1) * size);
    factors.data.copyWithin(k * size, best * size, (best + 1) * size);
    factors.data.set(kept, best * size);
    [order[k], order[best]] = [order[best] as number, order[k] as number];
  }
  const row = factors.data.subarray(k * size, (k + 1) * size);
  const pivot = row[k] as number;
  for (let i = k + 1; i < size; i++) {
    const own = factors.data.subarray(i * size, (i + 1) * size);
    const factor = (own[k] as number) / pivot;
    own[k] = factor;
    addScaled(own, -factor, row, k + 1, to);
  }
}

/** Copies `part` into `matrix` with its first entry at [top, left]. */
function place(matrix: Matrix, part: Matrix, top: number, left: number): void {
  const width = columnsOf(part);
  for (let i = 0; i < rowsOf(part); i++) {
    matrix.data.set(part.data.subarray(i * width, (i + 1) * width), (top + i) * columnsOf(matrix) + left);
  }
}

export interface LeastSquares {
  /** [n, k] or [n], as the right side has columns: of all that are nearest, the shortest. */
  readonly solution: Tensor<"float64">;
  /** How many singular values count. */
  readonly rank: number;
  /** All of them, descending. */
  readonly singularValues: Float64Array;
}

/**
 * The X that brings A X nearest to B, for a `matrix` A [m, n] of any shape and rank; B is [m, k] or a vector [m].
 *
 * @param options.relativeCut singular values below this part of the largest count as zero (numpy's `rcond`); the larger
 * side of the matrix times the float64 epsilon unless given
 */
export async function leastSquares(
  matrix: Tensor,
  right: Tensor,
  { runtime, relativeCut }: ProductOptions & { readonly relativeCut?: number } = {},
): Promise<LeastSquares> {
  const a = asMatrix(matrix);
  const columns = asColumns(right, rowsOf(a));
  const cut = relativeCut ?? Math.max(...a.shape) * epsilon;
  if (!(cut >= 0 && cut < 1)) throw usageError(`relativeCut must be at least 0 and less than 1, not ${cut}`);
  return withProducts(runtime, async (products) => {
    const { u, values, v } = await thinSvd(products, a);
    const rank = values.filter((value) => value > cut * (values[0] as number)).length;
    const shape = [columnsOf(a), ...right.shape.slice(1)];
    if (rank === 0) {
      return {
        solution: tensor("float64", shape, new Float64Array(shape.reduce((x, y) => x * y))),
        rank,
        singularValues: values,
      };
    }
    const along = await products.multiply(firstColumns(u, rank), columns, { left: true });
    const scaled = scaleRows(
      along,
      Array.from(values.subarray(0, rank), (value) => 1 / value),
    );
    const solution = await products.multiply(firstColumns(v, rank), scaled);
    return { solution: tensor("float64", shape, solution.data), rank, singularValues: values };
  });
}
