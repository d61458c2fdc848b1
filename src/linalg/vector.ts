/** Vectors as they come in: read as float64 once, checked once, so that the methods behind need not. */
import { usageError } from "../errors.js";
import { type Tensor, toNumbers } from "../runtime/index.js";

/** Numbers in order: an array of any kind, or a tensor of rank 1. */
export type Vector = ArrayLike<number> | Tensor;

/** The numbers of a vector as a fresh float64 array. Throws where there are fewer than `minimum` or one is not finite. */
export function toVector(value: Vector, name: string, minimum = 1): Float64Array {
  const isTensor = "dtype" in value;
  if (isTensor && value.shape.length !== 1)
    throw usageError(`${name} must be a vector, not a tensor of shape [${value.shape.join(", ")}]`);
  const data = isTensor ? toNumbers(value) : Float64Array.from(value);
  if (data.length < minimum) throw usageError(`${name} has ${data.length} numbers; at least ${minimum} are needed`);
  const bad = data.findIndex((number) => !Number.isFinite(number));
  if (bad >= 0) throw usageError(`${name} holds ${data[bad]} at [${bad}]: every number must be finite`);
  return data;
}

/** Two vectors of one length. */
export function toPair(x: Vector, y: Vector, minimum = 1): [Float64Array, Float64Array] {
  const pair: [Float64Array, Float64Array] = [toVector(x, "x", minimum), toVector(y, "y", minimum)];
  if (pair[0].length !== pair[1].length)
    throw usageError(`x has ${pair[0].length} numbers and y has ${pair[1].length}; they must be pairs`);
  return pair;
}

/** Throws unless `value` is a whole number of at least `minimum`. */
export function checkWhole(value: number, name: string, minimum: number): void {
  if (!Number.isInteger(value) || value < minimum)
    throw usageError(`${name} must be a whole number of at least ${minimum}, not ${value}`);
}
