/**
 * QR: an orthonormal basis of the columns of a matrix, by blocked Householder reflections (Golub & Van Loan 2013, 5.2).
 * Columns are eliminated 32 at a time in TypeScript; what a block does to all other columns is a product of the runtime.
 */
import type { Tensor } from "../runtime/index.js";
import {
  asMatrix,
  columnsOf,
  identityMatrix,
  type Matrix,
  matrixOf,
  rowsBetween,
  rowsOf,
  scaleRows,
  transposed,
  zeroMatrix,
} from "./matrix.js";
import { type ProductOptions, type Products, withProducts } from "./products.js";
import {
  addScaled,
  blockOfReflectors,
  blockSize,
  dot,
  makeReflector,
  norm,
  type ReflectorBlock,
  reflectAll,
} from "./reflectors.js";

export interface Qr {
  /** [m, k] with orthonormal columns, k = min(m, n); [m, m] where the full basis was asked for. */
  readonly q: Matrix;
  /** [k, n], zero below its diagonal ([m, n] beside the full basis). */
  readonly r: Matrix;
}

export interface PivotedQr extends Qr {
  /** Column j of QR is column `order[j]` of the matrix. */
  readonly order: Int32Array;
}

/**
 * `matrix` [m, n] = Q R. Q is thin, [m, min(m, n)], unless `full`. The diagonal of R may have either sign.
 *
 * Throws for numbers that are not finite.
 *
 * @example const { q, r } = await qr(matrix);
 */
export async function qr(
  matrix: Tensor,
  { runtime, full = false }: ProductOptions & { readonly full?: boolean } = {},
): Promise<Qr> {
  const a = asMatrix(matrix);
  return withProducts(runtime, async (products) => {
    const { basis, r } = await rowQr(products, transposed(a), full);
    return { q: transposed(basis), r };
  });
}

/** QR of columns that lie in `rows` [n, m], by given products. The basis lies in rows as well; `rows` are used up. */
export async function rowQr(products: Products, rows: Matrix, full = false): Promise<{ basis: Matrix; r: Matrix }> {
  const [columns, height] = [rowsOf(rows), columnsOf(rows)];
  const rank = Math.min(height, columns);
  const blocks: ReflectorBlock[] = [];
  const upper = zeroMatrix(columns, full ? height : rank); // Rᵀ
  let rest = rows;
  for (let start = 0; start < rank; start += blockSize) {
    const panel = rowsBetween(rest, 0, Math.min(blockSize, rank - start));
    const { block, betas } = eliminate(panel, start);
    blocks.push(block);
    keepColumns(upper, panel, start);
    betas.forEach((beta, i) => {
      upper.data[(start + i) * columnsOf(upper) + start + i] = beta;
    });
    if (start + rowsOf(panel) === columns) break;
    const others = rowsBetween(rest, rowsOf(panel), rowsOf(rest));
    rest = await products.reflect(others, block.reflectors, block.triangle);
  }
  if (columns > rank) keepColumns(upper, rest, rank);
  const basis = await reflectAll(products, identityMatrix(full ? height : rank, height), blocks);
  return { basis, r: transposed(upper) };
}

/** Copies what lies above the diagonal of columns `start`, … (in rows) into Rᵀ. */
function keepColumns(upper: Matrix, rows: Matrix, start: number): void {
  const [width, height] = [columnsOf(upper), columnsOf(rows)];
  for (let i = 0; i < rowsOf(rows); i++) {
    const above = Math.min(start + i, width);
    upper.data.set(rows.data.subarray(i * height, i * height + above), (start + i) * width);
  }
}

/** Turns the rows of `panel`, in place, so that row i is zero behind `start + i` (given apart, as `betas`). */
function eliminate(panel: Matrix, start: number): { block: ReflectorBlock; betas: Float64Array } {
  const [count, height] = [rowsOf(panel), columnsOf(panel)];
  const reflectors = zeroMatrix(count, height);
  const [taus, betas] = [new Float64Array(count), new Float64Array(count)];
  for (let i = 0; i < count; i++) {
    const vector = reflectors.data.subarray(i * height, (i + 1) * height);
    vector.set(panel.data.subarray(i * height + start + i, (i + 1) * height), start + i);
    const { tau, beta } = makeReflector(vector, start + i, height);
    [taus[i], betas[i]] = [tau, beta];
    reflectRows(panel, i + 1, vector, tau, start + i);
  }
  return { block: blockOfReflectors(reflectors, taus), betas };
}

/** Applies one reflection to the rows from `first` on, in place. */
function reflectRows(rows: Matrix, first: number, vector: Float64Array, tau: number, from: number): void {
  const width = vector.length;
  for (let i = first; tau !== 0 && i < rowsOf(rows); i++) {
    const row = rows.data.subarray(i * width, (i + 1) * width);
    addScaled(row, -tau * dot(row, vector, from), vector, from);
  }
}

/**
 * `matrix` [m, n] = Q R up to the order of its columns: each step takes the column that is longest beyond the basis so far,
 * so the absolute diagonal of R does not grow and shows the rank. Thin, computed in TypeScript: for some hundred columns.
 *
 * Throws for numbers that are not finite.
 */
export function pivotedQr(matrix: Tensor): PivotedQr {
  const a = asMatrix(matrix);
  const rows = transposed(a);
  const [columns, height] = [rowsOf(rows), columnsOf(rows)];
  const rank = Math.min(height, columns);
  const order = Int32Array.from({ length: columns }, (_, j) => j);
  const reflectors: { vector: Float64Array; tau: number }[] = [];
  const lengths = Float64Array.from(order, (j) => norm(rows.data, j * height, (j + 1) * height));
  const measured = lengths.slice();
  for (let k = 0; k < rank; k++) {
    const best = longest(lengths, k);
    swapRows(rows, order, k, best);
    [lengths[best], measured[best]] = [lengths[k] as number, measured[k] as number];
    const own = rows.data.subarray(k * height, (k + 1) * height);
    const vector = new Float64Array(height);
    vector.set(own.subarray(k), k);
    const { tau, beta } = makeReflector(vector, k, height);
    own.fill(0, k);
    own[k] = beta;
    reflectRows(rows, k + 1, vector, tau, k);
    reflectors.push({ vector, tau });
    shorten(rows, k, lengths, measured);
  }
  const basis = identityMatrix(rank, height);
  for (const [k, { vector, tau }] of [...reflectors.entries()].reverse()) reflectRows(basis, k, vector, tau, k);
  const upper = zeroMatrix(columns, rank);
  for (let j = 0; j < columns; j++) upper.data.set(rows.data.subarray(j * height, j * height + rank), j * rank);
  return { q: transposed(basis), r: transposed(upper), order };
}

function longest(lengths: Float64Array, from: number): number {
  let best = from;
  for (let j = from + 1; j < lengths.length; j++) {
    if ((lengths[j] as number) > (lengths[best] as number)) best = j;
  }
  return best;
}

/**
 * Updates the columns' lengths behind entry k, from what that entry takes away; measures again what has lost half of its
 * digits since it was last measured.
 */
function shorten(rows: Matrix, k: number, lengths: Float64Array, measured: Float64Array): void {
  const height = columnsOf(rows);
  for (let j = k + 1; j < rowsOf(rows); j++) {
    const length = lengths[j] as number;
    if (length === 0) continue;
    const part = (rows.data[j * height + k] as number) / length;
    lengths[j] = length * Math.sqrt(Math.max(0, 1 - part * part));
    if ((lengths[j] as number) > 1e-4 * (measured[j] as number)) continue;
    lengths[j] = norm(rows.data, j * height + k + 1, (j + 1) * height);
    measured[j] = lengths[j] as number;
  }
}

function swapRows(rows: Matrix, order: Int32Array, a: number, b: number): void {
  const height = columnsOf(rows);
  const kept = rows.data.slice(a * height, (a + 1) * height);
  rows.data.copyWithin(a * height, b * height, (b + 1) * height);
  rows.data.set(kept, b * height);
  [order[a], order[b]] = [order[b] as number, order[a] as number];
}

/** Unit rows that complete orthonormal `rows` [k, m] to a basis of all m dimensions: [m − k, m]. */
export async function complement(products: Products, rows: Matrix): Promise<Matrix> {
  const [count, width] = [rowsOf(rows), columnsOf(rows)];
  if (count === 0) return identityMatrix(width);
  const { basis } = await rowQr(products, matrixOf(count, width, rows.data.slice()), true);
  return rowsBetween(basis, count, width);
}

/**
 * Orthonormal rows from nearly orthonormal ones, changing each only by its parts along those before it. For singular or
 * eigenvectors, in descending order: where a value is zero to rounding its computed vector means nothing, and a correction
 * weighs no more than that rounding.
 */
export async function orthonormalised(products: Products, rows: Matrix): Promise<Matrix> {
  const { basis, r } = await rowQr(products, matrixOf(rowsOf(rows), columnsOf(rows), rows.data.slice()));
  const signs = Array.from({ length: rowsOf(basis) }, (_, i) =>
    (r.data[i * columnsOf(r) + i] as number) < 0 ? -1 : 1,
  );
  return scaleRows(basis, signs);
}
