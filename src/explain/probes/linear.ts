/**
 * Linear probes in closed form (Alain & Bengio 2016, "Understanding intermediate layers using linear classifier
 * probes"): least squares on the labels, differences of class means, and linear discriminant analysis (Fisher 1936).
 */
import { usageError } from "../../errors.js";
import { choleskySolve, leastSquares, type Matrix, product, transposed } from "../../linalg/index.js";
import { type Runtime, tensor, zeros } from "../../runtime/index.js";
import { type ClassFitter, type ClassProbe, type ClassProbeOptions, probeClasses } from "./classification.js";
import type { Fitted } from "./crossValidation.js";
import type { ProbeFeatures } from "./features.js";
import type { Label } from "./labels.js";
import {
  centred,
  classMeans,
  covarianceFactor,
  residualsOf,
  rowAt,
  type Shrinkage,
  shrunkCovariance,
  sizeOf,
} from "./rows.js";

export type LinearMethod = "leastSquares" | "differenceInMeans" | "lda";

export interface LinearProbeOptions extends ClassProbeOptions {
  /** `lda` unless given. */
  readonly method?: LinearMethod;
  /** On unless given, except for `differenceInMeans`, whose direction it would change into another one. */
  readonly standardize?: boolean;
  /** Of the covariance that `lda` inverts; `auto` unless given. */
  readonly shrinkage?: Shrinkage;
}

/**
 * A linear probe of classes. With class means m_k, shares p_k and the covariance S within classes, a row x is given
 * - `leastSquares`: what fits targets of -1 and 1 (two classes) or 0 and 1 (a target a class) with the least squares;
 *   the shortest such weights where features outnumber rows;
 * - `differenceInMeans`: the nearest mean, by x . m_k - |m_k|^2 / 2: for two classes the direction is m_1 - m_0;
 * - `lda`: the largest x . S^-1 m_k - m_k . S^-1 m_k / 2 + log p_k.
 *
 * Scores, the interval and `heldOut` come from cross-validation, weights from all rows. Throws where labels and rows
 * don't match, a class is too rare for the folds, or S can't be inverted.
 *
 * @param features [rows, features], or a recording's site and the positions that are rows
 * @param labels one a row
 * @example const { score, directions } = await linearProbe(activations, ["past", "present", ...], { method: "lda" });
 */
export async function linearProbe(
  features: ProbeFeatures,
  labels: ArrayLike<Label>,
  options: LinearProbeOptions = {},
): Promise<ClassProbe> {
  const { method = "lda", shrinkage = "auto" } = options;
  const fitter = fitters[method];
  if (fitter === undefined)
    throw usageError(`a linear probe's method is ${Object.keys(fitters).join(", ")}, not "${method}"`);
  const standardize = options.standardize ?? method !== "differenceInMeans";
  return probeClasses(features, labels, fitter(shrinkage), { ...options, standardize });
}

const fitters: Readonly<Record<LinearMethod, (shrinkage: Shrinkage) => ClassFitter>> = {
  leastSquares: () => fitLeastSquares,
  differenceInMeans:
    () =>
    async (features, classOf, { classes }) => {
      const { means } = classMeans(features, classOf, classes);
      return discriminants(means, means, new Float64Array(classes));
    },
  lda:
    (shrinkage) =>
    async (features, classOf, { classes, runtime }) => {
      const { means, counts } = classMeans(features, classOf, classes);
      const covariance = await shrunkCovariance(residualsOf(features, classOf, means), shrinkage, { runtime });
      const factor = await covarianceFactor(covariance, { runtime });
      const weights = await choleskySolve(factor, transposed(means), { runtime });
      return discriminants(
        means,
        transposed(weights as Matrix),
        Float64Array.from(counts, (count) => Math.log(count / classOf.length)),
      );
    },
};

/** Outputs x . w_k - m_k . w_k / 2 + c_k from rows m_k and w_k; for two classes the second minus the first. */
function discriminants(means: Matrix, weights: Matrix, constants: Float64Array): Fitted {
  const [classes, width] = sizeOf(means);
  const offsets = constants.map((constant, k) => {
    const own = rowAt(weights, k);
    return constant - rowAt(means, k).reduce((sum, value, j) => sum + value * (own[j] as number), 0) / 2;
  });
  if (classes > 2) return { weights: transposed(weights), intercept: offsets };
  const [first, second] = [rowAt(weights, 0), rowAt(weights, 1)];
  return {
    weights: tensor(
      "float64",
      [width, 1],
      second.map((value, j) => value - (first[j] as number)),
    ),
    intercept: Float64Array.of((offsets[1] as number) - (offsets[0] as number)),
  };
}

async function fitLeastSquares(
  features: Matrix,
  classOf: Int32Array,
  { classes, runtime }: { readonly classes: number; readonly runtime: Runtime },
): Promise<Fitted> {
  const targets = targetsOf(classOf, classes);
  const { means } = classMeans(features, new Int32Array(classOf.length), 1);
  const { means: level } = classMeans(targets, new Int32Array(classOf.length), 1);
  const { solution } = await leastSquares(centred(features), centred(targets), { runtime });
  const shift = await product(means, solution, { runtime });
  return { weights: solution as Matrix, intercept: level.data.map((value, k) => value - (shift.data[k] as number)) };
}

/** -1 and 1 for two classes, else a column a class that is 1 for its own rows. */
function targetsOf(classOf: Int32Array, classes: number): Matrix {
  if (classes === 2)
    return tensor(
      "float64",
      [classOf.length, 1],
      Float64Array.from(classOf, (label) => 2 * label - 1),
    );
  const targets = zeros("float64", [classOf.length, classes]);
  classOf.forEach((label, i) => {
    targets.data[i * classes + label] = 1;
  });
  return targets;
}
