/**
 * The header of a safetensors file: eight bytes of length, then JSON that maps each name to a dtype, a shape and a range of
 * the data section. It is checked in full (no overlap, no hole, nothing left over), because everything after trusts it.
 */
import { failure, messageOf } from "../../errors.js";
import { storedBytes } from "./checkpoint.js";
import { type Encoding, plainEncoding } from "./encodings.js";
import { allocate, type OpenFile, quoted, readInto } from "./files.js";

/** A tensor of the header; `offset` is the absolute byte in the file. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: string;
  readonly encoding: Encoding;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

export interface Header {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, HeaderEntry>;
}

/** The name that a header reserves for its strings. */
export const metadataKey = "__metadata__";

/** The format's own limit. */
const headerLimit = 100_000_000;

/** Commas of a header: some 150,000 tensors, and what can be parsed in about a second. */
const commaLimit = 1 << 20;

/** The data section starts at a multiple of this, so that tensors can be aligned in the file as in their section. */
export const alignment = 64;

/** Reads and checks the header of an open file. Any departure from the format is a `failure`. */
export async function readHeader(file: OpenFile): Promise<Header> {
  if (file.bytes < 8) throw failure(`${file.path}: ${file.bytes} bytes are too short for a safetensors file`);
  const prefix = Buffer.alloc(8);
  await readInto(file, prefix, 0);
  const length = prefix.readUInt32LE(0) + prefix.readUInt32LE(4) * 2 ** 32;
  const longest = Math.min(headerLimit, file.bytes - 8);
  if (length > longest) {
    throw failure(
      `${file.path}: not safetensors: bytes 0-7 claim a header of ${length} bytes, at most ${longest} are possible`,
    );
  }
  const bytes = new Uint8Array(allocate(length, `${file.path}: the header`));
  await readInto(file, bytes, 8);
  return checkHeader(file, parseHeader(file.path, bytes), 8 + length);
}

/** The JSON of the header, known to be an object whose keys are unique. */
function parseHeader(path: string, bytes: Uint8Array): Record<string, unknown> {
  const keys = scanHeader(path, bytes);
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw failure(`${path}: the safetensors header is not JSON in UTF-8 (${messageOf(error)})`, error);
  }
  if (!isObject(parsed)) throw failure(`${path}: the safetensors header is not a JSON object`);
  const inner = Object.values(parsed).reduce<number>(
    (n, value) => n + (isObject(value) ? Object.keys(value).length : 0),
    0,
  );
  if (Object.keys(parsed).length + inner !== keys) throw failure(`${path}: the safetensors header has a name twice`);
  return parsed;
}

/**
 * Counts the keys of a header, which a JSON parser that keeps the last of two equal keys hides, and refuses what no header
 * holds: deep nesting and, outside of strings, anything but punctuation and digits (no fraction, sign or exponent).
 */
function scanHeader(path: string, bytes: Uint8Array): number {
  let keys = 0;
  let commas = 0;
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte === quote) i = endOfString(bytes, i);
    else if (byte === 0x3a) keys++;
    else if (byte === 0x7b || byte === 0x5b) depth++;
    else if (byte === 0x7d || byte === 0x5d) depth--;
    else if (byte === 0x2c) commas++;
    else if (!(byte === 0x20 || (byte >= 0x30 && byte <= 0x39) || (byte >= 0x09 && byte <= 0x0d))) {
      throw failure(
        `${path}: byte ${8 + i} cannot stand in a safetensors header, where numbers are whole and positive`,
      );
    }
    if (commas > commaLimit) throw failure(`${path}: the safetensors header lists more than ${commaLimit} things`);
    if (depth > 3) throw failure(`${path}: the safetensors header is nested too deeply at byte ${8 + i}`);
  }
  return keys;
}

const quote = 0x22;

/** The index of the quote that closes the string opened at `start`; the end of the bytes if none does. */
function endOfString(bytes: Uint8Array, start: number): number {
  let i = start + 1;
  while (i < bytes.length && bytes[i] !== quote) i += bytes[i] === 0x5c ? 2 : 1;
  return i;
}

function checkHeader(file: OpenFile, parsed: Record<string, unknown>, dataStart: number): Header {
  const metadata = new Map<string, string>();
  const entries: HeaderEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (name !== metadataKey) entries.push(checkEntry(file.path, name, value, dataStart));
    else for (const [key, text] of checkMetadata(file.path, value)) metadata.set(key, text);
  }
  // An empty tensor shares its offset with the next one and comes first.
  entries.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  for (const { name, offset, bytes } of entries) {
    if (offset !== end)
      throw failure(`${file.path}: ${quoted(name)} starts at byte ${offset}, the tensor before it ends at ${end}`);
    end += bytes;
  }
  if (end !== file.bytes) throw failure(`${file.path}: its tensors end at byte ${end}, the file at ${file.bytes}`);
  return { metadata, tensors: new Map(entries.map((entry) => [entry.name, entry])) };
}

function checkMetadata(path: string, value: unknown): [string, string][] {
  if (!isObject(value)) throw failure(`${path}: ${metadataKey} is not an object of strings`);
  return Object.entries(value).map(([key, text]) => {
    if (typeof text !== "string") throw failure(`${path}: ${quoted(key)} in ${metadataKey} is not a string`);
    return [key, text];
  });
}

function checkEntry(path: string, name: string, value: unknown, dataStart: number): HeaderEntry {
  const where = `${path}: ${quoted(name)}`;
  const { dtype, shape, data_offsets: range } = isObject(value) ? value : {};
  if (typeof dtype !== "string") throw failure(`${where} has no dtype`);
  const encoding = plainEncoding(dtype);
  if (!encoding) throw failure(`${where} has the unknown dtype ${quoted(dtype)}`);
  if (!isSizes(shape)) throw failure(`${where} has no shape of whole numbers`);
  if (!isSizes(range) || range.length !== 2) throw failure(`${where} has no two data_offsets`);
  const [begin, end] = range as [number, number];
  const bytes = storedBytes(shape, encoding);
  if (bytes === undefined || end - begin !== bytes) {
    throw failure(
      `${where} is ${dtype} [${shape.slice(0, 8).join(", ")}], which bytes ${begin} to ${end} cannot hold exactly`,
    );
  }
  return { name, dtype, encoding, shape, offset: dataStart + begin, bytes };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** What a header says of one tensor that is to be written. */
interface Described {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/**
 * The first bytes of a file whose tensors lie in the order given: length and JSON with keys in alphabetical order (by
 * UTF-16 code unit), filled up with spaces to a multiple of `alignment`; and each tensor's absolute offset in that order.
 */
export function renderHeader(
  tensors: readonly Described[],
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; offsets: number[] } {
  const starts: number[] = [];
  const members: [string, unknown][] = [];
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    members.push([name, { dtype, shape, data_offsets: [end, end + bytes] }]);
    starts.push(end);
    end += bytes;
  }
  if (Object.keys(metadata).length > 0) members.push([metadataKey, metadata]);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  // Not JSON.stringify of an object: it would put names that look like numbers first.
  const json = members.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",");
  const text = Buffer.from(`{${json}}`);
  // What could not be read back is not written.
  scanHeader("the file to write", text);
  const dataStart = Math.ceil((8 + text.length) / alignment) * alignment;
  if (dataStart - 8 > headerLimit)
    throw failure(`${tensors.length} tensors need a header of more than ${headerLimit} bytes`);
  const header = Buffer.alloc(dataStart, " ");
  header.writeBigUInt64LE(BigInt(dataStart - 8));
  text.copy(header, 8);
  return { header, offsets: starts.map((start) => dataStart + start) };
}
