/**
 * "Agrees within t": for every token (and head), the Euclidean norm of the difference is at most t times the norm of the
 * reference. The worst row is what is returned, with its place, so that a failure says where.
 */
import { type Tensor, toNumbers } from "../../src/runtime/index.js";

export interface Worst {
  readonly error: number;
  readonly row: number;
}

/** The worst relative error over vectors along the last dimension. Vectors whose reference is zero must be zero. */
export function worstRow(actual: Tensor, reference: Tensor): Worst {
  if (actual.shape.join() !== reference.shape.join()) {
    throw new Error(`shape [${actual.shape.join()}] against the reference's [${reference.shape.join()}]`);
  }
  const size = reference.shape[reference.shape.length - 1] ?? 1;
  const a = toNumbers(actual);
  const b = toNumbers(reference);
  let worst = { error: 0, row: -1 };
  for (let row = 0; row < b.length / size; row++) {
    let difference = 0;
    let norm = 0;
    for (let i = row * size; i < (row + 1) * size; i++) {
      difference += ((a[i] as number) - (b[i] as number)) ** 2;
      norm += (b[i] as number) ** 2;
    }
    const error = norm === 0 ? (difference === 0 ? 0 : Number.POSITIVE_INFINITY) : Math.sqrt(difference / norm);
    if (!(error <= worst.error)) worst = { error, row };
  }
  return worst;
}
