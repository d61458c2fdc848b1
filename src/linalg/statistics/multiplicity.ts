/** Many tests at once: p-values adjusted so that comparing them with a level bounds the errors of the whole family. */
import { usageError } from "../../errors.js";
import { toVector, type Vector } from "../vector.js";

/**
 * p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995), in the order given: rejecting those at most
 * q keeps the expected share of false rejections at most q, for independent or positively dependent tests.
 */
export function benjaminiHochberg(p: Vector): Float64Array {
  return adjusted(p, "falling", (value, rank, count) => (value * count) / rank);
}

/**
 * p-values adjusted for the family-wise error rate (Holm 1979), in the order given: rejecting those at most alpha keeps
 * the probability of any false rejection at most alpha, however the tests depend on each other.
 */
export function holm(p: Vector): Float64Array {
  return adjusted(p, "rising", (value, rank, count) => value * (count - rank + 1));
}

/** Each value by its rank from 1, then made monotone in the rank, going through the ranks in the given direction. */
function adjusted(
  p: Vector,
  direction: "rising" | "falling",
  adjust: (value: number, rank: number, count: number) => number,
): Float64Array {
  const values = toVector(p, "p");
  const bad = values.findIndex((value) => value < 0 || value > 1);
  if (bad >= 0) throw usageError(`p-value ${bad} is ${values[bad]}; it must lie between 0 and 1`);
  const order = Array.from(values.keys()).sort((i, j) => (values[i] as number) - (values[j] as number));
  const raw = order.map((index, i) => adjust(values[index] as number, i + 1, order.length));
  const places = Array.from(order.keys());
  const [bound, closer] = direction === "rising" ? [0, Math.max] : [1, Math.min];
  const result = new Float64Array(values.length);
  let running = bound;
  for (const place of direction === "rising" ? places : places.reverse()) {
    running = closer(running, raw[place] as number);
    result[order[place] as number] = Math.min(1, running);
  }
  return result;
}
