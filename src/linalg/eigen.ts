/**
 * The eigenvalues and vectors of a symmetric matrix, A = V diag(λ) Vᵀ: reduced to tridiagonal form, solved there by divide
 * and conquer, and the vectors turned back. Backward stable: errors are of the size of rounding in the largest entry.
 */
import { usageError } from "../errors.js";
import type { Tensor } from "../runtime/index.js";
import { asSquare, balanced, epsilon, type Matrix, rowsOf, takeRows, transposed } from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
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
 * Throws where the matrix is not symmetric (to rounding in its largest entry; only its mean with its transpose counts),
 * not square or not finite.
 *
 * @example const { values, vectors } = await symmetricEigen(covariance);
 */
export async function symmetricEigen(matrix: Tensor, { runtime }: ProductOptions = {}): Promise<SymmetricEigen> {
  const square = asSquare(matrix);
  return withProducts(runtime, async (products) => {
    const { values, vectors } = await rowEigen(products, square);
    return { values, vectors: transposed(vectors) };
  });
}

/** The same by given products, with an eigenvector a row. */
export async function rowEigen(products: Products, matrix: Matrix): Promise<SymmetricEigen> {
  const { matrix: scaled, power } = balanced(matrix);
  symmetriseInPlace(scaled);
  const { diagonal, beside, blocks } = await tridiagonalise(products, scaled);
  const solved = await tridiagonalEigen(products, diagonal, beside);
  const descending = Array.from(solved.values.keys()).reverse();
  const rows = takeRows(solved.vectors, descending);
  const values = solved.values.toReversed().map((value) => value * power);
  return { values, vectors: await reflectAll(products, rows, blocks) };
}

/** Entries may differ from their mirror images by this many roundings of the largest entry. */
const mirrorRoundings = 1e4;

function symmetriseInPlace(matrix: Matrix): void {
  const size = rowsOf(matrix);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [matrix.data[i * size + j] as number, matrix.data[j * size + i] as number];
      if (Math.abs(below - above) > mirrorRoundings * epsilon * 2) {
        throw usageError(`the matrix is not symmetric: [${i}, ${j}] and [${j}, ${i}] differ`);
      }
      const mean = below === above ? below : (below + above) / 2;
      matrix.data[i * size + j] = mean;
      matrix.data[j * size + i] = mean;
    }
  }
}
