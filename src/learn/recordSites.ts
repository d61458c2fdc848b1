/** Sites recorded inside training: which values they are, and rows gathered over steps into one recording. */
import { usageError } from "../errors.js";
import { select, slice, type Value } from "../graph/index.js";
import { type Part, parseSite, partsFor, readSafetensors, siteKind, writeSafetensors } from "../model/index.js";
import { elementCount, type Tensor, tensorOf } from "../runtime/index.js";
import { sitesMatching, type TrainingStep, type Values } from "./step.js";

/** What to record, and when. */
export interface RecordInTraining {
  /** Names, globs and parts of sites: `layers.0.attn.pattern[0, 3]`, `layers.*.mlp.act[:, -1]`. */
  readonly sites: string | readonly string[];
  /** Steps between two records: the state after 0, `every`, 2 `every` ... steps. One of `every` and `at`. */
  readonly every?: number;
  /** Numbers of steps after which to record. */
  readonly at?: readonly number[];
  /** A batch to record the sites in, always the same; each step's own unless given. */
  readonly probe?: Readonly<Record<string, Tensor>>;
  /** Most bytes that the recording may hold; 2 GiB unless given. */
  readonly maxBytes?: number;
}

/** Values of sites over training: each [records, ...shape of the site]. */
export interface TrainingRecording {
  /** After how many steps each record was made. */
  readonly steps: readonly number[];
  readonly sites: Readonly<Record<string, Tensor>>;
}

const rowPrefix = "site.";

/** The values that recording reads, by the name of their row. */
export function recordedValues({ graph }: TrainingStep, sites: string | readonly string[]): Values {
  const found = [sites].flat().flatMap((text) => {
    const reference = parseSite(text);
    return sitesMatching(graph, reference.name).map((name) => {
      const value = graph.sites.get(name) as Value;
      const known = siteKind(name)?.axes;
      const axes = known?.length === value.shape.length ? known : undefined;
      if (axes === undefined && Object.keys(reference.named).length > 0)
        throw usageError(`${name} has no named dimensions: select by position, as in ${name}[0, :]`);
      const parts = axes === undefined ? reference.parts : partsFor(reference, axes, name);
      if (parts.length > value.shape.length)
        throw usageError(`${text} has ${parts.length} parts; the site has ${value.shape.length} dimensions`);
      return [`${rowPrefix}${name}${reference.suffix}`, selectParts(value, parts, text)] as const;
    });
  });
  if (found.length === 0) throw usageError("no site was asked for");
  return new Map(found);
}

/** Parts are fixed numbers here: they are compiled into the program. Last dimensions first, so that the others keep their places. */
function selectParts(value: Value, parts: readonly Part[], what: string): Value {
  return parts.reduceRight((x, part, axis) => {
    const size = value.shape[axis];
    const place = (index: number) => {
      if (typeof size !== "number") return index;
      const at = index < 0 ? index + size : index;
      if (at >= 0 && at <= size) return at;
      throw usageError(`${what}: ${index} is out of range for a dimension of ${size}`);
    };
    if (part.kind === "all") return x;
    if (part.kind === "index") {
      const at = place(part.index);
      if (at === size) throw usageError(`${what}: index ${part.index} is out of range for a dimension of ${size}`);
      return select(x, axis, at);
    }
    const [from, to] = [place(part.from ?? 0), part.to === undefined ? size : place(part.to)];
    if (typeof from === "number" && typeof to === "number" && from >= to)
      throw usageError(`${what}: the range ${part.from ?? ""}:${part.to ?? ""} is empty`);
    return slice(x, axis, from, to);
  }, value);
}

/** When the next record is made, at or after a step. */
export function nextRecord({ every, at }: RecordInTraining, step: number): number {
  if (every !== undefined) return Math.ceil(step / every) * every;
  return (at ?? []).reduce(
    (least, other) => (other >= step && other < least ? other : least),
    Number.POSITIVE_INFINITY,
  );
}

/** Throws where recording was asked for in a way that means nothing. */
export function checkRecord(record: RecordInTraining): void {
  const { every, at } = record;
  if ((every === undefined) === (at === undefined)) throw usageError("record needs one of `every` and `at`");
  for (const number of [every ?? 1, ...(at ?? [])])
    if (!Number.isInteger(number) || number < (every === undefined ? 0 : 1))
      throw usageError(`record: steps are whole numbers, not ${number}`);
}

/** Rows of calls, gathered. */
export interface Gathering {
  add(steps: readonly number[], rows: ReadonlyMap<string, Tensor>): void;
  /** What came since the last time it was asked, as one piece. */
  piece(): Record<string, Tensor> | undefined;
  recording(): TrainingRecording;
}

/** Gathers rows after those of earlier pieces. */
export function gatherRows(earlier: readonly Readonly<Record<string, Tensor>>[], maxBytes = 2 * 2 ** 30): Gathering {
  const pieces: Readonly<Record<string, Tensor>>[] = [...earlier];
  const bytesOf = (piece: Readonly<Record<string, Tensor>>) =>
    Object.values(piece).reduce((sum, { data }) => sum + data.byteLength, 0);
  let bytes = pieces.reduce((sum, piece) => sum + bytesOf(piece), 0);
  let written = pieces.length;
  return {
    add(steps, rows) {
      const sites = [...rows].filter(([name]) => name.startsWith(rowPrefix));
      const piece = {
        ...Object.fromEntries(sites.map(([name, x]) => [name.slice(rowPrefix.length), x])),
        steps: tensorOf("int64", [steps.length], steps),
      };
      bytes += bytesOf(piece);
      if (bytes > maxBytes)
        throw usageError(
          `the recording grew past ${maxBytes} bytes after ${steps.at(-1)} steps: record fewer sites, parts of them, or more seldom, or raise maxBytes`,
        );
      pieces.push(piece);
    },
    piece() {
      const recent = pieces.slice(written);
      written = pieces.length;
      return recent.length === 0 ? undefined : joined(recent);
    },
    recording() {
      const { steps, ...sites } = joined(pieces);
      return { steps: Array.from((steps?.data ?? []) as ArrayLike<bigint>, Number), sites };
    },
  };
}

function joined(pieces: readonly Readonly<Record<string, Tensor>>[]): Record<string, Tensor> {
  const [first] = pieces;
  if (first === undefined) return {};
  return Object.fromEntries(
    Object.entries(first).map(([name, { dtype, shape }]) => {
      const parts = pieces.map((piece) => piece[name] as Tensor);
      const rest = shape.slice(1);
      const odd = parts.find((part) => part.shape.slice(1).join() !== rest.join());
      if (odd !== undefined)
        throw usageError(
          `${name} changed its shape from [${rest.join(", ")}] to [${odd.shape.slice(1).join(", ")}] in training: record a part`,
        );
      const count = parts.reduce((sum, part) => sum + (part.shape[0] as number), 0);
      const size = elementCount(rest);
      const data = new ((first[name] as Tensor).data.constructor as new (length: number) => Float32Array)(count * size);
      let at = 0;
      for (const part of parts) {
        data.set(part.data as Float32Array, at);
        at += part.data.length;
      }
      return [name, { dtype, shape: [count, ...rest], data } as Tensor];
    }),
  );
}

const format = "patchclamp training recording 1";

/** Writes a recording as safetensors: `steps` and the sites by name. */
export async function saveTrainingRecording({ steps, sites }: TrainingRecording, path: string): Promise<void> {
  await writeSafetensors(path, { ...sites, steps: tensorOf("int64", [steps.length], steps) }, { format });
}

/** Reads what `saveTrainingRecording` wrote. */
export async function loadTrainingRecording(path: string): Promise<TrainingRecording> {
  const { tensors, metadata } = await readSafetensors(path);
  const { steps, ...sites } = tensors;
  if (metadata.format !== format || steps === undefined)
    throw usageError(`${path} is no recording of training (its format is "${metadata.format ?? "absent"}")`);
  return { steps: Array.from(steps.data as ArrayLike<bigint>, Number), sites };
}
