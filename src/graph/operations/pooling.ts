/**
 * Poolings: each window of every channel becomes one number, its largest, its mean or its norm. What spreads a gradient
 * back over windows is the transpose of a convolution with ones.
 */
import { usageError } from "../../errors.js";
import { type Dim, divideDims, multiplyDims } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { elementCount } from "../tensor.js";
import { convolution, convolutionTranspose } from "./convolution.js";
import { abs, constantLike, div, equal, mul, pow, sign, where } from "./elementwise.js";
import { scatterElements } from "./indexing.js";
import { expand, reshape } from "./movement.js";
import {
  applyOne,
  type Emitter,
  emitAs,
  flat,
  isFloat,
  type OnnxAttribute,
  type Operation,
  type ReferenceTensor,
} from "./operation.js";
import { reduceMax, reduceMean } from "./reduction.js";
import { mapAxis } from "./resize.js";
import {
  extentOf,
  named,
  numbersOf,
  overExamples,
  perAxis,
  positionsOf,
  productsOf,
  restsOf,
  spatialOf,
  type WindowAttributes,
  type WindowOptions,
  windowOf,
} from "./window.js";

type PoolAttributes = WindowAttributes & { readonly kernel: readonly number[] };

/** One input place of a window: its number and its flat index in the plane of its channel. */
type Place = { readonly x: number; readonly index: number };

interface Pooling<A extends PoolAttributes> {
  readonly name: string;
  readonly onnx: string;
  /** Attributes of the ONNX operator beside those of the window. */
  readonly onnxAttributes?: (attributes: A) => Readonly<Record<string, OnnxAttribute>>;
  /** The number of a window from the places that do not lie in the padding, and how many taps it has with those. */
  readonly f: (places: readonly Place[], taps: number, attributes: A) => number;
  /** The gradient of x from that of the output y. */
  readonly slope: (g: Value, x: Value, y: Value, attributes: A) => Value;
}

function inferPool([x]: readonly ValueType[], attributes: PoolAttributes): ValueType {
  const { dtype, shape } = x as ValueType;
  const spatial = spatialOf({ shape });
  if (!isFloat(dtype)) throw new Error(`takes floating-point numbers, not ${dtype}`);
  const wide = attributes.pads.findIndex((pad, i) => pad >= (attributes.kernel[i % spatial.length] as number));
  if (wide >= 0) throw new Error(`pads of ${attributes.pads[wide]} must be smaller than the kernel`);
  return { dtype, shape: [...shape.slice(0, 2), ...positionsOf(spatial, attributes.kernel, attributes)] };
}

const onnxWindow = ({ kernel, strides, dilations, pads }: PoolAttributes) => ({
  kernel_shape: kernel,
  strides,
  dilations,
  pads,
});

function poolReference(
  x: ReferenceTensor,
  attributes: PoolAttributes,
  f: (places: readonly Place[], taps: number) => number,
): ReferenceTensor {
  const spatial = x.shape.slice(2);
  const plane = elementCount(spatial);
  const positions = positionsOf(spatial, attributes.kernel, attributes) as number[];
  const windows = Array.from({ length: elementCount(positions) }, (): number[] => []);
  for (const { place, position } of productsOf(spatial, attributes.kernel, attributes)) windows[position]?.push(place);
  const planes = x.shape.slice(0, 2);
  const data = Array.from({ length: elementCount(planes) }, (_, channel) =>
    windows.map((places) =>
      f(
        places.map((index) => ({ x: x.data[channel * plane + index] as number, index })),
        elementCount(attributes.kernel),
      ),
    ),
  );
  return { dtype: x.dtype, shape: [...planes, ...positions], data: Float64Array.from(data.flat()) };
}

function pooling<A extends PoolAttributes>({ name, onnx, onnxAttributes, f, slope }: Pooling<A>): Operation<A> {
  const operation: Operation<A> = {
    name,
    infer: (inputs, attributes) => [inferPool(inputs, attributes)],
    emit: (node, attributes, emitter) =>
      emitAs(onnx, node, emitter, { ...onnxWindow(attributes), ...onnxAttributes?.(attributes) }),
    gradient: (node, [g]) => [g && slope(g, node.inputs[0] as Value, node.outputs[0] as Value, node.attributes as A)],
    batch: ([x], _, node) => [
      overExamples(x as Value, (joined) => applyOne(operation, [joined], node.attributes as A)),
    ],
    reference: ([x], attributes) => [
      poolReference(x as ReferenceTensor, attributes, (places, taps) => f(places, taps, attributes)),
    ],
  };
  return operation;
}

/** Channels of `x` as examples of one channel each, so that their number may be a symbol. */
const planesOf = (x: Value) => reshape(x, [multiplyDims(x.shape[0] as Dim, x.shape[1] as Dim), 1, ...spatialOf(x)]);

const ones = (like: Value, shape: readonly Dim[]) => expand(constantLike(like, 1), shape);

/** The transpose of summing windows: every place of `x` gets the numbers of the windows that it lies in. */
function spread(g: Value, x: Value, { kernel, strides, dilations, pads }: PoolAttributes): Value {
  const window = { strides, dilations, pads };
  const outputPadding = restsOf(spatialOf(x), kernel, window);
  const sums = convolutionTranspose(planesOf(g), ones(g, [1, 1, ...kernel]), { ...window, outputPadding });
  return reshape(sums, x.shape);
}

type AverageAttributes = PoolAttributes & { readonly countIncludePad: boolean };

/** How many places of `x` each window averages: [1, 1, ...positions], or one number where that is the same for all. */
function countsOf(x: Value, { kernel, strides, dilations, pads, countIncludePad }: AverageAttributes): Value {
  if (countIncludePad || pads.every((n) => n === 0)) return constantLike(x, elementCount(kernel));
  return convolution(ones(x, [1, 1, ...spatialOf(x)]), ones(x, [1, 1, ...kernel]), { strides, dilations, pads });
}

const averageOperation = pooling<AverageAttributes>({
  name: "averagePool",
  onnx: "AveragePool",
  onnxAttributes: ({ countIncludePad }) => ({ count_include_pad: Number(countIncludePad) }),
  f: (places, taps, { countIncludePad }) =>
    places.reduce((sum, { x }) => sum + x, 0) / (countIncludePad ? taps : places.length),
  slope: (g, x, _, attributes) => spread(div(g, countsOf(x, attributes)), x, attributes),
});

/** sign(x) |x|^(p - 1), the derivative of |x|^p / p. */
function signedPower(x: Value, p: number): Value {
  if (p === 1) return sign(x);
  return p === 2 ? x : mul(x, pow(abs(x), p - 2));
}

/** dy/dx = sign(x) |x|^(p - 1) y^(1 - p), and 0 in a window of zeros. */
const lpOperation = pooling<PoolAttributes & { readonly p: number }>({
  name: "lpPool",
  onnx: "LpPool",
  onnxAttributes: ({ p }) => ({ p }),
  f: (places, _, { p }) => places.reduce((sum, { x }) => sum + Math.abs(x) ** p, 0) ** (1 / p),
  slope(g, x, y, attributes) {
    const { p } = attributes;
    const still = equal(y, 0);
    const share = p === 1 ? g : where(still, 0, div(g, pow(where(still, 1, y), p - 1)));
    return mul(signedPower(x, p), spread(share, x, attributes));
  },
});

const maxOperation = pooling<PoolAttributes>({
  name: "maxPool",
  onnx: "MaxPool",
  f: (places) => places.reduce((top, { x }) => Math.max(top, x), -Infinity),
  slope(g, x, _, attributes) {
    const indices = applyOne(maxIndicesOperation, [x], attributes);
    const rows = (value: Value) =>
      reshape(value, [multiplyDims(...value.shape.slice(0, 2)), multiplyDims(...value.shape.slice(2))]);
    const empty = expand(constantLike(g, 0), rows(x).shape);
    return reshape(scatterElements(empty, rows(indices), rows(g), 1, "add"), x.shape);
  },
});

/** Apart from `maxPool`, since the runtime's kernel takes up to ten times as long where it gives indices too. */
const maxIndicesOperation: Operation<PoolAttributes> = {
  name: "maxPoolIndices",
  infer: (inputs, attributes) => [{ dtype: "int64", shape: inferPool(inputs, attributes).shape }],
  emit: emitMaxIndices,
  gradient: flat,
  batch: ([x], _, node) => [
    overExamples(x as Value, (joined) => applyOne(maxIndicesOperation, [joined], node.attributes as PoolAttributes)),
  ],
  reference: ([x], attributes) => [
    {
      ...poolReference(
        x as ReferenceTensor,
        attributes,
        (places) => places.reduce((top, place) => (place.x > top.x ? place : top), places[0] as Place).index,
      ),
      dtype: "int64",
    },
  ],
};

/** ONNX's indices count over the whole tensor; what stands before a channel is taken off (`Mod` takes five times as long). */
function emitMaxIndices(node: Node, attributes: PoolAttributes, emitter: Emitter): void {
  const [x, indices] = [node.inputs[0] as Value, node.outputs[0] as Value];
  const scalar = (dim: Dim) => emitter.node("Squeeze", [emitter.dims([dim]), emitter.int64([0])])[0] as string;
  const reshaped = (name: string, shape: readonly Dim[], options?: { outputs: string[] }) =>
    emitter.node("Reshape", [name, emitter.dims(shape)], options)[0] as string;
  const pooled = { count: 2, attributes: onnxWindow(attributes) };
  const [, whole] = emitter.node("MaxPool", [emitter.name(x)], pooled) as [string, string];
  const planes = multiplyDims(...x.shape.slice(0, 2));
  const plane = multiplyDims(...spatialOf(x));
  const [starts] = emitter.node("Range", [0, multiplyDims(planes, plane), plane].map(scalar)) as [string];
  const rows = reshaped(whole, [planes, multiplyDims(...spatialOf(indices))]);
  const [own] = emitter.node("Sub", [rows, reshaped(starts, [planes, 1])]) as [string];
  reshaped(own, indices.shape, { outputs: [emitter.name(indices)] });
}

export const poolingOperations = [maxOperation, maxIndicesOperation, averageOperation, lpOperation];

/** Strides are the kernel's sizes unless given, as in PyTorch, and pads are smaller than the kernel. */
export interface PoolingOptions extends WindowOptions {
  /** Positions are rounded up instead of down, where a window still starts within the input or the padding before it. */
  readonly ceilMode?: boolean;
}

function poolAttributes(
  operation: string,
  x: Value,
  kernel: number | readonly number[],
  options: PoolingOptions,
): PoolAttributes {
  return named(operation, x, () => {
    const spatial = spatialOf(x);
    const sizes = perAxis("the kernel", kernel, spatial.length);
    const { ceilMode = false, ...given } = options;
    const window = windowOf(spatial, sizes, { strides: sizes, ...given });
    return { ...window, kernel: sizes, pads: ceilMode ? ceilPads(spatial, sizes, window) : window.pads };
  });
}

/** The pads with which rounding down gives as many positions as rounding up: another window where one starts in the input. */
function ceilPads(spatial: readonly Dim[], kernel: readonly number[], window: WindowAttributes): number[] {
  const before = window.pads.slice(0, spatial.length);
  const after = restsOf(spatial, kernel, window).map((rest, i) => {
    const pad = window.pads[spatial.length + i] as number;
    const wider = pad + (window.strides[i] as number) - rest;
    const starts = wider < extentOf(kernel[i] as number, window.dilations[i] as number); // else only in the padding
    return rest > 0 && starts ? wider : pad;
  });
  return [...before, ...after];
}

/**
 * The largest number of each window. Its gradient goes to the first of several equal ones. ONNX's `MaxPool`.
 *
 * @param x [N, C, ...spatial], one to three spatial axes
 * @param kernel the window's size: one number, or one for each spatial axis
 * @param options strides are the kernel's sizes unless given
 */
export function maxPool(x: Value, kernel: number | readonly number[], options: PoolingOptions = {}): Value {
  return applyOne(maxOperation, [x], poolAttributes("maxPool", x, kernel, options));
}

/** Where `maxPool` found each number: int64, the flat index in the plane of its channel (as PyTorch gives it). */
export function maxPoolIndices(x: Value, kernel: number | readonly number[], options: PoolingOptions = {}): Value {
  return applyOne(maxIndicesOperation, [x], poolAttributes("maxPoolIndices", x, kernel, options));
}

/**
 * The mean of each window. ONNX's `AveragePool`.
 *
 * @param options `countIncludePad` (false unless given): zeros in the padding count; else as for `maxPool`
 */
export function averagePool(
  x: Value,
  kernel: number | readonly number[],
  { countIncludePad = false, ...options }: PoolingOptions & { readonly countIncludePad?: boolean } = {},
): Value {
  if (countIncludePad && options.ceilMode === true)
    throw usageError(
      "averagePool: ceilMode and countIncludePad together are not supported, since they leave open which padding counts: pad the input",
    );
  const attributes = poolAttributes("averagePool", x, kernel, options);
  return applyOne(averageOperation, [x], { ...attributes, countIncludePad });
}

/** The norm (sum |x|^p)^(1/p) of each window, p a whole number, 2 unless given. ONNX's `LpPool`. */
export function lpPool(
  x: Value,
  kernel: number | readonly number[],
  { p = 2, ...options }: PoolingOptions & { readonly p?: number } = {},
): Value {
  if (!Number.isInteger(p) || p < 1) throw usageError(`lpPool: p must be a whole number of at least 1, not ${p}`);
  return applyOne(lpOperation, [x], { ...poolAttributes("lpPool", x, kernel, options), p });
}

const spatialAxes = (operation: string, x: Value) => named(operation, x, () => spatialOf(x).map((_, i) => i + 2));

/** The mean of every channel, [N, C, 1, ...]. */
export function globalAveragePool(x: Value): Value {
  return reduceMean(x, spatialAxes("globalAveragePool", x), { keepDims: true });
}

/** The largest number of every channel, [N, C, 1, ...]; the gradient falls in equal shares to equal ones. */
export function globalMaxPool(x: Value): Value {
  return reduceMax(x, spatialAxes("globalMaxPool", x), { keepDims: true });
}

/**
 * Means over as many windows of nearly equal size as the result has places (PyTorch's adaptive pooling): place i is the
 * mean of those from i n / m, rounded down, to (i + 1) n / m, rounded up.
 *
 * @param x [N, C, ...spatial]; where a size of the result is not 1, the axis must have a number n of places
 * @param sizes the spatial sizes m of the result
 */
export function adaptiveAveragePool(x: Value, sizes: readonly number[]): Value {
  const spatial = named("adaptiveAveragePool", x, () => {
    perAxis("sizes", sizes, spatialOf(x).length);
    const averaged = spatialOf(x).map((n, i) => (sizes[i] === 1 ? 1 : n));
    numbersOf("a spatial size", averaged);
    return spatialOf(x);
  });
  const kernel = spatial.map((n, i) => divideDims(n, sizes[i] as number));
  if (kernel.every((n) => typeof n === "number")) return averagePool(x, kernel);
  return spatial.reduce((value: Value, n, i) => {
    const to = sizes[i] as number;
    return to === 1 ? reduceMean(value, i + 2, { keepDims: true }) : mapAxis(value, i + 2, shares(n as number, to));
  }, x);
}

/** The weights [to, from] of means over windows that are as equal as they can be. */
function shares(from: number, to: number): number[][] {
  return Array.from({ length: to }, (_, i) => {
    const [start, end] = [Math.floor((i * from) / to), Math.ceil(((i + 1) * from) / to)];
    return Array.from({ length: from }, (_, j) => (j >= start && j < end ? 1 / (end - start) : 0));
  });
}
