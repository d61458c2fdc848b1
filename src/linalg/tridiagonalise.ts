/**
 * A symmetric matrix becomes tridiagonal under Householder reflections: A = Q T Qᵀ (the blocked form of Dongarra,
 * Sorensen & Hammarling 1989). Half of the work is a symmetric matrix-vector product a column, which here reads only half
 * of the matrix; the other half is one rank-2b update a block, a product of the runtime.
 */
import { blockOf, columnsOf, type Matrix, rowsOf, transposed, zeroMatrix } from "./matrix.js";
import type { Products } from "./products.js";
import { addScaled, blockOfReflectors, blockSize, dot, makeReflector, type ReflectorBlock } from "./reflectors.js";

/** T by its diagonal and what lies beside it, and Q as blocks of reflections. */
export interface Tridiagonal {
  readonly diagonal: Float64Array;
  readonly beside: Float64Array;
  readonly blocks: readonly ReflectorBlock[];
}

/** Reduces the symmetric `matrix` (both halves are given) to tridiagonal form. */
export async function tridiagonalise(products: Products, matrix: Matrix): Promise<Tridiagonal> {
  const size = rowsOf(matrix);
  const diagonal = new Float64Array(size);
  const beside = new Float64Array(Math.max(0, size - 1));
  const blocks: ReflectorBlock[] = [];
  let rest = matrix;
  for (let start = 0; start < size; start += blockSize) {
    const panel = reducePanel(rest, Math.min(blockSize, size - start));
    diagonal.set(panel.diagonal, start);
    beside.set(panel.beside.subarray(0, size - 1 - start), start);
    blocks.push(blockOfReflectors(widened(panel.vectors, size), panel.taus));
    const count = panel.taus.length;
    const left = size - start;
    if (count === left) break;
    rest = await updated(products, rest, panel.vectors, panel.images);
  }
  return { diagonal, beside, blocks };
}

interface Panel {
  readonly diagonal: Float64Array;
  readonly beside: Float64Array;
  readonly taus: Float64Array;
  /** A reflector a row, and a row w each, so that the rest of the matrix becomes A − V Wᵀ − W Vᵀ. */
  readonly vectors: Matrix;
  readonly images: Matrix;
}

/** Eliminates the first `count` columns of `matrix`, which stays as it is. */
function reducePanel(matrix: Matrix, count: number): Panel {
  const size = rowsOf(matrix);
  const vectors = zeroMatrix(count, size);
  const images = zeroMatrix(count, size);
  const [diagonal, beside, taus] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)];
  for (let j = 0; j < count; j++) {
    const v = vectors.data.subarray(j * size, (j + 1) * size);
    const w = images.data.subarray(j * size, (j + 1) * size);
    v.set(matrix.data.subarray(j * size + j, (j + 1) * size), j);
    correct(v, vectors, images, j, j, (row) => row[j] as number);
    diagonal[j] = v[j] as number;
    v[j] = 0;
    if (j + 1 === size) break;
    const { tau, beta } = makeReflector(v, j + 1, size);
    [taus[j], beside[j]] = [tau, beta];
    symmetricTimes(matrix, v, w, j + 1);
    correct(w, vectors, images, j, j + 1, (row) => dot(row, v, j + 1));
    for (let i = j + 1; i < size; i++) w[i] = tau * (w[i] as number);
    addScaled(w, (-tau / 2) * dot(w, v, j + 1), v, j + 1);
  }
  return { diagonal, beside, taus, vectors, images };
}

/** x −= V (factors of W) + W (factors of V) over [from, …), for the first `count` rows of each. */
function correct(
  x: Float64Array,
  vectors: Matrix,
  images: Matrix,
  count: number,
  from: number,
  factorOf: (row: Float64Array) => number,
): void {
  const size = x.length;
  for (let i = 0; i < count; i++) {
    const v = vectors.data.subarray(i * size, (i + 1) * size);
    const w = images.data.subarray(i * size, (i + 1) * size);
    const [alongV, alongW] = [factorOf(v), factorOf(w)];
    for (let k = from; k < size; k++) {
      x[k] = (x[k] as number) - alongW * (v[k] as number) - alongV * (w[k] as number);
    }
  }
}

/** y = A x over [from, …), reading only what lies below the diagonal, four rows at a time. */
function symmetricTimes(matrix: Matrix, x: Float64Array, y: Float64Array, from: number): void {
  const size = rowsOf(matrix);
  let i = from;
  for (; i + 3 < size; i += 4) {
    fourRowsTimes(matrix.data, size, x, y, from, i);
    cornerTimes(matrix, x, y, i, i + 4);
  }
  for (; i < size; i++) {
    const row = matrix.data.subarray(i * size, (i + 1) * size);
    y[i] = (y[i] as number) + dot(row, x, from, i);
    addScaled(y, x[i] as number, row, from, i);
    cornerTimes(matrix, x, y, i, i + 1);
  }
}

/**
 * What rows i to i + 3, left of column i, and their mirror images add to y = A x. The one loop that half the time of an
 * eigendecomposition goes into: its 16 operations a column keep within registers, and nothing is made on the way.
 */
function fourRowsTimes(a: Float64Array, size: number, x: Float64Array, y: Float64Array, from: number, i: number): void {
  const row0 = i * size;
  const row1 = row0 + size;
  const row2 = row1 + size;
  const row3 = row2 + size;
  const x0 = x[i] as number;
  const x1 = x[i + 1] as number;
  const x2 = x[i + 2] as number;
  const x3 = x[i + 3] as number;
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let j = from; j < i; j++) {
    const a0 = a[row0 + j] as number;
    const a1 = a[row1 + j] as number;
    const a2 = a[row2 + j] as number;
    const a3 = a[row3 + j] as number;
    const xj = x[j] as number;
    s0 += a0 * xj;
    s1 += a1 * xj;
    s2 += a2 * xj;
    s3 += a3 * xj;
    y[j] = (y[j] as number) + (a0 * x0 + a1 * x1 + (a2 * x2 + a3 * x3));
  }
  y[i] = (y[i] as number) + s0;
  y[i + 1] = (y[i + 1] as number) + s1;
  y[i + 2] = (y[i + 2] as number) + s2;
  y[i + 3] = (y[i + 3] as number) + s3;
}

/** y += A x for the rows and columns [from, to) alone. */
function cornerTimes(matrix: Matrix, x: Float64Array, y: Float64Array, from: number, to: number): void {
  const size = rowsOf(matrix);
  for (let i = from; i < to; i++) {
    for (let j = from; j < to; j++) {
      const entry = matrix.data[Math.max(i, j) * size + Math.min(i, j)] as number;
      y[i] = (y[i] as number) + entry * (x[j] as number);
    }
  }
}

/** What is left of `matrix` behind a panel: A − V Wᵀ − W Vᵀ as one product, [V W] · [W V]ᵀ. */
function updated(products: Products, matrix: Matrix, vectors: Matrix, images: Matrix): Promise<Matrix> {
  const [count, size] = [rowsOf(vectors), rowsOf(matrix)];
  const right = zeroMatrix(2 * count, size - count);
  const left = zeroMatrix(2 * count, size - count);
  for (let i = 0; i < count; i++) {
    const v = vectors.data.subarray(i * size + count, (i + 1) * size);
    const w = images.data.subarray(i * size + count, (i + 1) * size);
    left.data.set(v, i * (size - count));
    left.data.set(w, (count + i) * (size - count));
    right.data.set(w, i * (size - count));
    right.data.set(v, (count + i) * (size - count));
  }
  return products.subtractProduct(blockOf(matrix, count, size, count, size), transposed(left), right);
}

/** `rows` with zeros in front, up to `width` columns. */
function widened(rows: Matrix, width: number): Matrix {
  const [count, size] = [rowsOf(rows), columnsOf(rows)];
  const result = zeroMatrix(count, width);
  for (let i = 0; i < count; i++) {
    result.data.set(rows.data.subarray(i * size, (i + 1) * size), i * width + width - size);
  }
  return result;
}
