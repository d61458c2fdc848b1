/**
 * Eigenvalues and vectors of a symmetric tridiagonal matrix by divide and conquer (Cuppen 1981; deflation and stability of
 * Gu & Eisenstat 1995): tear T into two halves and a change of rank one, solve the halves, join them by the secular
 * equation. The heavy part, new vectors times old ones, is a matrix product. Vectors lie in rows.
 */
import { implicitQl, type RowEigen, rotateRows } from "./implicitQl.js";
import { blockOf, columnsOf, epsilon, type Matrix, rowsOf, takeRows, zeroMatrix } from "./matrix.js";
import type { Products } from "./products.js";
import { norm } from "./reflectors.js";
import { consistentVector, type RankOneChange, secularRoot } from "./secular.js";

/** Sizes up to this one are solved by the QL iteration. */
const leafSize = 32;

/** The eigenvalues (ascending) and vectors (rows) of the matrix with this `diagonal` and the numbers `beside` it. */
export async function tridiagonalEigen(
  products: Products,
  diagonal: Float64Array,
  beside: Float64Array,
): Promise<RowEigen> {
  const size = diagonal.length;
  if (size <= leafSize) return sorted(implicitQl(diagonal, beside));
  const half = size >> 1;
  const tie = beside[half - 1] as number;
  const torn = diagonal.slice();
  torn[half - 1] = (torn[half - 1] as number) - Math.abs(tie);
  torn[half] = (torn[half] as number) - Math.abs(tie);
  const upper = await tridiagonalEigen(products, torn.subarray(0, half), beside.subarray(0, half - 1));
  const lower = await tridiagonalEigen(products, torn.subarray(half), beside.subarray(half));
  return joined(products, halvesTogether(upper, lower, Math.sign(tie)), 2 * Math.abs(tie));
}

/** Where a vector is not zero: in the upper half, in both, in the lower half. */
type Extent = "upper" | "both" | "lower";

/** Both halves under one roof, to be changed in place: values ascending, and z, the vectors' parts at the seam. */
interface Joint {
  readonly values: Float64Array;
  readonly z: Float64Array;
  readonly vectors: Matrix;
  readonly extents: Extent[];
  readonly half: number;
}

function halvesTogether(upper: RowEigen, lower: RowEigen, sign: number): Joint {
  const [half, rest] = [upper.values.length, lower.values.length];
  const size = half + rest;
  const all = Float64Array.from([...upper.values, ...lower.values]);
  const order = ascending(all);
  const vectors = zeroMatrix(size, size);
  const z = new Float64Array(size);
  order.forEach((from, to) => {
    const i = from - half;
    if (i < 0) vectors.data.set(upper.vectors.data.subarray(from * half, (from + 1) * half), to * size);
    else vectors.data.set(lower.vectors.data.subarray(i * rest, (i + 1) * rest), to * size + half);
    const seam = i < 0 ? upper.vectors.data[from * half + half - 1] : sign * (lower.vectors.data[i * rest] as number);
    z[to] = (seam as number) * Math.SQRT1_2; // both halves bring a unit vector
  });
  const extents = order.map((from): Extent => (from < half ? "upper" : "lower"));
  return { values: Float64Array.from(order, (i) => all[i] as number), z, vectors, extents, half };
}

/** The eigenvalues and vectors of diag(values) + weight · z zᵀ, where rows of `joint.vectors` are the basis. */
async function joined(products: Products, joint: Joint, weight: number): Promise<RowEigen> {
  const { values, vectors } = joint;
  const kept = deflate(joint, weight);
  if (kept.length === 0) return sorted(joint);
  const change: RankOneChange = {
    poles: Float64Array.from(kept, (i) => values[i] as number),
    z: Float64Array.from(kept, (i) => joint.z[i] as number),
    weight,
  };
  const distances = kept.map(() => new Float64Array(kept.length));
  const roots = distances.map((row, index) => secularRoot(change, index, row));
  const fresh = await combined(products, joint, kept, consistentVector(change, distances), distances);
  const size = values.length;
  kept.forEach((at, j) => {
    values[at] = roots[j] as number;
    vectors.data.set(fresh.data.subarray(j * size, (j + 1) * size), at * size);
  });
  return sorted(joint);
}

/**
 * The indices that the change really moves, ascending. Where z is negligible the pair stays as it is; two values that are
 * as good as equal are rotated into each other so that one of their z vanishes.
 */
function deflate({ values, z, vectors, extents }: Joint, weight: number): number[] {
  const largest = (list: Float64Array) => list.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const tolerance = 8 * epsilon * Math.max(largest(values), weight * largest(z));
  const kept: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (weight * Math.abs(z[i] as number) <= tolerance) continue;
    const previous = kept.at(-1);
    if (previous !== undefined && rotatedAway(values, z, vectors, previous, i, tolerance)) {
      if (extents[previous] !== extents[i]) {
        extents[i] = "both";
        extents[previous] = "both";
      }
      kept.pop();
    }
    kept.push(i);
  }
  return kept;
}

/** Rotates pair `a` into pair `b` so that z[a] becomes 0, if that leaves only a negligible number beside the diagonal. */
function rotatedAway(
  values: Float64Array,
  z: Float64Array,
  vectors: Matrix,
  a: number,
  b: number,
  tolerance: number,
): boolean {
  const [za, zb, va, vb] = [z[a] as number, z[b] as number, values[a] as number, values[b] as number];
  const length = Math.hypot(za, zb);
  const [cosine, sine] = [zb / length, -za / length];
  if (Math.abs((vb - va) * cosine * sine) > tolerance) return false;
  [z[a], z[b]] = [0, length];
  values[a] = va * cosine * cosine + vb * sine * sine;
  values[b] = va * sine * sine + vb * cosine * cosine;
  rotateRows(vectors, a, b, cosine, sine);
  return true;
}

/**
 * New vectors: row j is Σᵢ zᵢ / (dᵢ − λⱼ) times old vector i, normalised. Old vectors of one half alone are grouped, so that
 * each half of the columns costs only the products that it needs.
 */
async function combined(
  products: Products,
  { vectors, extents, half }: Joint,
  kept: readonly number[],
  z: Float64Array,
  distances: readonly Float64Array[],
): Promise<Matrix> {
  const count = kept.length;
  const groups = (["upper", "both", "lower"] as const).map((extent) =>
    kept.flatMap((at, k) => (extents[at] === extent ? [k] : [])),
  );
  const order = groups.flat();
  const mixture = zeroMatrix(count, count);
  distances.forEach((row, j) => {
    const weights = Float64Array.from(order, (k) => (z[k] as number) / (row[k] as number));
    const length = norm(weights);
    mixture.data.set(
      weights.map((weight) => weight / length),
      j * count,
    );
  });
  const old = takeRows(
    vectors,
    order.map((k) => kept[k] as number),
  );
  const [upper = [], both = []] = groups;
  const reach = upper.length + both.length;
  const size = columnsOf(vectors);
  const part = async (from: number, to: number, left: number, right: number) =>
    from === to
      ? zeroMatrix(count, right - left)
      : products.multiply(blockOf(mixture, 0, count, from, to), blockOf(old, from, to, left, right));
  return beside(await part(0, reach, 0, half), await part(upper.length, count, half, size));
}

function beside(left: Matrix, right: Matrix): Matrix {
  const [rows, first, second] = [rowsOf(left), columnsOf(left), columnsOf(right)];
  const result = zeroMatrix(rows, first + second);
  for (let i = 0; i < rows; i++) {
    result.data.set(left.data.subarray(i * first, (i + 1) * first), i * (first + second));
    result.data.set(right.data.subarray(i * second, (i + 1) * second), i * (first + second) + first);
  }
  return result;
}

function sorted({ values, vectors }: RowEigen): RowEigen {
  const order = ascending(values);
  return { values: Float64Array.from(order, (i) => values[i] as number), vectors: takeRows(vectors, order) };
}

function ascending(values: Float64Array): number[] {
  return Array.from(values.keys()).sort((a, b) => (values[a] as number) - (values[b] as number));
}
