/**
 * Householder reflections H = I − τ v vᵀ, and their blocked product H₁H₂…H_b = I − V T Vᵀ (Schreiber & Van Loan 1989),
 * which turns applying many of them into matrix products. Vectors lie in rows here: `reflectors` is Vᵀ.
 */
import { columnsOf, type Matrix, rowsOf, transposed, zeroMatrix } from "./matrix.js";
import type { Products } from "./products.js";

/** Several reflections in a row: `reflectors` [b, m] holds a vector a row, `triangle` [b, b] is T (upper). */
export interface ReflectorBlock {
  readonly reflectors: Matrix;
  readonly triangle: Matrix;
}

/** The number of reflections in a block: columns that are eliminated in TypeScript before the runtime does the rest. */
export const blockSize = 32;

/** The Euclidean norm of `x[from..to)`, safe from overflow and underflow. */
export function norm(x: Float64Array, from = 0, to = x.length): number {
  let squares = 0;
  for (let i = from; i < to; i++) squares += (x[i] as number) ** 2;
  if (squares > 1e-270 && squares < 1e290) return Math.sqrt(squares);
  let largest = 0;
  for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(x[i] as number));
  if (largest === 0) return 0;
  let scaled = 0;
  for (let i = from; i < to; i++) scaled += ((x[i] as number) / largest) ** 2;
  return largest * Math.sqrt(scaled);
}

/**
 * The reflection that takes x[from..to) to (beta, 0, …): `x` there becomes its vector (first entry 1).
 *
 * The sign of `beta` is opposite to the first entry's, so that nothing cancels. A vector that is zero behind its first
 * entry needs none: `tau` is 0.
 */
export function makeReflector(x: Float64Array, from: number, to: number): { tau: number; beta: number } {
  const alpha = x[from] as number;
  const rest = norm(x, from + 1, to);
  x[from] = 1;
  if (rest === 0) return { tau: 0, beta: alpha };
  const beta = alpha > 0 ? -Math.hypot(alpha, rest) : Math.hypot(alpha, rest);
  const divisor = alpha - beta;
  for (let i = from + 1; i < to; i++) x[i] = (x[i] as number) / divisor;
  return { tau: (beta - alpha) / beta, beta };
}

/** xᵀy over [from, to). */
export function dot(x: Float64Array, y: Float64Array, from = 0, to = x.length): number {
  let s0 = 0; // four chains: one alone waits for its own additions
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = from;
  for (; i + 3 < to; i += 4) {
    s0 += (x[i] as number) * (y[i] as number);
    s1 += (x[i + 1] as number) * (y[i + 1] as number);
    s2 += (x[i + 2] as number) * (y[i + 2] as number);
    s3 += (x[i + 3] as number) * (y[i + 3] as number);
  }
  for (; i < to; i++) s0 += (x[i] as number) * (y[i] as number);
  return s0 + s1 + (s2 + s3);
}

/** y += factor · x over [from, to). */
export function addScaled(y: Float64Array, factor: number, x: Float64Array, from = 0, to = x.length): void {
  if (factor === 0) return;
  for (let i = from; i < to; i++) y[i] = (y[i] as number) + factor * (x[i] as number);
}

/** The block of reflections whose vectors are the rows of `reflectors`: T by the recurrence T₀ⱼ = −τⱼ T (Vᵀvⱼ). */
export function blockOfReflectors(reflectors: Matrix, taus: ArrayLike<number>): ReflectorBlock {
  const [count, width] = [rowsOf(reflectors), columnsOf(reflectors)];
  const triangle = zeroMatrix(count, count);
  const vector = (i: number) => reflectors.data.subarray(i * width, (i + 1) * width);
  const t = triangle.data;
  for (let j = 0; j < count; j++) {
    const tau = taus[j] as number;
    t[j * count + j] = tau;
    const along = Float64Array.from({ length: j }, (_, i) => dot(vector(i), vector(j)));
    for (let i = 0; i < j; i++) {
      let sum = 0;
      for (let k = i; k < j; k++) sum += (t[i * count + k] as number) * (along[k] as number);
      t[i * count + j] = -tau * sum;
    }
  }
  return { reflectors, triangle };
}

/** `rows` times the transpose of the product of all `blocks`, in order: each row r becomes H₁H₂… r. */
export async function reflectAll(products: Products, rows: Matrix, blocks: readonly ReflectorBlock[]): Promise<Matrix> {
  let result = rows;
  for (const { reflectors, triangle } of [...blocks].reverse()) {
    result = await products.reflect(result, reflectors, transposed(triangle));
  }
  return result;
}
