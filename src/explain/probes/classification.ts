/** Probes of classes: what all of them share, whichever way their weights are fitted. */

import { usageError } from "../../errors.js";
import { areaUnderRoc, type LinearFit, type Matrix, type ProductOptions, predictLinear } from "../../linalg/index.js";
import type { Runtime } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { crossValidate, type Fitted, type Probe, scoreOf, type ValidationOptions } from "./crossValidation.js";
import { examplesOf, type ProbeFeatures } from "./features.js";
import { type ClassLabels, type Label, readLabels, type SplitOptions, splitClasses } from "./labels.js";
import { readRows, rowAt, sizeOf } from "./rows.js";

/**
 * `accuracy`: the share of rows given their own label. `balancedAccuracy`: its mean over the classes that occur.
 * `areaUnderRoc`: of two classes, how often a row of the second scores above one of the first.
 */
export type ClassScore = "accuracy" | "balancedAccuracy" | "areaUnderRoc";

export interface ClassProbeOptions extends ValidationOptions, SplitOptions {
  /** `accuracy` unless given. */
  readonly score?: ClassScore;
}

/** With two classes one output, which is positive for the second; else an output a class, of which the largest wins. */
export interface ClassProbe extends Probe {
  readonly classes: readonly Label[];
  /** The label that each row was given by the fold that held it out. */
  readonly predicted: readonly Label[];
}

/** Fits outputs to classes (numbers from 0 to `classes` - 1, each present) on a runtime. */
export type ClassFitter = (
  features: Matrix,
  classOf: Int32Array,
  context: { readonly classes: number; readonly runtime: Runtime; readonly groups?: ArrayLike<Label> },
) => Promise<Fitted>;

/** Cross-validates a way of fitting. Tokens of one prompt are one group unless groups are given. */
export async function probeClasses(
  features: ProbeFeatures,
  labels: ArrayLike<Label>,
  fitter: ClassFitter,
  options: ClassProbeOptions,
): Promise<ClassProbe> {
  const examples = examplesOf(features);
  const rows = readRows(examples.features, "features");
  const known = readLabels(labels, sizeOf(rows)[0]);
  const { classes, classOf } = known;
  if (classes.length < 2) throw usageError(`every label is ${JSON.stringify(classes[0])}: a probe needs two classes`);
  const groups = options.groups ?? promptGroups(examples.prompts);
  const grouped = groups === undefined ? {} : { groups };
  const folds = splitClasses(known, { ...options, ...grouped });
  const { score = "accuracy" } = options;
  if (classScores[score] === undefined)
    throw usageError(`a score of classes is ${Object.keys(classScores).join(", ")}, not "${score}"`);
  if (score === "areaUnderRoc" && classes.length > 2)
    throw usageError(`areaUnderRoc is a score of two classes, not of ${classes.length}`);
  return withRuntime(options.runtime, async (runtime) => {
    const estimate = (scaled: Matrix, train: Int32Array) => {
      const own = groups === undefined ? {} : { groups: Array.from(train, (i) => groups[i] as Label) };
      const numbers = Int32Array.from(train, (i) => classOf[i] as number);
      return fitter(scaled, numbers, { classes: classes.length, runtime, ...own });
    };
    const { fit: whole, directions, heldOut } = await crossValidate(rows, { estimate, folds }, runtime, options);
    const predicted = winners(heldOut);
    return {
      ...whole,
      directions,
      score: scoreOf(classScores[score]({ ...known, predicted, heldOut }), { folds, ...grouped }, options),
      chance: chanceOf(known, score),
      heldOut,
      classes,
      predicted: Array.from(predicted, (k) => classes[k] as Label),
    };
  });
}

/** Prompts as groups, where more than one example comes from one of them. */
export function promptGroups(prompts: Int32Array | undefined): Int32Array | undefined {
  return prompts !== undefined && new Set(prompts).size < prompts.length ? prompts : undefined;
}

/** The class that wins each row: the first of equal ones. */
function winners(values: Matrix): Int32Array {
  const [rows, outputs] = sizeOf(values);
  return Int32Array.from({ length: rows }, (_, i) => {
    const row = rowAt(values, i);
    if (outputs === 1) return (row[0] as number) > 0 ? 1 : 0;
    return row.indexOf(row.reduce((most, value) => Math.max(most, value), -Infinity));
  });
}

interface Judged extends ClassLabels {
  readonly predicted: Int32Array;
  readonly heldOut: Matrix;
}

const classScores: Readonly<Record<ClassScore, (judged: Judged) => (rows: Int32Array) => number>> = {
  accuracy:
    ({ classOf, predicted }) =>
    (rows) => {
      let right = 0;
      for (const row of rows) if (predicted[row] === classOf[row]) right += 1;
      return right / rows.length;
    },
  balancedAccuracy:
    ({ classes, classOf, predicted }) =>
    (rows) => {
      const [right, all] = [new Int32Array(classes.length), new Int32Array(classes.length)];
      for (const row of rows) {
        const own = classOf[row] as number;
        all[own] = (all[own] as number) + 1;
        if (predicted[row] === own) right[own] = (right[own] as number) + 1;
      }
      const recalls = Array.from(all.keys()).flatMap((k) =>
        all[k] === 0 ? [] : [(right[k] as number) / (all[k] as number)],
      );
      return recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length;
    },
  areaUnderRoc:
    ({ classOf, heldOut }) =>
    (rows) => {
      const labels = Array.from(rows, (row) => classOf[row] as number);
      if (new Set(labels).size < 2) return 0.5; // nothing to tell apart
      return areaUnderRoc(
        Float64Array.from(rows, (row) => heldOut.data[row] as number),
        labels,
      );
    },
};

function chanceOf({ classes, classOf }: ClassLabels, score: ClassScore): number {
  if (score !== "accuracy") return 1 / classes.length;
  const counts = classes.map((_, k) => classOf.filter((own) => own === k).length);
  return Math.max(...counts) / classOf.length;
}

/** The labels that a probe gives to new features [rows, features]. */
export async function predictLabels(
  probe: LinearFit & Pick<ClassProbe, "classes">,
  features: ProbeFeatures,
  options: ProductOptions = {},
): Promise<Label[]> {
  const rows = readRows(examplesOf(features).features, "features", 1);
  const values = await predictLinear(probe, rows, options);
  return Array.from(winners(values), (k) => probe.classes[k] as Label);
}
