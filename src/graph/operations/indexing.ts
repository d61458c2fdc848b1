/**
 * Reading and writing at indices that are values: gathers, and scatters, which are their transposes. Indices are int64
 * and may count from the end.
 */
import { addDims, type Dim, formatShape, multiplyDims, type Shape, sameShape } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { allBatched, onlyFirst, shifted } from "./batching.js";
import { cast, constantLike, div, equal, mul, where } from "./elementwise.js";
import { axisOf, concat, expand, reshape, slice, squeeze, transpose, unsqueeze } from "./movement.js";
import { applyOne, type Emitter, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { range } from "./patterns.js";

/** What is done where a scatter meets a value: `none` puts the update in its place. */
export type ScatterReduction = "none" | "add" | "mul" | "max" | "min";

const combine: { readonly [R in ScatterReduction]: (old: number, update: number) => number } = {
  none: (_, update) => update,
  add: (old, update) => old + update,
  mul: (old, update) => old * update,
  max: Math.max,
  min: Math.min,
};

function requireIndices(indices: ValueType): void {
  if (indices.dtype !== "int64") throw new Error("indices must be int64");
}

/** An index that may count from the end, as one that does not. */
function located(index: number, size: number, operation: string, shape: readonly number[]): number {
  const at = index < 0 ? index + size : index;
  if (at >= 0 && at < size) return at;
  throw new Error(`${operation}: index ${index} is out of range for ${formatShape(shape)}`);
}

const zerosOf = (like: Value, shape: Shape): Value => expand(constantLike(like, 0), shape);

const gatherOperation: Operation<{ axis: number }> = {
  name: "gather",
  infer(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ValueType, ValueType];
    requireIndices(indices);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
  },
  emit: (node, { axis }, emitter) => emitAs("Gather", node, emitter, { axis }),
  gradient(node, [g]) {
    const [x, indices] = node.inputs as readonly [Value, Value];
    return [g && gatherTransposed(g, x.shape, indices, node.attributes.axis as number), undefined];
  },
  batch(inputs, batched, node) {
    const [x, indices] = inputs as readonly [Value, Value];
    const axis = node.attributes.axis as number;
    if (onlyFirst(batched)) return [gather(x, indices, axis + 1)];
    if (!batched[0]) return [movedAxes(gather(x, indices, axis), axis, 1, 0)];
    const rows = movedAxes(x, axis + 1, 1, 1);
    const rank = indices.shape.length - 1;
    return [movedAxes(gatherND(rows, unsqueeze(indices, -1), 1), 1, rank, axis + 1)];
  },
  reference(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const size = x.shape[axis] as number;
    const inner = elementCount(x.shape.slice(axis + 1));
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    const count = indices.data.length;
    const data = new Float64Array(elementCount(shape));
    for (let outer = 0; outer < elementCount(x.shape.slice(0, axis)); outer++) {
      indices.data.forEach((index, i) => {
        const from = (outer * size + located(index, size, "gather", x.shape)) * inner;
        data.set(x.data.subarray(from, from + inner), (outer * count + i) * inner);
      });
    }
    return [{ dtype: x.dtype, shape, data }];
  },
};

/** `x` with `count` axes that start at `from` moved, in order, so that they start at `to`. */
function movedAxes(x: Value, from: number, count: number, to: number): Value {
  if (from === to || count === 0) return x;
  const axes = x.shape.map((_, axis) => axis);
  const taken = axes.splice(from, count);
  axes.splice(to, 0, ...taken);
  return transpose(x, axes);
}

/** Gradient of gathering: slices of `g` added up at the indices that they were read from. */
function gatherTransposed(g: Value, shape: Shape, indices: Value, axis: number): Value {
  const [before, after] = [shape.slice(0, axis), shape.slice(axis + 1)];
  const count = multiplyDims(...indices.shape);
  const slices = reshape(g, [...before, count, ...after]);
  const places = reshape(indices, [...before.map(() => 1), count, ...after.map(() => 1)]);
  return scatterElements(zerosOf(g, shape), expand(places, slices.shape), slices, axis, "add");
}

const gatherElementsOperation: Operation<{ axis: number }> = {
  name: "gatherElements",
  infer(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ValueType, ValueType];
    requireIndices(indices);
    requireWithin(indices.shape, x.shape, axis);
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  emit: (node, { axis }, emitter) => emitAs("GatherElements", node, emitter, { axis }),
  gradient(node, [g]) {
    const [x, indices] = node.inputs as readonly [Value, Value];
    const axis = node.attributes.axis as number;
    return [g && scatterElements(zerosOf(g, x.shape), indices, g, axis, "add"), undefined];
  },
  batch: shifted(
    () => gatherElementsOperation,
    ({ axis }) => ({ axis: axis + 1 }),
  ),
  reference(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const offsets = elementOffsets("gatherElements", indices, x.shape, axis);
    return [
      { dtype: x.dtype, shape: indices.shape, data: Float64Array.from(offsets, (offset) => x.data[offset] as number) },
    ];
  },
};

/** Indices that look along `axis` have the rank of what they index, and no more places along the other axes. */
function requireWithin(indices: Shape, shape: Shape, axis: number): void {
  const fits =
    indices.length === shape.length &&
    indices.every((dim, i) => {
      const size = shape[i] as Dim;
      return i === axis || typeof dim === "string" || typeof size === "string" || dim <= size;
    });
  if (!fits)
    throw new Error(`indices ${formatShape(indices)} do not lie within ${formatShape(shape)} beside axis ${axis}`);
}

/** Where the elements of a tensor of `shape` lie that `indices` name along `axis`. */
function elementOffsets(
  operation: string,
  indices: ReferenceTensor,
  shape: readonly number[],
  axis: number,
): Float64Array {
  const own = stridesOf(indices.shape);
  const strides = stridesOf(shape);
  return indices.data.map((index, i) =>
    own.reduce((sum, step, d) => {
      const at = Math.floor(i / step) % (indices.shape[d] as number);
      const place = d === axis ? located(index, shape[axis] as number, operation, shape) : at;
      return sum + place * (strides[d] as number);
    }, 0),
  );
}

const gatherNDOperation: Operation<{ batchDims: number }> = {
  name: "gatherND",
  infer(inputs, { batchDims }) {
    const [x, indices] = inputs as readonly [ValueType, ValueType];
    const depth = indexDepth(indices);
    if (!sameShape(x.shape.slice(0, batchDims), indices.shape.slice(0, batchDims)))
      throw new Error(`the first ${batchDims} dimensions of both inputs must be the same`);
    if (batchDims >= indices.shape.length || batchDims + depth > x.shape.length)
      throw new Error(`indices of ${depth} numbers after ${batchDims} dimensions do not fit ${formatShape(x.shape)}`);
    return [{ dtype: x.dtype, shape: [...indices.shape.slice(0, -1), ...x.shape.slice(batchDims + depth)] }];
  },
  emit: (node, { batchDims }, emitter) => emitAs("GatherND", node, emitter, { batch_dims: batchDims }),
  gradient(node, [g]) {
    const [x, indices] = node.inputs as readonly [Value, Value];
    if (g === undefined) return [undefined, undefined];
    const full = fullIndices(indices, node.attributes.batchDims as number);
    return [scatterND(zerosOf(g, x.shape), full, g, "add"), undefined];
  },
  batch(inputs, batched, node) {
    const [x, indices] = inputs as readonly [Value, Value];
    const batchDims = node.attributes.batchDims as number;
    if (!batched[0] && batchDims === 0) return [gatherND(x, indices)];
    const [a, b] = allBatched([x, indices], batched) as [Value, Value];
    return [gatherND(a, b, batchDims + 1)];
  },
  reference(inputs, { batchDims }) {
    const [x, indices] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const depth = indices.shape[indices.shape.length - 1] as number;
    const inner = elementCount(x.shape.slice(batchDims + depth));
    const shape = [...indices.shape.slice(0, -1), ...x.shape.slice(batchDims + depth)];
    const data = new Float64Array(elementCount(shape));
    blockOffsets("gatherND", indices, x.shape, batchDims).forEach((from, i) => {
      data.set(x.data.subarray(from, from + inner), i * inner);
    });
    return [{ dtype: x.dtype, shape, data }];
  },
};

/** How many numbers an index of `gatherND` or `scatterND` has: the last size of the indices, which must be known. */
function indexDepth(indices: ValueType): number {
  requireIndices(indices);
  const depth = indices.shape[indices.shape.length - 1];
  if (typeof depth === "number" && depth > 0) return depth;
  throw new Error(`the last size of the indices is how many axes they index, a number of at least 1, not ${depth}`);
}

/** Indices that name the leading `batchDims` axes too. */
function fullIndices(indices: Value, batchDims: number): Value {
  const lead = indices.shape.slice(0, -1);
  const places = Array.from({ length: batchDims }, (_, axis) => {
    const own = [...lead.map((dim, i) => (i === axis ? dim : 1)), 1];
    return expand(reshape(range(lead[axis] as Dim), own), [...lead, 1]);
  });
  return batchDims === 0 ? indices : concat([...places, indices], -1);
}

/** Where in a tensor of `shape` each block starts that an index names. */
function blockOffsets(
  operation: string,
  indices: ReferenceTensor,
  shape: readonly number[],
  batchDims: number,
): number[] {
  const depth = indices.shape[indices.shape.length - 1] as number;
  const strides = stridesOf(shape);
  const count = elementCount(indices.shape.slice(0, -1));
  const perBatch = elementCount(indices.shape.slice(batchDims, -1));
  const batch = elementCount(shape.slice(batchDims));
  return Array.from({ length: count }, (_, i) => {
    let offset = Math.floor(i / perBatch) * batch;
    for (let d = 0; d < depth; d++) {
      const size = shape[batchDims + d] as number;
      const at = located(indices.data[i * depth + d] as number, size, operation, shape);
      offset += at * (strides[batchDims + d] as number);
    }
    return offset;
  });
}

/** The gather that reads what a scatter wrote, and the scatter itself into another tensor. */
interface Scatter {
  read(x: Value): Value;
  write(data: Value, updates: Value, reduction: ScatterReduction): Value;
}

/**
 * Gradients of a scatter's data and updates. The extremes share theirs equally among those that attain them; a
 * product's is the product of the others, which is found without dividing by zero.
 */
function scatterGradient(
  g: Value,
  [data, updates, y]: readonly [Value, Value, Value],
  reduction: ScatterReduction,
  { read, write }: Scatter,
): [Value, Value] {
  if (reduction === "add") return [g, read(g)];
  if (reduction === "none") return [write(g, zerosOf(g, updates.shape), "none"), read(g)];
  if (reduction === "mul") {
    const zero = equal(updates, 0);
    const product = write(onesLike(data), where(zero, 1, updates), "mul");
    const zeros = write(zerosOf(g, data.shape), cast(zero, g.dtype), "add");
    const alone = mul(g, where(equal(zeros, 0), product, 0));
    const shared = mul(g, mul(data, product));
    const others = read(zeros);
    const whole = div(read(shared), where(zero, 1, updates));
    return [alone, where(equal(others, cast(zero, g.dtype)), whole, 0)];
  }
  const ofData = cast(equal(data, y), g.dtype);
  const ofUpdates = cast(equal(updates, read(y)), g.dtype);
  const share = div(g, write(ofData, ofUpdates, "add"));
  return [mul(ofData, share), mul(ofUpdates, read(share))];
}

const onesLike = (like: Value): Value => expand(constantLike(like, 1), like.shape);

function requireUpdates(data: ValueType, updates: ValueType, shape: Shape): void {
  if (updates.dtype !== data.dtype) throw new Error("the updates must have the element type of the data");
  if (!sameShape(updates.shape, shape))
    throw new Error(`updates must be ${formatShape(shape)}, not ${formatShape(updates.shape)}`);
}

const scatterElementsOperation: Operation<{ axis: number; reduction: ScatterReduction }> = {
  name: "scatterElements",
  infer(inputs, { axis }) {
    const [data, indices, updates] = inputs as readonly [ValueType, ValueType, ValueType];
    requireIndices(indices);
    requireWithin(indices.shape, data.shape, axis);
    requireUpdates(data, updates, indices.shape);
    return [{ dtype: data.dtype, shape: data.shape }];
  },
  emit: (node, { axis, reduction }, emitter) => emitAs("ScatterElements", node, emitter, { axis, reduction }),
  gradient(node, [g]) {
    if (g === undefined) return node.inputs.map(() => undefined);
    const [data, indices, updates] = node.inputs as readonly [Value, Value, Value];
    const { axis, reduction } = node.attributes as { axis: number; reduction: ScatterReduction };
    const scatter: Scatter = {
      read: (x) => gatherElements(x, indices, axis),
      write: (into, from, how) => scatterElements(into, indices, from, axis, how),
    };
    const [toData, toUpdates] = scatterGradient(g, [data, updates, node.outputs[0] as Value], reduction, scatter);
    return [toData, undefined, toUpdates];
  },
  batch: shifted(
    () => scatterElementsOperation,
    ({ axis, reduction }) => ({ axis: axis + 1, reduction }),
  ),
  reference(inputs, { axis, reduction }) {
    const [data, indices, updates] = inputs as readonly [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const result = data.data.slice();
    elementOffsets("scatterElements", indices, data.shape, axis).forEach((offset, i) => {
      result[offset] = combine[reduction](result[offset] as number, updates.data[i] as number);
    });
    return [{ dtype: data.dtype, shape: data.shape, data: result }];
  },
};

const scatterNDOperation: Operation<{ reduction: ScatterReduction }> = {
  name: "scatterND",
  infer(inputs) {
    const [data, indices, updates] = inputs as readonly [ValueType, ValueType, ValueType];
    const depth = indexDepth(indices);
    if (depth > data.shape.length) throw new Error(`indices of ${depth} numbers do not fit ${formatShape(data.shape)}`);
    requireUpdates(data, updates, [...indices.shape.slice(0, -1), ...data.shape.slice(depth)]);
    return [{ dtype: data.dtype, shape: data.shape }];
  },
  emit(node, { reduction }, emitter) {
    const alone = multiplyDims(...(node.inputs[1] as Value).shape.slice(0, -1)) === 1;
    if (reduction === "none" || alone) emitAs("ScatterND", node, emitter, { reduction });
    else emitCombined(node, reduction, emitter);
  },
  gradient(node, [g]) {
    if (g === undefined) return node.inputs.map(() => undefined);
    const [data, indices, updates] = node.inputs as readonly [Value, Value, Value];
    const scatter: Scatter = {
      read: (x) => gatherND(x, indices),
      write: (into, from, how) => scatterND(into, indices, from, how),
    };
    const reduction = node.attributes.reduction as ScatterReduction;
    const [toData, toUpdates] = scatterGradient(g, [data, updates, node.outputs[0] as Value], reduction, scatter);
    return [toData, undefined, toUpdates];
  },
  batch(inputs, batched, node) {
    const [data, indices, updates] = allBatched(inputs, batched) as [Value, Value, Value];
    return [scatterND(data, fullIndices(indices, 1), updates, node.attributes.reduction as ScatterReduction)];
  },
  reference(inputs, { reduction }) {
    const [data, indices, updates] = inputs as readonly [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const inner = elementCount(data.shape.slice(indices.shape[indices.shape.length - 1] as number));
    const result = data.data.slice();
    blockOffsets("scatterND", indices, data.shape, 0).forEach((from, i) => {
      for (let k = 0; k < inner; k++) {
        const update = updates.data[i * inner + k] as number;
        result[from + k] = combine[reduction](result[from + k] as number, update);
      }
    });
    return [{ dtype: data.dtype, shape: data.shape, data: result }];
  },
};

/**
 * A scatter in which updates meet, as ScatterElements over rows. The runtime's ScatterND goes over tuples in parallel
 * and loses updates that two threads make in one place (ONNX Runtime 1.30); its ScatterElements is serial.
 */
function emitCombined(node: Node, reduction: ScatterReduction, emitter: Emitter): void {
  const [data, indices, updates] = node.inputs as readonly [Value, Value, Value];
  const depth = indices.shape[indices.shape.length - 1] as number;
  const sizes = data.shape.slice(0, depth);
  const strides = sizes.map((_, d) => multiplyDims(...sizes.slice(d + 1)));
  const inner = multiplyDims(...data.shape.slice(depth));
  const count = multiplyDims(...indices.shape.slice(0, -1));
  const one = (type: string, ...inputs: readonly string[]) => emitter.node(type, inputs)[0] as string;
  const reshaped = (name: string, shape: Shape) =>
    emitter.node("Reshape", [name, emitter.dims(shape)], { attributes: { allowzero: 1 } })[0] as string;
  let places = reshaped(emitter.name(indices), [count, depth]);
  if (depth > 1) {
    const negative = one("Less", places, emitter.int64([0]));
    const wrapped = one("Where", negative, one("Add", places, emitter.dims(sizes)), places);
    places = one("ReduceSum", one("Mul", wrapped, emitter.dims(strides)), emitter.int64([1]));
  }
  const rows = [
    reshaped(emitter.name(data), [multiplyDims(...sizes), inner]),
    one("Expand", places, emitter.dims([count, inner])),
    reshaped(emitter.name(updates), [count, inner]),
  ];
  const [combined] = emitter.node("ScatterElements", rows, { attributes: { axis: 0, reduction } }) as [string];
  const outputs = [emitter.name(node.outputs[0] as Value)];
  emitter.node("Reshape", [combined, emitter.dims(data.shape)], { outputs, attributes: { allowzero: 1 } });
}

export const indexingOperations = [
  gatherOperation,
  gatherElementsOperation,
  gatherNDOperation,
  scatterElementsOperation,
  scatterNDOperation,
];

/** Slices of `x` along an axis (the first unless given) at int64 indices; the indices' shape replaces the axis. */
export function gather(x: Value, indices: Value, axis = 0): Value {
  return applyOne(gatherOperation, [x, indices], { axis: axisOf("gather", x, axis) });
}

/**
 * The slice of `x` at one index of an axis, without the axis: a number, which may count from the end, or a scalar int64
 * value.
 */
export function select(x: Value, axis: number, index: number | Value): Value {
  const at = axisOf("select", x, axis);
  if (typeof index !== "number") return gather(x, index, at);
  const start = index < 0 ? addDims(x.shape[at] as Dim, index) : index;
  return squeeze(slice(x, at, start, addDims(start, 1)), at);
}

/**
 * `x` read along an axis, at every place of `indices` (int64, of the rank of `x`) at the index that stands there;
 * NumPy's `take_along_axis`. The result has the shape of `indices`.
 */
export function gatherElements(x: Value, indices: Value, axis: number): Value {
  return applyOne(gatherElementsOperation, [x, indices], { axis: axisOf("gatherElements", x, axis) });
}

/**
 * Slices of `x` at index tuples: the last axis of `indices` (int64) holds a tuple of as many leading axes of `x` as it
 * is long, after `batchDims` axes that both share (none unless given).
 */
export function gatherND(x: Value, indices: Value, batchDims = 0): Value {
  return applyOne(gatherNDOperation, [x, indices], { batchDims });
}

/**
 * `data` with `updates` written along an axis at `indices` (int64, of the shape of `updates`): the transpose of
 * `gatherElements`. With the reduction `none` (the default), indices must name different places; the others combine
 * what stands there with every update.
 */
export function scatterElements(
  data: Value,
  indices: Value,
  updates: Value,
  axis: number,
  reduction: ScatterReduction = "none",
): Value {
  const attributes = { axis: axisOf("scatterElements", data, axis), reduction };
  return applyOne(scatterElementsOperation, [data, indices, updates], attributes);
}

/**
 * `data` with the slices `updates` written at index tuples, the last axis of `indices` (int64): the transpose of
 * `gatherND`. With the reduction `none` (the default), indices must name different places; the others combine what
 * stands there with every update.
 */
export function scatterND(data: Value, indices: Value, updates: Value, reduction: ScatterReduction = "none"): Value {
  return applyOne(scatterNDOperation, [data, indices, updates], { reduction });
}
