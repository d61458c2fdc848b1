/**
 * The largest singular values and vectors of a large matrix from its action on a few random vectors (Halko, Martinsson &
 * Tropp 2011, algorithms 4.4 and 5.1): find a basis that holds most of the matrix, and decompose the little that is left.
 */
import { usageError } from "../errors.js";
import { random, type Tensor } from "../runtime/index.js";
import { asMatrix, columnsOf, firstColumns, type Matrix, matrixOf } from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
import { rowQr } from "./qr.js";
import { checkRank, type Svd, thinSvd } from "./svd.js";

export interface RandomizedSvdOptions extends ProductOptions {
  /** Seed of the random vectors (Philox), a whole number; 0 unless given. */
  readonly seed?: number;
  /** Random vectors beyond `rank`; 10 unless given. */
  readonly oversampling?: number;
  /** Times that the basis is multiplied by A Aᵀ, which sharpens slowly falling spectra; 2 unless given. */
  readonly powerIterations?: number;
}

/**
 * The `rank` largest singular values (descending) and vectors of `matrix` [m, n]: `u` [m, rank], `v` [n, rank].
 *
 * With a spectrum that falls, errors are near rounding; with a flat one, values come out some percent too small: raise
 * `powerIterations`. The basis is orthogonalised after every product. Throws for a rank outside 1 … min(m, n).
 *
 * @example const { values } = await randomizedSvd(weights, 64, { seed: 1 });
 */
export async function randomizedSvd(
  matrix: Tensor,
  rank: number,
  { runtime, seed = 0, oversampling = 10, powerIterations = 2 }: RandomizedSvdOptions = {},
): Promise<Svd> {
  const a = asMatrix(matrix);
  checkRank(rank, a);
  checkCount(oversampling, "oversampling");
  checkCount(powerIterations, "powerIterations");
  const width = Math.min(rank + oversampling, ...a.shape);
  return withProducts(runtime, async (products) => {
    const basis = await rangeBasis(products, a, normalRows(width, columnsOf(a), seed), powerIterations);
    const { u, values, v } = await thinSvd(products, await products.multiply(basis, a));
    const left = await products.multiply(basis, firstColumns(u, rank), { left: true });
    return { u: left, values: values.slice(0, rank), v: firstColumns(v, rank) };
  });
}

function checkCount(value: number, name: string): void {
  if (!Number.isInteger(value) || value < 0) throw usageError(`${name} must be a whole number, not ${value}`);
}

function normalRows(rows: number, columns: number, seed: number): Matrix {
  const source = random(seed);
  return matrixOf(
    rows,
    columns,
    Float64Array.from({ length: rows * columns }, () => source.normal()),
  );
}

/** An orthonormal basis (rows) of what (A Aᵀ)^iterations A makes of the `starts` (rows). */
async function rangeBasis(products: Products, a: Matrix, starts: Matrix, iterations: number): Promise<Matrix> {
  const outward = async (rows: Matrix) =>
    (await rowQr(products, await products.multiply(rows, a, { right: true }))).basis;
  const inward = async (rows: Matrix) => (await rowQr(products, await products.multiply(rows, a))).basis;
  let basis = await outward(starts);
  for (let i = 0; i < iterations; i++) basis = await outward(await inward(basis));
  return basis;
}
