/** Token streams cut into rows for language models. */
import { usageError } from "../../errors.js";
import { random, tensorOf } from "../../runtime/index.js";
import type { Batches } from "../batches.js";

/** Documents one after the other, each ended by a token: one stream, without padding. */
export function joinDocuments(documents: Iterable<ArrayLike<number>>, end: number): Int32Array {
  const ids: number[] = [];
  for (const document of documents) {
    for (let i = 0; i < document.length; i++) ids.push(document[i] as number);
    ids.push(end);
  }
  return Int32Array.from(ids);
}

/** Rows of `context` tokens and the token after each, cut from a stream: `ids` and `targets`, int64 [size, context]. */
export interface TokenBatchesOptions {
  readonly size: number;
  readonly context: number;
  readonly seed?: number;
}

/** Batches of rows that begin at random places of a stream. */
export function tokenBatches(stream: ArrayLike<number>, { size, context, seed = 0 }: TokenBatchesOptions): Batches {
  if (stream.length < context + 1)
    throw usageError(`the text has ${stream.length} tokens; rows of ${context} need at least ${context + 1}`);
  return (step) => {
    const draw = random(seed, step);
    const starts = Array.from({ length: size }, () => draw.integer(stream.length - context));
    return rowsAt(stream, starts, context);
  };
}

/** The rows of a stream one after the other without overlap, as one batch: for validation. */
export function tokenRows(
  stream: ArrayLike<number>,
  { context, most = Number.POSITIVE_INFINITY }: { readonly context: number; readonly most?: number },
) {
  const count = Math.min(most, Math.floor((stream.length - 1) / context));
  if (count < 1) throw usageError(`the text has ${stream.length} tokens; a row of ${context} needs ${context + 1}`);
  return rowsAt(
    stream,
    Array.from({ length: count }, (_, i) => i * context),
    context,
  );
}

function rowsAt(stream: ArrayLike<number>, starts: readonly number[], context: number) {
  const read = (offset: number) => {
    const values = new Float64Array(starts.length * context);
    starts.forEach((start, row) => {
      for (let i = 0; i < context; i++) values[row * context + i] = stream[start + offset + i] as number;
    });
    return tensorOf("int64", [starts.length, context], values);
  };
  return { ids: read(0), targets: read(1) };
}
