/**
 * A recording: named tensors with the tokens they belong to. Batches are padded on the left; padding is zero and enters
 * nothing. Saved as `.safetensors`, tensor names are site names, so that Python reads it too.
 */
import { failure, messageOf, nearestNames, usageError } from "../errors.js";
import { elementCount, type Tensor, tensorOf, toNumbers, zeros } from "../runtime/index.js";
import { readSafetensors, writeSafetensors } from "./formats/index.js";
import { type Axis, canonicalName, siteKind } from "./sites/names.js";
import { type Part, partsFor, type SiteReference } from "./sites/reference.js";
import { promptRows } from "./sites/rows.js";
import { countsTokens, gatherIndices, type SiteExtent } from "./sites/select.js";
import type { Token } from "./tokenizer/index.js";

/** Which model made a recording. */
export interface ModelIdentity {
  readonly name: string;
  readonly source: string;
  readonly hash: string;
  readonly precision: string;
}

export interface Recording {
  /** Tensors by the name they were asked for: the site's canonical name, with its suffix where a part was asked for. */
  readonly sites: Readonly<Record<string, Tensor>>;
  /** The tokens of each row, in order, padding excluded. */
  readonly tokens: readonly (readonly Token[])[];
  readonly model: ModelIdentity;
}

const format = "patchclamp recording 1";

/** Real tokens of each row. */
export function lengthsOf(recording: Recording): number[] {
  return recording.tokens.map((tokens) => tokens.length);
}

/** Writes a recording to a `.safetensors` file, whole or not at all. */
export async function saveRecording(recording: Recording, path: string): Promise<void> {
  await writeSafetensors(
    path,
    { ...recording.sites },
    {
      format,
      padding: "left",
      lengths: JSON.stringify(lengthsOf(recording)),
      tokens: JSON.stringify(recording.tokens),
      model: JSON.stringify(recording.model),
    },
  );
}

/** Reads a recording back. Throws where the file is not one. */
export async function loadRecording(path: string): Promise<Recording> {
  const { tensors, metadata } = await readSafetensors(path);
  if (metadata.format !== format) {
    throw failure(`${path} is not a recording: its metadata says format "${metadata.format ?? ""}", not "${format}"`);
  }
  try {
    const tokens: unknown = JSON.parse(metadata.tokens ?? "");
    const model: unknown = JSON.parse(metadata.model ?? "");
    if (!Array.isArray(tokens) || !tokens.every((line) => Array.isArray(line) && line.every(isToken)))
      throw new Error("tokens are not lists of { id, text, start, end }");
    if (!isIdentity(model)) throw new Error("the model is not { name, source, hash, precision }");
    return { sites: tensors, tokens: tokens as Token[][], model };
  } catch (error) {
    throw failure(`${path} has damaged metadata (tokens or model): ${messageOf(error)}`, error);
  }
}

function isToken(value: unknown): value is Token {
  const { id, text, start, end } = (value ?? {}) as Partial<Token>;
  return typeof text === "string" && [id, start, end].every((n) => Number.isInteger(n) && (n as number) >= 0);
}

function isIdentity(value: unknown): value is ModelIdentity {
  const { name, source, hash, precision } = (value ?? {}) as Partial<ModelIdentity>;
  return [name, source, hash, precision].every((text) => typeof text === "string");
}

/** A recorded tensor by site name or TransformerLens alias, or an error with the nearest names recorded. */
export function recorded(recording: Recording, site: string): Tensor {
  const name = [canonicalName(site), site].find((own) => Object.hasOwn(recording.sites, own));
  if (name !== undefined) return recording.sites[name] as Tensor;
  const nearest = nearestNames(site, Object.keys(recording.sites)).join(", ");
  throw usageError(
    `the recording has no site "${site}"; ${nearest === "" ? "it is empty" : `the nearest are ${nearest}`}`,
  );
}

/** One row of a whole recorded site without its padding: [length, ...], or [head, length, length] for attention. */
export function recordedRow(recording: Recording, site: string, index = 0): Tensor {
  const parts: Part[] = [{ kind: "index", index }];
  return selectRecorded(recording, { name: site, parts, named: {}, suffix: "" });
}

/**
 * Part of a whole recorded site, as a clamp would select it: positions count real tokens, indexed dimensions are dropped.
 * Rows of unequal length are only selected together where the part has one size in all of them.
 */
export function selectRecorded(recording: Recording, reference: SiteReference): Tensor {
  const extent = recordedExtent(recording, reference.name);
  const parts = partsFor(reference, extent.axes, reference.name);
  const trimmed = trimPadding(extent, parts);
  const value = recorded(recording, reference.name);
  const gathered = gatherIndices(extent, trimmed);
  if (gathered === undefined) return value;
  const { indices, flattened } = gathered;
  const inner = elementCount(extent.shape.slice(flattened));
  const result = zeros(value.dtype, [...indices.shape, ...extent.shape.slice(flattened)]);
  indices.data.forEach((index, i) => {
    const from = Number(index) * inner;
    result.data.set(value.data.subarray(from, from + inner) as never, i * inner);
  });
  return result;
}

/** With one row chosen, whole token dimensions mean its real tokens. */
function trimPadding({ axes, rows }: SiteExtent, parts: readonly Part[]): Part[] {
  const [first] = parts;
  const single =
    rows.lengths.length === 1 || first?.kind === "index" || rows.lengths.every((length) => length === rows.columns);
  return parts.map((part, d) => {
    return single && countsTokens(axes[d] as Axis) && part.kind === "all" ? { kind: "range", from: 0 } : part;
  });
}

/** The extent of a whole recorded site. Throws where the recording holds only a part of it. */
export function recordedExtent(recording: Recording, site: string): SiteExtent {
  const name = canonicalName(site);
  const kind = siteKind(name);
  const { shape } = recorded(recording, site);
  const rows = promptRows(lengthsOf(recording));
  const whole = kind !== undefined && shape.length === kind.axes.length && shape[0] === rows.lengths.length;
  if (!whole || kind.axes.some((axis, d) => countsTokens(axis) && shape[d] !== rows.columns)) {
    throw usageError(`the recording holds only a part of ${site} (shape [${shape.join(", ")}]); record the whole site`);
  }
  return { site: name, axes: kind.axes, shape, rows };
}

/** The mean of a recorded site over all real tokens of all rows, in the site's shape with rows and positions of size 1. */
export function meanOverTokens(recording: Recording, site: string): Tensor<"float32"> {
  const extent = recordedExtent(recording, site);
  if (extent.axes[1] !== "position")
    throw usageError(`${site} has no mean over tokens: its rows and columns are tokens themselves`);
  const value = recorded(recording, site);
  const inner = elementCount(extent.shape.slice(2));
  const sums = new Float64Array(inner);
  const { lengths, columns } = extent.rows;
  lengths.forEach((length, r) => {
    for (let column = columns - length; column < columns; column++) {
      const from = (r * columns + column) * inner;
      for (let i = 0; i < inner; i++) sums[i] = (sums[i] as number) + Number(value.data[from + i]);
    }
  });
  const count = lengths.reduce((a, b) => a + b, 0);
  return tensorOf(
    "float32",
    [1, 1, ...extent.shape.slice(2)],
    sums.map((sum) => sum / count),
  );
}

/** A part of a plain tensor whose dimensions all count nothing but themselves. */
export function selectTensor(value: Tensor, parts: readonly Part[], what: string): Tensor {
  const axes = value.shape.map(() => "channel" as const);
  const extent: SiteExtent = {
    site: what,
    axes,
    shape: value.shape,
    rows: { lengths: [1], columns: 1, keyColumns: 1 },
  };
  const gathered = gatherIndices(extent, parts);
  if (gathered === undefined) return value;
  const { indices, flattened } = gathered;
  const inner = elementCount(value.shape.slice(flattened));
  const numbers = toNumbers(value);
  const data = new Float32Array(indices.data.length * inner);
  indices.data.forEach((index, i) => {
    data.set(numbers.subarray(Number(index) * inner, (Number(index) + 1) * inner), i * inner);
  });
  return { dtype: "float32", shape: [...indices.shape, ...value.shape.slice(flattened)], data };
}
