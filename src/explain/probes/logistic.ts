/**
 * Logistic probes: the classes' log-odds as linear functions of the features, with a squared penalty whose size is
 * chosen by how well held-out labels are predicted.
 */
import { usageError } from "../../errors.js";
import {
  type Fold,
  fitLogistic,
  type LinearFit,
  type Matrix,
  predictLinear,
  takeRows,
  transposed,
} from "../../linalg/index.js";
import type { Runtime } from "../../runtime/index.js";
import { type ClassFitter, type ClassProbe, type ClassProbeOptions, probeClasses } from "./classification.js";
import type { Fitted } from "./crossValidation.js";
import type { ProbeFeatures } from "./features.js";
import { type Label, splitClasses, unitCount } from "./labels.js";
import { rowAt, sizeOf } from "./rows.js";

export interface LogisticProbeOptions extends ClassProbeOptions {
  /** lambda below: one, or several to choose from; 0.1, 1, 10, 100 and 1000 unless given. */
  readonly penalty?: number | readonly number[];
  /** Folds of the rows fitted on, by which a penalty is chosen; 3 unless given. */
  readonly penaltyFolds?: number;
  /** `balanced` gives every class the same total weight. */
  readonly classWeights?: "balanced";
}

/**
 * A logistic probe, which minimises sum_i -log softmax(outputs_i)[y_i] + lambda / 2 |W|^2 (two classes: one output, the
 * log-odds of the second). Of several penalties the one with the least loss on inner folds is taken, inside each outer
 * fold by itself; the larger of equals. With P penalties, each outer fold takes P * penaltyFolds + 1 fits.
 *
 * Scores, the interval and `heldOut` come from cross-validation, weights from all rows. Throws where labels and rows
 * don't match or a class is too rare for the folds.
 *
 * @param features [rows, features], or a recording's site and the positions that are rows
 * @param labels one a row
 * @example const { score, directions } = await logisticProbe({ recording, site: "layers.9.residPost" }, labels);
 */
export async function logisticProbe(
  features: ProbeFeatures,
  labels: ArrayLike<Label>,
  options: LogisticProbeOptions = {},
): Promise<ClassProbe> {
  const { penalty = [0.1, 1, 10, 100, 1000] } = options;
  const penalties = [...new Set([penalty].flat())].sort((a, b) => b - a);
  if (penalties.length === 0 || !penalties.every((value) => value >= 0 && Number.isFinite(value)))
    throw usageError(`a logistic penalty is at least 0, not ${penalties.join(", ") || "an empty list"}`);
  return probeClasses(features, labels, fitterOf(penalties, options), options);
}

function fitterOf(penalties: readonly number[], options: LogisticProbeOptions): ClassFitter {
  const { penaltyFolds: folds = 3, order = "shuffled", seed = 0, classWeights, signal } = options;
  const estimate = async (
    features: Matrix,
    classOf: Int32Array,
    penalty: number,
    runtime: Runtime,
  ): Promise<Fitted> => {
    signal?.throwIfAborted();
    const weighting = classWeights === undefined ? {} : { classWeights };
    const found = await fitLogistic(features, classOf, { penalty, runtime, ...weighting });
    const outputs = found.intercept.length;
    return {
      weights: transposed(found.weights),
      intercept: found.intercept,
      penalties: new Float64Array(outputs).fill(penalty),
    };
  };
  return async (features, classOf, { runtime, groups, classes }) => {
    let best = { penalty: penalties[0] as number, loss: Infinity };
    if (penalties.length > 1) {
      const own = { classes: Array.from({ length: classes }, (_, k): Label => k), classOf };
      const inner = splitClasses(own, {
        folds: Math.min(folds, unitCount(classOf.length, groups)),
        order,
        seed,
        ...(groups === undefined ? {} : { groups }),
      });
      for (const penalty of penalties) {
        const fitOn = ({ train }: Fold) => estimate(takeRows(features, train), pick(classOf, train), penalty, runtime);
        const loss = await heldOutLoss(features, classOf, inner, fitOn, runtime);
        if (loss < best.loss) best = { penalty, loss };
      }
    }
    return estimate(features, classOf, best.penalty, runtime);
  };
}

const pick = (classOf: Int32Array, rows: Int32Array) => Int32Array.from(rows, (row) => classOf[row] as number);

/** The sum over held-out rows of -log of the probability given to their own class. */
async function heldOutLoss(
  features: Matrix,
  classOf: Int32Array,
  folds: readonly Fold[],
  fitOn: (fold: Fold) => Promise<LinearFit>,
  runtime: Runtime,
): Promise<number> {
  let loss = 0;
  for (const fold of folds) {
    const values = await predictLinear(await fitOn(fold), takeRows(features, fold.validation), { runtime });
    const two = sizeOf(values)[1] === 1;
    fold.validation.forEach((row, i) => {
      const scores = two ? [0, rowAt(values, i)[0] as number] : [...rowAt(values, i)];
      const top = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
      loss += top + Math.log(total) - (scores[classOf[row] as number] as number);
    });
  }
  return loss;
}
