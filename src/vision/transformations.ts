/**
 * Random shifts, sizes and turns of a picture, another at every step: what still excites a unit after them is what it
 * responds to, and not a pattern that only exact pixels make (Mordvintsev et al. 2015; Olah et al. 2017). They are one
 * affine map a row, an input of the graph.
 */
import { usageError } from "../errors.js";
import { affineGrid, gridSample, type Value } from "../graph/index.js";
import { type Random, type Tensor, tensorOf } from "../runtime/index.js";

export interface Transformations {
  /** Most pixels that a picture moves along each axis; 0 unless given. */
  readonly shift?: number;
  /** Least and largest size, of which one is drawn evenly; [1, 1] unless given. */
  readonly scale?: readonly [number, number];
  /** Most degrees that it turns, either way; 0 unless given. */
  readonly rotate?: number;
}

/** Whether they leave every picture as it is. Throws where they are no numbers to draw from. */
export function changesNothing({ shift = 0, scale: [small, large] = [1, 1], rotate = 0 }: Transformations): boolean {
  if (!(shift >= 0 && shift < Infinity) || !(rotate >= 0 && rotate < Infinity))
    throw usageError(`shift (${shift}) and rotate (${rotate}) must be numbers of at least 0`);
  if (!(small > 0 && small <= large && large < Infinity))
    throw usageError(`scale must be two rising numbers above 0, not [${small}, ${large}]`);
  return shift === 0 && rotate === 0 && small === 1 && large === 1;
}

/**
 * Maps drawn for `rows` pictures, float32 [rows, 2, 3], from places of the result to places of the picture, as
 * `transformed` takes them.
 */
export function drawMaps(
  { shift = 0, scale: [small, large] = [1, 1], rotate = 0 }: Transformations,
  rows: number,
  { height, width }: { readonly height: number; readonly width: number },
  source: Random,
): Tensor<"float32"> {
  const between = (low: number, high: number) => low + (high - low) * source.uniform();
  const maps = Array.from({ length: rows }, () => {
    const size = between(small, large);
    const turn = (between(-rotate, rotate) * Math.PI) / 180;
    const [right, down] = [between(-shift, shift), between(-shift, shift)];
    const [cos, sin] = [Math.cos(turn) / size, Math.sin(turn) / size];
    // Places run from -1 to 1 along each axis, whatever its length in pixels.
    const aspect = height / width;
    return [cos, sin * aspect, (-2 * right) / width, -sin / aspect, cos, (-2 * down) / height];
  });
  return tensorOf("float32", [rows, 2, 3], maps.flat());
}

/** Pictures [batch, channels, height, width] read through maps [batch, 2, 3], bilinearly; beyond its edge, as at its edge. */
export function transformed(image: Value, maps: Value): Value {
  const [, , height, width] = image.shape as readonly [number, number, number, number];
  return gridSample(image, affineGrid(maps, [height, width]), { padding: "border" });
}
