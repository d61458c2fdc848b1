/**
 * Logistic regression, binary and multinomial, with an L2 penalty: a convex function whose value and gradient are one
 * compiled graph in float64 (two products with the features an evaluation), minimised by L-BFGS.
 */
import { usageError } from "../errors.js";
import {
  add,
  exp,
  logSoftmax,
  matmul,
  mul,
  neg,
  pad,
  reduceSum,
  slice,
  softmax,
  sub,
  trace,
  transpose,
  type Value,
  weight,
} from "../graph/index.js";
import { type Program, type Runtime, type Tensor, tensor, withRuntime } from "../runtime/index.js";
import { asMatrix, columnsOf, type Matrix, matrixOf, rowsOf, scaleColumns, subtractFromRows } from "./matrix.js";
import { lbfgs, type MinimizeOptions, type Minimum, type Objective } from "./minimize.js";
import type { ProductOptions } from "./products.js";
import { columnMoments } from "./statistics/columns.js";
import { checkWhole, toVector, type Vector } from "./vector.js";

export interface LogisticModel {
  /** Number of classes, at least 2. */
  readonly classes: number;
  /** [classes, features]. With two classes a single row, [1, features]: the score of class 1 over class 0. */
  readonly weights: Matrix;
  /** One number for each row of `weights`; zeros where no intercept was fitted. */
  readonly intercept: Float64Array;
}

export interface LogisticFit extends LogisticModel, Pick<Minimum, "iterations" | "converged" | "reason"> {
  /** The minimised sum of losses plus penalty, in nats. */
  readonly objective: number;
}

export interface LogisticOptions
  extends ProductOptions,
    Pick<MinimizeOptions, "gradientTolerance" | "maxIterations" | "onStep" | "signal"> {
  /** Number of classes; one more than the largest label (and at least 2) unless given. */
  readonly classes?: number;
  /** The factor of the squared weights, lambda below; 1 unless given. scikit-learn's `C` is 1 / lambda. */
  readonly penalty?: number;
  /** Whether to fit an intercept, which is never penalised. On unless given. */
  readonly intercept?: boolean;
  /** Penalise the weights as they are for features divided by their standard deviation. Off unless given. */
  readonly standardize?: boolean;
  /** A factor for every class' losses; `balanced` gives every class the same total. All 1 unless given. */
  readonly classWeights?: readonly number[] | "balanced";
}

/**
 * Fits scores = features W' + b by minimising
 *   sum over rows i of classWeight(y_i) * -log softmax(scores_i)[y_i]  +  lambda / 2 * sum of W^2,
 * where two classes share one row of W (class 0 has score 0): scikit-learn's LogisticRegression with C = 1 / lambda.
 *
 * Features are shifted and scaled inside for good conditioning; weights come back in the units of the features as given.
 * Classes that can be told apart exactly have no minimum at a penalty of 0: the fit then ends where the loss is flat.
 * A fit that stopped short of a minimum is returned, not thrown: see `converged` and `reason`.
 *
 * @param features [rows, features], float32 or float64
 * @param labels one class for each row: whole numbers from 0
 */
export async function fitLogistic(
  features: Tensor,
  labels: Vector,
  options: LogisticOptions = {},
): Promise<LogisticFit> {
  const { penalty = 1, intercept = true, standardize = false } = options;
  if (!(penalty >= 0 && penalty < Infinity)) throw usageError(`the penalty must be at least 0, not ${penalty}`);
  const given = asMatrix(features, "features");
  const [rows, columns] = [rowsOf(given), columnsOf(given)];
  const { classOf, classes, counts } = readLabels(labels, rows, options.classes);
  const classWeights = readClassWeights(options.classWeights, counts);
  const total = classOf.reduce((sum, label) => sum + (classWeights[label] as number), 0);
  const share = (label: number) => (classWeights[label] as number) / total;
  const scaling = rescale(given, { penalty, total, intercept, standardize });
  const scores = classes === 2 ? 1 : classes; // rows of W
  const problem: Problem = {
    features: scaling.features,
    rowWeights: matrixOf(rows, 1, Float64Array.from(classOf, share)),
    targets: oneHot(classOf, classes, share),
    penalty: matrixOf(1, columns, scaling.penalty),
    scores,
  };
  const minimum = await withRuntime(options.runtime, (runtime) => {
    const program = compileObjective(problem, runtime);
    const start = new Float64Array(scores * columns + (intercept ? scores : 0));
    return lbfgs(objectiveOf(program, scores, columns), start, { ...options, memory: 20 });
  });
  const { iterations, converged, reason } = minimum;
  return {
    classes,
    ...unscale(minimum.x, scores, scaling),
    objective: minimum.value * total,
    iterations,
    converged,
    reason,
  };
}

/** The probability of every class, [rows, classes], for features [rows, features]. */
export async function predictProbabilities(
  model: LogisticModel,
  features: Tensor,
  { runtime: given }: ProductOptions = {},
): Promise<Matrix> {
  const x = asMatrix(features, "features");
  const columns = columnsOf(x);
  const [scores = 0, expected = 0] = model.weights.shape;
  if (columns !== expected) throw usageError(`features has ${columns} columns; the model was fitted on ${expected}`);
  const graph = trace(
    ({ features, weights, intercept }) => ({
      probabilities: softmax(allScores(add(matmul(features, transpose(weights, [1, 0])), intercept), scores)),
    }),
    {
      features: { dtype: "float64", shape: ["rows", "columns"] },
      weights: { dtype: "float64", shape: [scores, "columns"] },
      intercept: { dtype: "float64", shape: [scores] },
    },
  );
  const feeds = {
    features: x,
    weights: model.weights,
    intercept: tensor("float64", [scores], model.intercept),
  };
  const outputs = await withRuntime(given, (runtime) => runtime.compile(graph).run(feeds));
  return outputs.probabilities as Matrix;
}

/** The likeliest class of every row; the lower one of two that are equally likely. */
export async function predictClasses(
  model: LogisticModel,
  features: Tensor,
  options: ProductOptions = {},
): Promise<Int32Array> {
  const { shape, data } = await predictProbabilities(model, features, options);
  const [rows = 0, classes = 0] = shape;
  return Int32Array.from({ length: rows }, (_, i) => {
    const probabilities = data.subarray(i * classes, (i + 1) * classes);
    return probabilities.indexOf(probabilities.reduce((a, b) => Math.max(a, b)));
  });
}

interface Labels {
  readonly classOf: Int32Array;
  readonly classes: number;
  /** Rows of each class. */
  readonly counts: Int32Array;
}

function readLabels(labels: Vector, rows: number, given: number | undefined): Labels {
  const values = toVector(labels, "labels");
  if (values.length !== rows) throw usageError(`there are ${values.length} labels for ${rows} rows of features`);
  const classes = given ?? Math.max(2, 1 + values.reduce((a, b) => Math.max(a, b)));
  checkWhole(classes, "classes", 2);
  const counts = new Int32Array(Math.min(classes, rows + 1)); // more classes than rows: one of them is empty
  values.forEach((label, i) => {
    if (!Number.isInteger(label) || label < 0 || label >= classes)
      throw usageError(`label ${i} is ${label}; with ${classes} classes it must be a whole number from 0`);
    if (label < counts.length) counts[label] = (counts[label] as number) + 1;
  });
  const empty = counts.indexOf(0);
  if (empty >= 0) throw usageError(`no row has label ${empty}: number the classes that occur from 0`);
  return { classOf: Int32Array.from(values), classes, counts };
}

function readClassWeights(given: LogisticOptions["classWeights"], counts: Int32Array): Float64Array {
  const rows = counts.reduce((a, b) => a + b);
  if (given === "balanced") return Float64Array.from(counts, (count) => rows / (counts.length * count));
  const weights = given === undefined ? new Float64Array(counts.length).fill(1) : toVector(given, "classWeights");
  if (weights.length !== counts.length || weights.some((x) => x <= 0))
    throw usageError(`classWeights must be ${counts.length} positive numbers, one a class`);
  return weights;
}

interface Scaling {
  readonly features: Matrix;
  readonly mean: Float64Array;
  readonly scale: Float64Array;
  /** The penalty of each scaled weight, for the objective divided by its total weight. */
  readonly penalty: Float64Array;
  readonly intercept: boolean;
}

/**
 * Shifts and scales the columns, and says how the penalty reads in those units. With an intercept that is free, a shift
 * of the features changes nothing but the intercept. The scale makes the diagonal of the Hessian about one, be it the
 * data's (variance) or the penalty's: it changes how fast the minimum is found, not where it is.
 */
function rescale(
  given: Matrix,
  options: { penalty: number; total: number; intercept: boolean; standardize: boolean },
): Scaling {
  const moments = columnMoments(given);
  const mean = options.intercept ? moments.mean : new Float64Array(columnsOf(given));
  const square = moments.variance.map((x, j) => x + ((moments.mean[j] as number) - (mean[j] as number)) ** 2);
  const ridge = moments.variance.map((x) => (options.penalty / options.total) * (options.standardize ? x : 1));
  const scale = square.map((x, j) => Math.sqrt(x + (ridge[j] as number)) || 1);
  return {
    features: scaleColumns(
      subtractFromRows(given, mean),
      scale.map((x) => 1 / x),
    ),
    mean,
    scale,
    penalty: ridge.map((x, j) => x / (scale[j] as number) ** 2),
    intercept: options.intercept,
  };
}

/** Weights and intercept in the units of the features as they were given. */
function unscale(
  point: Float64Array,
  scores: number,
  { mean, scale, intercept }: Scaling,
): Omit<LogisticModel, "classes"> {
  const columns = scale.length;
  const weights = point.slice(0, scores * columns).map((x, at) => x / (scale[at % columns] as number));
  const shifts = Float64Array.from({ length: scores }, (_, k) =>
    mean.reduce((sum, x, j) => sum + x * (weights[k * columns + j] as number), 0),
  );
  const fitted = shifts.map((shift, k) => (intercept ? (point[scores * columns + k] as number) - shift : 0));
  return { weights: matrixOf(scores, columns, weights), intercept: fitted };
}

function oneHot(classOf: Int32Array, classes: number, value: (label: number) => number): Matrix {
  const data = new Float64Array(classOf.length * classes);
  classOf.forEach((label, i) => {
    data[i * classes + label] = value(label);
  });
  return matrixOf(classOf.length, classes, data);
}

/** What stays the same through a fit. Row weights sum to one; targets are row weights in the column of the right class. */
interface Problem {
  readonly features: Matrix;
  readonly rowWeights: Matrix;
  readonly targets: Matrix;
  readonly penalty: Matrix;
  /** Rows of W: 1 for two classes, else one a class. */
  readonly scores: number;
}

/** Scores of all classes from those that have weights: class 0 of two has score 0. */
function allScores(scores: Value, count: number): Value {
  return count === 1 ? pad(scores, 1, 1, 0) : scores;
}

/**
 * Value and gradient in one graph. With P = softmax(scores) and D = rowWeights * P - targets, the gradient is
 * D' X + penalty * W and the sums of D's columns. D is transposed rather than X, which is the larger by far.
 */
function compileObjective(
  { features, rowWeights, targets, penalty, scores: count }: Problem,
  runtime: Runtime,
): Program {
  const values = new Map(Object.entries({ features, rowWeights, targets, penalty }));
  const given = (name: string) => weight(name, (values.get(name) as Tensor).shape, "float64");
  const graph = trace(
    ({ weights, intercept }) => {
      const [x, y, lambda] = [given("features"), given("targets"), given("penalty")];
      const scores = allScores(add(matmul(x, transpose(weights, [1, 0])), intercept), count);
      const logP = logSoftmax(scores);
      const every = sub(mul(given("rowWeights"), exp(logP)), y);
      const difference = count === 1 ? slice(every, 1, 1) : every;
      const shrunk = mul(lambda, weights);
      return {
        value: add(neg(reduceSum(mul(y, logP), [0, 1])), mul(reduceSum(mul(shrunk, weights), [0, 1]), 0.5)),
        weightsGradient: add(matmul(transpose(difference, [1, 0]), x), shrunk),
        interceptGradient: reduceSum(difference, 0),
      };
    },
    {
      weights: { dtype: "float64", shape: [count, features.shape[1] as number] },
      intercept: { dtype: "float64", shape: [count] },
    },
  );
  return runtime.compile(graph, { weights: "fed", values });
}

/** The program as a function of one vector: the rows of W, then the intercepts where there are any. */
function objectiveOf(program: Program, scores: number, columns: number): Objective {
  const size = scores * columns;
  return async (point) => {
    const intercept = point.length > size ? point.slice(size) : new Float64Array(scores);
    const outputs = await program.run({
      weights: matrixOf(scores, columns, point.slice(0, size)),
      intercept: tensor("float64", [scores], intercept),
    });
    const gradient = new Float64Array(point.length);
    gradient.set(outputs.weightsGradient?.data as Float64Array);
    if (point.length > size) gradient.set(outputs.interceptGradient?.data as Float64Array, size);
    return { value: outputs.value?.data[0] as number, gradient };
  };
}
