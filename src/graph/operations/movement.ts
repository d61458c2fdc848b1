/**
 * Operations that move values without changing them: reshape, transpose, concatenate, slice, pad, expand. Sizes may be
 * symbolic; they are computed inside the graph where they are.
 */
import { usageError } from "../../errors.js";
import {
  addDims,
  type Dim,
  divideDims,
  evaluateDim,
  formatShape,
  multiplyDims,
  type Shape,
  subtractDims,
} from "../dims.js";
import { constant, type Value, type ValueType } from "../graph.js";
import { elementCount, stridesOf, tensorOf } from "../tensor.js";
import { allBatched, padRank, shifted } from "./batching.js";
import { broadcastReference, broadcastShapes, sumTo } from "./broadcast.js";
import { constantLike, mul, type Operand, where } from "./elementwise.js";
import { applyOne, emitAs, flat, type Operation, type ReferenceTensor } from "./operation.js";
import { type PadMode, padOwn } from "./rearranging.js";

/**
 * A non-negative axis of `x` from one that may count from the end, where `x` is to have `extra` axes more. An error names
 * the operation that takes the axis.
 */
export function axisOf(operation: string, x: Value, axis: number, extra = 0): number {
  const rank = x.shape.length + extra;
  const result = axis < 0 ? axis + rank : axis;
  if (Number.isInteger(axis) && result >= 0 && result < rank) return result;
  throw usageError(
    `${operation}(${x.dtype}${formatShape(x.shape)}): axis ${axis} is out of range; axes go from ${-rank} to ${rank - 1}`,
  );
}

const sizesOf = (shape: Shape, sizes: Readonly<Record<string, number>>) => shape.map((dim) => evaluateDim(dim, sizes));

const reshapeOperation: Operation<{ shape: Shape }> = {
  name: "reshape",
  gradient: (node, [g]) => [g && reshape(g, (node.inputs[0] as Value).shape)],
  batch: ([x], _, node) => [reshape(x as Value, [(x as Value).shape[0] as Dim, ...(node.attributes.shape as Shape)])],
  infer([value], { shape }) {
    const from = value as ValueType;
    if (divideDims(multiplyDims(...from.shape), multiplyDims(...shape)) !== 1) {
      throw new Error(`cannot become ${formatShape(shape)}: the numbers of elements differ`);
    }
    return [{ dtype: from.dtype, shape }];
  },
  emit(node, { shape }, emitter) {
    const target = impliedTarget((node.inputs[0] as Value).shape, shape);
    if (target !== undefined) emitAs("Reshape", node, emitter, undefined, [emitter.int64(target)]);
    else emitAs("Reshape", node, emitter, { allowzero: 1 }, [emitter.dims(shape)]);
  },
  reference: ([value], { shape }, sizes) => [{ ...(value as ReferenceTensor), shape: sizesOf(shape, sizes) }],
};

/**
 * The target shape in ONNX's short form, which needs no sizes computed: 0 keeps the input's dimension at that place, one
 * -1 is inferred (which the runtime can't do where a kept dimension turns out to be 0). Undefined where there is none.
 */
function impliedTarget(from: Shape, to: Shape): number[] | undefined {
  const unknown = to.filter((dim, i) => typeof dim === "string" && dim !== from[i]).length;
  if (unknown > 1 || to.includes(0)) return undefined;
  return to.map((dim, i) => (typeof dim === "number" ? dim : dim === from[i] ? 0 : -1));
}

const transposeOperation: Operation<{ permutation: readonly number[] }> = {
  name: "transpose",
  gradient: (node, [g]) => {
    const permutation = node.attributes.permutation as readonly number[];
    return [
      g &&
        transpose(
          g,
          permutation.map((_, axis) => permutation.indexOf(axis)),
        ),
    ];
  },
  batch: ([x], _, node) => [
    transpose(x as Value, [0, ...(node.attributes.permutation as readonly number[]).map((axis) => axis + 1)]),
  ],
  infer([value], { permutation }) {
    const { dtype, shape } = value as ValueType;
    const valid =
      permutation.length === shape.length && [...permutation].sort((a, b) => a - b).every((axis, i) => axis === i);
    if (!valid) throw new Error(`[${permutation.join(", ")}] is not a permutation of ${shape.length} axes`);
    return [{ dtype, shape: permutation.map((axis) => shape[axis] as Dim) }];
  },
  emit: (node, { permutation }, emitter) => emitAs("Transpose", node, emitter, { perm: permutation }),
  reference([value], { permutation }) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const from = stridesOf(shape);
    const target = permutation.map((axis) => shape[axis] as number);
    const read = permutation.map((axis) => from[axis] as number);
    return [
      gatherReference(dtype, target, data, (index) => index.reduce((sum, i, d) => sum + i * (read[d] as number), 0)),
    ];
  },
};

/** A reference tensor whose element at a multi-index comes from `data` at `offset(index)`, or is `fill` where that is -1. */
export function gatherReference(
  dtype: ReferenceTensor["dtype"],
  shape: readonly number[],
  data: Float64Array,
  offset: (index: readonly number[]) => number,
  fill = 0,
): ReferenceTensor {
  const result = new Float64Array(elementCount(shape));
  const strides = stridesOf(shape);
  for (let i = 0; i < result.length; i++) {
    const index = shape.map((size, d) => Math.floor(i / (strides[d] as number)) % size);
    const from = offset(index);
    result[i] = from < 0 ? fill : (data[from] as number);
  }
  return { dtype, shape, data: result };
}

const concatOperation: Operation<{ axis: number }> = {
  name: "concat",
  gradient(node, [g]) {
    let start: Dim = 0;
    return node.inputs.map(({ shape }) => {
      const axis = node.attributes.axis as number;
      const from = start;
      start = addDims(start, shape[axis] as Dim);
      return g && slice(g, axis, from, start);
    });
  },
  batch: shifted(
    () => concatOperation,
    ({ axis }) => ({ axis: axis + 1 }),
  ),
  infer(values, { axis }) {
    const [first] = values as readonly [ValueType];
    for (const value of values) {
      const fits =
        value.shape.length === first.shape.length &&
        value.shape.every((dim, i) => i === axis || dim === first.shape[i]);
      if (!fits || value.dtype !== first.dtype) throw new Error(`inputs differ outside axis ${axis}`);
    }
    const total = values.reduce((sum, value) => addDims(sum, value.shape[axis] as Dim), 0 as Dim);
    return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === axis ? total : dim)) }];
  },
  emit: (node, { axis }, emitter) => emitAs("Concat", node, emitter, { axis }),
  reference(values, { axis }) {
    const [first] = values as readonly [ReferenceTensor];
    const total = values.reduce((sum, value) => sum + (value.shape[axis] as number), 0);
    const shape = first.shape.map((size, i) => (i === axis ? total : size));
    const inner = elementCount(shape.slice(axis + 1));
    const outer = elementCount(shape.slice(0, axis));
    const data = new Float64Array(elementCount(shape));
    let start = 0;
    for (const value of values) {
      const block = (value.shape[axis] as number) * inner;
      for (let o = 0; o < outer; o++)
        data.set(value.data.subarray(o * block, (o + 1) * block), o * total * inner + start);
      start += block;
    }
    return [{ dtype: first.dtype, shape, data }];
  },
};

const sliceOperation: Operation<{ axis: number; start: Dim; end: Dim }> = {
  name: "slice",
  gradient(node, [g]) {
    const { axis, start, end } = node.attributes as { axis: number; start: Dim; end: Dim };
    const size = (node.inputs[0] as Value).shape[axis] as Dim;
    return [g && pad(g, axis, start, subtractDims(size, end))];
  },
  batch: shifted(
    () => sliceOperation,
    ({ axis, start, end }) => ({ axis: axis + 1, start, end }),
  ),
  infer([value], { axis, start, end }) {
    const { dtype, shape } = value as ValueType;
    const size = subtractDims(end, start);
    const dim = shape[axis] as Dim;
    const bad = [start, size, subtractDims(dim, end)].some((part) => typeof part === "number" && part < 0);
    if (bad) throw new Error(`${start}:${end} does not lie within axis ${axis} of size ${dim}`);
    return [{ dtype, shape: shape.map((old, i) => (i === axis ? size : old)) }];
  },
  emit(node, { axis, start, end }, emitter) {
    emitAs("Slice", node, emitter, undefined, [emitter.dims([start]), emitter.dims([end]), emitter.int64([axis])]);
  },
  reference([value], { axis, start, end }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const from = evaluateDim(start, sizes);
    const target = shape.map((size, i) => (i === axis ? evaluateDim(end, sizes) - from : size));
    const strides = stridesOf(shape);
    return [
      gatherReference(dtype, target, data, (index) =>
        index.reduce((sum, i, d) => sum + (d === axis ? i + from : i) * (strides[d] as number), 0),
      ),
    ];
  },
};

const padOperation: Operation<{ axis: number; before: Dim; after: Dim }> = {
  name: "pad",
  gradient(node, [g]) {
    const { axis, before, after } = node.attributes as { axis: number; before: Dim; after: Dim };
    const [x, value] = node.inputs as readonly [Value, Value?];
    const inner = g && slice(g, axis, before, addDims(before, x.shape[axis] as Dim));
    if (value === undefined || g === undefined) return [inner, undefined];
    const outside = pad(expand(constantLike(g, 0), x.shape), axis, before, after, { value: 1 });
    return [inner, sumTo(mul(g, outside), [])];
  },
  batch(inputs, batched, node) {
    const { axis, before, after } = node.attributes as { axis: number; before: Dim; after: Dim };
    const [x, value] = inputs as readonly [Value, Value?];
    if (value === undefined || !batched[1])
      return [pad(x, axis + 1, before, after, value === undefined ? {} : { value })];
    const [own, by] = allBatched([x, value], batched) as [Value, Value];
    const outside = pad(expand(constant(tensorOf("bool", [], [0])), own.shape), axis + 1, before, after, { value: 1 });
    return [
      where(
        outside,
        reshape(by, [by.shape[0] as Dim, ...own.shape.slice(1).map(() => 1)]),
        pad(own, axis + 1, before, after),
      ),
    ];
  },
  infer([value, fill], { axis, before, after }) {
    const { dtype, shape } = value as ValueType;
    if (fill !== undefined && (fill.dtype !== dtype || fill.shape.length > 0))
      throw new Error(`the value to pad with must be a scalar of ${dtype}`);
    return [{ dtype, shape: shape.map((dim, i) => (i === axis ? addDims(addDims(before, dim), after) : dim)) }];
  },
  emit(node, { axis, before, after }, emitter) {
    const [x, value] = node.inputs as readonly [Value, Value?];
    const fill = value === undefined ? "" : emitter.name(value);
    const inputs = [emitter.name(x), emitter.dims([before, after]), fill, emitter.int64([axis])];
    emitter.node("Pad", inputs, { outputs: [emitter.name(node.outputs[0] as Value)] });
  },
  reference([value, fill], { axis, before, after }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const lead = evaluateDim(before, sizes);
    const target = shape.map((size, i) => (i === axis ? lead + size + evaluateDim(after, sizes) : size));
    const strides = stridesOf(shape);
    const place = (index: readonly number[]) => {
      const at = (index[axis] as number) - lead;
      if (at < 0 || at >= (shape[axis] as number)) return -1;
      return index.reduce((sum, i, d) => sum + (d === axis ? at : i) * (strides[d] as number), 0);
    };
    return [gatherReference(dtype, target, data, place, fill?.data[0] ?? 0)];
  },
};

const expandOperation: Operation<{ shape: Shape }> = {
  name: "expand",
  gradient: (node, [g]) => [g && sumTo(g, (node.inputs[0] as Value).shape)],
  batch([x], _, node) {
    const shape = (node.outputs[0] as Value).shape;
    const [batch = 1] = (x as Value).shape;
    return [expand(padRank(x as Value, shape.length), [batch, ...shape])];
  },
  infer([value], { shape }) {
    const { dtype, shape: from } = value as ValueType;
    return [{ dtype, shape: broadcastShapes(from, shape) }];
  },
  emit: (node, { shape }, emitter) => emitAs("Expand", node, emitter, undefined, [emitter.dims(shape)]),
  reference([value], { shape }, sizes) {
    const target = sizesOf(shape, sizes);
    const template = { dtype: "float64" as const, shape: target, data: new Float64Array(elementCount(target)) };
    return [
      broadcastReference([value as ReferenceTensor, template], (value as ReferenceTensor).dtype, (x) => x as number),
    ];
  },
};

const dimensionOperation: Operation<{ dims: Shape }> = {
  name: "dimension",
  infer: () => [{ dtype: "int64", shape: [] }],
  emit(node, { dims }, emitter) {
    const outputs = [emitter.name(node.outputs[0] as Value)];
    emitter.node("Squeeze", [emitter.dims(dims), emitter.int64([0])], { outputs });
  },
  reference: (_, { dims }, sizes) => [
    { dtype: "int64", shape: [], data: Float64Array.of(evaluateDim(dims[0] as Dim, sizes)) },
  ],
  gradient: flat,
};

export const movementOperations = [
  dimensionOperation,
  reshapeOperation,
  transposeOperation,
  concatOperation,
  sliceOperation,
  padOperation,
  expandOperation,
];

/** The same values in row-major order under another shape of as many elements. */
export function reshape(x: Value, shape: Shape): Value {
  return applyOne(reshapeOperation, [x], { shape });
}

/** Axes reordered: axis i of the result is axis `permutation[i]` of `x`. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  return applyOne(transposeOperation, [x], { permutation });
}

/** The size of a dimension, as an int64 scalar computed in the graph where it is symbolic. */
export function dimension(dim: Dim): Value {
  return applyOne(dimensionOperation, [], { dims: [dim] });
}

/** Values joined along an axis. */
export function concat(values: readonly Value[], axis: number): Value {
  const [first] = values;
  if (first === undefined) throw usageError("concat() needs at least one value");
  return applyOne(concatOperation, values, { axis: axisOf("concat", first, axis) });
}

/** `x[start:end]` along an axis; `end` is the axis' size unless given. */
export function slice(x: Value, axis: number, start: Dim, end?: Dim): Value {
  const at = axisOf("slice", x, axis);
  return applyOne(sliceOperation, [x], { axis: at, start, end: end ?? (x.shape[at] as Dim) });
}

/** What `pad` adds: one value, or the axis' own. */
export interface PadOptions {
  readonly mode?: "constant" | PadMode;
  /** The constant, a number or a scalar value of the element type of `x`. */
  readonly value?: Operand;
}

/**
 * Elements added before and after along an axis: zeros, or a `value`; or by `mode` the axis' own, mirrored without its end
 * (`reflect`, of an axis longer than what is added), its ends (`edge`), or from the other end (`wrap`, of an axis at least
 * as long). Numbers below 0 take elements away.
 */
export function pad(x: Value, axis: number, before: Dim, after: Dim, options: PadOptions = {}): Value {
  const { mode = "constant", value = 0 } = options;
  const at = axisOf("pad", x, axis);
  const cut = (n: Dim) => (typeof n === "number" && n < 0 ? -n : 0);
  if (cut(before) + cut(after) > 0) {
    const kept = slice(x, at, cut(before), subtractDims(x.shape[at] as Dim, cut(after)));
    return pad(kept, at, cut(before) > 0 ? 0 : before, cut(after) > 0 ? 0 : after, options);
  }
  if (mode !== "constant") return padOwn(x, at, before, after, mode);
  const fill = value === 0 ? [] : [typeof value === "number" ? constantLike(x, value) : value];
  return applyOne(padOperation, [x, ...fill], { axis: at, before, after });
}

/** `x` repeated along its dimensions of size 1 (and new leading ones) to the shape that it broadcasts to. */
export function expand(x: Value, shape: Shape): Value {
  return applyOne(expandOperation, [x], { shape });
}

/** `x` with dimensions of size 1 inserted so that they stand at `axes` of the result. */
export function unsqueeze(x: Value, ...axes: readonly number[]): Value {
  const shape = [...x.shape];
  const places = axes.map((axis) => axisOf("unsqueeze", x, axis, axes.length));
  for (const place of places.sort((a, b) => a - b)) shape.splice(place, 0, 1);
  return reshape(x, shape);
}

/** `x` without its dimension of size 1 at `axis`. */
export function squeeze(x: Value, axis: number): Value {
  const at = axisOf("squeeze", x, axis);
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  );
}
