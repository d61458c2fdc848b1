/** Embeddings: a row of a table for each token, and for each position. */
import { usageError } from "../../errors.js";
import { add, type Dim, gather, matmul, slice, type Value } from "../../graph/index.js";
import type { Random, Tensor } from "../../runtime/index.js";
import { type Initialiser, initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

/** weight [count, width]. */
export type EmbeddingParameters = { readonly weight: Tensor<"float32"> };

export interface EmbeddingSettings {
  /** Rows: tokens, or positions. */
  readonly count: number;
  readonly width: number;
  /** Normal numbers of deviation 0.02 unless given. */
  readonly initialise?: Initialiser;
}

/** Fresh parameters of an embedding, of tokens or of positions. */
export function embeddingParameters(
  random: Random,
  { count, width, initialise = initialisers.normal(0.02) }: EmbeddingSettings,
): EmbeddingParameters {
  return { weight: initialise(random, [count, width]) };
}

/** The rows of int64 ids [...]: [..., width]. */
export function embed({ weight }: Traced<EmbeddingParameters>, ids: Value): Value {
  return gather(weight, ids);
}

/** The products of x [..., width] with every row: logits [..., count] of an embedding that is used at both ends. */
export function unembed({ weight }: Traced<EmbeddingParameters>, x: Value): Value {
  return matmul(x, weight, { transposeB: true });
}

/** x [..., length, width] with the first `length` rows added: learned positions. Throws where there are fewer rows. */
export function addPositions({ weight }: Traced<EmbeddingParameters>, x: Value): Value {
  const [count, length] = [weight.shape[0] as Dim, x.shape[x.shape.length - 2] as Dim];
  if (typeof count === "number" && typeof length === "number" && length > count)
    throw usageError(`there are ${count} learned positions, and the sequence has ${length}`);
  return add(x, slice(weight, 0, 0, length));
}
