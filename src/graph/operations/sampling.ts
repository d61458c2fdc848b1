/**
 * Reading images at places that are values: spatial transformers (Jaderberg et al. 2015). A place is a pair (x, y) from -1
 * at one edge of the image to 1 at the other.
 */
import { usageError } from "../../errors.js";
import { addDims, type Dim, formatShape, multiplyDims } from "../dims.js";
import { overBatch } from "../gradient/batch.js";
import { pullback } from "../gradient/pullback.js";
import { constant, type Value, type ValueType } from "../graph.js";
import { elementCount, stridesOf, tensorOf } from "../tensor.js";
import { identity } from "./barriers.js";
import {
  add,
  and,
  cast,
  clip,
  floor,
  greaterOrEqual,
  lessOrEqual,
  mul,
  type Operand,
  sub,
  where,
} from "./elementwise.js";
import { gatherElements } from "./indexing.js";
import { matmul } from "./linear.js";
import { dimension, expand, reshape, slice } from "./movement.js";
import { applyOne, emitAs, isFloat, type Operation, type ReferenceTensor } from "./operation.js";
import { overExamples } from "./window.js";

type SampleAttributes = { readonly border: boolean; readonly alignCorners: boolean };

const gridSampleOperation: Operation<SampleAttributes> = {
  name: "gridSample",
  infer([x, grid]) {
    const [image, places] = [x as ValueType, grid as ValueType];
    if (image.shape.length !== 4 || places.shape.length !== 4 || places.shape[3] !== 2)
      throw new Error("takes images [N, C, H, W] and places [N, height, width, 2]");
    if (image.shape[0] !== places.shape[0])
      throw new Error(`there are ${image.shape[0]} images and places of ${places.shape[0]}`);
    if (!isFloat(image.dtype) || image.dtype !== places.dtype)
      throw new Error("inputs must have one floating-point type");
    return [{ dtype: image.dtype, shape: [...image.shape.slice(0, 2), ...places.shape.slice(1, 3)] }];
  },
  emit: (node, { border, alignCorners }, emitter) =>
    emitAs("GridSample", node, emitter, {
      mode: "linear",
      padding_mode: border ? "border" : "zeros",
      align_corners: Number(alignCorners),
    }),
  gradient(node, [g]) {
    if (g === undefined) return [undefined, undefined];
    const [x, grid] = node.inputs.map(identity) as [Value, Value]; // the places may have been computed from the image
    const sampled = sampleWrittenOut(x, grid, node.attributes as SampleAttributes);
    return pullback(new Map([[sampled, g]]), [x, grid], { recompute: false });
  },
  batch(inputs, batched, node) {
    if (!batched.every((yes) => yes)) return overBatch(inputs, batched, node);
    const [x, grid] = inputs as readonly [Value, Value];
    const [count, batch, ...rest] = grid.shape as readonly [Dim, Dim, ...Dim[]];
    const places = reshape(grid, [multiplyDims(count, batch), ...rest]);
    return [
      overExamples(x, (joined) => applyOne(gridSampleOperation, [joined, places], node.attributes as SampleAttributes)),
    ];
  },
  reference([x, grid], attributes) {
    const [image, places] = [x as ReferenceTensor, grid as ReferenceTensor];
    const [batch, channels, height, width] = image.shape as [number, number, number, number];
    const shape = [batch, channels, ...places.shape.slice(1, 3)];
    const positions = elementCount(places.shape.slice(1, 3));
    const data = new Float64Array(elementCount(shape));
    for (let n = 0; n < batch; n++) {
      for (let p = 0; p < positions; p++) {
        const at = (n * positions + p) * 2;
        const corners = cornersOf(places.data[at] as number, places.data[at + 1] as number, width, height, attributes);
        for (let c = 0; c < channels; c++) {
          const plane = (n * channels + c) * height * width;
          const sum = corners.reduce(
            (total, { index, weight }) => total + weight * (image.data[plane + index] as number),
            0,
          );
          data[(n * channels + c) * positions + p] = sum;
        }
      }
    }
    return [{ dtype: image.dtype, shape, data }];
  },
};

/** The four pixels around a place: their index in the image and weight. */
function cornersOf(x: number, y: number, width: number, height: number, { border, alignCorners }: SampleAttributes) {
  const pixel = (place: number, size: number) => {
    const at = alignCorners ? ((place + 1) / 2) * (size - 1) : ((place + 1) * size - 1) / 2;
    return border ? Math.min(Math.max(at, 0), size - 1) : at;
  };
  const [column, row] = [pixel(x, width), pixel(y, height)];
  const [left, top] = [Math.floor(column), Math.floor(row)];
  return [0, 1, 2, 3].flatMap((corner) => {
    const [j, i] = [left + (corner % 2), top + Math.floor(corner / 2)];
    if (j < 0 || i < 0 || j >= width || i >= height) return [];
    return [{ index: i * width + j, weight: (1 - Math.abs(column - j)) * (1 - Math.abs(row - i)) }];
  });
}

/** A dimension as a number of the type of `like`, or as a value of it. */
const sizeLike = (dim: Dim, like: Value): Operand => (typeof dim === "number" ? dim : cast(dimension(dim), like.dtype));

/** Along one axis: the pixels on both sides of the places, their weights (0 outside the image), as values. */
function sidesOf(place: Value, size: Dim, { border, alignCorners }: SampleAttributes) {
  const last = sizeLike(addDims(size, -1), place);
  const unit = mul(add(place, 1), 0.5);
  const free = alignCorners ? mul(unit, last) : sub(mul(unit, sizeLike(size, place)), 0.5);
  const at = border ? clip(free, { min: 0, max: last }) : free;
  const low = floor(at);
  const share = sub(at, low);
  return [
    { pixel: low, weight: sub(1, share) },
    { pixel: add(low, 1), weight: share },
  ].map(({ pixel, weight }) => {
    const inside = and(greaterOrEqual(pixel, 0), lessOrEqual(pixel, last));
    return { pixel: clip(pixel, { min: 0, max: last }), weight: where(inside, weight, 0) };
  });
}

/** What the operation computes, in others of the table: its gradient rule is theirs. */
function sampleWrittenOut(x: Value, grid: Value, attributes: SampleAttributes): Value {
  const [batch, channels, height, width] = x.shape as readonly [Dim, Dim, Dim, Dim];
  const [, rows, columns] = grid.shape as readonly [Dim, Dim, Dim];
  const line = [batch, 1, multiplyDims(rows, columns)];
  const [across, down] = [width, height].map((size, i) =>
    sidesOf(reshape(slice(grid, 3, i, i + 1), line), size, attributes),
  ) as [ReturnType<typeof sidesOf>, ReturnType<typeof sidesOf>];
  const pixels = reshape(x, [batch, channels, multiplyDims(height, width)]);
  const parts = down.flatMap((row) =>
    across.map((column) => {
      const index = cast(add(mul(row.pixel, sizeLike(width, grid)), column.pixel), "int64");
      const read = gatherElements(pixels, expand(index, [batch, channels, line[2] as Dim]), 2);
      return mul(read, mul(row.weight, column.weight));
    }),
  );
  return reshape(
    parts.reduce((a, b) => add(a, b)),
    [batch, channels, rows, columns],
  );
}

export const samplingOperations = [gridSampleOperation];

export interface GridSampleOptions {
  /** What lies outside the image: `zeros` (unless given), or its `border` repeated. */
  readonly padding?: "zeros" | "border";
  /** Whether -1 and 1 are the centres of the outermost pixels, or (false, unless given) their outer edges. */
  readonly alignCorners?: boolean;
}

/**
 * Images read at places between pixels, bilinearly; ONNX's `GridSample`.
 *
 * @param x images [N, C, H, W]
 * @param grid places (x, y) [N, height, width, 2], -1 to 1
 * @returns [N, C, height, width]
 */
export function gridSample(
  x: Value,
  grid: Value,
  { padding = "zeros", alignCorners = false }: GridSampleOptions = {},
): Value {
  return applyOne(gridSampleOperation, [x, grid], { border: padding === "border", alignCorners });
}

/**
 * The places that affine maps send a regular grid to, for `gridSample`; ONNX's `AffineGrid`.
 *
 * @param theta maps [N, r, r + 1] from places of the result to places of the image, r = 2 or 3 spatial axes
 * @param sizes the result's spatial sizes, such as [height, width]
 * @returns [N, ...sizes, r], coordinates from the last axis to the first: (x, y)
 */
export function affineGrid(theta: Value, sizes: readonly number[], { alignCorners = false } = {}): Value {
  const rank = sizes.length;
  const [batch, rows, columns] = theta.shape;
  if (theta.shape.length !== 3 || rows !== rank || columns !== rank + 1 || rank < 2 || rank > 3)
    throw usageError(
      `affineGrid(${theta.dtype}${formatShape(theta.shape)}): sizes ${sizes.join(", ")} go with maps [N, ${rank}, ${rank + 1}], of 2 or 3 spatial axes`,
    );
  const place = (i: number, n: number) => {
    if (!alignCorners) return (2 * i + 1) / n - 1;
    return n === 1 ? 0 : (2 * i) / (n - 1) - 1;
  };
  const steps = stridesOf(sizes);
  const regular = Array.from({ length: elementCount(sizes) }, (_, p) => {
    const index = sizes.map((n, d) => place(Math.floor(p / (steps[d] as number)) % n, n));
    return [...index.reverse(), 1];
  });
  const dtype = theta.dtype === "float64" ? "float64" : "float32";
  const grid = cast(constant(tensorOf(dtype, [regular.length, rank + 1], regular.flat())), theta.dtype);
  return reshape(matmul(grid, theta, { transposeB: true }), [batch as Dim, ...sizes, rank]);
}
