/**
 * A checkpoint is named tensors in open files, whatever the format: reading one is finding its blocks and decoding them
 * into float32. Formats differ only in how they say where a tensor lies.
 */
import { failure, nearestNames, usageError } from "../../errors.js";
import { type Encoding, readableEncodings } from "./encodings.js";
import { allocate, type OpenFile, quoted, readInto } from "./files.js";

/** A tensor as it is stored. */
export interface StoredTensor {
  readonly name: string;
  /** The format's name of the element or block type: "F32", "BF16", "Q8_0", ... */
  readonly dtype: string;
  /** Row-major, outermost dimension first (GGUF's reverse order is undone). */
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
}

/** An open checkpoint. Its files stay open until `close`. */
export interface Checkpoint {
  readonly format: "safetensors" | "gguf";
  /** Names the file or files in messages. */
  readonly where: string;
  /** GGUF's key-values; the `__metadata__` strings of safetensors. */
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /**
   * The values as float32 in a new array: all, or `rows` [from, to) of the first dimension. An unknown name or rows out of
   * range are a `usage` error; a type that cannot be decoded, or a file that became shorter, a `failure`.
   */
  read(name: string, rows?: readonly [number, number]): Promise<Float32Array>;
  close(): Promise<void>;
}

/** A tensor and where it lies: `offset` is the absolute byte in `file`, checked to be inside it. */
export interface PlacedTensor extends StoredTensor {
  readonly file: OpenFile;
  readonly offset: number;
  readonly encoding: Encoding;
}

/** What is read and decoded at a time: the stored bytes stay in the processor's cache in between. */
const chunkBytes = 1 << 20;

/** The checkpoint over tensors that a format's reader has placed. */
export function checkpointOf(
  format: Checkpoint["format"],
  metadata: ReadonlyMap<string, unknown>,
  tensors: ReadonlyMap<string, PlacedTensor>,
  files: readonly OpenFile[],
): Checkpoint {
  return {
    format,
    where: files.length === 1 ? (files[0] as OpenFile).path : `${files[0]?.path} and ${files.length - 1} more`,
    metadata,
    tensors,
    async read(name, rows) {
      const tensor = tensors.get(name);
      if (!tensor) throw usageError(unknownTensor(name, tensors.keys()));
      const count = tensor.shape.reduce((product, size) => product * size, 1);
      if (!rows) return readValues(tensor, 0, count);
      checkRows(tensor, rows);
      const width = count / (tensor.shape[0] as number);
      return readValues(tensor, rows[0] * width, (rows[1] - rows[0]) * width);
    },
    async close() {
      await Promise.all(files.map(({ handle }) => handle.close()));
    },
  };
}

/** The message for a tensor that isn't there. */
export function unknownTensor(name: string, names: Iterable<string>): string {
  // Names come from a file: an absurdly long one would take the edit distance as long.
  const nearest = nearestNames(
    name,
    [...names].filter(({ length }) => length <= 200),
  ).map(quoted);
  return `no tensor ${quoted(name)}${nearest.length > 0 ? `; the nearest names are ${nearest.join(", ")}` : ""}`;
}

/**
 * The bytes that a shape takes in an encoding; undefined if the product of the sizes overflows, or if the last dimension is
 * no multiple of the block (blocks don't straddle rows).
 */
export function storedBytes(shape: readonly number[], encoding: Encoding): number | undefined {
  if ((shape.at(-1) ?? 1) % encoding.values !== 0) return undefined;
  const bytes = (shape.reduce((product, size) => product * size, 1) / encoding.values) * encoding.bytes;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

function checkRows({ name, shape }: StoredTensor, [from, to]: readonly [number, number]): void {
  const size = shape[0] ?? 0;
  const inside = Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from <= to && to <= size;
  if (!inside || size === 0)
    throw usageError(`rows [${from}, ${to}) of ${quoted(name)}, whose shape is [${shape.join(", ")}]`);
}

/** Values [first, first + count) in row-major order. A block that is needed in part is decoded whole. */
async function readValues(tensor: PlacedTensor, first: number, count: number): Promise<Float32Array> {
  const { values, bytes, decode } = tensor.encoding;
  if (!decode) {
    throw failure(
      `${tensor.file.path}: ${quoted(tensor.name)} is stored as ${tensor.dtype}; readable are ${readableEncodings()}`,
    );
  }
  const firstBlock = Math.floor(first / values);
  const blocks = Math.ceil((first + count) / values) - firstBlock;
  const decoded = new Float32Array(allocate(blocks * values * 4, `reading ${quoted(tensor.name)}`));
  const step = Math.floor(chunkBytes / bytes);
  const chunk = new Uint8Array(Math.min(step, blocks) * bytes);
  for (let done = 0; done < blocks; done += step) {
    const part = Math.min(step, blocks - done);
    const source = chunk.subarray(0, part * bytes);
    await readInto(tensor.file, source, tensor.offset + (firstBlock + done) * bytes);
    decode(source, decoded.subarray(done * values, (done + part) * values));
  }
  const skipped = first - firstBlock * values;
  return decoded.length === count ? decoded : decoded.slice(skipped, skipped + count);
}
