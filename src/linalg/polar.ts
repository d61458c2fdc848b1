/**
 * The polar decomposition A = U H, U orthogonal and H symmetric without negative eigenvalues, by the dynamically weighted
 * Halley iteration (Nakatsukasa, Bai & Gygi 2010): at most six steps of products, QR and Cholesky for any condition.
 */
import { choleskyWith } from "./cholesky.js";
import { identityMatrix, type Matrix, matrixOf, rowsBetween, rowsOf, transposed } from "./matrix.js";
import { gramWith, type Products } from "./products.js";
import { rowQr } from "./qr.js";
import { norm } from "./reflectors.js";
import { substitute } from "./triangular.js";

/** The singular values of a scaled matrix that are taken for zero: what lies below need not become 1. */
const smallest = 1e-17;

/** Weights up to here may take the Cholesky step, whose error grows with them; above, the QR step. */
const choleskyLimit = 100;

/**
 * The orthogonal factor of an upper triangular matrix, transposed: Uᵀ. Directions in which the matrix is zero to rounding
 * come out with any length up to 1.
 */
export async function polarFactor(products: Products, triangle: Matrix): Promise<Matrix> {
  const length = norm(triangle.data);
  if (length === 0) return identityMatrix(rowsOf(triangle));
  const scaled = { ...triangle, data: triangle.data.map((value) => value / length) };
  let rows = transposed(scaled);
  let bound = await leastSingularValue(products, scaled);
  while (Math.abs(1 - bound) > 1e-15) {
    const weights = halleyWeights(bound);
    const step = weights.c > choleskyLimit ? qrStep : choleskyStep;
    rows = await step(products, rows, weights);
    const next = (bound * (weights.a + weights.b * bound ** 2)) / (1 + weights.c * bound ** 2);
    if (next <= bound) break;
    bound = Math.min(1, next);
  }
  return rows;
}

/** A lower bound of the singular values of an upper triangular matrix, 1 / ‖R⁻¹‖: a good one saves half of the steps. */
async function leastSingularValue(products: Products, triangle: Matrix): Promise<number> {
  const size = rowsOf(triangle);
  for (let i = 0; i < size; i++) {
    if (Math.abs(triangle.data[i * size + i] as number) <= smallest) return smallest;
  }
  const inverse = await substitute(products, triangle, identityMatrix(size), "upper");
  const bound = 0.9 / norm(inverse.data); // less than 1 by more than the inverse's own rounding
  return Number.isNaN(bound) ? smallest : Math.max(bound, smallest); // NaN: the inverse left the range of numbers
}

interface Weights {
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** The weights that bring singular values in [bound, 1] nearest to 1 by x (a + b x²) / (1 + c x²). */
function halleyWeights(bound: number): Weights {
  const square = bound ** 2;
  const d = Math.cbrt((4 * (1 - square)) / square ** 2);
  const root = Math.sqrt(1 + d);
  const a = root + Math.sqrt(8 - 4 * d + (8 * (2 - square)) / (square * root)) / 2;
  const b = (a - 1) ** 2 / 4;
  return { a, b, c: a + b - 1 };
}

/** (b/c) X + (a − b/c)/√c · Q₁ Q₂ᵀ with [√c X; I] = [Q₁; Q₂] R. `rows` hold Xᵀ. */
async function qrStep(products: Products, rows: Matrix, { a, b, c }: Weights): Promise<Matrix> {
  const size = rowsOf(rows);
  const stacked = matrixOf(size, 2 * size, new Float64Array(2 * size * size));
  for (let i = 0; i < size; i++) {
    stacked.data.set(
      rows.data.subarray(i * size, (i + 1) * size).map((value) => value * Math.sqrt(c)),
      i * 2 * size,
    );
    stacked.data[i * 2 * size + size + i] = 1;
  }
  const { basis } = await rowQr(products, stacked);
  const turned = transposed(basis); // [Q₁; Q₂]
  const other = await products.multiply(rowsBetween(turned, size, 2 * size), rowsBetween(turned, 0, size), {
    right: true,
  });
  return combine(rows, other, b / c, (a - b / c) / Math.sqrt(c));
}

/** (b/c) X + (a − b/c) X (I + c XᵀX)⁻¹. `rows` hold Xᵀ. */
async function choleskyStep(products: Products, rows: Matrix, { a, b, c }: Weights): Promise<Matrix> {
  const size = rowsOf(rows);
  const identity = identityMatrix(size);
  const square = combine(identity, await gramWith(products, rows, "rows"), 1, c);
  const factor = await choleskyWith(products, square);
  const forward = await substitute(products, factor, rows, "lower");
  return combine(rows, await substitute(products, transposed(factor), forward, "upper"), b / c, a - b / c);
}

function combine(x: Matrix, y: Matrix, first: number, second: number): Matrix {
  return { ...x, data: x.data.map((value, at) => first * value + second * (y.data[at] as number)) };
}
