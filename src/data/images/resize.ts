/**
 * Pictures of another size: bilinear, with the triangle widened when a picture shrinks, so that nothing is skipped (as
 * antialiased resizing in Pillow and PyTorch). Along each axis it is a small matrix of weights.
 */
import { type Tensor, tensor } from "../../runtime/index.js";
import { requireWhole } from "./labelled.js";

interface Tap {
  readonly first: number;
  readonly weights: readonly number[];
}

/** A picture [channels, height, width] as [channels, size[0], size[1]]. */
export function resizeImage(picture: Tensor<"float32">, size: readonly [number, number]): Tensor<"float32"> {
  requireWhole("resizeImage", { height: size[0], width: size[1] });
  const [channels, height, width] = picture.shape as readonly [number, number, number];
  const across = taps(width, size[1]);
  const down = taps(height, size[0]);
  const narrow = new Float32Array(channels * height * size[1]);
  for (let line = 0; line < channels * height; line++)
    for (const [x, tap] of across.entries()) narrow[line * size[1] + x] = weighed(picture.data, line * width, 1, tap);
  const data = new Float32Array(channels * size[0] * size[1]);
  for (let c = 0; c < channels; c++)
    for (const [y, tap] of down.entries())
      for (let x = 0; x < size[1]; x++)
        data[(c * size[0] + y) * size[1] + x] = weighed(narrow, c * height * size[1] + x, size[1], tap);
  return tensor("float32", [channels, ...size], data);
}

/**
 * A picture filled into a square of `side`: its shorter edge is brought to `side`, and the middle is kept.
 */
export function resizeAndCrop(picture: Tensor<"float32">, side: number): Tensor<"float32"> {
  const [channels, height, width] = picture.shape as readonly [number, number, number];
  const scale = side / Math.min(height, width);
  const [tall, wide] = [Math.max(side, Math.round(height * scale)), Math.max(side, Math.round(width * scale))];
  const resized = resizeImage(picture, [tall, wide]);
  const [top, left] = [(tall - side) >> 1, (wide - side) >> 1];
  const data = new Float32Array(channels * side * side);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < side; y++) {
      const start = (c * tall + top + y) * wide + left;
      data.set(resized.data.subarray(start, start + side), (c * side + y) * side);
    }
  return tensor("float32", [channels, side, side], data);
}

/** For each new place the first old one that counts and the weights from there on, which sum to 1. */
function taps(from: number, to: number): Tap[] {
  const step = from / to;
  const reach = Math.max(step, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * step;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const raw = Array.from({ length: last - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach),
    );
    const total = raw.reduce((a, b) => a + b, 0);
    return { first, weights: raw.map((weight) => weight / total) };
  });
}

function weighed(data: Float32Array, start: number, stride: number, { first, weights }: Tap): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k++)
    sum += (weights[k] as number) * (data[start + (first + k) * stride] as number);
  return sum;
}
