/**
 * Checkpoints of training: a folder with a file for each, complete or absent (written beside and renamed), from which a run
 * goes on as if it had never stopped. What was recorded so far lies beside them, in pieces.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { failure, messageOf, usageError } from "../errors.js";
import { readSafetensors, writeSafetensors } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import type { History } from "./history.js";
import type { TrainingState } from "./step.js";

/** Where and when checkpoints are written. */
export interface CheckpointOptions {
  /** A folder of this run's own; made where it is absent. */
  readonly folder: string;
  /** Steps between two checkpoints; 1,000 unless given. The last step has one too. */
  readonly every?: number;
  /** Checkpoints (by step) that stay; the newest two unless given. */
  readonly keep?: (step: number) => boolean;
}

export interface Checkpoint {
  readonly step: number;
  readonly state: Map<string, Tensor>;
  readonly history: History;
}

const format = "patchclamp training 1";
const digits = 9;
const fileName = (step: number) => `step-${String(step).padStart(digits, "0")}.safetensors`;
const piecePattern = /^recording-(\d{9})\.safetensors$/;
const statePattern = /^step-(\d{9})\.safetensors$/;

/** What tells one run from another: the names and shapes of its state, and its seed. */
export function signatureOf(state: TrainingState, seed: number): string {
  const text = [...state].map(([name, { dtype, shape }]) => `${name} ${dtype}[${shape.join()}]`).join("\n");
  return createHash("sha256").update(`${seed}\n${text}`).digest("hex");
}

/** Steps of the checkpoints in a folder, in order. */
export async function checkpointSteps(folder: string): Promise<number[]> {
  return (await numbered(folder, statePattern)).sort((a, b) => a - b);
}

async function numbered(folder: string, pattern: RegExp): Promise<number[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw failure(`can't read the folder of checkpoints ${folder}: ${messageOf(error)}`, error);
  });
  return names.flatMap((name) => {
    const match = pattern.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
}

/** Writes a checkpoint, and then removes those that are not kept. */
export async function writeCheckpoint(
  { folder, keep }: CheckpointOptions,
  { step, state, history }: Checkpoint,
  signature: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const columns = [...history].map(([name, values]) => [
    `history.${name}`,
    { dtype: "float64", shape: [values.length], data: Float64Array.from(values) },
  ]);
  await writeSafetensors(
    join(folder, fileName(step)),
    { ...Object.fromEntries([...state].map(([name, x]) => [`state.${name}`, x])), ...Object.fromEntries(columns) },
    { format, step: String(step), signature },
  );
  const steps = await checkpointSteps(folder);
  const old = steps
    .filter((other) => other < step && keep?.(other) !== true)
    .slice(0, keep === undefined ? -1 : undefined);
  await Promise.all(old.map((other) => rm(join(folder, fileName(other)), { force: true })));
}

/**
 * The checkpoint of a step, or the newest; undefined where the folder has none.
 *
 * @throws where it belongs to another run (`signature`), or is damaged
 */
export async function readCheckpoint(
  folder: string,
  { step, signature }: { readonly step?: number; readonly signature?: string } = {},
): Promise<Checkpoint | undefined> {
  const steps = await checkpointSteps(folder);
  const chosen = step ?? steps.at(-1);
  if (chosen === undefined) return undefined;
  if (!steps.includes(chosen)) {
    throw usageError(`${folder} has no checkpoint of step ${chosen}; it has ${steps.join(", ") || "none"}`);
  }
  const path = join(folder, fileName(chosen));
  const { tensors, metadata } = await readSafetensors(path);
  if (metadata.format !== format)
    throw failure(`${path} is no checkpoint of training: its format is "${metadata.format}"`);
  if (signature !== undefined && metadata.signature !== signature) {
    throw usageError(
      `${path} belongs to another run (other parameters, optimizer or seed): give this run a folder of its own, or remove that one`,
    );
  }
  const named = (prefix: string) =>
    Object.entries(tensors).flatMap(([name, x]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), x] as const] : [],
    );
  return {
    step: chosen,
    state: new Map(named("state.")),
    history: new Map(named("history.").map(([name, { data }]) => [name, Array.from(data as Float64Array)])),
  };
}

/** Writes what was recorded up to a checkpoint, before the checkpoint itself. */
export async function writePiece(
  folder: string,
  step: number,
  tensors: Readonly<Record<string, Tensor>>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, `recording-${String(step).padStart(digits, "0")}.safetensors`), tensors);
}

/** What was recorded up to a step, piece by piece; pieces after it are of work that was lost, and removed. */
export async function readPieces(folder: string, step: number): Promise<Record<string, Tensor>[]> {
  const pieces: Record<string, Tensor>[] = [];
  for (const at of (await numbered(folder, piecePattern)).sort((a, b) => a - b)) {
    const path = join(folder, `recording-${String(at).padStart(digits, "0")}.safetensors`);
    if (at <= step) pieces.push((await readSafetensors(path)).tensors);
    else await rm(path, { force: true });
  }
  return pieces;
}
