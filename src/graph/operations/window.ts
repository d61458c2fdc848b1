/**
 * Windows that slide over the spatial axes of a value [N, C, ...]: how convolutions, poolings and unfolding place them.
 * Position p of the result reads the places p * stride + tap * dilation - pad of the input (ONNX's convention).
 */
import { messageOf, usageError } from "../../errors.js";
import { addDims, type Dim, divideDims, formatShape, multiplyDims, subtractDims, termsOf } from "../dims.js";
import type { Value } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { reshape } from "./movement.js";

/** Where windows lie: one number for each spatial axis; `pads` holds those before every axis, then those after. */
export type WindowAttributes = {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
};

/**
 * Padding: a number for all sides, one for each spatial axis, or those before every axis and then those after; `valid` is
 * none; `sameUpper` and `sameLower` make size / stride positions, rounded up, an odd rest of the padding after or before.
 */
export type Padding = number | readonly number[] | "valid" | "sameUpper" | "sameLower";

export interface WindowOptions {
  /** Steps between windows, 1 unless given: one number, or one for each spatial axis. */
  readonly strides?: number | readonly number[];
  /** Steps between the taps of a window, 1 unless given. */
  readonly dilations?: number | readonly number[];
  /** 0 unless given. */
  readonly pads?: Padding;
}

/** What `work` returns; an error gets the operation and its input in front. */
export function named<T>(operation: string, x: Value, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw usageError(`${operation}(${x.dtype}${formatShape(x.shape)}): ${messageOf(error)}`, error);
  }
}

/** One number for each of `rank` spatial axes. Throws where there are others. */
export function perAxis(name: string, given: number | readonly number[], rank: number, least = 1): number[] {
  const list = typeof given === "number" ? Array.from({ length: rank }, () => given) : [...given];
  if (list.length === rank && list.every((x) => Number.isInteger(x) && x >= least)) return list;
  throw new Error(
    `${name} must be ${least === 0 ? "whole numbers" : `whole numbers of at least ${least}`}, one for all ` +
      `or one for each of ${rank} spatial axes, not ${list.join(", ")}`,
  );
}

/** How many places a window spans. */
export const extentOf = (taps: number, dilation: number): number => (taps - 1) * dilation + 1;

/** The quotient of a dimension, rounded down, and its rest. Throws where the divisor does not divide its symbols. */
function floorDivide(dim: Dim, divisor: number): { quotient: Dim; rest: number } {
  const number = termsOf(dim).find(({ symbols }) => symbols.length === 0)?.coefficient ?? 0;
  const quotient = divideDims(subtractDims(dim, number), divisor);
  if (quotient === undefined)
    throw new Error(
      `how often a stride of ${divisor} goes into ${dim} is not known: the size must be a number or a multiple such as "${divisor}*n"`,
    );
  const whole = Math.floor(number / divisor);
  return { quotient: addDims(quotient, whole), rest: number - whole * divisor };
}

/** The attributes that options stand for, over spatial axes of these sizes. */
export function windowOf(
  spatial: readonly Dim[],
  kernel: readonly number[],
  { strides = 1, dilations = 1, pads = 0 }: WindowOptions,
): WindowAttributes {
  const rank = spatial.length;
  const found = { strides: perAxis("strides", strides, rank), dilations: perAxis("dilations", dilations, rank) };
  return { ...found, pads: padsOf(spatial, kernel, { ...found, pads }) };
}

function padsOf(
  spatial: readonly Dim[],
  kernel: readonly number[],
  { strides, dilations, pads }: Omit<WindowAttributes, "pads"> & { pads: Padding },
): number[] {
  const rank = spatial.length;
  if (typeof pads !== "string") {
    if (typeof pads !== "number" && pads.length === 2 * rank) return perAxis("pads", pads, 2 * rank, 0);
    const sides = perAxis("pads", pads, rank, 0);
    return [...sides, ...sides];
  }
  const totals = spatial.map((size, i) => {
    if (pads === "valid") return 0;
    const stride = strides[i] as number;
    const read = floorDivide(size, stride).rest || stride; // places that the last stride has
    return Math.max(extentOf(kernel[i] as number, dilations[i] as number) - read, 0);
  });
  const more = totals.map((total) => Math.ceil(total / 2));
  const less = totals.map((total) => Math.floor(total / 2));
  return pads === "sameLower" ? [...more, ...less] : [...less, ...more];
}

/** The places of each axis, padding included, less what a window spans: what strides divide. */
function rooms(spatial: readonly Dim[], kernel: readonly number[], { dilations, pads }: WindowAttributes): Dim[] {
  return spatial.map((size, i) => {
    const extent = extentOf(kernel[i] as number, dilations[i] as number);
    const around = (pads[i] as number) + (pads[i + spatial.length] as number);
    const room = addDims(size, around - extent);
    if (typeof room === "string" || room >= 0) return room;
    throw new Error(
      `a window that spans ${extent} does not fit spatial axis ${i} of size ${size} with ${around} padded`,
    );
  });
}

/** How many positions a window has along each spatial axis. */
export function positionsOf(spatial: readonly Dim[], kernel: readonly number[], window: WindowAttributes): Dim[] {
  return rooms(spatial, kernel, window).map((room, i) =>
    addDims(floorDivide(room, window.strides[i] as number).quotient, 1),
  );
}

/** The places of each axis that no window reaches because they fill no stride. */
export function restsOf(spatial: readonly Dim[], kernel: readonly number[], window: WindowAttributes): number[] {
  return rooms(spatial, kernel, window).map((room, i) => floorDivide(room, window.strides[i] as number).rest);
}

/** The sizes of the axes over which windows have these positions, and that many places over. */
export function sizesOver(
  positions: readonly Dim[],
  kernel: readonly number[],
  { strides, dilations, pads }: WindowAttributes,
  rests: readonly number[],
): Dim[] {
  return positions.map((count, i) => {
    const stride = strides[i] as number;
    const extent = extentOf(kernel[i] as number, dilations[i] as number);
    const around = (pads[i] as number) + (pads[i + positions.length] as number);
    const size = addDims(multiplyDims(stride, count), extent + (rests[i] as number) - around - stride);
    if (typeof size === "number" && size < 1)
      throw new Error(
        `pads of ${around} leave nothing of spatial axis ${i}, where ${count} windows span ${size + around}`,
      );
    return size;
  });
}

/** Sizes that must be numbers: those of kernels. */
export function numbersOf(what: string, dims: readonly Dim[]): number[] {
  const unknown = dims.find((dim) => typeof dim !== "number");
  if (unknown !== undefined) throw new Error(`${what} must be a number, not ${unknown}`);
  return dims as number[];
}

/** A product of a sliding window: flat offsets of an input place, a tap and a position, within their spatial axes. */
export interface Product {
  readonly place: number;
  readonly tap: number;
  readonly position: number;
}

/** Every product of a window, position by position, taps in row-major order; places in the padding have none. */
export function productsOf(spatial: readonly number[], kernel: readonly number[], window: WindowAttributes): Product[] {
  const positions = positionsOf(spatial, kernel, window) as number[];
  const unflat = (flat: number, shape: readonly number[]) =>
    stridesOf(shape).map((step, d) => Math.floor(flat / step) % (shape[d] as number));
  const result: Product[] = [];
  for (let position = 0; position < elementCount(positions); position++) {
    const at = unflat(position, positions);
    for (let tap = 0; tap < elementCount(kernel); tap++) {
      const index = unflat(tap, kernel).map(
        (t, d) =>
          (at[d] as number) * (window.strides[d] as number) +
          t * (window.dilations[d] as number) -
          (window.pads[d] as number),
      );
      if (index.some((i, d) => i < 0 || i >= (spatial[d] as number))) continue;
      const place = index.reduce((sum, i, d) => sum * (spatial[d] as number) + i, 0);
      result.push({ place, tap, position });
    }
  }
  return result;
}

/** The spatial dimensions of a value [N, C, ...]. Throws where it has none, or more than three. */
export function spatialOf({ shape }: Pick<Value, "shape">): Dim[] {
  if (shape.length < 3 || shape.length > 5)
    throw new Error(`needs one to three spatial axes after batch and channels, not ${shape.length - 2}`);
  return shape.slice(2);
}

/** What `fn` gives for `x` [n, N, ...] with its first two axes joined, apart again. */
export function overExamples(x: Value, fn: (joined: Value) => Value): Value {
  const [count, batch, ...rest] = x.shape as readonly [Dim, Dim, ...Dim[]];
  const y = fn(reshape(x, [multiplyDims(count, batch), ...rest]));
  return reshape(y, [count, batch, ...y.shape.slice(1)]);
}
