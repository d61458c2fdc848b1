/** Losses of numbers: squares, absolute values, and what lies between; counts. */
import { abs, add, div, exp, less, log, mul, sub, type Value, where } from "../../graph/index.js";
import { type ReductionOptions, reduced, requireSameShape } from "./shared.js";

/** (x - t)^2. */
export function meanSquaredError(
  predictions: Value,
  targets: Value,
  { reduction = "mean" }: ReductionOptions = {},
): Value {
  requireSameShape("meanSquaredError", predictions, targets);
  const difference = sub(predictions, targets);
  return reduced(mul(difference, difference), reduction);
}

/** |x - t|. */
export function meanAbsoluteError(
  predictions: Value,
  targets: Value,
  { reduction = "mean" }: ReductionOptions = {},
): Value {
  requireSameShape("meanAbsoluteError", predictions, targets);
  return reduced(abs(sub(predictions, targets)), reduction);
}

/** Huber's loss: half the square up to `delta`, and a straight line from there: delta (|x - t| - delta / 2). */
export function huberLoss(
  predictions: Value,
  targets: Value,
  { delta = 1, reduction = "mean" }: ReductionOptions & { readonly delta?: number } = {},
): Value {
  requireSameShape("huberLoss", predictions, targets);
  const distance = abs(sub(predictions, targets));
  const near = mul(mul(distance, distance), 0.5);
  return reduced(where(less(distance, delta), near, mul(sub(distance, delta / 2), delta)), reduction);
}

/** Huber's loss over its `delta` (Girshick 2015, smooth L1): |x - t| - delta / 2 far out, whatever the delta. */
export function smoothL1Loss(
  predictions: Value,
  targets: Value,
  { delta = 1, reduction = "mean" }: ReductionOptions & { readonly delta?: number } = {},
): Value {
  return div(huberLoss(predictions, targets, { delta, reduction }), delta);
}

/**
 * Negative log-likelihood of Poisson counts without the term of the counts alone: r - t log r. `logRate` says that the
 * predictions are log r, which is the default.
 */
export function poissonLoss(
  predictions: Value,
  counts: Value,
  {
    logRate = true,
    epsilon = 1e-8,
    reduction = "mean",
  }: ReductionOptions & { readonly logRate?: boolean; readonly epsilon?: number } = {},
): Value {
  requireSameShape("poissonLoss", predictions, counts);
  if (logRate) return reduced(sub(exp(predictions), mul(counts, predictions)), reduction);
  return reduced(sub(predictions, mul(counts, log(add(predictions, epsilon)))), reduction);
}
