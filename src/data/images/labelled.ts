/**
 * What every set of images is: pictures [rows, channels, height, width] from 0 to 1 and a label for each row. Columns of
 * one leading size, so that `batches` takes a set as it is.
 */
import { usageError } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { split, takeRows } from "../batches.js";

/** Pictures and their classes. A type, not an interface, so that it is a batch of named tensors too. */
export type LabelledImages = {
  /** float32 [rows, channels, height, width], 0 (black) to 1. */
  readonly x: Tensor<"float32">;
  /** int64 [rows]. */
  readonly label: Tensor<"int64">;
};

export interface ImageParts {
  readonly train: LabelledImages;
  readonly test: LabelledImages;
}

/** Bytes (0 to 255) as numbers from 0 to 1. */
export function unitInterval(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const numbers = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) numbers[i] = (bytes[i] as number) / 255;
  return numbers;
}

/** Labels as an int64 tensor [rows]. */
export function labelTensor(labels: ArrayLike<number>): Tensor<"int64"> {
  const data = new BigInt64Array(labels.length);
  for (let i = 0; i < labels.length; i++) data[i] = BigInt(labels[i] as number);
  return tensor("int64", [labels.length], data);
}

/** Two parts of a set, drawn without regard to the labels: `test` rows of it, and the rest. */
export function trainAndTest(images: LabelledImages, { test, seed }: { test: number; seed: number }): ImageParts {
  const count = images.label.data.length;
  const [trainRows = [], testRows = []] = split(count, [count - test, test], { seed });
  const part = (rows: ArrayLike<number>) =>
    ({ x: takeRows(images.x, rows), label: takeRows(images.label, rows) }) as LabelledImages;
  return { train: part(trainRows), test: part(testRows) };
}

/** Throws a usage error unless the numbers are whole and at least their lowest. */
export function requireWhole(call: string, numbers: Readonly<Record<string, number>>, lowest = 1): void {
  for (const [name, number] of Object.entries(numbers))
    if (!Number.isInteger(number) || number < lowest)
      throw usageError(`${call}: ${name} must be a whole number of at least ${lowest}, not ${number}`);
}
