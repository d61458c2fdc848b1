/**
 * Windows laid out as columns, and columns added back into the places that they came from (im2col and col2im): convolutions
 * with a kernel for each tap that reads it alone, and so with their gradients.
 */
import { usageError } from "../../errors.js";
import { type Dim, divideDims, formatShape, multiplyDims, type Shape } from "../dims.js";
import type { Value } from "../graph.js";
import { elementCount } from "../tensor.js";
import { convolution, convolutionTranspose } from "./convolution.js";
import { reshape } from "./movement.js";
import { eye } from "./patterns.js";
import { named, positionsOf, restsOf, spatialOf, type WindowOptions, windowOf } from "./window.js";

/** The kernel [taps, 1, ...kernel] that reads one tap for each output. */
function tapKernel(like: Value, kernel: readonly number[]): Value {
  const taps = elementCount(kernel);
  return reshape(eye(taps, { dtype: like.dtype }), [taps, 1, ...kernel]);
}

/**
 * Every window of `x` as a column (PyTorch's `unfold`, im2col): row c * taps + t holds channel c at tap t.
 *
 * @param x [N, C, ...spatial], one to three spatial axes
 * @param kernel the window's sizes
 * @returns [N, C * taps, positions], taps and positions in row-major order
 */
export function unfold(x: Value, kernel: readonly number[], options: WindowOptions = {}): Value {
  const spatial = named("unfold", x, () => spatialOf(x));
  const [batch, channels] = x.shape as readonly [Dim, Dim];
  const columns = convolution(
    reshape(x, [multiplyDims(batch, channels), 1, ...spatial]),
    tapKernel(x, kernel),
    options,
  );
  const rows = multiplyDims(channels, elementCount(kernel));
  return reshape(columns, [batch, rows, multiplyDims(...columns.shape.slice(2))]);
}

/**
 * The transpose of `unfold` (PyTorch's `fold`, ONNX's `Col2Im`): every column added into the places of its window.
 *
 * @param columns [N, C * taps, positions]
 * @param sizes the spatial sizes of the result [N, C, ...sizes]
 * @param kernel the window's sizes
 */
export function fold(columns: Value, sizes: Shape, kernel: readonly number[], options: WindowOptions = {}): Value {
  const { window, positions, outputPadding } = named("fold", columns, () => {
    const found = windowOf(sizes, kernel, options);
    const outputPadding = restsOf(sizes, kernel, found);
    return { window: found, positions: positionsOf(sizes, kernel, found), outputPadding };
  });
  const taps = elementCount(kernel);
  const [batch, rows, count] = columns.shape as readonly [Dim, Dim, Dim];
  const channels = divideDims(rows, taps);
  if (columns.shape.length !== 3 || channels === undefined || count !== multiplyDims(...positions))
    throw usageError(
      `fold(${columns.dtype}${formatShape(columns.shape)}): such windows have columns [N, C * ${taps}, ${multiplyDims(...positions)}]`,
    );
  const planes = reshape(columns, [multiplyDims(batch, channels), taps, ...positions]);
  const sums = convolutionTranspose(planes, tapKernel(columns, kernel), { ...window, outputPadding });
  return reshape(sums, [batch, channels, ...sizes]);
}
