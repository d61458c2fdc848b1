/**
 * From activations of two classes to the direction that leads from one to the other. A method is an entry of a table;
 * what all of them share (unit length, sign by the classes, a held-out score) is around it.
 */
import { usageError } from "../errors.js";
import { fitLogistic, folds, type Matrix, pca, ridge } from "../linalg/index.js";
import { type Runtime, row, type Tensor, tensor } from "../runtime/index.js";

/**
 * `meanDifference`: mean of the positive class minus mean of the negative (Rimsky et al. 2023, contrastive activation
 * addition; Turner et al. 2023, activation addition, for a single pair).
 * `pca`: of pairs, the first principal component of their differences taken both ways round (Zou et al. 2023,
 * representation engineering); of classes that are not paired, of all activations around their common mean.
 * `logistic`, `ridge`: the weights of a linear probe that tells the classes apart.
 */
export type DirectionMethod = "meanDifference" | "pca" | "logistic" | "ridge";

/** Activations of two classes, [prompts, size] each. */
export interface Classes {
  readonly positive: Matrix;
  readonly negative: Matrix;
}

export interface DirectionOptions {
  readonly method: DirectionMethod;
  /** Whether row i of one class belongs to row i of the other. */
  readonly paired: boolean;
  /** Of a probe: the factor of its squared weights. */
  readonly penalty?: number;
  readonly runtime: Runtime;
}

type Fit = (classes: Classes, options: DirectionOptions) => Promise<ArrayLike<number>>;

const fits: Readonly<Record<DirectionMethod, Fit>> = {
  meanDifference: async ({ positive, negative }) => subtract(meanOf(positive), meanOf(negative)),
  pca: firstComponent,
  logistic: async (classes, { penalty = 1, runtime }) => {
    const { features, labels } = pooled(classes);
    return (await fitLogistic(features, labels, { penalty, classWeights: "balanced", runtime })).weights.data;
  },
  ridge: async (classes, { penalty, runtime }) => {
    const { features, labels } = pooled(classes);
    const targets = tensor("float64", [labels.length], labels);
    return (await ridge(features, targets, penalty ?? spreadOf(features), { runtime })).weights.data;
  },
};

export const directionMethods = Object.keys(fits) as DirectionMethod[];

/** A unit direction, and where the classes lie along it. */
export interface Direction {
  readonly unit: Float64Array;
  /** The mean component of each class along it; that of the positive class is never the smaller. */
  readonly means: { readonly positive: number; readonly negative: number };
}

/** The direction of a method, turned towards the positive class. Throws where there is none. */
export async function fitDirection(classes: Classes, options: DirectionOptions): Promise<Direction> {
  const raw = Float64Array.from(await fits[options.method](classes, options));
  const length = Math.hypot(...raw);
  if (!(length > 0)) throw usageError("the positive and the negative prompts have the same activations there");
  const [a, b] = [meanOf(classes.positive), meanOf(classes.negative)].map((mean) => dot(mean, raw) / length) as [
    number,
    number,
  ];
  const sign = a < b ? -1 : 1;
  return { unit: raw.map((x) => (sign * x) / length), means: { positive: sign * a, negative: sign * b } };
}

/** A number for one activation, under a direction that was fitted without it. */
type Score = (activation: Float64Array, direction: Direction) => number;

/** The scores of every prompt, in the order of the classes. */
interface HeldOutScores {
  readonly positive: number[];
  readonly negative: number[];
  readonly folds: number;
}

const mostFolds = 5;

/**
 * Scores of all prompts, each held out of the fit of its own direction, in at most five folds; pairs stay together where
 * the classes are of one size. Undefined where a class has fewer than two prompts.
 */
export async function heldOutScores(
  { positive, negative }: Classes,
  options: DirectionOptions,
  score: Score,
  seed: number,
): Promise<HeldOutScores | undefined> {
  const sizes = [positive, negative].map(({ shape }) => shape[0] as number) as [number, number];
  const count = Math.min(mostFolds, ...sizes);
  if (count < 2) return undefined;
  const split = sizes.map((size) => folds(size, { count, order: "shuffled", seed }));
  const scores = { positive: new Array<number>(sizes[0]), negative: new Array<number>(sizes[1]), folds: count };
  for (let k = 0; k < count; k++) {
    const [own, other] = split.map((each) => each[k]) as [(typeof split)[0][0], (typeof split)[0][0]];
    const direction = await fitDirection(
      { positive: rowsAt(positive, own.train), negative: rowsAt(negative, other.train) },
      options,
    );
    for (const i of own.validation) scores.positive[i] = score(row(positive, i).data, direction);
    for (const i of other.validation) scores.negative[i] = score(row(negative, i).data, direction);
  }
  return scores;
}

/** The sum of products of two vectors. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/** The mean of the rows of a matrix. */
function meanOf({ shape, data }: Matrix): Float64Array {
  const [rows = 0, size = 0] = shape;
  const mean = new Float64Array(size);
  data.forEach((x, at) => {
    mean[at % size] = (mean[at % size] as number) + x / rows;
  });
  return mean;
}

const subtract = (a: Float64Array, b: Float64Array) => a.map((x, i) => x - (b[i] as number));

/**
 * Pairs: the mean difference is the signal, and centring would take it away. With every difference also turned round, the
 * mean is zero and the first component is that of the second moments.
 */
async function firstComponent(classes: Classes, { paired, runtime }: DirectionOptions): Promise<ArrayLike<number>> {
  const { positive, negative } = classes;
  const difference = (sign: number) => positive.data.map((x, i) => sign * (x - (negative.data[i] as number)));
  const [rows = 0, size = 0] = positive.shape;
  const data = paired
    ? tensor("float64", [2 * rows, size], joined(difference(1), difference(-1)))
    : pooled(classes).features;
  return (await pca(data, { count: 1, runtime })).components.data;
}

/** All activations, and 1 for those of the positive class. */
function pooled({ positive, negative }: Classes): { features: Matrix; labels: Float64Array } {
  const [a = 0, size = 0] = positive.shape;
  const [b = 0] = negative.shape;
  const features = tensor("float64", [a + b, size], joined(positive.data, negative.data));
  return { features, labels: Float64Array.from({ length: a + b }, (_, i) => Number(i < a)) };
}

function joined(a: Float64Array, b: Float64Array): Float64Array {
  const result = new Float64Array(a.length + b.length);
  result.set(a);
  result.set(b, a.length);
  return result;
}

/** The mean squared distance of rows from their mean: a ridge penalty of this size weighs as much as one prompt. */
function spreadOf(features: Matrix): number {
  const mean = meanOf(features);
  const [rows = 0, size = 0] = features.shape;
  const squares = features.data.reduce((sum, x, at) => sum + (x - (mean[at % size] as number)) ** 2, 0);
  return squares / rows || 1;
}

function rowsAt(matrix: Tensor<"float64">, indices: Int32Array): Matrix {
  const size = matrix.shape[1] as number;
  const data = new Float64Array(indices.length * size);
  indices.forEach((from, to) => {
    data.set(row(matrix, from).data, to * size);
  });
  return tensor("float64", [indices.length, size], data);
}
