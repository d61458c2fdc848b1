/**
 * GGUF files as a checkpoint: the list of tensors checked against the file, and its reversed shapes put the right way round.
 */
import { failure } from "../../errors.js";
import { type Checkpoint, checkpointOf, type PlacedTensor, storedBytes } from "./checkpoint.js";
import { ggmlEncoding } from "./encodings.js";
import { type OpenFile, openFile, quoted } from "./files.js";
import { type GgufTensor, readGgufHeader } from "./ggufHeader.js";

/**
 * Opens a GGUF file. Metadata values are numbers (bigint where a number would not be exact), strings, booleans and arrays
 * of them. Types that cannot be decoded are listed and fail when they are read.
 */
export async function openGguf(path: string): Promise<Checkpoint> {
  const file = await openFile(path);
  try {
    const { metadata, tensors, end } = readGgufHeader(file);
    const alignment = checkAlignment(path, metadata.get("general.alignment"));
    const dataStart = Math.ceil(end / alignment) * alignment;
    const placed = tensors.map((tensor) => place(file, tensor, dataStart, alignment));
    return checkpointOf("gguf", metadata, checkPlaces(file, placed), [file]);
  } catch (error) {
    await file.handle.close();
    throw error;
  }
}

function checkAlignment(path: string, value: unknown): number {
  if (value === undefined) return 32;
  if (typeof value === "number" && Number.isInteger(Math.log2(value)) && value >= 1 && value < 2 ** 32) return value;
  throw failure(`${path}: general.alignment is ${value}; it must be a power of two`);
}

function place(file: OpenFile, tensor: GgufTensor, dataStart: number, alignment: number): PlacedTensor {
  const { name, sizes, type, offset } = tensor;
  const where = `${file.path}: ${quoted(name)}`;
  const encoding = ggmlEncoding(type);
  if (!encoding) throw failure(`${where} has the unknown GGUF tensor type ${type}`);
  const shape = [...sizes].reverse();
  const bytes = storedBytes(shape, encoding);
  if (bytes === undefined || bytes === 0)
    throw failure(`${where} cannot be ${encoding.name} of shape [${shape.join(", ")}]`);
  if (offset % alignment !== 0) throw failure(`${where} starts at ${offset}, which is no multiple of ${alignment}`);
  return { name, dtype: encoding.name, shape, bytes, file, offset: dataStart + offset, encoding };
}

/** By name, in the order of the file's list, when all lie inside the file and none over another. */
function checkPlaces(file: OpenFile, placed: readonly PlacedTensor[]): Map<string, PlacedTensor> {
  const tensors = new Map(placed.map((tensor) => [tensor.name, tensor]));
  if (tensors.size !== placed.length) {
    const twice = placed.find((tensor) => tensors.get(tensor.name) !== tensor);
    throw failure(`${file.path}: the tensor name ${quoted(twice?.name ?? "")} comes twice`);
  }
  let end = 0;
  for (const { name, offset, bytes } of [...placed].sort((a, b) => a.offset - b.offset)) {
    if (offset < end) throw failure(`${file.path}: ${quoted(name)} at byte ${offset} overlaps the tensor before it`);
    end = offset + bytes;
    if (end > file.bytes) throw failure(`${file.path}: ${quoted(name)} ends at byte ${end}, the file at ${file.bytes}`);
  }
  return tensors;
}
