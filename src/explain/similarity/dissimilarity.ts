/**
 * Representational dissimilarity matrices (Kriegeskorte, Mur & Bandettini 2008, "Representational similarity
 * analysis"): how far apart every two conditions lie in a representation. What they are compared by is in `compare.ts`.
 */

import { usageError } from "../../errors.js";
import { type Matrix, type ProductOptions, solveTriangular, takeRows, transposed } from "../../linalg/index.js";
import type { Runtime, Tensor } from "../../runtime/index.js";
import { withRuntime } from "../../runtime/index.js";
import { type ClassLabels, type Label, readLabels } from "../probes/labels.js";
import {
  classMeans,
  covarianceFactor,
  dot,
  readRows,
  residualsOf,
  rowAt,
  type Shrinkage,
  shrunkCovariance,
  sizeOf,
} from "../probes/rows.js";

/**
 * Between the mean rows a and b of two conditions, with d = a - b:
 * - `correlation`: 1 - Pearson's correlation; `cosine`: 1 - a . b / (|a| |b|); `euclidean`: |d|;
 * - `mahalanobis`: sqrt(d . S^-1 d), with S the covariance of the noise;
 * - `crossnobis`: the mean of d_m . S^-1 d_n over every two different partitions m and n of the data (Walther et al.
 *   2016, "Reliability of dissimilarity measures"). A squared distance without the bias of noise: 0 on average, and so
 *   negative half the time, for conditions that do not differ.
 */
export type DissimilarityMeasure = "correlation" | "cosine" | "euclidean" | "mahalanobis" | "crossnobis";

export interface DissimilarityOptions extends ProductOptions {
  /** `correlation` unless given. */
  readonly measure?: DissimilarityMeasure;
  /** The condition of every row, where conditions were measured several times; a condition a row unless given. */
  readonly conditions?: ArrayLike<Label>;
  /** `crossnobis`: the partition of every row (a run, a fold); each must hold every condition. */
  readonly partitions?: ArrayLike<Label>;
  /**
   * S [features, features]; give the identity for plain squared distances. Unless given, it is estimated from how rows
   * of one condition differ.
   */
  readonly covariance?: Tensor;
  /** Of the estimated S; `auto` unless given. */
  readonly shrinkage?: Shrinkage;
}

export interface Dissimilarity {
  readonly measure: DissimilarityMeasure;
  /** In rising order; numbers from 0 for rows without conditions. */
  readonly conditions: readonly Label[];
  /** [conditions, conditions], symmetric, zeros on the diagonal. */
  readonly matrix: Matrix;
}

/**
 * The dissimilarity of every two conditions, from rows of features.
 *
 * Throws for fewer than 2 conditions, a row without the variation that the measure divides by, partitions that lack a
 * condition, and a covariance that can't be estimated or inverted.
 *
 * @param features [rows, features], float32 or float64
 * @example const { matrix } = await dissimilarityMatrix(activations, { measure: "cosine" });
 */
export async function dissimilarityMatrix(
  features: Tensor,
  options: DissimilarityOptions = {},
): Promise<Dissimilarity> {
  const { measure = "correlation", partitions } = options;
  if (!measures.includes(measure)) throw usageError(`a dissimilarity is ${measures.join(", ")}, not "${measure}"`);
  if ((measure === "crossnobis") !== (partitions !== undefined))
    throw usageError("partitions are given for crossnobis, which needs them, and for no other measure");
  const rows = readRows(features, "features");
  const [count] = sizeOf(rows);
  const known = readLabels(options.conditions ?? Array.from({ length: count }, (_, i) => i), count, "conditions");
  if (known.classes.length < 2) throw usageError("a dissimilarity needs two conditions, not one");
  const whitened = measure === "mahalanobis" || measure === "crossnobis";
  const ready = whitened
    ? await withRuntime(options.runtime, (runtime) => whiten(rows, known, { ...options, runtime }))
    : rows;
  const distance = partitions === undefined ? plainDistance(ready, known, measure) : crossed(ready, known, partitions);
  return { measure, conditions: known.classes, matrix: pairwise(known.classes.length, distance) };
}

const measures: readonly DissimilarityMeasure[] = ["correlation", "cosine", "euclidean", "mahalanobis", "crossnobis"];

type Distance = (i: number, j: number) => number;

function pairwise(count: number, distance: Distance): Matrix {
  const data = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) {
      const value = distance(i, j);
      data[i * count + j] = value;
      data[j * count + i] = value;
    }
  }
  return { dtype: "float64", shape: [count, count], data };
}

function plainDistance(rows: Matrix, { classes, classOf }: ClassLabels, measure: DissimilarityMeasure): Distance {
  const { means } = classMeans(rows, classOf, classes.length);
  const points = classes.map((_, k) => rowAt(means, k));
  if (measure === "euclidean" || measure === "mahalanobis")
    return (i, j) => Math.sqrt(squaredDistance(points[i] as Float64Array, points[j] as Float64Array));
  const unit = points.map((point, k) => unitVector(point, measure === "correlation", classes[k] as Label));
  return (i, j) => 1 - Math.max(-1, Math.min(1, dot(unit[i] as Float64Array, unit[j] as Float64Array)));
}

/** The row at length 1, its mean taken off first where it is to be correlated. */
function unitVector(row: Float64Array, centre: boolean, condition: Label): Float64Array {
  const mean = centre ? row.reduce((sum, value) => sum + value, 0) / row.length : 0;
  const shifted = row.map((value) => value - mean);
  const length = Math.sqrt(dot(shifted, shifted));
  if (length > 1e-13 * Math.abs(mean) * Math.sqrt(row.length)) return shifted.map((value) => value / length);
  const what = centre ? "constant: it has no correlation" : "zero: it has no cosine";
  throw usageError(`the features of condition ${JSON.stringify(condition)} are ${what}`);
}

/** With D_m the difference in partition m of P: (|sum D_m|^2 - sum |D_m|^2) / (P (P - 1)) is the mean over pairs. */
function crossed(rows: Matrix, { classes, classOf }: ClassLabels, partitions: ArrayLike<Label>): Distance {
  const parts = readLabels(partitions, classOf.length, "partitions");
  const count = parts.classes.length;
  if (count < 2) throw usageError("crossnobis needs two partitions, not one");
  const means = parts.classes.map((name, p) => {
    const own = Array.from(classOf.keys()).filter((row) => parts.classOf[row] === p);
    const found = classMeans(
      takeRows(rows, own),
      own.map((row) => classOf[row] as number),
      classes.length,
    );
    const missing = found.counts.indexOf(0);
    if (missing < 0) return found.means;
    throw usageError(
      `partition ${JSON.stringify(name)} has no row of condition ${JSON.stringify(classes[missing])}: each needs all`,
    );
  });
  const width = sizeOf(rows)[1];
  return (i, j) => {
    let [ofSum, sumOf] = [0, 0];
    for (let k = 0; k < width; k++) {
      let sum = 0;
      for (const { data } of means) {
        const difference = (data[i * width + k] as number) - (data[j * width + k] as number);
        sum += difference;
        sumOf += difference ** 2;
      }
      ofSum += sum ** 2;
    }
    return (ofSum - sumOf) / (count * (count - 1));
  };
}

/** Rows z = L^-1 x, S = L L': their plain distances are those of x by S^-1. */
async function whiten(
  rows: Matrix,
  known: ClassLabels,
  options: DissimilarityOptions & { readonly runtime: Runtime },
): Promise<Matrix> {
  const { runtime } = options;
  const factor = await covarianceFactor(await noiseOf(rows, known, options), { runtime });
  return transposed((await solveTriangular(factor, transposed(rows), "lower", { runtime })) as Matrix);
}

async function noiseOf(
  rows: Matrix,
  { classes, classOf }: ClassLabels,
  { covariance, shrinkage = "auto", runtime }: DissimilarityOptions & { readonly runtime: Runtime },
): Promise<Matrix> {
  const [count, width] = sizeOf(rows);
  if (covariance !== undefined) {
    const given = readRows(covariance, "the covariance", 1);
    if (given.shape.join() === `${width},${width}`) return given;
    throw usageError(`the covariance of ${width} features is [${width}, ${width}], not [${given.shape.join(", ")}]`);
  }
  const degrees = count - classes.length;
  if (degrees < 1) throw usageError("without repeated conditions the noise is unknown: give its covariance");
  const { means } = classMeans(rows, classOf, classes.length);
  return shrunkCovariance(residualsOf(rows, classOf, means), shrinkage, { degrees, runtime });
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += ((a[k] as number) - (b[k] as number)) ** 2;
  return sum;
}
