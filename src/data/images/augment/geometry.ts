/** Flips, crops, holes and elastic bends of pictures. */
import { usageError } from "../../../errors.js";
import type { Random } from "../../../runtime/index.js";
import type { Augmentation } from "../../batches.js";
import { requireWhole } from "../labelled.js";
import { smooth } from "../smooth.js";
import { type ColumnOption, eachPicture, requireAmounts, type Size } from "./compose.js";
import { resample } from "./warp.js";

export interface FlipOptions extends ColumnOption {
  /** The chance of a mirror image, left to right; 0.5 unless given. */
  readonly horizontal?: number;
  /** The chance of one upside down; 0 unless given. */
  readonly vertical?: number;
}

/** Pictures mirrored by chance. */
export function flip({ horizontal = 0.5, vertical = 0, column = "x" }: FlipOptions = {}): Augmentation {
  for (const chance of [horizontal, vertical])
    if (!(chance >= 0 && chance <= 1)) throw usageError(`flip: a chance lies from 0 to 1, not ${chance}`);
  return eachPicture(column, (picture, draw, { height, width }) => {
    const [mirror, overturn] = [draw.uniform() < horizontal, draw.uniform() < vertical];
    if (mirror) for (let at = 0; at < picture.length; at += width) picture.subarray(at, at + width).reverse();
    if (!overturn) return;
    for (let at = 0; at < picture.length; at += height * width) {
      const plane = picture.subarray(at, at + height * width);
      plane.reverse();
      for (let line = 0; line < plane.length; line += width) plane.subarray(line, line + width).reverse();
    }
  });
}

export interface CropOptions extends ColumnOption {
  /** Pixels put around the picture on every side. */
  readonly padding: number;
  /** The number in them; 0 unless given. */
  readonly fill?: number;
}

/** Pictures padded and cut back to their size at a random place. */
export function crop({ padding, fill = 0, column = "x" }: CropOptions): Augmentation {
  requireWhole("crop", { padding }, 0);
  return eachPicture(column, (picture, draw, size) => {
    const [dx, dy] = [draw.integer(2 * padding + 1) - padding, draw.integer(2 * padding + 1) - padding];
    const source = picture.slice();
    const { height, width } = size;
    for (let i = 0; i < picture.length; i++) {
      const x = (i % width) + dx;
      const y = (Math.floor(i / width) % height) + dy;
      const outside = x < 0 || x >= width || y < 0 || y >= height;
      picture[i] = outside ? fill : (source[i + dy * width + dx] as number);
    }
  });
}

export interface CutoutOptions extends ColumnOption {
  /** The edge of a hole, in pixels. */
  readonly size: number;
  /** Holes in a picture; 1 unless given. */
  readonly count?: number;
  /** The number in them; 0 unless given. */
  readonly fill?: number;
}

/** Square holes around random pixels, cut off at the picture's edges (DeVries and Taylor 2017). */
export function cutout({ size, count = 1, fill = 0, column = "x" }: CutoutOptions): Augmentation {
  requireWhole("cutout", { size, count });
  return eachPicture(column, (picture, draw, { channels, height, width }) => {
    for (let hole = 0; hole < count; hole++) {
      const left = draw.integer(width) - (size >> 1);
      const top = draw.integer(height) - (size >> 1);
      const [from, to] = [Math.max(left, 0), Math.min(left + size, width)];
      for (let line = 0; line < channels * height; line++)
        if (line % height >= top && line % height < top + size)
          picture.fill(fill, line * width + from, line * width + to);
    }
  });
}

export interface ElasticOptions extends ColumnOption {
  /** The root mean square of the shifts along each axis, in pixels. */
  readonly strength: number;
  /** The standard deviation of the Gaussian that smooths them, in pixels; 4 unless given. */
  readonly smoothness?: number;
  readonly fill?: number;
}

/** Pictures bent by smooth random shifts (Simard, Steinkraus and Platt 2003). */
export function elastic({ strength, smoothness = 4, fill = 0, column = "x" }: ElasticOptions): Augmentation {
  requireAmounts("elastic", { strength, smoothness });
  return eachPicture(column, (picture, draw, size) => {
    const shifts = [0, 1].map(() => smoothShifts(draw, size, smoothness, strength)) as [Float64Array, Float64Array];
    const source = picture.slice();
    const bent = (x: number, y: number, place: Float64Array) => {
      place[0] = x + (shifts[0][y * size.width + x] as number);
      place[1] = y + (shifts[1][y * size.width + x] as number);
    };
    resample(source, picture, size, bent, fill);
  });
}

function smoothShifts(draw: Random, { height, width }: Size, smoothness: number, strength: number): Float64Array {
  const noise = Float64Array.from({ length: height * width }, () => draw.normal());
  const shifts = smooth(noise, [height, width], smoothness);
  const mean = Math.sqrt(shifts.reduce((sum, shift) => sum + shift * shift, 0) / shifts.length);
  return shifts.map((shift) => (mean === 0 ? 0 : (shift * strength) / mean));
}
