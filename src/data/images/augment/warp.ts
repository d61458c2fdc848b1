/** Pictures moved: each pixel of the result is read, bilinearly, from a place in the source. What lies outside is `fill`. */
import { usageError } from "../../../errors.js";
import { formatShape } from "../../../graph/index.js";
import type { Tensor } from "../../../runtime/index.js";
import { type Size, sizeOf } from "./compose.js";

/** Where the pixel (x, y) of the result is read in the source: writes [x, y] into `place`. */
export type Source = (x: number, y: number, place: Float64Array) => void;

/**
 * Affine warps about the picture's centre. A row's matrix [a, b, tx, c, d, ty] says where its pixels come from, in pixels
 * from the centre: (a x + b y + tx, c x + d y + ty).
 *
 * @param images float32 [rows, channels, height, width]
 * @param matrices float32 or float64 [rows, 2, 3]
 * @param options.fill the number outside the source; 0 unless given
 */
export function warp(
  images: Tensor<"float32">,
  matrices: Tensor<"float32"> | Tensor<"float64">,
  { fill = 0 }: { readonly fill?: number } = {},
): Tensor<"float32"> {
  const size = sizeOf(images);
  if (matrices.shape.join() !== `${size.count},2,3`)
    throw usageError(`warp needs a matrix [2, 3] for each of ${size.count} rows, not ${formatShape(matrices.shape)}`);
  const data = new Float32Array(images.data.length);
  const each = size.channels * size.height * size.width;
  const [midX, midY] = [(size.width - 1) / 2, (size.height - 1) / 2];
  for (let row = 0; row < size.count; row++) {
    const [a = 0, b = 0, tx = 0, c = 0, d = 0, ty = 0] = matrices.data.subarray(row * 6, row * 6 + 6);
    const source: Source = (x, y, place) => {
      place[0] = a * (x - midX) + b * (y - midY) + tx + midX;
      place[1] = c * (x - midX) + d * (y - midY) + ty + midY;
    };
    const [from, to] = [images.data, data].map((all) => all.subarray(row * each, (row + 1) * each));
    resample(from as Float32Array, to as Float32Array, size, source, fill);
  }
  return { ...images, data };
}

/** Reads every pixel of one picture (`to`) bilinearly from another (`from`), all channels at the same place. */
export function resample(from: Float32Array, to: Float32Array, size: Size, source: Source, fill: number): void {
  const { channels, height, width } = size;
  const plane = height * width;
  const place = new Float64Array(2);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      source(x, y, place);
      const atX = place[0] as number;
      const atY = place[1] as number;
      for (let channel = 0; channel < channels; channel++) {
        const start = channel * plane;
        to[start + y * width + x] = bilinear(from, start, size, atX, atY, fill);
      }
    }
  }
}

function bilinear(from: Float32Array, start: number, size: Size, atX: number, atY: number, fill: number): number {
  const { height, width } = size;
  const left = Math.floor(atX);
  const top = Math.floor(atY);
  const corner = start + top * width + left;
  const right = atX - left;
  const bottom = atY - top;
  if (left >= 0 && left < width - 1 && top >= 0 && top < height - 1) {
    const a = from[corner] as number;
    const c = from[corner + width] as number;
    return blend(a, from[corner + 1] as number, c, from[corner + width + 1] as number, right, bottom);
  }
  if (left < -1 || left >= width || top < -1 || top >= height) return fill;
  const pixel = (dx: number, dy: number): number => {
    const outside = left + dx < 0 || left + dx >= width || top + dy < 0 || top + dy >= height;
    return outside ? fill : (from[corner + dy * width + dx] as number);
  };
  return blend(pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1), right, bottom);
}

function blend(a: number, b: number, c: number, d: number, right: number, bottom: number): number {
  const upper = a + (b - a) * right;
  return upper + (c + (d - c) * right - upper) * bottom;
}
