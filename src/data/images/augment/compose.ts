/**
 * Augmentations are pure functions of a batch and a stream of draws. Each row has a stream of its own, of (seed, step,
 * augmentation, row): a row is changed alike in a batch of any size.
 */
import { usageError } from "../../../errors.js";
import { formatShape } from "../../../graph/index.js";
import { type Random, random, type Tensor } from "../../../runtime/index.js";
import type { Augmentation, Batch } from "../../batches.js";

/** Which column of the batch holds the pictures. */
export interface ColumnOption {
  /** "x" unless given. */
  readonly column?: string;
}

/** Pictures of one size: [count, channels, height, width]. */
export interface Size {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Several augmentations one after another, each with draws of its own. */
export function augment(augmentations: readonly Augmentation[]): Augmentation {
  return (batch, draw) =>
    augmentations.reduce((current, change, i) => change(current, streamAt(draw, i)), batch as Batch);
}

/** A stream that a word of `draw` and a number choose. */
const streamAt = (draw: Random, index: number): Random => random(draw.word(), index);

/** One stream for each of `count` rows, all chosen by one word of `draw`. */
export function rowStreams(draw: Random, count: number): Random[] {
  const seed = draw.word();
  return Array.from({ length: count }, (_, row) => random(seed, row));
}

/** The pictures of a batch. Throws a usage error where the column is absent or holds no float32 pictures. */
export function picturesOf(batch: Batch, column: string): Tensor<"float32"> {
  const images = batch[column];
  if (images === undefined)
    throw usageError(`the batch has no column "${column}" to augment; it has ${Object.keys(batch).join(", ")}`);
  sizeOf(images as Tensor<"float32">);
  return images as Tensor<"float32">;
}

/** The sizes of pictures. Throws a usage error unless they are float32 [rows, channels, height, width]. */
export function sizeOf(images: Tensor): Size {
  const [count, channels, height, width] = images.shape;
  if (images.dtype !== "float32" || images.shape.length !== 4)
    throw usageError(
      `pictures are float32 [rows, channels, height, width], not ${images.dtype} ${formatShape(images.shape)}`,
    );
  return { count, channels, height, width } as Size;
}

/** The augmentation that changes a copy of each picture: `change` gets its numbers, to write into, and its stream. */
export function eachPicture(
  column: string,
  change: (picture: Float32Array, draw: Random, size: Size) => void,
): Augmentation {
  return (batch, draw) => {
    const images = picturesOf(batch, column);
    const size = sizeOf(images);
    const data = images.data.slice();
    const each = size.channels * size.height * size.width;
    for (const [row, stream] of rowStreams(draw, size.count).entries())
      change(data.subarray(row * each, (row + 1) * each), stream, size);
    return { ...batch, [column]: { ...images, data } };
  };
}

/** A number between two, even. */
export const between = (draw: Random, low: number, high: number): number => low + (high - low) * draw.uniform();

/** Throws a usage error unless each number is finite and at least 0. */
export function requireAmounts(call: string, amounts: Readonly<Record<string, number>>): void {
  for (const [name, amount] of Object.entries(amounts))
    if (!(amount >= 0 && amount < Number.POSITIVE_INFINITY))
      throw usageError(`${call}: ${name} must be at least 0, not ${amount}`);
}
