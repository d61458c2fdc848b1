/**
 * Resizing: a linear map along each spatial axis, written as the product with a matrix of interpolation weights that is
 * built from the sizes. (The runtime's own kernel takes about as long for linear interpolation, less where an image shrinks
 * much, and 20 to 60 times as long for cubic; and a product has its gradient already.)
 */
import { usageError } from "../../errors.js";
import { type Dim, formatShape, multiplyDims } from "../dims.js";
import { constant, type Value } from "../graph.js";
import { tensorOf } from "../tensor.js";
import { cast } from "./elementwise.js";
import { gather } from "./indexing.js";
import { matmul } from "./linear.js";
import { axisOf, expand, reshape } from "./movement.js";
import { named, perAxis, spatialOf } from "./window.js";

/** Which place of the input a place of the result is read from; ONNX's `coordinate_transformation_mode`. */
export type CoordinateTransformation = "halfPixel" | "pytorchHalfPixel" | "alignCorners" | "asymmetric";

/** How `nearest` rounds the place that it reads from; ONNX's `nearest_mode`. */
export type NearestMode = "roundPreferFloor" | "roundPreferCeil" | "floor" | "ceil";

export interface ResizeOptions {
  /** Sizes of the last axes (one to three) of the result. Give these or `scales`. */
  readonly sizes?: readonly number[];
  /** By what the sizes of the last axes are multiplied, rounded down. */
  readonly scales?: readonly number[];
  /** `nearest` unless given. */
  readonly mode?: "nearest" | "linear" | "cubic";
  /** `halfPixel` unless given: pixels are squares, whose centres lie at a half. */
  readonly coordinateTransformation?: CoordinateTransformation;
  /** `roundPreferFloor` unless given; for `nearest` alone. */
  readonly nearestMode?: NearestMode;
  /** Keys' parameter of the cubic, -0.75 unless given (-0.5 is Catmull-Rom's). */
  readonly cubicCoefficient?: number;
  /** Places outside the input have no weight, instead of that of its edge; false unless given. */
  readonly excludeOutside?: boolean;
  /** Where the size falls, average over as much more; false unless given; not for `nearest`. */
  readonly antialias?: boolean;
}

/** One axis to resize: its sizes, and the scale, which may differ from their ratio. */
interface AxisResize {
  readonly from: number;
  readonly to: number;
  readonly scale: number;
}

function sourceOf(i: number, { from, to, scale }: AxisResize, transformation: CoordinateTransformation): number {
  if (transformation === "asymmetric") return i / scale;
  if (transformation === "alignCorners") return to === 1 ? 0 : (i * (from - 1)) / (to - 1);
  if (transformation === "pytorchHalfPixel" && to === 1) return 0;
  return (i + 0.5) / scale - 0.5;
}

const rounding: { readonly [M in NearestMode]: (x: number) => number } = {
  roundPreferFloor: (x) => Math.ceil(x - 0.5),
  roundPreferCeil: (x) => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

const within = (i: number, size: number) => Math.min(Math.max(i, 0), size - 1);

/** Keys 1981, "Cubic convolution interpolation for digital image processing". */
function cubicWeight(distance: number, a: number): number {
  const t = Math.abs(distance);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

/** Weights [to, from] of linear or cubic interpolation. */
function interpolation(axis: AxisResize, options: Required<Omit<ResizeOptions, "sizes" | "scales">>): number[][] {
  const { mode, cubicCoefficient, antialias, coordinateTransformation } = options;
  const shrink = antialias ? Math.min(1, axis.scale) : 1;
  const radius = (mode === "cubic" ? 2 : 1) / shrink;
  const weight = (t: number) => (mode === "cubic" ? cubicWeight(t, cubicCoefficient) : Math.max(0, 1 - Math.abs(t)));
  return Array.from({ length: axis.to }, (_, i) => {
    const source = sourceOf(i, axis, coordinateTransformation);
    const row = new Array<number>(axis.from).fill(0);
    for (let j = Math.ceil(source - radius); j <= source + radius; j++) {
      const at = within(j, axis.from);
      if (at !== j && (options.excludeOutside || antialias)) continue;
      row[at] = (row[at] as number) + weight((j - source) * shrink);
    }
    const total = row.reduce((sum, x) => sum + x, 0);
    return row.map((x) => x / total);
  });
}

/** `x` with an axis mapped by a matrix [to, from]. */
export function mapAxis(x: Value, axis: number, matrix: readonly (readonly number[])[]): Value {
  const at = axisOf("mapAxis", x, axis);
  const to = matrix.length;
  const from = matrix[0]?.length ?? 0;
  const dtype = x.dtype === "float64" ? "float64" : "float32";
  const last = at === x.shape.length - 1;
  const flat = last ? matrix[0]?.flatMap((_, j) => matrix.map((row) => row[j] as number)) : matrix.flat();
  const weights = cast(constant(tensorOf(dtype, last ? [from, to] : [to, from], flat ?? [])), x.dtype);
  if (last) return matmul(x, weights);
  const [before, after] = [x.shape.slice(0, at), x.shape.slice(at + 1)];
  const columns = reshape(x, [...before, from, multiplyDims(...after)]);
  return reshape(matmul(weights, columns), [...before, to, ...after]);
}

/**
 * The last one to three axes of `x` at other sizes, by interpolation; ONNX's `Resize` and PyTorch's `interpolate`. Sizes
 * of these axes must be numbers (see `upsample` for others); those before them may be symbols.
 *
 * @throws where neither or both of `sizes` and `scales` are given, or a resized axis has a symbolic size
 */
export function resize(x: Value, { sizes, scales, ...options }: ResizeOptions): Value {
  const chosen = {
    mode: "nearest" as const,
    coordinateTransformation: "halfPixel" as const,
    nearestMode: "roundPreferFloor" as const,
    cubicCoefficient: -0.75,
    excludeOutside: false,
    antialias: false,
    ...options,
  };
  const axes = resizedAxes(x, sizes, scales);
  const first = x.shape.length - axes.length;
  const order = axes.map((axis, i) => ({ ...axis, at: first + i })).sort((a, b) => a.to / a.from - b.to / b.from); // what shrinks first
  return order.reduce((value, axis) => {
    if (chosen.mode !== "nearest") return mapAxis(value, axis.at, interpolation(axis, chosen));
    const read = Array.from({ length: axis.to }, (_, i) =>
      within(rounding[chosen.nearestMode](sourceOf(i, axis, chosen.coordinateTransformation)), axis.from),
    );
    return gather(value, constant(tensorOf("int64", [axis.to], read)), axis.at);
  }, x);
}

function resizedAxes(
  x: Value,
  sizes: readonly number[] | undefined,
  scales: readonly number[] | undefined,
): AxisResize[] {
  const given = sizes ?? scales ?? [];
  const wrong = (message: string) => usageError(`resize(${x.dtype}${formatShape(x.shape)}): ${message}`);
  if ((sizes === undefined) === (scales === undefined)) throw wrong("give either sizes or scales");
  if (given.length < 1 || given.length > 3 || given.length > x.shape.length)
    throw wrong(`sizes or scales are for the last one to three axes, not ${given.length}`);
  return x.shape.slice(-given.length).map((from, i) => {
    if (typeof from !== "number")
      throw wrong(`the size "${from}" must be a number: only upsample() by whole factors works with others`);
    const number = given[i] as number;
    const to = sizes === undefined ? Math.floor(from * number) : number;
    if (!Number.isInteger(to) || to < 1) throw wrong(`a size of ${to} is none: sizes are whole numbers of at least 1`);
    return { from, to, scale: sizes === undefined ? number : to / from };
  });
}

/**
 * Every place of the spatial axes repeated a whole number of times: `resize` by `nearest`, where sizes may be symbols.
 *
 * @param x [N, C, ...spatial]
 * @param factors one number, or one for each spatial axis
 */
export function upsample(x: Value, factors: number | readonly number[]): Value {
  const [batch, channels, ...spatial] = x.shape as readonly [Dim, Dim, ...Dim[]];
  const times = named("upsample", x, () => perAxis("factors", factors, spatialOf(x).length));
  const apart = spatial.flatMap((size) => [size, 1]);
  const repeated = spatial.flatMap((size, i) => [size, times[i] as number]);
  const joined = spatial.map((size, i) => multiplyDims(size, times[i] as number));
  return reshape(expand(reshape(x, [batch, channels, ...apart]), [batch, channels, ...repeated]), [
    batch,
    channels,
    ...joined,
  ]);
}
