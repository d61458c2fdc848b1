/** Many prompts through a model in batches of bounded size, with progress, between two of which a signal can stop. */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import type { Model, Prompt } from "../model/index.js";

export interface BatchOptions {
  /** Most tokens in a batch, padding included, unless one prompt has more; 1024 unless given. */
  readonly batchTokens?: number;
  /** Called after each batch with what is done so far: prompts, or steps where there are many runs over them. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between two batches. */
  readonly signal?: AbortSignal;
}

/** Consecutive prompts as lists of token ids. Throws where there are none, or one that the model can't run. */
export function batchesOf(
  model: Model,
  prompts: readonly Prompt[],
  batchTokens = 1024,
  what = "prompts",
): number[][][] {
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw usageError(`${what} must be a list of at least one prompt`);
  if (!Number.isInteger(batchTokens) || batchTokens < 1)
    throw usageError(`batchTokens must be a whole number of at least 1, not ${batchTokens}`);
  const batches: number[][][] = [];
  let current: number[][] = [];
  let longest = 0;
  for (const line of model.tokensAll(prompts)) {
    const most = Math.max(longest, line.length);
    if (current.length > 0 && most * (current.length + 1) > batchTokens) {
      batches.push(current);
      current = [];
      longest = 0;
    }
    current.push(line.map(({ id }) => id));
    longest = Math.max(longest, line.length);
  }
  return [...batches, current];
}

/** Lets progress show and Ctrl-C arrive (the runtime blocks while it runs). Throws where the signal has stopped the work. */
export async function pause(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
