/**
 * The head of a GGUF file (versions 2 and 3): counts, key-values of any kind, and a list of tensors. Lengths come from the
 * file and are checked against what is left of it before anything is read or allocated.
 */
import { readSync } from "node:fs";
import { failure, messageOf } from "../../errors.js";
import { type OpenFile, quoted, systemFailure } from "./files.js";

/** A tensor as the list gives it: sizes innermost first, `offset` from the start of the data section. */
export interface GgufTensor {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly type: number;
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: readonly GgufTensor[];
  /** The byte after the list. */
  readonly end: number;
}

/** Several times the largest vocabulary with its merges. */
const headerLimit = 64 << 20;
/** Elements of all arrays together, several times those of the largest vocabulary. */
const elementLimit = 1 << 22;
/** Tensors, and keys, that a file may list: dozens of times the largest models' number. */
const listLimit = 1 << 17;
const depthLimit = 4;
const windowBytes = 1 << 18;

/** A position in the file and the window of it that is in memory. */
interface Cursor {
  readonly file: OpenFile;
  readonly end: number;
  at: number;
  window: Buffer;
  start: number;
  elements: number;
}

/** Reads the head of an open file. Any departure from the format is a `failure` that names the byte. */
export function readGgufHeader(file: OpenFile): GgufHeader {
  const end = Math.min(file.bytes, headerLimit);
  const cursor: Cursor = { file, end, at: 0, window: Buffer.alloc(0), start: 0, elements: 0 };
  checkVersion(cursor);
  const tensorCount = readCount(cursor, "the number of tensors", listLimit);
  const keyCount = readCount(cursor, "the number of keys", listLimit);
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < keyCount; i++) {
    const key = readText(cursor, "a key");
    if (metadata.has(key)) throw broken(cursor, `the key ${quoted(key)} comes twice`);
    metadata.set(key, readValue(cursor, readU32(cursor, key), key, 0));
  }
  const tensors: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) tensors.push(readTensorInfo(cursor));
  return { metadata, tensors, end: cursor.at };
}

function checkVersion(cursor: Cursor): void {
  const magic = readU32(cursor, "the magic number");
  if (magic !== 0x46554747) throw broken(cursor, "not a GGUF file: it does not start with GGUF");
  const version = readU32(cursor, "the version");
  if (version === 2 || version === 3) return;
  const bigEndian = version !== 0 && version % (1 << 24) === 0;
  throw broken(
    cursor,
    `GGUF version ${version}${bigEndian ? " (big-endian)" : ""} is not read; little-endian 2 and 3 are`,
  );
}

function readTensorInfo(cursor: Cursor): GgufTensor {
  const name = readText(cursor, "a tensor's name");
  const rank = readU32(cursor, name);
  if (rank > 4) throw broken(cursor, `${quoted(name)} has ${rank} dimensions; at most 4 are possible`);
  const sizes = Array.from({ length: rank }, () => readLength(cursor, name));
  return { name, sizes, type: readU32(cursor, name), offset: readLength(cursor, name) };
}

interface Scalar {
  readonly bytes: number;
  readonly read: (window: Buffer, index: number) => unknown;
}

/** Value types that are one number, by their number in the format. */
const scalars = new Map<number, Scalar>([
  [0, { bytes: 1, read: (window, index) => window.readUInt8(index) }],
  [1, { bytes: 1, read: (window, index) => window.readInt8(index) }],
  [2, { bytes: 2, read: (window, index) => window.readUInt16LE(index) }],
  [3, { bytes: 2, read: (window, index) => window.readInt16LE(index) }],
  [4, { bytes: 4, read: (window, index) => window.readUInt32LE(index) }],
  [5, { bytes: 4, read: (window, index) => window.readInt32LE(index) }],
  [6, { bytes: 4, read: (window, index) => window.readFloatLE(index) }],
  [7, { bytes: 1, read: (window, index) => window.readUInt8(index) !== 0 }],
  [10, { bytes: 8, read: (window, index) => numberOf(window.readBigUInt64LE(index)) }],
  [11, { bytes: 8, read: (window, index) => numberOf(window.readBigInt64LE(index)) }],
  [12, { bytes: 8, read: (window, index) => window.readDoubleLE(index) }],
]);
const stringType = 8;
const arrayType = 9;

/** A number where it is exact, else the bigint. */
function numberOf(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readValue(cursor: Cursor, type: number, key: string, depth: number): unknown {
  if (type === stringType) return readText(cursor, key);
  if (type === arrayType) return readArray(cursor, key, depth + 1);
  const scalar = scalars.get(type);
  if (!scalar) throw broken(cursor, `${quoted(key)} has the unknown value type ${type}`);
  return readScalar(cursor, scalar, key);
}

function readScalar(cursor: Cursor, { bytes, read }: Scalar, key: string): unknown {
  const index = take(cursor, bytes, key);
  return read(cursor.window, index);
}

function readArray(cursor: Cursor, key: string, depth: number): unknown[] {
  if (depth > depthLimit) throw broken(cursor, `${quoted(key)} nests arrays more than ${depthLimit} deep`);
  const type = readU32(cursor, key);
  const count = readCount(cursor, `the length of ${quoted(key)}`, elementLimit);
  cursor.elements += count;
  if (cursor.elements > elementLimit)
    throw broken(cursor, `${quoted(key)} brings the arrays to more than ${elementLimit} elements`);
  const values: unknown[] = [];
  const scalar = scalars.get(type);
  for (let i = 0; i < count; i++)
    values.push(scalar ? readScalar(cursor, scalar, key) : readValue(cursor, type, key, depth));
  return values;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readText(cursor: Cursor, what: string): string {
  const length = readLength(cursor, what);
  const index = take(cursor, length, what);
  try {
    return utf8.decode(cursor.window.subarray(index, index + length));
  } catch (error) {
    throw broken(cursor, `${quoted(what)} is not UTF-8 (${messageOf(error)})`);
  }
}

/** A count of things that take at least a byte each: one that exceeds the bytes left cannot be true. */
function readCount(cursor: Cursor, what: string, limit: number): number {
  const count = readLength(cursor, what);
  if (count > cursor.end - cursor.at) throw broken(cursor, `${what} is ${count}, more than the bytes that follow`);
  if (count > limit) throw broken(cursor, `${what} is ${count}, more than the ${limit} that are read`);
  return count;
}

function readU32(cursor: Cursor, what: string): number {
  const index = take(cursor, 4, what);
  return cursor.window.readUInt32LE(index);
}

/** An unsigned 64-bit number. Above 2^53 it is inexact, and larger than any file, as its users check. */
function readLength(cursor: Cursor, what: string): number {
  const index = take(cursor, 8, what);
  return cursor.window.readUInt32LE(index) + cursor.window.readUInt32LE(index + 4) * 2 ** 32;
}

/** Moves past the next `count` bytes and returns where they lie in the window. */
function take(cursor: Cursor, count: number, what: string): number {
  if (count > cursor.end - cursor.at) {
    const limit = cursor.end < cursor.file.bytes ? `the first ${headerLimit} bytes end` : "the file ends";
    throw broken(cursor, `${limit} inside ${quoted(what)}, which needs ${count} bytes`);
  }
  if (cursor.at + count > cursor.start + cursor.window.length) moveWindow(cursor, count);
  const index = cursor.at - cursor.start;
  cursor.at += count;
  return index;
}

/**
 * Reads the window anew from the cursor on. Synchronously: a vocabulary is 100,000 short strings, for which promises would
 * cost more than the reading.
 */
function moveWindow(cursor: Cursor, count: number): void {
  const length = Math.min(Math.max(count, windowBytes), cursor.end - cursor.at);
  const window = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const read = readAt(cursor, window.subarray(done), cursor.at + done);
    if (read === 0) throw broken(cursor, "the file became shorter while it was read");
    done += read;
  }
  cursor.window = window;
  cursor.start = cursor.at;
}

function readAt({ file }: Cursor, target: Uint8Array, position: number): number {
  try {
    return readSync(file.handle.fd, target, 0, target.length, position);
  } catch (error) {
    throw systemFailure("read", file.path, error);
  }
}

function broken(cursor: Cursor, problem: string) {
  return failure(`${cursor.file.path}: ${problem} (at byte ${cursor.at})`);
}
