/**
 * The eigenvalues and vectors of a symmetric matrix, A = V diag(λ) Vᵀ: reduced to tridiagonal form, solved there by divide
 * and conquer, and the vectors turned back. Backward stable: errors are of the size of rounding in the largest entry.
 */
import { usageError } from "../errors.js";
import type { Tensor } from "../runtime/index.js";
import type { RowEigen } from "./implicitQl.js";
import { asSquare, balanced, epsilon, largestOf, type Matrix, rowsOf, takeRows, transposed } from "./matrix.js";
import { type ProductOptions, type Products, symmetrised, withProducts } from "./products.js";
import { reflectAll } from "./reflectors.js";
import { tridiagonalEigen } from "./tridiagonalEigen.js";
import { tridiagonalise } from "./tridiagonalise.js";

export interface SymmetricEigen {
  /** Descending. */
  readonly values: Float64Array;
  /** [n, n]: column i is the unit eigenvector of value i. */
  readonly vectors: Matrix;
}

/**
 * All eigenvalues of a symmetric `matrix` [n, n], descending, and orthonormal eigenvectors (columns, their signs arbitrary).
 *
 * Throws where the matrix is not symmetric to rounding in its largest entry, not square or not finite. What little its
 * halves differ by is averaged away.
 *
 * @example const { values, vectors } = await symmetricEigen(covariance);
 */
export async function symmetricEigen(matrix: Tensor, { runtime }: ProductOptions = {}): Promise<SymmetricEigen> {
  const square = asSquare(matrix);
  checkSymmetric(square, matrix.dtype === "float32" ? 2 ** -23 : epsilon);
  return withProducts(runtime, async (products) => {
    const { values, vectors } = await rowEigen(products, symmetrised(square));
    return { values, vectors: transposed(vectors) };
  });
}

/** The same of an exactly symmetric matrix by given products: values descending, an eigenvector a row. */
export async function rowEigen(products: Products, matrix: Matrix): Promise<RowEigen> {
  const { matrix: scaled, power } = balanced(matrix);
  const { diagonal, beside, blocks } = await tridiagonalise(products, scaled);
  const solved = await tridiagonalEigen(products, diagonal, beside);
  const descending = Array.from(solved.values.keys()).reverse();
  const rows = takeRows(solved.vectors, descending);
  const values = solved.values.toReversed().map((value) => value * power);
  return { values, vectors: await reflectAll(products, rows, blocks) };
}

/** Entries may differ from their mirror images by this many roundings of the largest entry: sums in another order do. */
const mirrorRoundings = 1000;

function checkSymmetric(matrix: Matrix, rounding: number): void {
  const size = rowsOf(matrix);
  const allowed = mirrorRoundings * rounding * largestOf(matrix);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [matrix.data[i * size + j] as number, matrix.data[j * size + i] as number];
      if (Math.abs(below - above) <= allowed) continue;
      throw usageError(`the matrix is not symmetric: [${i}, ${j}] is ${below} and [${j}, ${i}] is ${above}`);
    }
  }
}
