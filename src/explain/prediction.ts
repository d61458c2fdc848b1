/** What a model predicts after a prompt: the distribution at its last position, to be set against others. */
import type { Model } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import { likeliest, logProbabilities } from "./distribution.js";
import { readTokens, type TokenProbability } from "./tokens.js";

export interface Prediction {
  /** The likeliest tokens. */
  readonly top: TokenProbability[];
  /** log-probabilities of the vocabulary, float64 [1, vocabulary]. */
  readonly logP: Tensor;
}

/** The prediction after a prompt's last token, with its `top` likeliest tokens. */
export async function predictNext(model: Model, ids: readonly number[], top: number): Promise<Prediction> {
  const outputs = await model.compute([ids], ({ last }) => {
    const logP = logProbabilities(last("logits"));
    return { logP, ...likeliest(logP, top) };
  });
  const found = outputs as Record<"logP" | "best" | "probabilities", Tensor>;
  return { top: readTokens(model.tokenizer, found), logP: found.logP };
}
