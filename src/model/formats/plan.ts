/**
 * A plan says which stored tensors become which weight and how. Here a plan meets a checkpoint: every entry is checked, with
 * its shapes, before a byte is written.
 */
import { failure, usageError } from "../../errors.js";
import { type Checkpoint, type StoredTensor, unknownTensor } from "./checkpoint.js";
import { holdsWeights, weightEncodings } from "./encodings.js";
import { quoted } from "./files.js";

/** One weight of the result. The steps apply in the order of the fields here. */
export interface WeightPlan {
  /** Canonical name. */
  readonly name: string;
  /**
   * The result's shape. Its last dimension and its number of values must be those that the steps give; how the leading
   * dimensions are grouped is free ([experts * out, in] can be [experts, out, in]).
   */
  readonly shape: readonly number[];
  /** The stored tensor, or several that are stacked along their first dimension. */
  readonly from: string | readonly string[];
  /** [from, to) of the first dimension of the (stacked) tensor. */
  readonly rows?: readonly [number, number];
  /** [from, to) of the last dimension of a matrix. */
  readonly columns?: readonly [number, number];
  /**
   * `ropeInterleaved` undoes the row order that Llama-shaped GGUF files have in q and k (weights or biases), head by head;
   * `transpose` swaps the two dimensions of a matrix; `ropeInterleavedTranspose` does one after the other.
   */
  readonly transform?: "transpose" | "ropeInterleaved" | "ropeInterleavedTranspose";
  /** Heads in the rows taken; `ropeInterleaved` needs it. */
  readonly heads?: number;
  /** Added to every value, in float32. */
  readonly add?: number;
}

/** Rows [from, to) of the first dimension of one stored tensor. */
interface Part {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/**
 * A plan's entry, resolved. What is taken is seen as a matrix of `rows * inner` rows and `width` columns: `rows` counts the
 * first dimension, the last dimension is the columns (a vector has one column), those between are `inner`.
 */
export interface ResolvedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly source: string;
  /** Where the rows come from, in order. A scalar cannot be addressed by rows. */
  readonly parts: readonly Part[];
  readonly scalar: boolean;
  readonly rows: number;
  readonly inner: number;
  readonly width: number;
  readonly columns: readonly [number, number];
  readonly transpose: boolean;
  /** Rows of a head whose rotary order is to be undone. */
  readonly headSize?: number;
  readonly add: number;
  /** Of the result. */
  readonly bytes: number;
}

/**
 * Resolves one entry. A contradiction in the entry itself is a `usage` error; a tensor that is missing, cannot be decoded or
 * has another shape than the entry expects, a `failure`.
 */
export function resolveWeight(checkpoint: Checkpoint, entry: WeightPlan): ResolvedWeight {
  const sources = (typeof entry.from === "string" ? [entry.from] : entry.from).map((name) => find(checkpoint, name));
  const [first] = sources;
  if (!first) throw usageError(`the plan for "${entry.name}" takes its values from no tensor`);
  const tail = first.shape.slice(1);
  for (const { name, shape } of sources) {
    if (shape.length === first.shape.length && tail.every((size, i) => size === shape[i + 1])) continue;
    throw failure(
      `${quoted(name)} has the shape [${shape}] and cannot be stacked under ${quoted(first.name)}, [${first.shape}]`,
    );
  }
  const stacked = sources.reduce((sum, { shape }) => sum + (shape[0] ?? 1), 0);
  const [from, to] = checkRange(entry.rows ?? [0, stacked], stacked, `the rows of "${entry.name}"`);
  const shape = [to - from, ...tail];
  const width = shape.length === 1 ? 1 : (shape.at(-1) as number);
  const resolved = resolveTransform(entry, shape, width);
  checkShape(entry, resolved.shape);
  return {
    name: entry.name,
    shape: entry.shape,
    source: sources.map(({ name }) => quoted(name)).join(" + "),
    parts: clip(sources, from, to),
    scalar: first.shape.length === 0,
    rows: to - from,
    inner: shape.length <= 2 ? 1 : tail.slice(0, -1).reduce((product, size) => product * size, 1),
    width,
    add: entry.add ?? 0,
    bytes: countOf(entry.shape) * 4,
    ...resolved.steps,
  };
}

function find(checkpoint: Checkpoint, name: string): StoredTensor {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw failure(unknownTensor(name, checkpoint.tensors.keys()));
  if (holdsWeights(tensor.dtype)) return tensor;
  throw failure(`${quoted(name)} is stored as ${tensor.dtype}; weights are ${weightEncodings()}`);
}

function resolveTransform(entry: WeightPlan, taken: readonly number[], width: number) {
  const { transform, heads } = entry;
  const transpose = transform === "transpose" || transform === "ropeInterleavedTranspose";
  const isMatrix = taken.length >= 2 && countOf(taken.slice(0, -2)) === 1;
  if ((transpose || entry.columns) && !isMatrix) {
    throw failure(`"${entry.name}": only a matrix can be transposed or cut into columns, not [${taken}]`);
  }
  const columns = checkRange(entry.columns ?? [0, width], width, `the columns of "${entry.name}"`);
  const last = columns[1] - columns[0];
  const shape = transpose ? [last, taken.at(-2) as number] : taken.length === 1 ? taken : [...taken.slice(0, -1), last];
  if (transform === undefined || transform === "transpose") return { shape, steps: { columns, transpose } };
  const headSize = (taken[0] as number) / (heads ?? 0);
  if (taken.length > 2 || headSize % 2 !== 0 || !Number.isInteger(heads)) {
    throw usageError(
      `"${entry.name}": the rows of [${taken}] are not ${heads ?? "(heads missing)"} heads of an even size`,
    );
  }
  return { shape, steps: { columns, transpose, headSize } };
}

function checkShape({ name, shape }: WeightPlan, result: readonly number[]): void {
  const fits = countOf(shape) === countOf(result) && (shape.at(-1) ?? 1) === (result.at(-1) ?? 1);
  if (!fits) throw failure(`"${name}" should be [${shape}]; the checkpoint's tensor gives [${result}]`);
  if (countOf(shape) === 0) throw failure(`"${name}" would be empty`);
}

function checkRange(range: readonly [number, number], size: number, what: string): readonly [number, number] {
  const [from, to] = range;
  if (Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from <= to && to <= size) return range;
  throw failure(`${what}: [${from}, ${to}) is not inside the ${size} that there are`);
}

/** The parts of stacked tensors that rows [from, to) of the stack are. */
function clip(sources: readonly StoredTensor[], from: number, to: number): Part[] {
  const parts: Part[] = [];
  let start = 0;
  for (const { name, shape } of sources) {
    const size = shape[0] ?? 1;
    const part = { name, from: Math.max(from - start, 0), to: Math.min(to - start, size) };
    if (part.from < part.to) parts.push(part);
    start += size;
  }
  return parts;
}

function countOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
