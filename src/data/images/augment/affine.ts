/** Random shifts, turns, sizes and slants as one warp, so that a picture is interpolated once. */
import { usageError } from "../../../errors.js";
import { type Random, tensor } from "../../../runtime/index.js";
import type { Augmentation } from "../../batches.js";
import { between, type ColumnOption, picturesOf, requireAmounts, rowStreams } from "./compose.js";
import { warp } from "./warp.js";

export interface AffineOptions extends ColumnOption {
  /** The largest shift along each axis, in pixels; 0 unless given. */
  readonly shift?: number;
  /** The largest turn either way, in degrees; 0 unless given. */
  readonly rotate?: number;
  /** Sizes from the smallest to the largest (1: as it is), even in their logarithm; [1, 1] unless given. */
  readonly scale?: readonly [number, number];
  /** The largest slant either way, in degrees below 90; 0 unless given. */
  readonly shear?: number;
  /** The number outside the picture; 0 unless given. */
  readonly fill?: number;
}

/** Each picture slanted, sized, turned and shifted, in this order, about its centre, by amounts drawn evenly. */
export function affine(options: AffineOptions = {}): Augmentation {
  const { shift = 0, rotate = 0, scale = [1, 1], shear = 0, fill = 0, column = "x" } = options;
  requireAmounts("affine", { shift, rotate, shear });
  if (!(scale[0] > 0 && scale[0] <= scale[1] && scale[1] < Number.POSITIVE_INFINITY) || shear >= 90)
    throw usageError(
      `affine needs a scale of two rising numbers above 0 and a shear below 90, not [${scale}] and ${shear}`,
    );
  return (batch, draw) => {
    const images = picturesOf(batch, column);
    const rows = rowStreams(draw, images.shape[0] as number);
    const matrices = Float64Array.from(rows.flatMap((stream) => inverseOf(stream, { shift, rotate, scale, shear })));
    return { ...batch, [column]: warp(images, tensor("float64", [rows.length, 2, 3], matrices), { fill }) };
  };
}

type Amounts = Required<Pick<AffineOptions, "shift" | "rotate" | "scale" | "shear">>;

/**
 * Where a drawn warp reads: the inverse of p -> size turn slant p + moved, with slant (1, s; 0, 1). The picture's y runs
 * down, so a turn by a positive angle is clockwise to the eye.
 */
function inverseOf(draw: Random, { shift, rotate, scale, shear }: Amounts): number[] {
  const angle = (between(draw, -rotate, rotate) * Math.PI) / 180;
  const size = Math.exp(between(draw, Math.log(scale[0]), Math.log(scale[1])));
  const slant = Math.tan((between(draw, -shear, shear) * Math.PI) / 180);
  const [movedX, movedY] = [between(draw, -shift, shift), between(draw, -shift, shift)];
  const [cos, sin] = [Math.cos(angle) / size, Math.sin(angle) / size];
  const [a, b, c, d] = [cos + slant * sin, sin - slant * cos, -sin, cos];
  return [a, b, -(a * movedX + b * movedY), c, d, -(c * movedX + d * movedY)];
}
