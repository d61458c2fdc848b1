/** Token streams cut into rows for language models: in memory, or as they come. */
import { usageError } from "../../errors.js";
import { random, type Tensor, tensorOf } from "../../runtime/index.js";
import type { Batches } from "../batches.js";
import { requireWhole } from "../whole.js";

/** Documents one after the other, each ended by a token: one stream, without padding. */
export function joinDocuments(documents: Iterable<ArrayLike<number>>, end: number): Int32Array {
  let ids = new Int32Array(2 ** 16);
  let length = 0;
  for (const document of documents) {
    const needed = length + document.length + 1;
    if (needed > ids.length) {
      const larger = new Int32Array(Math.max(needed, 2 * ids.length));
      larger.set(ids);
      ids = larger;
    }
    ids.set(document, length);
    ids[needed - 1] = end;
    length = needed;
  }
  return ids.slice(0, length);
}

/**
 * Packs documents as they come into rows of `context` + 1 tokens without padding: each document ends with `end`, and a row
 * begins with the token that the one before ended with, so that every token but the first is a target once. What is left
 * over at the end is dropped. Holds one document and one row.
 */
export async function* pack(
  documents: AsyncIterable<ArrayLike<number>> | Iterable<ArrayLike<number>>,
  { context, end }: { readonly context: number; readonly end: number },
): AsyncGenerator<Int32Array> {
  requireWhole("pack", { context });
  let row = new Int32Array(context + 1);
  let filled = 0;
  for await (const document of documents) {
    for (let i = 0; i <= document.length; i++) {
      row[filled++] = i < document.length ? (document[i] as number) : end;
      if (filled <= context) continue;
      yield row;
      const last = row[context] as number;
      row = new Int32Array(context + 1);
      row[0] = last;
      filled = 1;
    }
  }
}

/** `size` rows of `context` tokens in a batch. */
export interface TokenBatchesOptions {
  readonly size: number;
  readonly context: number;
  readonly seed?: number;
}

/**
 * Batches of rows that begin at random places of a stream: `ids`, and the token after each as `targets`, int64
 * [size, context]. The places of step s are draws of (seed, s).
 */
export function tokenBatches(stream: ArrayLike<number>, { size, context, seed = 0 }: TokenBatchesOptions): Batches {
  requireWhole("tokenBatches", { size, context });
  if (stream.length < context + 1)
    throw usageError(`the text has ${stream.length} tokens; rows of ${context} need at least ${context + 1}`);
  return (step) => {
    const draw = random(seed, step);
    const starts = Array.from({ length: size }, () => draw.integer(stream.length - context));
    return rowsAt(stream, starts, context);
  };
}

/** The rows of a stream one after the other without overlap, at most `most`, as one batch: for validation. */
export function tokenRows(
  stream: ArrayLike<number>,
  { context, most = Number.POSITIVE_INFINITY }: { readonly context: number; readonly most?: number },
): { readonly ids: Tensor<"int64">; readonly targets: Tensor<"int64"> } {
  requireWhole("tokenRows", { context });
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
