/**
 * Reductions over axes, softmax and its logarithm: operations that look along an axis. A reduction is a line of the table
 * below: its ONNX operator, a function of the numbers that become one, and its slope.
 */
import { type Dim, multiplyDims } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { shifted } from "./batching.js";
import { add, cast, constantLike, div, equal, exp, mul, sign, sub, where } from "./elementwise.js";
import { axisOf, dimension, expand, reshape } from "./movement.js";
import { applyOne, emitAs, isFloat, type Operation, type ReferenceTensor } from "./operation.js";

interface Reduction {
  axes: readonly number[];
  keepDims: boolean;
}

/** Every one-dimensional run along `axis`: the offset of its first element and the step between elements. */
export function* runs(
  shape: readonly number[],
  axis: number,
): Generator<{ start: number; step: number; length: number }> {
  const step = stridesOf(shape)[axis] as number;
  const length = shape[axis] as number;
  for (let outer = 0; outer < elementCount(shape.slice(0, axis)); outer++) {
    for (let inner = 0; inner < step; inner++) yield { start: outer * length * step + inner, step, length };
  }
}

export function readRun(data: Float64Array, run: { start: number; step: number; length: number }): Float64Array {
  return Float64Array.from({ length: run.length }, (_, i) => data[run.start + i * run.step] as number);
}

/** `value` with every axis in `axes` reduced to one element by a function of all the numbers that fall together. */
function reduceAxes(
  { dtype, shape, data }: ReferenceTensor,
  axes: readonly number[],
  f: (values: Float64Array) => number,
): ReferenceTensor {
  const kept = shape.map((size, i) => (axes.includes(i) ? 1 : size));
  const groups = Array.from({ length: elementCount(kept) }, (): number[] => []);
  const [from, to] = [stridesOf(shape), stridesOf(kept)];
  data.forEach((x, i) => {
    const at = shape.reduce((sum, size, axis) => {
      const index = Math.floor(i / (from[axis] as number)) % size;
      return axes.includes(axis) ? sum : sum + index * (to[axis] as number);
    }, 0);
    groups[at]?.push(x);
  });
  return { dtype, shape: kept, data: Float64Array.from(groups, (group) => f(Float64Array.from(group))) };
}

type ReductionAttributes = Reduction & Record<string, Dim[] | readonly number[] | boolean>;

/** Gradient of a reduced value, from that of the result `y`, both with the reduced axes kept as ones. */
type ReductionSlope = (g: Value, x: Value, y: Value, axes: readonly number[]) => Value;

function reduction(
  name: string,
  onnx: string,
  f: (values: Float64Array) => number,
  slope: ReductionSlope,
  { floatsOnly = false } = {},
): Operation<ReductionAttributes> {
  const operation: Operation<ReductionAttributes> = {
    name,
    gradient(node, [g]) {
      if (g === undefined) return [undefined];
      const axes = node.attributes.axes as readonly number[];
      const [x] = node.inputs as readonly [Value];
      const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
      return [slope(reshape(g, kept), x, reshape(node.outputs[0] as Value, kept), axes)];
    },
    batch: shifted(
      () => operation,
      ({ axes, keepDims }) => ({ axes: axes.map((axis) => axis + 1), keepDims }),
    ),
    infer([value], { axes, keepDims }) {
      const { dtype, shape } = value as ValueType;
      if (floatsOnly && !isFloat(dtype)) throw new Error(`takes floating-point numbers, not ${dtype}`);
      if (new Set(axes).size < axes.length) throw new Error(`axes ${axes.join(", ")} name one axis twice`);
      const reduced = shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
      return [{ dtype, shape: keepDims ? reduced : reduced.filter((_, i) => !axes.includes(i)) }];
    },
    emit: (node, { axes, keepDims }, emitter) =>
      emitAs(onnx, node, emitter, { keepdims: keepDims ? 1 : 0, noop_with_empty_axes: 1 }, [emitter.int64(axes)]),
    reference([value], { axes, keepDims }) {
      const kept = reduceAxes(value as ReferenceTensor, axes, f);
      return [keepDims ? kept : { ...kept, shape: kept.shape.filter((_, i) => !axes.includes(i)) }];
    },
  };
  return operation;
}

/** The gradient of an extreme goes to the element that has it, in equal shares where several do. */
const toExtreme: ReductionSlope = (g, x, y, axes) => {
  const hit = cast(equal(x, y), x.dtype);
  return mul(hit, div(g, reduceSum(hit, axes, { keepDims: true })));
};

/**
 * The gradient of a product is the product of the others. Where no element is 0 that is y / x. So the elements that are 0
 * (z marks them) are taken apart: the product of the rest, times what the zeros among the others leave, which is 1 where
 * there is none, that zero itself where there is one, and 0 otherwise. Exact up to second derivatives.
 */
const toFactors: ReductionSlope = (g, x, _, axes) => {
  const total = (value: Value) => reduceSum(value, axes, { keepDims: true });
  const isZero = equal(x, 0);
  const z = cast(isZero, x.dtype);
  const safe = where(isZero, 1, x);
  const zeros = where(isZero, x, 0);
  const otherZeros = sub(total(z), z);
  const none = cast(equal(otherZeros, 0), x.dtype);
  const one = cast(equal(otherZeros, 1), x.dtype);
  const left = add(none, mul(one, sub(total(zeros), zeros)));
  return mul(mul(g, div(reduceProd(safe, axes, { keepDims: true }), safe)), left);
};

/** How many elements fall together where `axes` are reduced, in the element type of `x`. */
export function countOf(x: Value, axes: readonly number[]): Value {
  const count = multiplyDims(...axes.map((axis) => x.shape[axis] as Dim));
  return typeof count === "number" ? constantLike(x, count) : cast(dimension(count), x.dtype);
}

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const sumOfSquares = (values: Float64Array) => values.reduce((sum, x) => sum + x * x, 0);
const largestOf = (values: Float64Array) => values.reduce((a, b) => Math.max(a, b), -Infinity);

const reductions = {
  sum: reduction("reduceSum", "ReduceSum", sumOf, (g, x) => expand(g, x.shape)),
  mean: reduction(
    "reduceMean",
    "ReduceMean",
    (values) => sumOf(values) / values.length,
    (g, x, _, axes) => expand(div(g, countOf(x, axes)), x.shape),
  ),
  max: reduction("reduceMax", "ReduceMax", largestOf, toExtreme),
  min: reduction("reduceMin", "ReduceMin", (values) => values.reduce((a, b) => Math.min(a, b), Infinity), toExtreme),
  prod: reduction("reduceProd", "ReduceProd", (values) => values.reduce((a, b) => a * b, 1), toFactors),
  l1: reduction(
    "reduceL1",
    "ReduceL1",
    (values) => values.reduce((sum, x) => sum + Math.abs(x), 0),
    (g, x) => mul(g, sign(x)),
  ),
  // The direction of a vector of zeros is taken as 0.
  l2: reduction(
    "reduceL2",
    "ReduceL2",
    (values) => Math.sqrt(sumOfSquares(values)),
    (g, x, y) => mul(x, div(g, where(equal(y, 0), 1, y))),
    { floatsOnly: true },
  ),
  sumSquare: reduction("reduceSumSquare", "ReduceSumSquare", sumOfSquares, (g, x) => mul(x, mul(g, 2))),
  logSumExp: reduction("reduceLogSumExp", "ReduceLogSumExp", logSumExp, (g, x, y) => mul(g, exp(sub(x, y))), {
    floatsOnly: true,
  }),
};

function alongAxis(
  name: string,
  onnx: string,
  f: (values: Float64Array) => Float64Array,
  slope: (g: Value, y: Value, axis: number) => Value,
): Operation<{ axis: number }> {
  const operation: Operation<{ axis: number }> = {
    name,
    gradient: (node, [g]) => [g && slope(g, node.outputs[0] as Value, node.attributes.axis as number)],
    batch: shifted(
      () => operation,
      ({ axis }) => ({ axis: axis + 1 }),
    ),
    infer: (values) => values.map(({ dtype, shape }) => ({ dtype, shape })),
    emit: (node, { axis }, emitter) => emitAs(onnx, node, emitter, { axis }),
    reference([value], { axis }) {
      const { dtype, shape, data } = value as ReferenceTensor;
      const result = new Float64Array(data.length);
      for (const run of runs(shape, axis)) {
        f(readRun(data, run)).forEach((x, i) => {
          result[run.start + i * run.step] = x;
        });
      }
      return [{ dtype, shape, data: result }];
    },
  };
  return operation;
}

function logSumExp(values: Float64Array): number {
  const top = largestOf(values);
  return Number.isFinite(top) ? top + Math.log(sumOf(values.map((x) => Math.exp(x - top)))) : top;
}

const softmaxOperation = alongAxis(
  "softmax",
  "Softmax",
  (values) => {
    const total = logSumExp(values);
    return values.map((x) => Math.exp(x - total));
  },
  (g, y, axis) => mul(y, sub(g, reduceSum(mul(g, y), axis, { keepDims: true }))),
);

const logSoftmaxOperation = alongAxis(
  "logSoftmax",
  "LogSoftmax",
  (values) => {
    const total = logSumExp(values);
    return values.map((x) => x - total);
  },
  (g, y, axis) => sub(g, mul(exp(y), reduceSum(g, axis, { keepDims: true }))),
);

export const reductionOperations = [...Object.values(reductions), softmaxOperation, logSoftmaxOperation];

type ReductionOptions = { keepDims?: boolean };

function reducer(operation: (typeof reductions)["sum"]) {
  return (x: Value, axes: number | readonly number[], { keepDims = false }: ReductionOptions = {}): Value => {
    const list = (typeof axes === "number" ? [axes] : axes).map((axis) => axisOf(operation.name, x, axis));
    return applyOne(operation, [x], { axes: list, keepDims });
  };
}

/** The sum over one or several axes, which are dropped unless `keepDims` leaves them with size 1. */
export const reduceSum = reducer(reductions.sum);
/** The mean over axes; axes as in `reduceSum`. */
export const reduceMean = reducer(reductions.mean);
/** The largest element over axes; its gradient is shared by all that equal it. */
export const reduceMax = reducer(reductions.max);
/** The smallest element over axes; its gradient is shared by all that equal it. */
export const reduceMin = reducer(reductions.min);
/** The product over axes. Its first and second derivatives are right where elements are 0. */
export const reduceProd = reducer(reductions.prod);
/** The sum of absolute values over axes. */
export const reduceL1 = reducer(reductions.l1);
/** The Euclidean norm over axes; its gradient at a vector of zeros is taken as 0. */
export const reduceL2 = reducer(reductions.l2);
/** The sum of squares over axes. */
export const reduceSumSquare = reducer(reductions.sumSquare);
/** log sum exp(x) over axes, exact also where exp(x) would overflow. */
export const reduceLogSumExp = reducer(reductions.logSumExp);

/** exp(x) / sum exp(x) along an axis, the last unless given. */
export function softmax(x: Value, axis = -1): Value {
  return applyOne(softmaxOperation, [x], { axis: axisOf("softmax", x, axis) });
}

/** log softmax(x) along an axis, the last unless given. */
export function logSoftmax(x: Value, axis = -1): Value {
  return applyOne(logSoftmaxOperation, [x], { axis: axisOf("logSoftmax", x, axis) });
}
