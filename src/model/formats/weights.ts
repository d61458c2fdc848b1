/**
 * The file that the runtime maps: every weight in float32, under its canonical name, laid out as its product wants it. It
 * is a valid safetensors file, made once from a checkpoint in bounded memory: rows are read, decoded, rearranged and written
 * piece by piece, the writing of one piece alongside the decoding of the next.
 */
import type { FileHandle } from "node:fs/promises";
import { failure, located, usageError } from "../../errors.js";
import { type Checkpoint, unknownTensor } from "./checkpoint.js";
import { allocate, bytesOf, quoted, readInto, withFile, writeAtomically, writeFrom } from "./files.js";
import { alignment, metadataKey, readHeader, renderHeader } from "./header.js";
import { columnRange, rotaryHalves, transposed } from "./layout.js";
import { type ResolvedWeight, resolveWeight, type WeightPlan } from "./plan.js";
import { checkText, recordOf } from "./safetensors.js";

/** A file of float32 weights. */
export interface WeightFile {
  readonly path: string;
  readonly bytes: number;
  readonly metadata: Record<string, string>;
  /** `offset` is the absolute byte in the file. */
  readonly tensors: ReadonlyMap<string, { shape: readonly number[]; offset: number; bytes: number }>;
}

export interface ConvertOptions {
  readonly metadata?: Record<string, string>;
  /** Stops the work; the promise rejects with the signal's reason and nothing is left behind. */
  readonly signal?: AbortSignal;
  /** Called with bytes of the result: those written and those that there will be. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Accepts NaN and infinity (default: a `failure` that names the tensor and how many there are). */
  readonly allowNonFinite?: boolean;
  /** Decoded bytes handled at a time (default 4 MB; 64 MB of what is transposed, which sets the memory needed). */
  readonly pieceBytes?: number;
}

/** A transposed piece is scattered over the file: larger ones make longer runs. */
const straightBytes = 4 << 20;
const transposedBytes = 64 << 20;

/**
 * Writes the weights of a plan, taken from a checkpoint, into the file `target`, all or nothing. Weights lie in the plan's
 * order, those whose length is a multiple of 64 bytes first, so that these start at multiples of 64, and so down to 4.
 * Needs about 300 MB of memory at most, unless one row of a tensor's first dimension (an expert, say) exceeds 64 MB: then
 * some four times that row.
 */
export async function convertWeights(
  checkpoint: Checkpoint,
  plan: readonly WeightPlan[],
  target: string,
  options: ConvertOptions = {},
): Promise<WeightFile> {
  const { metadata = {} } = options;
  checkNames(target, plan, metadata);
  const weights = located(checkpoint.where, () => plan.map((entry) => resolveWeight(checkpoint, entry)));
  weights.sort((a, b) => alignmentOf(b.bytes) - alignmentOf(a.bytes));
  const { header, offsets } = renderHeader(
    weights.map(({ name, shape, bytes }) => ({ name, dtype: "F32", shape, bytes })),
    metadata,
  );
  const total = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  await writeAtomically(target, async (handle) => {
    await writeFrom(handle, header, 0);
    let done = 0;
    let writing: Promise<void> = Promise.resolve();
    for await (const piece of pieces(checkpoint, weights, options)) {
      await writing;
      writing = writePiece(handle, piece, offsets[piece.index] as number);
      // It is awaited in the next round; until then a failure must not count as unhandled.
      writing.catch(() => undefined);
      done += piece.values.byteLength;
      options.onProgress?.(done, total);
    }
    await writing;
  });
  return openWeights(target);
}

function checkNames(target: string, plan: readonly WeightPlan[], metadata: Readonly<Record<string, string>>): void {
  const names = new Set([metadataKey]);
  for (const { name } of plan) {
    if (names.has(name)) {
      const why = name === metadataKey ? "the format reserves it" : "a name can come once";
      throw usageError(`${target}: the plan cannot have "${name}" here; ${why}`);
    }
    names.add(name);
  }
  checkText(target, [...names, ...Object.entries(metadata).flat()]);
}

/** The largest power of two, up to the file's alignment, that divides a length. */
function alignmentOf(bytes: number): number {
  let power = alignment;
  while (bytes % power !== 0) power /= 2;
  return power;
}

/** Rows [from, from + rows) of the weight at `index`, rearranged (a transposed piece is [columns, rows]). */
interface Piece {
  readonly index: number;
  readonly weight: ResolvedWeight;
  readonly from: number;
  readonly rows: number;
  readonly values: Float32Array;
}

async function* pieces(
  checkpoint: Checkpoint,
  weights: readonly ResolvedWeight[],
  { signal, allowNonFinite = false, pieceBytes }: ConvertOptions,
): AsyncGenerator<Piece> {
  for (const [index, weight] of weights.entries()) {
    const step = pieceRows(weight, pieceBytes ?? (weight.transpose ? transposedBytes : straightBytes));
    let nonFinite = 0;
    for (let row = 0; row < weight.rows; row += step) {
      signal?.throwIfAborted();
      const end = Math.min(row + step, weight.rows);
      const values = rearrange(weight, await readParts(checkpoint, weight, row, end));
      if (!allowNonFinite) nonFinite += countNonFinite(values);
      yield { index, weight, from: row * weight.inner, rows: (end - row) * weight.inner, values };
    }
    if (nonFinite > 0) throw failure(`${checkpoint.where}: ${weight.source}: ${nonFinite} values are NaN or infinite`);
  }
  signal?.throwIfAborted();
}

/** Rows of the first dimension in a piece: as many as its bytes allow, whole heads, at least one. */
function pieceRows({ inner, width, headSize = 1 }: ResolvedWeight, bytes: number): number {
  return headSize * Math.max(1, Math.floor(bytes / (headSize * inner * width * 4)));
}

/** Rows [from, to) of what the weight takes, from one stored tensor or across the seams of several. */
async function readParts(
  checkpoint: Checkpoint,
  weight: ResolvedWeight,
  from: number,
  to: number,
): Promise<Float32Array> {
  const found: Float32Array[] = [];
  let start = 0;
  for (const part of weight.parts) {
    const first = part.from + Math.max(from - start, 0);
    const last = Math.min(part.from + to - start, part.to);
    if (first < last) found.push(await checkpoint.read(part.name, weight.scalar ? undefined : [first, last]));
    start += part.to - part.from;
  }
  const [only] = found;
  if (only && found.length === 1) return only;
  const joined = new Float32Array(found.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const values of found) {
    joined.set(values, at);
    at += values.length;
  }
  return joined;
}

/** The steps of the plan on whole rows. The values are the caller's own: adding happens in place. */
function rearrange(weight: ResolvedWeight, values: Float32Array): Float32Array {
  const { width, columns, headSize, transpose, add } = weight;
  const kept = columns[1] - columns[0];
  let result = kept === width ? values : columnRange(values, width, columns);
  if (add !== 0) for (let i = 0; i < result.length; i++) result[i] = (result[i] as number) + add;
  if (headSize !== undefined) result = rotaryHalves(result, kept, headSize);
  return transpose ? transposed(result, result.length / kept, kept) : result;
}

/** NaN and infinity have an exponent of ones only. Weights nearly never do, so the first pass only tells whether any does. */
function countNonFinite(values: Float32Array): number {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  let carry = 0;
  for (let i = 0; i < bits.length; i++) carry |= ((bits[i] as number) & 0x7f800000) + 0x00800000;
  return carry < 0 ? values.reduce((count, value) => count + (Number.isFinite(value) ? 0 : 1), 0) : 0;
}

/** Writes a piece to its place in the weight that starts at byte `offset`. */
async function writePiece(handle: FileHandle, { weight, from, rows, values }: Piece, offset: number): Promise<void> {
  const bytes = bytesOf(values);
  const allRows = weight.rows * weight.inner;
  const kept = weight.columns[1] - weight.columns[0];
  if (!weight.transpose || rows === allRows) return writeFrom(handle, bytes, offset + from * kept * 4);
  for (let column = 0; column < kept; column++) {
    const run = bytes.subarray(column * rows * 4, (column + 1) * rows * 4);
    await writeFrom(handle, run, offset + (column * allRows + from) * 4);
  }
}

/** Reads and checks the header of a file of weights; a tensor that is not float32 is a `failure`. */
export async function openWeights(path: string): Promise<WeightFile> {
  return withFile(path, async (file) => {
    const header = await readHeader(file);
    for (const { name, dtype } of header.tensors.values()) {
      if (dtype !== "F32") throw failure(`${path}: ${quoted(name)} is ${dtype}; a file of weights holds F32 only`);
    }
    const tensors = [...header.tensors.values()].map(({ name, shape, offset, bytes }) => {
      return [name, { shape, offset, bytes }] as const;
    });
    return { path, bytes: file.bytes, metadata: recordOf(header.metadata), tensors: new Map(tensors) };
  });
}

/** The values of one weight, row-major. An unknown name is a `usage` error. */
export async function readWeight(file: WeightFile, name: string): Promise<Float32Array> {
  const tensor = file.tensors.get(name);
  if (!tensor) throw usageError(unknownTensor(name, file.tensors.keys()));
  return withFile(file.path, async (open) => {
    const values = new Float32Array(allocate(tensor.bytes, `reading ${quoted(name)}`));
    await readInto(open, bytesOf(values), tensor.offset);
    return values;
  });
}
