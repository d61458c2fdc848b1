/**
 * CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the "binary version" of the files: each row is one label byte (CIFAR-100:
 * a coarse one, then a fine one) and 3 x 32 x 32 bytes, red, green, blue.
 */
import { join } from "node:path";
import { failure } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { readBounded } from "./files.js";
import { type LabelledImages, labelTensor, unitInterval } from "./labelled.js";

const pixels = 3 * 32 * 32;
/** No file of these sets has more (bytes): CIFAR-100's training file has 153,700,000. */
const mostBytes = 200_000_000;

/** Images with their superclass (CIFAR-100's 20) beside the class. */
export type CoarseImages = LabelledImages & { readonly coarse: Tensor<"int64"> };

/** CIFAR-10 from a folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`. */
export async function readCifar10(folder: string): Promise<{ train: LabelledImages; test: LabelledImages }> {
  const read = async (names: readonly string[]) => {
    const { x, labels } = await readRows(folder, names, [10]);
    return { x, label: labels[0] as Tensor<"int64"> };
  };
  const names = [1, 2, 3, 4, 5].map((part) => `data_batch_${part}.bin`);
  return { train: await read(names), test: await read(["test_batch.bin"]) };
}

/** CIFAR-100 from a folder with `train.bin` and `test.bin`: 100 classes, and their 20 superclasses as `coarse`. */
export async function readCifar100(folder: string): Promise<{ train: CoarseImages; test: CoarseImages }> {
  const read = async (name: string) => {
    const { x, labels } = await readRows(folder, [name], [20, 100]);
    const [coarse, label] = labels as [Tensor<"int64">, Tensor<"int64">];
    return { x, label, coarse };
  };
  return { train: await read("train.bin"), test: await read("test.bin") };
}

/** Rows of `classes.length` label bytes and the pixels, over several files. */
async function readRows(folder: string, names: readonly string[], classes: readonly number[]) {
  const length = classes.length + pixels;
  const files: Uint8Array[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const bytes = await readBounded(path, mostBytes);
    if (bytes.length === 0 || bytes.length % length !== 0)
      throw failure(`${path} has ${bytes.length} bytes, not a whole number of rows of ${length}`);
    checkLabels(bytes, length, classes, path);
    files.push(bytes);
  }
  const rows = files.flatMap((bytes) =>
    Array.from({ length: bytes.length / length }, (_, row) => bytes.subarray(row * length, (row + 1) * length)),
  );
  const x = new Float32Array(rows.length * pixels);
  for (const [i, row] of rows.entries()) x.set(unitInterval(row.subarray(classes.length)), i * pixels);
  const labels = classes.map((_, at) => labelTensor(rows.map((row) => row[at] as number)));
  return { x: tensor("float32", [rows.length, 3, 32, 32], x), labels };
}

function checkLabels(bytes: Uint8Array, length: number, classes: readonly number[], path: string): void {
  for (let row = 0; row < bytes.length; row += length)
    for (const [at, count] of classes.entries())
      if ((bytes[row + at] as number) >= count)
        throw failure(`${path}: byte ${row + at} is the label ${bytes[row + at]}; there are ${count} classes`);
}
