/** Sizes of effects: by how much two groups differ, and how well a score tells them apart. */
import { usageError } from "../../errors.js";
import { toVector, type Vector } from "../vector.js";
import { ranks } from "./correlation.js";
import { deviations, dot, meanOf } from "./moments.js";

/**
 * Cohen's d of two groups of at least two numbers: the difference of means, a minus b, over the pooled standard deviation
 * (each variance with n - 1). Throws where neither group varies.
 */
export function cohenD(a: Vector, b: Vector): number {
  const [x, y] = [toVector(a, "a", 2), toVector(b, "b", 2)];
  const squares = [x, y].map(deviations).reduce((sum, centred) => sum + dot(centred, centred), 0);
  if (squares === 0) throw usageError("Cohen's d needs numbers that differ within the groups; both are constant");
  return (meanOf(x) - meanOf(y)) / Math.sqrt(squares / (x.length + y.length - 2));
}

/**
 * The area under the receiver operating characteristic: the probability that a positive case scores higher than a negative
 * one, ties counting half. 0.5 is chance.
 *
 * @param labels 1 (or true) for a positive case, 0 (or false) for a negative one; both must occur
 */
export function areaUnderRoc(scores: Vector, labels: ArrayLike<number | boolean>): number {
  const rank = ranks(scores);
  if (labels.length !== rank.length) throw usageError(`there are ${labels.length} labels for ${rank.length} scores`);
  let positives = 0;
  let sum = 0;
  for (let i = 0; i < rank.length; i++) {
    const label = Number(labels[i]);
    if (label !== 0 && label !== 1) throw usageError(`label ${i} is ${labels[i]}, neither 0 nor 1`);
    positives += label;
    sum += label * (rank[i] as number);
  }
  const negatives = rank.length - positives;
  if (positives === 0 || negatives === 0) throw usageError("an area under the curve needs labels of both kinds");
  return (sum - (positives * (positives + 1)) / 2) / (positives * negatives);
}
