/**
 * The QL iteration with implicit shifts (Bowdler, Martin, Reinsch & Wilkinson 1968): all eigenvalues and vectors of a small
 * symmetric tridiagonal matrix. Each step chases a bulge up the matrix by rotations, which also turn the vectors' rows.
 */
import { failure } from "../errors.js";
import { columnsOf, epsilon, identityMatrix, type Matrix } from "./matrix.js";

/** Eigenvalues, and an eigenvector a row. */
export interface RowEigen {
  readonly values: Float64Array;
  readonly vectors: Matrix;
}

/** Two or three steps find a value; LAPACK gives up at 30 as well. */
const maxSteps = 60;

/** Rows a and b of `matrix`, in place: a becomes cosine · a + sine · b, b becomes cosine · b − sine · a. */
export function rotateRows(matrix: Matrix, a: number, b: number, cosine: number, sine: number): void {
  const columns = columnsOf(matrix);
  const first = matrix.data.subarray(a * columns, (a + 1) * columns);
  const second = matrix.data.subarray(b * columns, (b + 1) * columns);
  for (let i = 0; i < columns; i++) {
    const [x, y] = [first[i] as number, second[i] as number];
    first[i] = cosine * x + sine * y;
    second[i] = cosine * y - sine * x;
  }
}

/** The eigenvalues (in no order) and vectors of the tridiagonal matrix with this `diagonal` and numbers `beside` it. */
export function implicitQl(diagonal: Float64Array, beside: Float64Array): RowEigen {
  const size = diagonal.length;
  const values = diagonal.slice();
  const off = new Float64Array(size);
  off.set(beside.subarray(0, size - 1));
  const vectors = identityMatrix(size);
  for (let first = 0; first < size; first++) {
    for (let step = 0; ; step++) {
      const last = endOfBlock(values, off, first);
      if (last === first) break;
      if (step === maxSteps) throw failure(`eigenvalue ${first} of a tridiagonal matrix did not converge`);
      qlStep(values, off, vectors, first, last);
    }
  }
  return { values, vectors };
}

/** The last index that is tied to `first` by numbers beside the diagonal that are not negligible. */
function endOfBlock(values: Float64Array, off: Float64Array, first: number): number {
  let last = first;
  while (last < values.length - 1) {
    const scale = Math.abs(values[last] as number) + Math.abs(values[last + 1] as number);
    if (Math.abs(off[last] as number) <= epsilon * scale || Math.abs(off[last] as number) < 1e-300) break;
    last += 1;
  }
  return last;
}

/** One step on the block [first, last], with the shift of Wilkinson at its upper end. */
function qlStep(values: Float64Array, off: Float64Array, vectors: Matrix, first: number, last: number): void {
  const top = values[first] as number;
  const beside = off[first] as number;
  const ratio = ((values[first + 1] as number) - top) / (2 * beside);
  const root = Math.hypot(ratio, 1);
  let g = (values[last] as number) - top + beside / (ratio + (ratio >= 0 ? root : -root));
  let [sine, cosine, carried] = [1, 1, 0];
  for (let i = last - 1; i >= first; i--) {
    const f = sine * (off[i] as number);
    const b = cosine * (off[i] as number);
    const length = Math.hypot(f, g);
    off[i + 1] = length;
    if (length === 0) {
      values[i + 1] = (values[i + 1] as number) - carried;
      off[last] = 0;
      return;
    }
    [sine, cosine] = [f / length, g / length];
    const shifted = (values[i + 1] as number) - carried;
    const turned = ((values[i] as number) - shifted) * sine + 2 * cosine * b;
    carried = sine * turned;
    values[i + 1] = shifted + carried;
    g = cosine * turned - b;
    rotateRows(vectors, i + 1, i, cosine, sine);
  }
  values[first] = (values[first] as number) - carried;
  off[first] = g;
  off[last] = 0;
}
