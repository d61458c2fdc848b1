/** What every command works with: the streams, the signal that ends it, and one way to open a model. */
import type { Readable } from "node:stream";
import type { Model } from "../model/index.js";
import type { OpenOptions } from "./options.js";
import type { Progress } from "./progress.js";
import { jsonLine, type OutputStream, writeText } from "./terminal.js";

export interface Context {
  readonly stdin: Readable & { isTTY?: boolean };
  readonly stdout: OutputStream;
  readonly progress: Progress;
  /** Aborted by Ctrl-C, and where nobody reads the output any more. */
  readonly signal: AbortSignal;
  /** Does work that must not be cut off once it has begun, such as writing a file; begins none after an interruption. */
  whole<T>(work: () => Promise<T>): Promise<T>;
}

/** Opens the model of a call, lets it be used, and closes it. */
export async function withModel<T>(
  { progress, signal }: Context,
  options: OpenOptions,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const { open } = await import("../model/index.js");
  const { threads, weights, offline, update, adapter } = options;
  const model = await open(options.model, {
    offline: offline === true,
    update: update === true,
    signal,
    worker: true, // a run blocks its thread: Ctrl-C and progress need this one
    onProgress: progress.report,
    ...(threads === undefined ? {} : { threads }),
    ...(weights === undefined ? {} : { weights }),
  });
  progress.end();
  try {
    return await use(adapter === undefined ? model : await adapted(model, adapter));
  } finally {
    await model.close();
  }
}

async function adapted(model: Model, folder: string): Promise<Model> {
  const { applyAdapter, readAdapter } = await import("../learn/adapt/index.js");
  return applyAdapter(model, await readAdapter(folder, model));
}

/** Prints a result as the one line of JSON, unless the call was interrupted. */
export function printJson({ stdout, signal }: Context, value: unknown): Promise<void> {
  signal.throwIfAborted();
  return writeText(stdout, jsonLine(value));
}

/** Prints text for people, unless the call was interrupted. */
export function printText({ stdout, signal }: Context, text: string): Promise<void> {
  signal.throwIfAborted();
  return writeText(stdout, text);
}
