/**
 * Occlusion (Zeiler & Fergus 2014, section 4.2): a patch slides over the picture, and where the target falls most when it
 * is hidden, the network was looking.
 */
import { usageError } from "../errors.js";
import type { Network } from "../model/index.js";
import { elementCount, row, type Tensor, zeros } from "../runtime/index.js";
import { repeatedRow, withRows } from "./rows.js";
import { compileTargets, type Feeds, imageInput, imageOf, type TargetOptions } from "./targets.js";

export interface OcclusionOptions extends TargetOptions {
  /** Height and width of the patch; one number for both. */
  readonly patch: number | readonly [number, number];
  /** Pixels from one place of the patch to the next; half its size, rounded up, unless given. */
  readonly stride?: number | readonly [number, number];
  /** What hides: one number for all channels, or one for each; 0.5 unless given. */
  readonly fill?: number | readonly number[];
  /** Places of the patch that run together; 32 unless given. */
  readonly batchRows?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface Occlusion {
  /** By how much each target falls, [batch, targets, rows of places, columns of places]. */
  readonly drops: Tensor;
  /** For every pixel the mean over the places of the patch that hide it, [batch, targets, height, width]. */
  readonly maps: Tensor;
  /** The targets of the pictures as they are, [batch, targets]. */
  readonly values: Tensor;
  /** The patch's upper edges and left edges, in pixels. */
  readonly tops: readonly number[];
  readonly lefts: readonly number[];
}

/**
 * How far targets fall when a part of the picture is hidden, for every place of a patch. The last row and column of places
 * end at the picture's edge, so that every pixel is hidden by one at least.
 *
 * @param feeds the network's inputs, the image [batch, channels, height, width] among them
 */
export async function occlusion(network: Network, feeds: Feeds, options: OcclusionOptions): Promise<Occlusion> {
  const { batchRows = 32, onProgress, signal } = options;
  const { name, value: input } = imageInput(network, options.input);
  const image = imageOf(feeds, name);
  const [batch, channels, height, width] = image.shape as readonly [number, number, number, number];
  const { patch, tops, lefts } = placesOf(options, height, width);
  const fill = fillOf(options.fill ?? 0.5, channels);
  if (!Number.isInteger(batchRows) || batchRows < 1)
    throw usageError(`batchRows must be a whole number of at least 1, not ${batchRows}`);
  const places = tops.flatMap((top) => lefts.map((left) => ({ top, left })));
  const program = compileTargets(network, options, (_, value) => ({ values: value }));
  const { values } = (await program(feeds)) as { values: Tensor };
  const targets = values.shape[1] as number;
  const drops = zeros("float32", [batch, targets, tops.length, lefts.length]);
  for (let b = 0; b < batch; b++) {
    for (let start = 0; start < places.length; start += batchRows) {
      signal?.throwIfAborted();
      const here = places.slice(start, start + batchRows);
      const rows = withRows(network, feeds, input, (feed) => repeatedRow(feed, b, here.length));
      here.forEach((place, r) => {
        hide(row(rows[name] as Tensor, r), place, patch, fill);
      });
      const { values: hidden } = (await program(rows)) as { values: Tensor };
      for (let r = 0; r < here.length; r++)
        for (let t = 0; t < targets; t++)
          drops.data[(b * targets + t) * places.length + start + r] =
            Number(values.data[b * targets + t]) - Number(hidden.data[r * targets + t]);
      onProgress?.(b * places.length + start + here.length, batch * places.length);
    }
  }
  return { drops, maps: mapsOf(drops, places, patch, [height, width]), values, tops, lefts };
}

interface Place {
  readonly top: number;
  readonly left: number;
}

type Sizes = readonly [number, number];

const pair = (given: number | Sizes): Sizes => (typeof given === "number" ? [given, given] : given);

function placesOf({ patch: given, stride }: OcclusionOptions, height: number, width: number) {
  const patch = pair(given);
  const steps = stride === undefined ? ([Math.ceil(patch[0] / 2), Math.ceil(patch[1] / 2)] as const) : pair(stride);
  const [tops, lefts] = [height, width].map((size, axis) => {
    const [length, step] = [patch[axis] as number, steps[axis] as number];
    if (!Number.isInteger(length) || length < 1 || length > size)
      throw usageError(`the patch must be 1 to ${size} pixels along an axis of ${size}, not ${length}`);
    if (!Number.isInteger(step) || step < 1 || step > length)
      throw usageError(`stride must be 1 to the patch's ${length} pixels, else some are never hidden, not ${step}`);
    const last = size - length;
    return Array.from({ length: Math.ceil(last / step) + 1 }, (_, i) => Math.min(i * step, last));
  }) as [number[], number[]];
  return { patch, tops, lefts };
}

function fillOf(fill: number | readonly number[], channels: number): readonly number[] {
  const list = typeof fill === "number" ? new Array<number>(channels).fill(fill) : fill;
  if (list.length === channels && list.every(Number.isFinite)) return list;
  throw usageError(`fill must be a number, or ${channels} of them, one for each channel`);
}

/** Writes the fill over a part of a picture [channels, height, width]. */
function hide(picture: Tensor, { top, left }: Place, [tall, wide]: Sizes, fill: readonly number[]): void {
  const [, height, width] = picture.shape as readonly [number, number, number];
  const data = picture.data as Float32Array;
  fill.forEach((x, c) => {
    for (let y = top; y < top + tall; y++)
      data.fill(x, (c * height + y) * width + left, (c * height + y) * width + left + wide);
  });
}

/** For every pixel the mean drop over the places that hide it. */
function mapsOf(drops: Tensor, places: readonly Place[], [tall, wide]: Sizes, [height, width]: Sizes): Tensor {
  const maps = zeros("float32", [...drops.shape.slice(0, 2), height, width]);
  const size = height * width;
  for (let m = 0; m < elementCount(drops.shape.slice(0, 2)); m++) {
    const sums = new Float64Array(size);
    const counts = new Float64Array(size);
    places.forEach(({ top, left }, p) => {
      for (let y = top; y < top + tall; y++) {
        for (let i = y * width + left; i < y * width + left + wide; i++) {
          sums[i] = (sums[i] as number) + Number(drops.data[m * places.length + p]);
          counts[i] = (counts[i] as number) + 1;
        }
      }
    });
    maps.data.set(
      sums.map((sum, i) => sum / (counts[i] as number)),
      m * size,
    );
  }
  return maps;
}
