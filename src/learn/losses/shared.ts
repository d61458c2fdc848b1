/** How a loss of many examples becomes a number. */
import { usageError } from "../../errors.js";
import { div, formatShape, reduceMean, reduceSum, type Value } from "../../graph/index.js";

/** The mean over everything, the sum, or each by itself. */
export type Reduction = "mean" | "sum" | "none";

export interface ReductionOptions {
  /** "mean" unless given. */
  readonly reduction?: Reduction;
}

export const allAxes = ({ shape }: Value): number[] => shape.map((_, i) => i);

/** Losses reduced; with `weights`, the mean is over their sum. */
export function reduced(losses: Value, reduction: Reduction = "mean", weights?: Value): Value {
  if (reduction === "none") return losses;
  if (reduction === "sum") return reduceSum(losses, allAxes(losses));
  if (weights === undefined) return reduceMean(losses, allAxes(losses));
  return div(reduceSum(losses, allAxes(losses)), reduceSum(weights, allAxes(weights)));
}

/** Throws where two values that belong together differ in shape. */
export function requireSameShape(what: string, a: Value, b: Value): void {
  if (a.shape.join() !== b.shape.join())
    throw usageError(
      `${what}: predictions ${formatShape(a.shape)} and targets ${formatShape(b.shape)} must have one shape`,
    );
}
