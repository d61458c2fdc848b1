/**
 * Safetensors files: whole ones in and out as tensors, for recordings, and one or many shards as a checkpoint.
 */
import { basename } from "node:path";
import { failure, messageOf, usageError } from "../../errors.js";
import type { Dtype, Tensor, TensorData } from "../../runtime/tensor.js";
import { type Checkpoint, checkpointOf, type PlacedTensor } from "./checkpoint.js";
import {
  allocate,
  bytesOf,
  type OpenFile,
  openFile,
  quoted,
  readInto,
  withFile,
  writeAtomically,
  writeFrom,
} from "./files.js";
import { type HeaderEntry, metadataKey, readHeader, renderHeader } from "./header.js";

interface Storage {
  /** The dtype's name in the file. */
  readonly stored: string;
  readonly array: { new (buffer: ArrayBuffer): TensorData; readonly BYTES_PER_ELEMENT: number };
}

/** How each element type is stored. */
const storages: Readonly<Record<Dtype, Storage>> = {
  float64: { stored: "F64", array: Float64Array },
  float32: { stored: "F32", array: Float32Array },
  float16: { stored: "F16", array: Uint16Array },
  int64: { stored: "I64", array: BigInt64Array },
  int32: { stored: "I32", array: Int32Array },
  int16: { stored: "I16", array: Int16Array },
  int8: { stored: "I8", array: Int8Array },
  uint8: { stored: "U8", array: Uint8Array },
  bool: { stored: "BOOL", array: Uint8Array },
};

const dtypes = Object.keys(storages) as Dtype[];
const dtypeByStored = new Map(dtypes.map((dtype) => [storages[dtype].stored, dtype]));

/**
 * Reads a whole file into memory, each tensor in its own element type; BF16 is widened to float32, which is exact. The
 * records have no prototype, so that any name is only a name.
 */
export async function readSafetensors(
  path: string,
): Promise<{ tensors: Record<string, Tensor>; metadata: Record<string, string> }> {
  return withFile(path, async (file) => {
    const header = await readHeader(file);
    const tensors: Record<string, Tensor> = Object.create(null);
    for (const entry of header.tensors.values()) tensors[entry.name] = await readTensor(file, entry);
    return { tensors, metadata: recordOf(header.metadata) };
  });
}

async function readTensor(file: OpenFile, entry: HeaderEntry): Promise<Tensor> {
  const { name, shape, encoding } = entry;
  const buffer = allocate(entry.bytes, `${file.path}: ${quoted(name)}`);
  await readInto(file, new Uint8Array(buffer), entry.offset);
  if (entry.dtype === "BF16" && encoding.decode) {
    const data = new Float32Array(allocate(entry.bytes * 2, `${file.path}: ${quoted(name)}`));
    encoding.decode(new Uint8Array(buffer), data);
    return { dtype: "float32", shape, data };
  }
  const dtype = dtypeByStored.get(entry.dtype);
  if (!dtype) {
    throw failure(
      `${file.path}: ${quoted(name)} is ${entry.dtype}; readable are BF16, ${[...dtypeByStored.keys()].join(", ")}`,
    );
  }
  return { dtype, shape, data: new storages[dtype].array(buffer) };
}

/**
 * Writes tensors to a file, all or nothing: until it is complete and on the disk, whatever was at `path` stays. The
 * names in the header are sorted; the data lie in order of element size, larger first, then name, which aligns each tensor
 * to its element (readers that map the file need that).
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  checkText(path, Object.entries(metadata).flat());
  const ordered = Object.entries(tensors)
    .map(([name, tensor]) => describe(path, name, tensor))
    .sort((a, b) => b.elementBytes - a.elementBytes || (a.name < b.name ? -1 : 1));
  const { header, offsets } = renderHeader(ordered, metadata);
  await writeAtomically(path, async (handle) => {
    await writeFrom(handle, header, 0);
    for (const [i, { data }] of ordered.entries()) await writeFrom(handle, data, offsets[i] as number);
  });
}

function describe(path: string, name: string, { dtype, shape, data }: Tensor) {
  const where = `${path}: tensor ${quoted(name)}`;
  checkText(path, [name]);
  if (name === metadataKey) throw usageError(`${where} has the name that the format reserves`);
  const storage: Storage | undefined = storages[dtype];
  if (!storage || !(data instanceof storage.array))
    throw usageError(`${where} is ${dtype}, its data is ${data?.constructor.name}`);
  const count = shape.reduce((product, size) => product * size, 1);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || count !== data.length) {
    throw usageError(`${where} has the shape [${shape.join(", ")}] and ${data.length} values`);
  }
  const elementBytes = storage.array.BYTES_PER_ELEMENT;
  return { name, dtype: storage.stored, shape, bytes: data.byteLength, elementBytes, data: bytesOf(data) };
}

/** Half a surrogate pair has no UTF-8, and other readers refuse the escape that JSON would have for it. */
export function checkText(path: string, texts: readonly unknown[]): void {
  for (const text of texts) {
    if (typeof text !== "string") throw usageError(`${path}: names and metadata are strings, not ${typeof text}`);
    if (/\p{Surrogate}/u.test(text)) throw usageError(`${path}: ${JSON.stringify(text)} is not valid Unicode`);
  }
}

/** A record without a prototype: a file may call something "constructor" or "__proto__". */
export function recordOf(map: ReadonlyMap<string, string>): Record<string, string> {
  const record: Record<string, string> = Object.create(null);
  for (const [key, value] of map) record[key] = value;
  return record;
}

/**
 * Opens one file, or all shards of a checkpoint. A path that ends in `.json` is the shards' index: each tensor that it
 * lists must be in the shard that it names, which must be among the paths (only those are ever opened).
 */
export async function openSafetensors(paths: readonly string[]): Promise<Checkpoint> {
  const shards = paths.filter((path) => !path.endsWith(".json"));
  if (shards.length === 0)
    throw usageError(`no safetensors file given${paths.length > 0 ? `, only ${paths.join(", ")}` : ""}`);
  const files: OpenFile[] = [];
  try {
    const metadata = new Map<string, string>();
    const tensors = new Map<string, PlacedTensor>();
    for (const path of shards) {
      const file = await openFile(path);
      files.push(file);
      addShard(file, await readHeader(file), tensors, metadata);
    }
    for (const path of paths) if (path.endsWith(".json")) await checkIndex(path, tensors);
    return checkpointOf("safetensors", metadata, tensors, files);
  } catch (error) {
    await Promise.all(files.map(({ handle }) => handle.close()));
    throw error;
  }
}

function addShard(
  file: OpenFile,
  header: Awaited<ReturnType<typeof readHeader>>,
  tensors: Map<string, PlacedTensor>,
  metadata: Map<string, string>,
): void {
  for (const [name, entry] of header.tensors) {
    const other = tensors.get(name);
    if (other) throw failure(`${file.path}: ${quoted(name)} is also in ${other.file.path}`);
    tensors.set(name, { ...entry, file });
  }
  for (const [key, text] of header.metadata) if (!metadata.has(key)) metadata.set(key, text);
}

/** Bytes of an index of shards, twice those of one that lists 90,000 tensors. */
const indexLimit = 16 << 20;

async function checkIndex(path: string, tensors: ReadonlyMap<string, PlacedTensor>): Promise<void> {
  const index = await withFile(path, async (file) => {
    if (file.bytes > indexLimit) throw failure(`${path}: ${file.bytes} bytes are too many for an index of shards`);
    const text = Buffer.alloc(file.bytes);
    await readInto(file, text, 0);
    return parseIndex(path, text.toString());
  });
  for (const [name, listed] of index) {
    const shard = String(listed);
    const place = tensors.get(name)?.file.path;
    if (place === undefined)
      throw failure(`${path}: ${quoted(name)} should be in ${quoted(shard)}, it is in no shard that was given`);
    if (basename(place) !== shard)
      throw failure(`${path}: ${quoted(name)} should be in ${quoted(shard)}, it is in ${basename(place)}`);
  }
}

function parseIndex(path: string, text: string): [string, unknown][] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw failure(`${path}: the index of shards is not JSON (${messageOf(error)})`, error);
  }
  const map = typeof parsed === "object" && parsed !== null && "weight_map" in parsed ? parsed.weight_map : undefined;
  if (typeof map !== "object" || map === null) throw failure(`${path}: the index of shards has no weight_map`);
  return Object.entries(map);
}
