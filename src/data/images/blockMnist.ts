/**
 * BlockMNIST (Shah, Jain and Netrapalli 2021): a block with a digit and a block that says nothing, one above the other.
 * Where the information lies is known, so that attributions can be held against it.
 */
import { usageError } from "../../errors.js";
import { formatShape } from "../../graph/index.js";
import { random, type Tensor, tensor } from "../../runtime/index.js";
import { shuffled } from "../batches.js";
import { type LabelledImages, labelTensor, requireWhole } from "./labelled.js";

export interface BlockMnistOptions {
  readonly count: number;
  /** Digits that become the classes 0, 1, ...; [0, 1] unless given. */
  readonly digits?: readonly number[];
  /** Where the digit stands: in either block equally often in each class, or always on top; "random" unless given. */
  readonly position?: "random" | "top";
  readonly seed?: number;
}

export type BlockImages = LabelledImages & {
  /** int64 [rows]: the block with the digit, 0 above and 1 below. */
  readonly signalBlock: Tensor<"int64">;
};

/**
 * Pairs of blocks, x float32 [count, 1, 2 height, width], from digits x [rows, 1, height, width]. The block without a
 * digit holds the frame of a square. Classes are as even as `count` allows, and positions even within each.
 */
export function blockMnist(source: LabelledImages, options: BlockMnistOptions): BlockImages {
  const { count, digits = [0, 1], position = "random", seed = 0 } = options;
  requireWhole("blockMnist", { count });
  const [, channels, height, width] = source.x.shape as readonly [number, number, number, number];
  if (channels !== 1) throw usageError(`blockMnist takes digits of one channel, not ${formatShape(source.x.shape)}`);
  const pools = digits.map((digit) => rowsOf(source, digit));
  const block = height * width;
  const frame = squareFrame(height, width);
  const x = new Float32Array(count * 2 * block);
  const [label, signalBlock] = [new Uint8Array(count), new Uint8Array(count)];
  const draw = random(seed, 1); // stream 0 is the order's
  for (const [i, row] of shuffled(count, { seed }).entries()) {
    const kind = i % digits.length;
    const below = position === "top" ? 0 : Math.floor(i / digits.length) % 2;
    const pool = pools[kind] as readonly number[];
    const from = (pool[draw.integer(pool.length)] as number) * block;
    x.set(source.x.data.subarray(from, from + block), (2 * row + below) * block);
    x.set(frame, (2 * row + 1 - below) * block);
    label[row] = kind;
    signalBlock[row] = below;
  }
  const shape = [count, 1, 2 * height, width];
  return { x: tensor("float32", shape, x), label: labelTensor(label), signalBlock: labelTensor(signalBlock) };
}

function rowsOf({ label }: LabelledImages, digit: number): number[] {
  const rows = [...label.data.keys()].filter((row) => Number(label.data[row]) === digit);
  if (rows.length === 0) throw usageError(`blockMnist: the source has no image with the label ${digit}`);
  return rows;
}

/** The outline of a square in the middle, over half the block and two pixels wide. */
function squareFrame(height: number, width: number): Float32Array {
  const reach = Math.min(height, width) / 4 + 1;
  const [midX, midY] = [(width - 1) / 2, (height - 1) / 2];
  return Float32Array.from({ length: height * width }, (_, i) => {
    const away = Math.max(Math.abs((i % width) - midX), Math.abs(Math.floor(i / width) - midY));
    return away <= reach && away > reach - 2 ? 1 : 0;
  });
}
