/** Triangular systems by blocked substitution (Golub & Van Loan 2013, 3.1): all but the diagonal blocks is products. */
import { failure } from "../errors.js";
import { type Tensor, tensor } from "../runtime/index.js";
import { asColumns, asSquare, blockOf, columnsOf, type Matrix, matrixOf, rowsBetween, rowsOf } from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
import { addScaled, blockSize } from "./reflectors.js";

/** Which half of a triangular matrix counts; the other is not read. */
export type Triangle = "lower" | "upper";

/**
 * The solution X of T X = B for a triangular `matrix` T [n, n]; B is [n, k] or a vector [n], and X has its shape.
 *
 * Throws a `failure` with the index where the diagonal is zero.
 */
export async function solveTriangular(
  matrix: Tensor,
  right: Tensor,
  triangle: Triangle,
  { runtime }: ProductOptions = {},
): Promise<Tensor<"float64">> {
  const square = asSquare(matrix);
  const columns = asColumns(right, rowsOf(square));
  const solution = await withProducts(runtime, (products) => substitute(products, square, columns, triangle));
  return tensor("float64", right.shape, solution.data);
}

/** T⁻¹ B by given products: a block of rows at a time, each minus what the rows already known contribute. */
export async function substitute(
  products: Products,
  matrix: Matrix,
  right: Matrix,
  triangle: Triangle,
  unit = false,
): Promise<Matrix> {
  const [size, columns] = [rowsOf(matrix), columnsOf(right)];
  const result = matrixOf(size, columns, right.data.slice());
  const count = Math.ceil(size / blockSize);
  for (let k = 0; k < count; k++) {
    const from = (triangle === "lower" ? k : count - 1 - k) * blockSize;
    const to = Math.min(size, from + blockSize);
    const [left, end] = triangle === "lower" ? [0, from] : [to, size];
    const rows = rowsBetween(result, from, to);
    if (end > left) {
      const known = rowsBetween(result, left, end);
      rows.data.set((await products.subtractProduct(rows, blockOf(matrix, from, to, left, end), known)).data);
    }
    substituteBlock(matrix, rows, from, triangle, unit);
  }
  return result;
}

/** Solves with the diagonal block of T that starts at `from`, in place on the `rows` of the right side that belong to it. */
function substituteBlock(matrix: Matrix, rows: Matrix, from: number, triangle: Triangle, unit: boolean): void {
  const [size, count, columns] = [rowsOf(matrix), rowsOf(rows), columnsOf(rows)];
  const row = (i: number) => rows.data.subarray(i * columns, (i + 1) * columns);
  for (let step = 0; step < count; step++) {
    const i = triangle === "lower" ? step : count - 1 - step;
    const [left, end] = triangle === "lower" ? [0, i] : [i + 1, count];
    const at = (from + i) * size + from;
    const own = row(i);
    for (let j = left; j < end; j++) addScaled(own, -(matrix.data[at + j] as number), row(j));
    const pivot = unit ? 1 : (matrix.data[at + i] as number);
    if (pivot === 0) throw failure(`the triangular matrix is singular: its diagonal is zero at index ${from + i}`);
    for (let j = 0; pivot !== 1 && j < columns; j++) own[j] = (own[j] as number) / pivot;
  }
}
