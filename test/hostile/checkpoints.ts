/** The committed models as editable data: every field of a safetensors file, a GGUF file or a configuration can be made to lie. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A committed model's folder. */
export const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url));

export interface StoredTensor {
  dtype: string;
  shape: number[];
  data: Buffer;
}

/** A safetensors file in parts. */
export interface Safetensors {
  tensors: Record<string, StoredTensor>;
  metadata?: Record<string, unknown>;
}

/** Takes a safetensors file apart. */
export function readParts(path: string): Safetensors {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.subarray(8, start).toString());
  const tensors: Record<string, StoredTensor> = {};
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries<{
    dtype: string;
    shape: number[];
    data_offsets: [number, number];
  }>(entries))
    tensors[name] = { dtype, shape, data: Buffer.from(bytes.subarray(start + range[0], start + range[1])) };
  return metadata === undefined ? { tensors } : { tensors, metadata };
}

/** Puts a safetensors file together; `edit` may change the header's text, `claim` its length. */
export function joinParts(
  { tensors, metadata }: Safetensors,
  { edit = (header) => header, claim }: { edit?: (header: string) => string; claim?: bigint } = {},
): Buffer {
  let end = 0;
  const entries = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    end += data.length;
    return [name, { dtype, shape, data_offsets: [end - data.length, end] }] as const;
  });
  const header = Buffer.from(
    edit(JSON.stringify({ ...Object.fromEntries(entries), ...(metadata ? { __metadata__: metadata } : {}) })),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claim ?? BigInt(header.length));
  return Buffer.concat([length, header, ...Object.values(tensors).map(({ data }) => data)]);
}

/** A recording of prompts of two tokens, 5 and 7, as a file; `metadata` replaces fields of it. */
export function recordingFile(
  tensors: Record<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Buffer {
  const tokens = [5, 7].map((id, i) => ({ id, text: `#${id}`, start: 2 * i, end: 2 * i + 2 }));
  const model = { name: "tiny", source: "tiny", hash: "0", precision: "float32" };
  const own = { format: "patchclamp recording 1", tokens: JSON.stringify([tokens]), model: JSON.stringify(model) };
  return joinParts({ tensors, metadata: { ...own, ...metadata } });
}

type Json = Record<string, unknown>;

/** What to change in a copy of a committed model of safetensors. */
export interface Edits {
  /** The model that is copied: `llama-gqa` unless given. */
  readonly from?: string;
  /** Fields that replace those of config.json; `null` takes one out. */
  readonly config?: Json;
  /** Replaces the whole of config.json. */
  readonly configText?: string;
  readonly parts?: (file: Safetensors) => void;
  readonly header?: (header: string) => string;
  readonly claim?: bigint;
  /** The last step: any bytes. */
  readonly bytes?: (file: Buffer) => Buffer;
  /** Further files beside it. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
}

/** A copy of a committed safetensors model in `folder`, edited. Returns the folder. */
export function makeModel(folder: string, edits: Edits = {}): string {
  const { from = "llama-gqa", config = {}, configText, parts, header, claim, bytes, files = {} } = edits;
  mkdirSync(folder, { recursive: true });
  const original = JSON.parse(readFileSync(join(fixture(from), "config.json"), "utf8")) as Json;
  const fields = Object.entries({ ...original, ...config }).filter(([, value]) => value !== null);
  writeFileSync(join(folder, "config.json"), configText ?? JSON.stringify(Object.fromEntries(fields)));
  const file = readParts(join(fixture(from), "model.safetensors"));
  parts?.(file);
  const made = joinParts(file, { ...(header ? { edit: header } : {}), ...(claim === undefined ? {} : { claim }) });
  writeFileSync(join(folder, "model.safetensors"), bytes?.(made) ?? made);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

/** A copy of the committed model in shards. Returns the folder. */
export function copyModel(name: string, folder: string): string {
  cpSync(fixture(name), folder, {
    recursive: true,
    filter: (path) => !/(cases\.json|edits\.safetensors|reference\.safetensors)$/.test(path),
  });
  return folder;
}

/** The value of a key of a GGUF file: its type's number and its bytes. */
export interface GgufValue {
  type: number;
  bytes: Buffer;
}

export interface GgufTensor {
  sizes: (number | bigint)[];
  type: number;
  offset: number | bigint;
}

/** A GGUF file in parts. Names are unique in good files; `extraTensors` can repeat one. */
export interface Gguf {
  keys: Map<string, GgufValue>;
  tensors: Map<string, GgufTensor>;
  extraTensors: [string, GgufTensor][];
  data: Buffer;
}

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt.asUintN(64, BigInt(value))).buffer);
const text = (value: string) => Buffer.concat([u64(Buffer.from(value).length), Buffer.from(value)]);

/** Values of keys by kind. */
export const ggufValue = {
  u32: (value: number): GgufValue => ({ type: 4, bytes: u32(value) }),
  f32: (value: number): GgufValue => ({ type: 6, bytes: Buffer.from(Float32Array.of(value).buffer) }),
  u64: (value: bigint): GgufValue => ({ type: 10, bytes: u64(value) }),
  text: (value: string): GgufValue => ({ type: 8, bytes: text(value) }),
  texts: (values: readonly string[], claimed: number | bigint = values.length): GgufValue => ({
    type: 9,
    bytes: Buffer.concat([u32(8), u64(claimed), ...values.map(text)]),
  }),
};

const scalarBytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const alignment = 32;

/** Takes a GGUF file apart. */
export function readGguf(path: string): Gguf {
  const bytes = readFileSync(path);
  let at = 8;
  /** Moves past the next bytes and returns where they start. */
  const take = (count: number) => {
    at += count;
    return at - count;
  };
  const long = () => Number(bytes.readBigUInt64LE(take(8)));
  const word = () => bytes.readUInt32LE(take(4));
  const string = () => {
    const length = long();
    const start = take(length);
    return bytes.toString("utf8", start, at);
  };
  const skip = (type: number) => {
    if (type === 8) string();
    else if (type === 9) for (let inner = word(), count = long(); count > 0; count--) skip(inner);
    else take(scalarBytes[type] as number);
  };
  const [tensorCount, keyCount] = [long(), long()];
  const keys = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const [name, type] = [string(), word()];
    const start = at;
    skip(type);
    keys.set(name, { type, bytes: bytes.subarray(start, at) });
  }
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const name = string();
    const sizes = Array.from({ length: word() }, long);
    tensors.set(name, { sizes, type: word(), offset: long() });
  }
  const data = Buffer.from(bytes.subarray(Math.ceil(at / alignment) * alignment));
  return { keys, tensors, extraTensors: [], data };
}

/** Puts a GGUF file together; counts may be claimed. */
export function joinGguf(
  { keys, tensors, extraTensors, data }: Gguf,
  { tensorCount, keyCount }: { tensorCount?: bigint; keyCount?: bigint } = {},
): Buffer {
  const infos = [...tensors, ...extraTensors];
  const head = Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensorCount ?? infos.length),
    u64(keyCount ?? keys.size),
    ...[...keys].flatMap(([name, { type, bytes }]) => [text(name), u32(type), bytes]),
    ...infos.flatMap(([name, { sizes, type, offset }]) => [
      text(name),
      u32(sizes.length),
      ...sizes.map(u64),
      u32(type),
      u64(offset),
    ]),
  ]);
  return Buffer.concat([head, Buffer.alloc((alignment - (head.length % alignment)) % alignment), data]);
}

/** An edited copy of the committed GGUF model at `path`. Returns the path. */
export function makeGguf(
  path: string,
  edits: {
    readonly from?: string;
    readonly parts?: (file: Gguf) => void;
    readonly counts?: { tensorCount?: bigint; keyCount?: bigint };
    readonly bytes?: (file: Buffer) => Buffer;
  } = {},
): string {
  const file = readGguf(join(fixture(edits.from ?? "llama-gguf"), "model.gguf"));
  edits.parts?.(file);
  const made = joinGguf(file, edits.counts);
  writeFileSync(path, edits.bytes?.(made) ?? made);
  return path;
}
