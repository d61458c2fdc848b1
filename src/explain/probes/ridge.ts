/**
 * Ridge probes: numbers (word positions, depths, recordings of a brain) as linear functions of the features, under a
 * squared penalty chosen for each target by cross-validation within the rows fitted on (Hoerl & Kennard 1970).
 */
import { usageError } from "../../errors.js";
import {
  type Matrix,
  type ProductOptions,
  pearson,
  predictLinear,
  ridge,
  ridgeSearch,
  takeRows,
} from "../../linalg/index.js";
import { type Tensor, tensor, withRuntime } from "../../runtime/index.js";
import { promptGroups } from "./classification.js";
import { crossValidate, type Probe, type ProbeScore, scoreOf, type ValidationOptions } from "./crossValidation.js";
import { examplesOf, type ProbeFeatures } from "./features.js";
import { type Label, type SplitOptions, splitRows, unitCount } from "./labels.js";
import { readRows, sizeOf } from "./rows.js";

/**
 * Of the held-out rows of a fold: `r2` is 1 - (squared misses) / (squares about their mean), `correlation` Pearson's, 0
 * for predictions or targets that are constant.
 */
export type RidgeScore = "r2" | "correlation";

export interface RidgeProbeOptions extends ValidationOptions, SplitOptions {
  /** `r2` unless given. */
  readonly score?: RidgeScore;
  /** alpha below: one, or several to choose from; powers of ten from 0.1 to 100,000 unless given. */
  readonly penalty?: number | readonly number[];
  /** Choose a penalty for each target or one for all; `perTarget` unless given. */
  readonly choice?: "perTarget" | "shared";
  /** Folds of the rows fitted on, by which a penalty is chosen; 5 unless given. */
  readonly penaltyFolds?: number;
}

export interface RidgeProbe extends Probe {
  /** The mean score of all targets. */
  readonly score: ProbeScore;
  /** The score of each target. */
  readonly targets: readonly ProbeScore[];
}

/**
 * A ridge probe of numbers, which minimises |Y - X W|^2 + alpha |W|^2 with an intercept. Of several penalties the one
 * with the best R^2 on inner folds is taken, inside each outer fold by itself.
 *
 * Scores, intervals and `heldOut` come from cross-validation, weights from all rows. Throws where targets and rows
 * don't match or a penalty is not positive.
 *
 * @param features [rows, features], or a recording's site and the positions that are rows
 * @param targets one number a row, or [rows, targets]
 * @example const { targets } = await ridgeProbe(activations, responses, { groups: stories, score: "correlation" });
 */
export async function ridgeProbe(
  features: ProbeFeatures,
  targets: Tensor | ArrayLike<number>,
  options: RidgeProbeOptions = {},
): Promise<RidgeProbe> {
  const { penalty = [0.1, 1, 10, 100, 1e3, 1e4, 1e5], penaltyFolds = 5, choice = "perTarget" } = options;
  const scorer = scorers[options.score ?? "r2"];
  if (scorer === undefined) throw usageError(`a score of numbers is r2 or correlation, not "${options.score}"`);
  const examples = examplesOf(features);
  const rows = readRows(examples.features, "features");
  const y = readTargets(targets, sizeOf(rows)[0]);
  const groups = options.groups ?? promptGroups(examples.prompts);
  const split = (chosen: Int32Array, count: number) => {
    const own = groups && Array.from(chosen, (row) => groups[row] as Label);
    const folds = Math.min(count, unitCount(chosen.length, own));
    return splitRows(chosen.length, { ...options, folds, ...(own === undefined ? {} : { groups: own }) });
  };
  const every = Int32Array.from({ length: sizeOf(rows)[0] }, (_, i) => i);
  const folds = splitRows(every.length, { ...options, ...(groups === undefined ? {} : { groups }) });
  return withRuntime(options.runtime, async (runtime) => {
    const estimate = (scaled: Matrix, train: Int32Array) => {
      const own = takeRows(y, train);
      if (typeof penalty === "number") return ridge(scaled, own, penalty, { runtime });
      return ridgeSearch(scaled, own, penalty, { runtime, choice, folds: split(train, penaltyFolds) });
    };
    const { fit: whole, directions, heldOut } = await crossValidate(rows, { estimate, folds }, runtime, options);
    const count = sizeOf(y)[1];
    const one = (target: number) => (chosen: Int32Array) =>
      scorer(columnAt(y, chosen, target), columnAt(heldOut, chosen, target));
    const groupings = { folds, ...(groups === undefined ? {} : { groups }) };
    const scores = Array.from({ length: count }, (_, target) => scoreOf(one(target), groupings, options));
    const all = (chosen: Int32Array) => scores.reduce((sum, _, target) => sum + one(target)(chosen), 0) / count;
    const { weights, intercept, penalties } = whole;
    return {
      weights,
      intercept,
      directions,
      ...(penalties === undefined ? {} : { penalties }),
      score: count === 1 ? (scores[0] as ProbeScore) : scoreOf(all, groupings, options),
      targets: scores,
      chance: 0,
      heldOut,
    };
  });
}

function readTargets(targets: Tensor | ArrayLike<number>, rows: number): Matrix {
  const list = "dtype" in targets ? targets : tensor("float64", [targets.length], Float64Array.from(targets));
  const y = readRows(list.shape.length === 1 ? { ...list, shape: [...list.shape, 1] } : list, "targets");
  if (sizeOf(y)[0] !== rows) throw usageError(`there are targets for ${sizeOf(y)[0]} rows and features for ${rows}`);
  return y;
}

function columnAt({ shape, data }: Matrix, rows: Int32Array, column: number): Float64Array {
  const width = shape[1] as number;
  return Float64Array.from(rows, (row) => data[row * width + column] as number);
}

const scorers: Readonly<Record<RidgeScore, (wanted: Float64Array, found: Float64Array) => number>> = {
  r2(wanted, found) {
    const mean = wanted.reduce((sum, value) => sum + value, 0) / wanted.length;
    const total = wanted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const missed = wanted.reduce((sum, value, i) => sum + (value - (found[i] as number)) ** 2, 0);
    if (total === 0) return missed === 0 ? 1 : 0; // constant targets have no variance to explain
    return 1 - missed / total;
  },
  correlation: (wanted, found) => (wanted.length < 2 ? 0 : pearson(wanted, found) || 0),
};

/** The targets that a probe predicts for new features: [rows, targets]. */
export async function predictTargets(
  probe: Probe,
  features: ProbeFeatures,
  options: ProductOptions = {},
): Promise<Matrix> {
  return predictLinear(probe, readRows(examplesOf(features).features, "features", 1), options);
}
