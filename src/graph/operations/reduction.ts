/** Reductions over axes, softmax and its logarithm: operations that look along an axis. */
import { type Dim, multiplyDims } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { shifted } from "./batching.js";
import { cast, div, equal, exp, mul, sub } from "./elementwise.js";
import { axisOf, dimension, expand, reshape } from "./movement.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";

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

function reduceAxis(value: ReferenceTensor, axis: number, f: (values: Float64Array) => number): ReferenceTensor {
  const shape = value.shape.map((size, i) => (i === axis ? 1 : size));
  const results = [...runs(value.shape, axis)].map((run) => f(readRun(value.data, run)));
  return { dtype: value.dtype, shape, data: Float64Array.from(results) };
}

type ReductionAttributes = Reduction & Record<string, Dim[] | readonly number[] | boolean>;

/** Gradient of a reduced value, from that of the result `y`, both with the reduced axes kept as ones. */
type ReductionSlope = (g: Value, x: Value, y: Value, axes: readonly number[]) => Value;

function reduction(
  name: string,
  onnx: string,
  f: (values: Float64Array) => number,
  slope: ReductionSlope,
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
      if (new Set(axes).size < axes.length) throw new Error(`axes ${axes.join(", ")} name one axis twice`);
      const reduced = shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
      return [{ dtype, shape: keepDims ? reduced : reduced.filter((_, i) => !axes.includes(i)) }];
    },
    emit: (node, { axes, keepDims }, emitter) =>
      emitAs(onnx, node, emitter, { keepdims: keepDims ? 1 : 0, noop_with_empty_axes: 1 }, [emitter.int64(axes)]),
    reference([value], { axes, keepDims }) {
      const kept = axes.reduce((current, axis) => reduceAxis(current, axis, f), value as ReferenceTensor);
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

/** How many elements were reduced to one, in the element type of `x`. */
function countOf(x: Value, axes: readonly number[]): Value {
  return cast(dimension(multiplyDims(...axes.map((axis) => x.shape[axis] as Dim))), x.dtype);
}

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0);

const reductions = {
  sum: reduction("reduceSum", "ReduceSum", sumOf, (g, x) => expand(g, x.shape)),
  mean: reduction(
    "reduceMean",
    "ReduceMean",
    (values) => sumOf(values) / values.length,
    (g, x, _, axes) => expand(div(g, countOf(x, axes)), x.shape),
  ),
  max: reduction("reduceMax", "ReduceMax", (values) => values.reduce((a, b) => Math.max(a, b), -Infinity), toExtreme),
  min: reduction("reduceMin", "ReduceMin", (values) => values.reduce((a, b) => Math.min(a, b), Infinity), toExtreme),
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
  const top = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return top + Math.log(sumOf(values.map((x) => Math.exp(x - top))));
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

export const reduceSum = reducer(reductions.sum);
export const reduceMean = reducer(reductions.mean);
export const reduceMax = reducer(reductions.max);
export const reduceMin = reducer(reductions.min);

/** exp(x) / sum exp(x) along an axis, the last unless given. */
export function softmax(x: Value, axis = -1): Value {
  return applyOne(softmaxOperation, [x], { axis: axisOf("softmax", x, axis) });
}

/** log softmax(x) along an axis, the last unless given. */
export function logSoftmax(x: Value, axis = -1): Value {
  return applyOne(logSoftmaxOperation, [x], { axis: axisOf("logSoftmax", x, axis) });
}
