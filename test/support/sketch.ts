/**
 * Sketches: 16 random-sign projections of a vector, and its norm. The difference of two vectors' sketches estimates the
 * norm of their difference (Johnson and Lindenstrauss; 16 projections: a standard deviation of 18%), so that a small
 * fixture can hold a big model to its reference.
 */
import { philox4x32 } from "../../src/runtime/index.js";

export const projections = 16;

const signWords: number[] = [];

/** Words of the stream of signs, made as far as they are needed. */
function wordAt(index: number): number {
  while (signWords.length <= index) signWords.push(...philox4x32([signWords.length / 4, 0, 0, 0], [7, 0]));
  return signWords[index] as number;
}

/** The sketch of a vector: 16 projections, then the norm, in float64. */
export function sketch(values: ArrayLike<number>): Float64Array {
  const result = new Float64Array(projections + 1);
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number;
    const word = wordAt(i >> 1);
    const shift = (i & 1) * projections;
    for (let p = 0; p < projections; p++) result[p] = (result[p] as number) + ((word >>> (shift + p)) & 1 ? x : -x);
    result[projections] = (result[projections] as number) + x * x;
  }
  result[projections] = Math.sqrt(result[projections] as number);
  return result;
}

/** The estimated norm of the difference, relative to the reference's norm. */
export function sketchError(actual: Float64Array, reference: ArrayLike<number>): number {
  let sum = 0;
  for (let p = 0; p < projections; p++) sum += ((actual[p] as number) - (reference[p] as number)) ** 2;
  return Math.sqrt(sum / projections) / (reference[projections] as number);
}
