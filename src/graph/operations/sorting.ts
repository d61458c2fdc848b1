/** Order along an axis: the largest and smallest values, sorting, and what follows from a sorted axis. */
import { type Dim, evaluateDim, subtractDims } from "../dims.js";
import { constant, type Value, type ValueType } from "../graph.js";
import { elementCount, tensorOf } from "../tensor.js";
import { shifted } from "./batching.js";
import { add, cast, constantLike, floor, less, lessOrEqual, min, mul, type Operand, sub } from "./elementwise.js";
import { gather, scatterElements } from "./indexing.js";
import { axisOf, dimension, expand, unsqueeze } from "./movement.js";
import { apply, applyOne, emitAs, flat, type Operation, type ReferenceTensor } from "./operation.js";
import { readRun, reduceSum, runs } from "./reduction.js";

type TopK = { k: Dim; axis: number; largest: boolean };

const topKOperation: Operation<TopK> = {
  name: "topK",
  infer([value], { k, axis }) {
    const { dtype, shape } = value as ValueType;
    const size = shape[axis] as Dim;
    if (typeof k === "number" && (!Number.isInteger(k) || k < 1))
      throw new Error(`k must be a whole number of at least 1, not ${k}`);
    if (typeof size === "number" && typeof k === "number" && k > size)
      throw new Error(`k = ${k} is more than the ${size} values along axis ${axis}`);
    const kept = shape.map((dim, i) => (i === axis ? k : dim));
    return [
      { dtype, shape: kept },
      { dtype: "int64", shape: kept },
    ];
  },
  emit: (node, { k, axis, largest }, emitter) =>
    emitAs("TopK", node, emitter, { axis, largest: largest ? 1 : 0, sorted: 1 }, [emitter.dims([k])]),
  gradient(node, [g]) {
    const [x] = node.inputs as readonly [Value];
    if (g === undefined) return [undefined];
    const zeros = expand(constantLike(g, 0), x.shape);
    return [scatterElements(zeros, node.outputs[1] as Value, g, node.attributes.axis as number)];
  },
  batch: shifted(
    () => topKOperation,
    ({ axis, ...rest }) => ({ ...rest, axis: axis + 1 }),
  ),
  reference([value], { k, axis, largest }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const count = evaluateDim(k, sizes);
    const kept = shape.map((size, i) => (i === axis ? count : size));
    const values = new Float64Array(elementCount(kept));
    const indices = new Float64Array(elementCount(kept));
    const targets = [...runs(kept, axis)];
    const sign = largest ? 1 : -1;
    [...runs(shape, axis)].forEach((run, r) => {
      const row = readRun(data, run);
      const order = Array.from(row.keys()).sort((a, b) => sign * ((row[b] as number) - (row[a] as number)) || a - b);
      const { start, step } = targets[r] as { start: number; step: number };
      order.slice(0, count).forEach((index, i) => {
        values[start + i * step] = row[index] as number;
        indices[start + i * step] = index;
      });
    });
    return [
      { dtype, shape: kept, data: values },
      { dtype: "int64", shape: kept, data: indices },
    ];
  },
};

type Extreme = { axis: number; keepDims: boolean; selectLastIndex: boolean };

function argExtreme(name: string, onnx: string, sign: 1 | -1): Operation<Extreme> {
  const operation: Operation<Extreme> = {
    name,
    infer([value], { axis, keepDims }) {
      const { dtype, shape } = value as ValueType;
      if (dtype === "bool") throw new Error("takes numbers, not bool");
      const kept = shape.map((dim, i) => (i === axis ? 1 : dim));
      return [{ dtype: "int64", shape: keepDims ? kept : kept.filter((_, i) => i !== axis) }];
    },
    emit(node, { axis, keepDims, selectLastIndex }, emitter) {
      const attributes = { axis, keepdims: Number(keepDims), select_last_index: Number(selectLastIndex) };
      emitAs(onnx, node, emitter, attributes);
    },
    gradient: flat,
    batch: shifted(
      () => operation,
      ({ axis, ...rest }) => ({ ...rest, axis: axis + 1 }),
    ),
    reference([value], { axis, keepDims, selectLastIndex }) {
      const { shape, data } = value as ReferenceTensor;
      const kept = shape.map((size, i) => (i === axis ? 1 : size));
      const places = [...runs(shape, axis)].map((run) => {
        const row = readRun(data, run).map((x) => sign * x);
        const best = row.reduce((a, b) => Math.max(a, b), -Infinity);
        return selectLastIndex ? row.lastIndexOf(best) : row.indexOf(best);
      });
      const target = keepDims ? kept : kept.filter((_, i) => i !== axis);
      return [{ dtype: "int64", shape: target, data: Float64Array.from(places) }];
    },
  };
  return operation;
}

const extremes = { max: argExtreme("argMax", "ArgMax", 1), min: argExtreme("argMin", "ArgMin", -1) };

export const sortingOperations = [topKOperation, extremes.max, extremes.min];

/**
 * The k largest values along an axis (the last unless given), in falling order, and their int64 indices; ties by lower
 * index. With `largest` false, the k smallest in rising order. `k` may be symbolic.
 */
export function topK(
  x: Value,
  k: Dim,
  axis = -1,
  { largest = true }: { largest?: boolean } = {},
): { values: Value; indices: Value } {
  const [values, indices] = apply(topKOperation, [x], { k, axis: axisOf("topK", x, axis), largest });
  return { values: values as Value, indices: indices as Value };
}

type SortOptions = { descending?: boolean };

function ordered(name: string, x: Value, axis: number, { descending = false }: SortOptions) {
  const at = axisOf(name, x, axis);
  return topK(x, x.shape[at] as Dim, at, { largest: descending });
}

/** `x` sorted along an axis (the last unless given), rising unless `descending`. */
export function sort(x: Value, axis = -1, options: SortOptions = {}): Value {
  return ordered("sort", x, axis, options).values;
}

/**
 * The int64 indices that sort `x` along an axis (the last unless given), equal values in their order (a stable sort).
 */
export function argsort(x: Value, axis = -1, options: SortOptions = {}): Value {
  return ordered("argsort", x, axis, options).indices;
}

type ExtremeOptions = { keepDims?: boolean; selectLastIndex?: boolean };

function argReducer(operation: Operation<Extreme>) {
  return (x: Value, axis = -1, { keepDims = false, selectLastIndex = false }: ExtremeOptions = {}): Value =>
    applyOne(operation, [x], { axis: axisOf(operation.name, x, axis), keepDims, selectLastIndex });
}

/**
 * The int64 index of the largest value along an axis (the last unless given); the first of equal ones unless
 * `selectLastIndex`.
 */
export const argMax = argReducer(extremes.max);
/**
 * The int64 index of the smallest value along an axis (the last unless given); the first of equal ones unless
 * `selectLastIndex`.
 */
export const argMin = argReducer(extremes.min);

/**
 * The value below which a fraction `q` (from 0 to 1; a number or a scalar value) of those along an axis lies (the last
 * unless given), between two of them in proportion: NumPy's default. The axis is left out.
 */
export function quantile(x: Value, q: Operand, axis = -1): Value {
  const at = axisOf("quantile", x, axis);
  const size = x.shape[at] as Dim;
  const fraction = typeof q === "number" ? constant(tensorOf("float64", [], [q])) : cast(q, "float64");
  const position = mul(cast(dimension(subtractDims(size, 1)), "float64"), fraction);
  const below = floor(position);
  const sorted = sort(x, at);
  const pick = (place: Value) => gather(sorted, cast(place, "int64"), at);
  const [low, high] = [pick(below), pick(min(add(below, 1), cast(dimension(subtractDims(size, 1)), "float64")))];
  return add(low, mul(sub(high, low), cast(sub(position, below), x.dtype)));
}

/** The middle of the values along an axis (the last unless given), the mean of two where their number is even. */
export function median(x: Value, axis = -1): Value {
  return quantile(x, 0.5, axis);
}

/**
 * How many of `sorted` (rising along its last axis) lie before each of `values`: where they would be put in to keep the
 * order, before equal ones (`left`) or after them. int64, of the shape of `values`, whose axes before the last are
 * those of `sorted`, or broadcast with them. Compares every pair.
 */
export function searchSorted(sorted: Value, values: Value, side: "left" | "right" = "left"): Value {
  const [from, to] = [unsqueeze(sorted, -2), unsqueeze(values, -1)];
  const before = side === "left" ? less(from, to) : lessOrEqual(from, to);
  return reduceSum(cast(before, "int64"), -1);
}
