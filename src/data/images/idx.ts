/**
 * The IDX format of MNIST's own files: two zero bytes, the element type, the number of dimensions, each size as a 32-bit
 * big-endian number, then the elements. Also compressed by gzip.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { failure, messageOf, usageError } from "../../errors.js";
import { elementCount, type Tensor, tensor } from "../../runtime/index.js";
import { readBounded } from "./files.js";
import { type ImageParts, type LabelledImages, labelTensor, unitInterval } from "./labelled.js";

const unsignedByte = 0x08;
/** The largest file of MNIST's kind, unpacked: EMNIST's has 547 million bytes. */
const mostBytes = 2 ** 30;

/**
 * The bytes of an IDX file of unsigned bytes, which may be compressed by gzip: uint8, of the file's shape.
 *
 * @param where the file, for messages
 */
export function readIdx(bytes: Uint8Array, where: string): Tensor<"uint8"> {
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? unzipped(bytes, where) : bytes;
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
  if (plain.length < 4 || view.getUint16(0) !== 0) throw failure(`${where} is no IDX file: it must begin with 0, 0`);
  const [type, dimensions] = [view.getUint8(2), view.getUint8(3)];
  if (type !== unsignedByte)
    throw failure(`${where}: byte 2 names the element type ${type}; unsigned bytes (8) are read here`);
  const start = 4 + 4 * dimensions;
  if (dimensions < 1 || dimensions > 4 || plain.length < start)
    throw failure(`${where}: byte 3 declares ${dimensions} dimensions; 1 to 4, and their sizes, are expected`);
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  if (elementCount(shape) !== plain.length - start)
    throw failure(
      `${where}: declares ${shape.join(" x ")} elements from byte ${start} on, and has ${plain.length - start}`,
    );
  return tensor("uint8", shape, new Uint8Array(plain.slice(start)));
}

function unzipped(bytes: Uint8Array, where: string): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: mostBytes });
  } catch (error) {
    throw failure(`${where} can't be unpacked: ${messageOf(error)}`, error);
  }
}

/**
 * MNIST (or another set in its form) from a folder with its four files, `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
 * `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each perhaps with `.gz`, or with a dot for the second hyphen.
 */
export async function readMnist(folder: string): Promise<ImageParts> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw usageError(`can't read the folder ${folder}: ${messageOf(error)}`, error);
  });
  const read = async (part: string, kind: string) => {
    const name = names.find((one) => new RegExp(`^${part}-${kind}[-.]idx\\d-ubyte(\\.gz)?$`).test(one));
    if (name === undefined) throw usageError(`${folder} has no file ${part}-${kind}-idx*-ubyte, plain or .gz`);
    const path = join(folder, name);
    return readIdx(await readBounded(path, mostBytes), path);
  };
  const part = async (name: string) => labelled(await read(name, "images"), await read(name, "labels"), folder, name);
  return { train: await part("train"), test: await part("t10k") };
}

function labelled(images: Tensor<"uint8">, labels: Tensor<"uint8">, folder: string, part: string): LabelledImages {
  const [count, height, width] = images.shape;
  if (images.shape.length !== 3 || labels.shape.length !== 1 || labels.shape[0] !== count || images.data.length === 0)
    throw failure(
      `${folder}: the ${part} images are [${images.shape}] and their labels [${labels.shape}]; ` +
        "[rows, height, width] and [rows], at least one, are expected",
    );
  const shape = [count, 1, height, width] as number[];
  return { x: tensor("float32", shape, unitInterval(images.data)), label: labelTensor(labels.data) };
}
