/** What commands share that write tensors by site: the announcement of their size, the file, and what is printed of it. */
import { usageError } from "../errors.js";
import type { Model, Recording } from "../model/index.js";
import { type Context, printJson, printText } from "./context.js";
import { checkFolder } from "./pictures.js";
import { tokensJson } from "./run.js";
import { alignColumns, formatBytes } from "./terminal.js";

/** Throws unless a `.safetensors` file can be written there. */
export async function checkTensorFile(path: string): Promise<void> {
  if (!/\.safetensors$/i.test(path)) throw usageError(`--out ${path}: the name must end in .safetensors`);
  await checkFolder(path);
}

export interface Size {
  readonly sites: readonly string[];
  readonly maxBytes: number;
  readonly what: string;
}

/** The bytes that sites will take. Throws where they are too many. */
export function checkBytes(
  model: Model,
  prompts: readonly (readonly number[])[],
  { sites, maxBytes, what }: Size,
): number {
  const bytes = model.recordingBytes(prompts, sites);
  if (bytes <= maxBytes) return bytes;
  throw usageError(
    `the ${what} would hold ${formatBytes(bytes)}, more than the ${formatBytes(maxBytes)} allowed: ` +
      `ask for fewer sites or parts of them, or give --max-bytes ${bytes}`,
  );
}

export interface TensorsOptions {
  readonly out: string;
  readonly json?: true;
  /** Several prompts were given: the result is a list. */
  readonly many: boolean;
  /** A number to report for each prompt. */
  readonly values?: readonly number[];
}

/** Writes tensors by site and prints what the file holds. */
export async function writeTensors(
  context: Context,
  recording: Recording,
  { out, json, many, values }: TensorsOptions,
): Promise<void> {
  const { saveRecording } = await import("../model/index.js");
  await context.whole(() => saveRecording(recording, out));
  if (!json) return printText(context, describe(recording, out, values));
  const results = recording.tokens.map((tokens, row) => ({
    tokens: tokensJson(tokens),
    ...(values === undefined ? {} : { value: values[row] }),
  }));
  const shared = { model: recording.model, file: out, sites: shapesOf(recording) };
  await printJson(context, { ...shared, ...(many ? { results } : results[0]) });
}

function shapesOf({ sites }: Recording): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(sites).map(([name, { shape }]) => [name, shape]));
}

function describe(recording: Recording, file: string, values: readonly number[] = []): string {
  const rows = Object.entries(shapesOf(recording)).map(([name, shape]) => [name, `[${shape.join(", ")}]`]);
  const tokens = recording.tokens.reduce((sum, line) => sum + line.length, 0);
  const metric = values.length === 0 ? "" : `metric: ${values.map((value) => value.toPrecision(6)).join(", ")}\n`;
  return `${metric}${alignColumns(rows)}${rows.length} tensors of ${tokens} tokens in ${file}\n`;
}
