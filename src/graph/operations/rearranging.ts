/**
 * Values in another order or more than once: every so many of them, reversed, rolled, tiled, stacked and split, padded
 * with their own values, blocks moved between depth and space. What is not an operation of its own is a few of those
 * that are, and has their gradients.
 */
import { usageError } from "../../errors.js";
import {
  addDims,
  type Dim,
  divideDims,
  evaluateDim,
  formatShape,
  multiplyDims,
  subtractDims,
  termsOf,
} from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { stridesOf } from "../tensor.js";
import { allBatched, shifted } from "./batching.js";
import {
  axisOf,
  concat,
  expand,
  gatherReference,
  pad,
  reshape,
  slice,
  squeeze,
  transpose,
  unsqueeze,
} from "./movement.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";

type Stride = { axis: number; start: Dim; step: number; count: Dim };

const stridedSliceOperation: Operation<Stride> = {
  name: "stridedSlice",
  infer([value], { axis, start, step, count }) {
    const { dtype, shape } = value as ValueType;
    const size = shape[axis] as Dim;
    if (!Number.isInteger(step) || step === 0)
      throw new Error(`the step must be a whole number other than 0, not ${step}`);
    const last = addDims(start, multiplyDims(step, subtractDims(count, 1)));
    const ends =
      count === 0
        ? []
        : [start, last, subtractDims(subtractDims(size, 1), start), subtractDims(subtractDims(size, 1), last)];
    if ([count, ...ends].some((part) => typeof part === "number" && part < 0))
      throw new Error(`${count} elements from ${start}, ${step} apart, do not lie within axis ${axis} of size ${size}`);
    return [{ dtype, shape: shape.map((dim, i) => (i === axis ? count : dim)) }];
  },
  emit(node, { axis, start, step, count }, emitter) {
    // Backwards, both ends are counted from the end of the axis: there an end before the first element is no index.
    const origin = step < 0 ? ((node.inputs[0] as Value).shape[axis] as Dim) : 0;
    const end = addDims(start, multiplyDims(step, count));
    const ends = [start, end].map((dim) => emitter.dims([subtractDims(dim, origin)]));
    emitAs("Slice", node, emitter, undefined, [...ends, emitter.int64([axis]), emitter.int64([step])]);
  },
  gradient(node, [g]) {
    const stride = node.attributes as Stride;
    return [g && spread(g, (node.inputs[0] as Value).shape[stride.axis] as Dim, stride)];
  },
  batch: shifted(
    () => stridedSliceOperation,
    ({ axis, ...rest }) => ({ ...rest, axis: axis + 1 }),
  ),
  reference([value], { axis, start, step, count }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const from = evaluateDim(start, sizes);
    const strides = stridesOf(shape);
    const target = shape.map((size, i) => (i === axis ? evaluateDim(count, sizes) : size));
    return [
      gatherReference(dtype, target, data, (index) =>
        index.reduce((sum, i, d) => sum + (d === axis ? from + i * step : i) * (strides[d] as number), 0),
      ),
    ];
  },
};

/** The transpose of a strided slice: elements put back at their places on an axis of `size`, zeros between them. */
function spread(g: Value, size: Dim, { axis, start, step, count }: Stride): Value {
  if (step < 0) {
    const last = addDims(start, multiplyDims(step, subtractDims(count, 1)));
    return spread(flip(g, axis), size, { axis, start: last, step: -step, count });
  }
  const length = multiplyDims(count, step);
  const apart = step === 1 ? g : pad(unsqueeze(g, axis + 1), axis + 1, 0, step - 1);
  const dilated = reshape(apart, withSize(g, axis, length));
  const after = subtractDims(subtractDims(size, start), length);
  if (typeof after === "number" && after >= 0) return pad(dilated, axis, start, after);
  // The last zeros may reach beyond the axis, by less than a step: pad so that nothing is negative, then cut.
  const enough = typeof after === "number" ? 0 : addDims(after, step - 1);
  return slice(pad(dilated, axis, start, enough), axis, 0, size);
}

const withSize = (x: Value, axis: number, size: Dim): Dim[] => x.shape.map((dim, i) => (i === axis ? size : dim));

type TimeAxis = 0 | 1;

const reverseSequenceOperation: Operation<{ timeAxis: TimeAxis }> = {
  name: "reverseSequence",
  infer(inputs, { timeAxis }) {
    const [x, lengths] = inputs as readonly [ValueType, ValueType];
    if (x.shape.length < 2) throw new Error("needs at least two dimensions");
    const rows = x.shape[1 - timeAxis];
    if (lengths.dtype !== "int64" || lengths.shape.length !== 1 || lengths.shape[0] !== rows)
      throw new Error(`lengths must be int64[${rows}]`);
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  emit: (node, { timeAxis }, emitter) =>
    emitAs("ReverseSequence", node, emitter, { time_axis: timeAxis, batch_axis: 1 - timeAxis }),
  gradient(node, [g]) {
    const timeAxis = node.attributes.timeAxis as TimeAxis;
    return [g && reverseSequence(g, node.inputs[1] as Value, { timeAxis }), undefined];
  },
  batch(inputs, batched, node) {
    const [x, lengths] = allBatched(inputs, batched) as [Value, Value];
    const timeAxis = node.attributes.timeAxis as TimeAxis;
    const rest = x.shape.map((_, axis) => axis).slice(3);
    const order = timeAxis === 1 ? [0, 1, 2, ...rest] : [1, 0, 2, ...rest]; // rows of all entries side by side
    const moved = transpose(x, order);
    const rows = multiplyDims(...lengths.shape);
    const time = x.shape[timeAxis + 1] as Dim;
    const joined = reshape(moved, [...(timeAxis === 1 ? [rows, time] : [time, rows]), ...moved.shape.slice(3)]);
    const reversed = reverseSequence(joined, reshape(lengths, [rows]), { timeAxis });
    return [transpose(reshape(reversed, moved.shape), order)]; // a swap is its own inverse
  },
  reference(inputs, { timeAxis }) {
    const [x, lengths] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const strides = stridesOf(x.shape);
    const place = (index: readonly number[]) => {
      const length = lengths.data[index[1 - timeAxis] as number] as number;
      const time = index[timeAxis] as number;
      const from = time < length ? length - 1 - time : time;
      return index.reduce((sum, i, d) => sum + (d === timeAxis ? from : i) * (strides[d] as number), 0);
    };
    return [gatherReference(x.dtype, x.shape, x.data, place)];
  },
};

export const rearrangingOperations = [stridedSliceOperation, reverseSequenceOperation];

/**
 * The elements of an axis at `start`, `start + step`, ...: `count` of them, which is as many as there are unless given.
 * `step` is a number, below 0 backwards. Where `count` is left out, a symbolic axis must be a whole number of steps.
 */
export function stridedSlice(x: Value, axis: number, start: Dim, step: number, count?: Dim): Value {
  const at = axisOf("stridedSlice", x, axis);
  const ahead = step > 0 ? subtractDims(x.shape[at] as Dim, start) : addDims(start, 1);
  return applyOne(stridedSliceOperation, [x], {
    axis: at,
    start,
    step,
    count: count ?? stepsIn(ahead, Math.abs(step)),
  });
}

/** How many steps begin within a length: the quotient, rounded up. */
function stepsIn(length: Dim, step: number): Dim {
  const rest = termsOf(length).find(({ symbols }) => symbols.length === 0)?.coefficient ?? 0;
  const whole = divideDims(subtractDims(length, rest), step);
  if (whole !== undefined) return addDims(whole, Math.ceil(rest / step));
  throw usageError(`stridedSlice: how many steps of ${step} there are in ${length} is not known: give the count`);
}

/** `x` with the order along an axis reversed. */
export function flip(x: Value, axis: number): Value {
  const size = x.shape[axisOf("flip", x, axis)] as Dim;
  return stridedSlice(x, axis, subtractDims(size, 1), -1, size);
}

/**
 * `x` with the elements of an axis moved on by `shift` (back, where it is negative), those that fall off the end coming
 * in at the other. On an axis of symbolic size the shift must not be more than the size.
 */
export function roll(x: Value, shift: number, axis: number): Value {
  const size = x.shape[axisOf("roll", x, axis)] as Dim;
  const by = typeof size === "number" ? ((shift % size) + size) % size || 0 : shift;
  const cut = by > 0 ? subtractDims(size, by) : -by;
  return by === 0 ? x : concat([slice(x, axis, cut), slice(x, axis, 0, cut)], axis);
}

/** `x` repeated as a whole, `repeats[i]` times along axis i (NumPy's `tile`, ONNX's Tile). */
export function tile(x: Value, repeats: readonly Dim[]): Value {
  if (repeats.length !== x.shape.length)
    throw usageError(`tile(${x.dtype}${formatShape(x.shape)}): there must be one number of repeats for each axis`);
  const apart = x.shape.flatMap((dim, i) => (repeats[i] === 1 ? [dim] : [1, dim]));
  const full = x.shape.flatMap((dim, i) => (repeats[i] === 1 ? [dim] : [repeats[i] as Dim, dim]));
  return reshape(
    expand(reshape(x, apart), full),
    x.shape.map((dim, i) => multiplyDims(dim, repeats[i] as Dim)),
  );
}

/** Values of one shape joined along a new axis, the first unless given. */
export function stack(values: readonly Value[], axis = 0): Value {
  return concat(
    values.map((value) => unsqueeze(value, axis)),
    axis,
  );
}

/** The slices of `x` along an axis (the first unless given), without it; the axis' size must be a number. */
export function unstack(x: Value, axis = 0): Value[] {
  const size = x.shape[axisOf("unstack", x, axis)] as Dim;
  if (typeof size === "string") throw usageError(`unstack: the size of axis ${axis} must be a number, not "${size}"`);
  return Array.from({ length: size }, (_, i) => squeeze(slice(x, axis, i, i + 1), axis));
}

/** `x` cut along an axis (the first unless given) into parts of these sizes, or into a number of equal parts. */
export function split(x: Value, parts: number | readonly Dim[], axis = 0): Value[] {
  const size = x.shape[axisOf("split", x, axis)] as Dim;
  const sizes = typeof parts === "number" ? equalParts(size, parts) : parts;
  const total = sizes.reduce(addDims, 0);
  if (total !== size) throw usageError(`split: parts of ${sizes.join(", ")} make ${total}, not the axis' ${size}`);
  let start: Dim = 0;
  return sizes.map((part) => {
    const from = start;
    start = addDims(start, part);
    return slice(x, axis, from, start);
  });
}

function equalParts(size: Dim, count: number): Dim[] {
  const part = divideDims(size, count);
  if (part === undefined) throw usageError(`split: an axis of size ${size} has no ${count} equal parts`);
  return Array.from({ length: count }, () => part);
}

/** What stands beyond the ends of an axis: its mirror image without the end itself, the end, or the other end. */
export type PadMode = "reflect" | "edge" | "wrap";

const paddings: { readonly [M in PadMode]: (x: Value, axis: number, n: Dim, before: boolean) => Value } = {
  reflect(x, axis, n, before) {
    const start = before ? n : subtractDims(x.shape[axis] as Dim, 2);
    return stridedSlice(x, axis, start, -1, n);
  },
  edge(x, axis, n, before) {
    const size = x.shape[axis] as Dim;
    const end = before ? slice(x, axis, 0, 1) : slice(x, axis, subtractDims(size, 1));
    return expand(end, withSize(x, axis, n));
  },
  wrap: (x, axis, n, before) => (before ? slice(x, axis, subtractDims(x.shape[axis] as Dim, n)) : slice(x, axis, 0, n)),
};

/** `x` with its own values added before and after along a (non-negative) axis. */
export function padOwn(x: Value, axis: number, before: Dim, after: Dim, mode: PadMode): Value {
  const part = (n: Dim, first: boolean) => (n === 0 ? [] : [paddings[mode](x, axis, n, first)]);
  return concat([...part(before, true), x, ...part(after, false)], axis);
}

/**
 * Which of depth and place in the block comes first in the channels: depth-column-row or column-row-depth, as in ONNX.
 */
export type BlockOrder = "DCR" | "CRD";

/** The four sizes of images, or an error; `whole` divides those that the blocks do. */
function imageSizes(
  name: string,
  x: Value,
  whole: (sizes: readonly [Dim, Dim, Dim, Dim]) => readonly (Dim | undefined)[],
) {
  const sizes = x.shape as readonly [Dim, Dim, Dim, Dim];
  const quotients = sizes.length === 4 ? whole(sizes) : [undefined];
  if (!quotients.includes(undefined)) return { sizes, quotients: quotients as readonly [Dim, Dim] };
  throw usageError(
    `${name}(${x.dtype}${formatShape(x.shape)}): takes [batch, channels, height, width] in whole blocks`,
  );
}

/**
 * Channels laid out as blocks of `block` x `block` pixels: [n, c, h, w] to [n, c / block^2, h * block, w * block] (ONNX's
 * DepthToSpace; `CRD` is PyTorch's pixel shuffle).
 */
export function depthToSpace(x: Value, block: number, order: BlockOrder = "DCR"): Value {
  const { sizes, quotients } = imageSizes("depthToSpace", x, ([, c]) => [divideDims(c, block * block)]);
  const [n, , h, w] = sizes;
  const [depth] = quotients;
  const apart = order === "DCR" ? [n, block, block, depth, h, w] : [n, depth, block, block, h, w];
  const placed = transpose(reshape(x, apart), order === "DCR" ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3]);
  return reshape(placed, [n, depth, multiplyDims(h, block), multiplyDims(w, block)]);
}

/**
 * The inverse of `depthToSpace`: [n, c, h, w] to [n, c * block^2, h / block, w / block] (ONNX's SpaceToDepth is `DCR`).
 */
export function spaceToDepth(x: Value, block: number, order: BlockOrder = "DCR"): Value {
  const divided = (dim: Dim) => divideDims(dim, block);
  const { sizes, quotients } = imageSizes("spaceToDepth", x, ([, , h, w]) => [divided(h), divided(w)]);
  const [n, c] = sizes;
  const [rows, columns] = quotients;
  const apart = reshape(x, [n, c, rows, block, columns, block]);
  const placed = transpose(apart, order === "DCR" ? [0, 3, 5, 1, 2, 4] : [0, 1, 3, 5, 2, 4]);
  return reshape(placed, [n, multiplyDims(c, block * block), rows, columns]);
}

/**
 * `x` with the first `lengths[i]` steps of row i in reverse and the rest as they are (ONNX's ReverseSequence). Time is
 * axis 0 and rows axis 1 unless `timeAxis` is 1; `lengths` is int64 [rows].
 */
export function reverseSequence(x: Value, lengths: Value, { timeAxis = 0 }: { timeAxis?: TimeAxis } = {}): Value {
  return applyOne(reverseSequenceOperation, [x, lengths], { timeAxis });
}
