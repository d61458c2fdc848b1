/**
 * Cholesky: a symmetric positive definite matrix as L Lᵀ (Golub & Van Loan 2013, 4.2), blocked: the runtime subtracts what
 * earlier columns contribute to a block of columns, TypeScript factors the block.
 */
import { failure } from "../errors.js";
import { type Tensor, tensor } from "../runtime/index.js";
import { asColumns, asSquare, blockOf, columnsOf, type Matrix, rowsOf, transposed, zeroMatrix } from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
import { blockSize, dot } from "./reflectors.js";
import { substitute } from "./triangular.js";

/**
 * The lower triangle L with L Lᵀ = `matrix` [n, n], symmetric positive definite. Only its lower half is read.
 *
 * Throws a `failure` with the index of the first pivot that is not positive.
 *
 * @example const factor = await cholesky(covariance);
 */
export async function cholesky(matrix: Tensor, { runtime }: ProductOptions = {}): Promise<Matrix> {
  const square = asSquare(matrix);
  return withProducts(runtime, (products) => choleskyWith(products, square));
}

/** The same by given products. */
export async function choleskyWith(products: Products, matrix: Matrix): Promise<Matrix> {
  const size = rowsOf(matrix);
  const factor = zeroMatrix(size, size);
  for (let from = 0; from < size; from += blockSize) {
    const to = Math.min(size, from + blockSize);
    const before = blockOf(factor, from, size, 0, from);
    const columns = blockOf(matrix, from, size, from, to);
    const left =
      from === 0
        ? columns
        : await products.subtractProduct(columns, before, transposed(blockOf(factor, from, to, 0, from)));
    factorColumns(left, from);
    for (let i = from; i < size; i++) {
      const row = left.data.subarray((i - from) * (to - from), (i - from + 1) * (to - from));
      factor.data.set(row.subarray(0, Math.min(to - from, i - from + 1)), i * size + from);
    }
  }
  return factor;
}

/** Factors a block of columns, in place, whose first `width` rows hold its diagonal. */
function factorColumns(block: Matrix, first: number): void {
  const width = columnsOf(block);
  const row = (i: number) => block.data.subarray(i * width, (i + 1) * width);
  for (let j = 0; j < width; j++) {
    const own = row(j);
    const pivot = (own[j] as number) - dot(own, own, 0, j);
    if (!(pivot > 0)) {
      throw failure(`the matrix is not positive definite: pivot ${first + j} is ${pivot.toPrecision(3)}`);
    }
    const root = Math.sqrt(pivot);
    own[j] = root;
    for (let i = j + 1; i < rowsOf(block); i++) {
      const other = row(i);
      other[j] = ((other[j] as number) - dot(other, own, 0, j)) / root;
    }
  }
}

/**
 * The solution X of A X = B from the Cholesky `factor` L of A; B is [n, k] or a vector [n], and X has its shape.
 *
 * @example const x = await choleskySolve(await cholesky(a), b);
 */
export async function choleskySolve(
  factor: Tensor,
  right: Tensor,
  { runtime }: ProductOptions = {},
): Promise<Tensor<"float64">> {
  const lower = asSquare(factor, "the Cholesky factor");
  const columns = asColumns(right, rowsOf(lower));
  return withProducts(runtime, async (products) => {
    const forward = await substitute(products, lower, columns, "lower");
    return tensor("float64", right.shape, (await substitute(products, transposed(lower), forward, "upper")).data);
  });
}

/** The natural logarithm of the determinant of L Lᵀ, from its Cholesky `factor` L. */
export function choleskyLogDeterminant(factor: Tensor): number {
  const lower = asSquare(factor, "the Cholesky factor");
  let sum = 0;
  for (let i = 0; i < rowsOf(lower); i++) sum += 2 * Math.log(lower.data[i * rowsOf(lower) + i] as number);
  return sum;
}
