/**
 * Cross-validation of a linear probe: everything that is estimated (means, scales, penalties, weights) is estimated
 * from the rows that a fold is fitted on, and a held-out row is only ever multiplied by the result.
 */
import { setImmediate } from "node:timers/promises";
import {
  bootstrap,
  columnMoments,
  type Fold,
  type LinearFit,
  type Matrix,
  predictLinear,
  takeRows,
} from "../../linalg/index.js";
import type { Runtime } from "../../runtime/index.js";
import type { Label } from "./labels.js";
import { rescaled, rowAt, sizeOf } from "./rows.js";

/** How well a probe does on rows that it was not fitted on. */
export interface ProbeScore {
  readonly folds: readonly number[];
  /** The mean over folds. */
  readonly mean: number;
  /** The bootstrap interval of the mean: held-out rows are drawn again, the fits stay as they are. */
  readonly low: number;
  readonly high: number;
}

/** What all probes are: a linear map of the features as they were given, scored on held-out rows. */
export interface Probe extends LinearFit {
  /** [features, outputs] and one number an output, fitted on all rows. */
  readonly weights: Matrix;
  readonly intercept: Float64Array;
  /** [outputs, features]: the weights of each output at unit length, zeros where it has none. */
  readonly directions: Matrix;
  /** The penalty of each output, where the probe has one. */
  readonly penalties?: Float64Array;
  readonly score: ProbeScore;
  /** The score without looking at the features. */
  readonly chance: number;
  /** [rows, outputs]: what each row was given by the fold that held it out. */
  readonly heldOut: Matrix;
}

export interface ValidationOptions {
  /** Centre features and divide them by their standard deviation, both of the rows fitted on; on unless given. */
  readonly standardize?: boolean;
  /** Level of the interval; 0.95 unless given. */
  readonly level?: number;
  /** Samples drawn for the interval; 1000 unless given. */
  readonly resamples?: number;
  readonly seed?: number;
  /** Where products run; a runtime of the call's own unless given. */
  readonly runtime?: Runtime;
  /** Called after each fit with the fits done so far. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between two fits. */
  readonly signal?: AbortSignal;
}

/** A linear map and, where it has them, the penalties that it was fitted under. */
export interface Fitted extends LinearFit {
  readonly penalties?: Float64Array;
}

interface Validation {
  /** Scaled features and the places of their rows, to a fit. */
  readonly estimate: (features: Matrix, rows: Int32Array) => Promise<Fitted>;
  readonly folds: readonly Fold[];
  /** The unit that the interval draws: rows of one group are drawn together. */
  readonly groups?: ArrayLike<Label>;
}

interface Validated {
  readonly fit: Fitted;
  readonly directions: Matrix;
  readonly heldOut: Matrix;
}

/** Fits on every fold and on all rows. */
export async function crossValidate(
  features: Matrix,
  { estimate, folds }: Validation,
  runtime: Runtime,
  { standardize = true, onProgress, signal }: ValidationOptions,
): Promise<Validated> {
  const steps = folds.length + 1;
  const fitOn = async (rows: Int32Array, step: number) => {
    signal?.throwIfAborted();
    const result = await fitScaled(takeRows(features, rows), (scaled) => estimate(scaled, rows), standardize);
    onProgress?.(step, steps);
    await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
    return result;
  };
  const held: Matrix[] = [];
  for (const { train, validation } of folds) {
    const fold = await fitOn(train, held.length + 1);
    held.push(await predictLinear(fold, takeRows(features, validation), { runtime }));
  }
  const whole = await fitOn(
    Int32Array.from({ length: sizeOf(features)[0] }, (_, i) => i),
    steps,
  );
  return { fit: whole, directions: unitRows(whole.weights), heldOut: inOrder(held, folds) };
}

/** Deviations below this part of the mean are rounding: such a column is constant. */
const negligible = 1e-12;

/** A fit on features brought to mean 0 and deviation 1, turned back into one of the features as they are. */
async function fitScaled(
  features: Matrix,
  estimate: (scaled: Matrix) => Promise<Fitted>,
  standardize: boolean,
): Promise<Fitted> {
  if (!standardize) return estimate(features);
  const { mean, variance } = columnMoments(features);
  const factor = variance.map((value, j) => {
    const deviation = Math.sqrt(value);
    return deviation > negligible * Math.abs(mean[j] as number) ? 1 / deviation : 0;
  });
  const scaled = await estimate(rescaled(features, mean, factor));
  const outputs = scaled.weights.shape[1] as number;
  const data = scaled.weights.data.map((value, at) => value * (factor[Math.floor(at / outputs)] as number));
  const intercept = scaled.intercept.slice();
  data.forEach((value, at) => {
    const k = at % outputs;
    intercept[k] = (intercept[k] as number) - value * (mean[Math.floor(at / outputs)] as number);
  });
  return { ...scaled, weights: { ...scaled.weights, data }, intercept };
}

/** The columns of weights as rows of unit length. */
function unitRows({ shape, data }: Matrix): Matrix {
  const [features, outputs] = shape as readonly [number, number];
  const result = new Float64Array(data.length);
  for (let k = 0; k < outputs; k++) {
    const own = Float64Array.from({ length: features }, (_, j) => data[j * outputs + k] as number);
    const largest = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1; // squares stay within range
    const length = largest * Math.sqrt(own.reduce((sum, value) => sum + (value / largest) ** 2, 0)) || 1;
    result.set(
      own.map((value) => value / length),
      k * features,
    );
  }
  return { dtype: "float64", shape: [outputs, features], data: result };
}

function inOrder(held: readonly Matrix[], folds: readonly Fold[]): Matrix {
  const outputs = held[0]?.shape[1] as number;
  const rows = held.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
  const data = new Float64Array(rows * outputs);
  folds.forEach(({ validation }, f) => {
    validation.forEach((row, i) => {
      data.set(rowAt(held[f] as Matrix, i), row * outputs);
    });
  });
  return { dtype: "float64", shape: [rows, outputs], data };
}

/**
 * The mean over folds of `score`, a function of held-out rows, with its percentile interval (Efron & Tibshirani 1993,
 * chapter 13). Rows (or groups) are drawn again within each fold; where a fold holds a single one, folds are drawn.
 */
export function scoreOf(
  score: (rows: Int32Array) => number,
  { folds, groups }: Pick<Validation, "folds" | "groups">,
  { level = 0.95, resamples = 1000, seed = 0 }: ValidationOptions,
): ProbeScore {
  const scores = folds.map(({ validation }) => score(validation));
  const meanAt = (picks: ArrayLike<number>) =>
    Array.from(picks, (f) => scores[f] as number).reduce((sum, value) => sum + value, 0) / picks.length;
  const units = folds.map(({ validation }) => unitsOf(validation, groups));
  const options = { level, resamples, seed, method: "percentile" } as const;
  const interval = units.some((list) => list.length < 2)
    ? bootstrap(folds.length, (picks = new Int32Array()) => meanAt(picks), options)
    : bootstrap(
        units.map((list) => list.length),
        (...picks) =>
          picks.reduce((sum, own, f) => sum + score(joined(units[f] as readonly Int32Array[], own)), 0) / picks.length,
        options,
      );
  return { folds: scores, mean: meanAt(folds.map((_, f) => f)), low: interval.low, high: interval.high };
}

/** The rows of each group among `rows`; each row by itself without groups. */
function unitsOf(rows: Int32Array, groups: ArrayLike<Label> | undefined): Int32Array[] {
  if (groups === undefined) return Array.from(rows, (row) => Int32Array.of(row));
  const members = new Map<Label, number[]>();
  for (const row of rows) {
    const group = groups[row] as Label;
    const list = members.get(group) ?? [];
    list.push(row);
    members.set(group, list);
  }
  return [...members.values()].map((list) => Int32Array.from(list));
}

function joined(units: readonly Int32Array[], picks: Int32Array): Int32Array {
  const chosen = Array.from(picks, (pick) => units[pick] as Int32Array);
  const result = new Int32Array(chosen.reduce((sum, unit) => sum + unit.length, 0));
  let at = 0;
  for (const unit of chosen) {
    result.set(unit, at);
    at += unit.length;
  }
  return result;
}
