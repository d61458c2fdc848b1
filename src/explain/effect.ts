/** What a clamp does to the prediction: the two distributions at the last position, and the tokens that moved most. */
import { usageError } from "../errors.js";
import { abs, cast, exp, gather, sub, topK, type Value } from "../graph/index.js";
import type { Model, Prompt, Token } from "../model/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";
import { divergence, likeliest, logProbabilities } from "./distribution.js";
import { predictNext } from "./prediction.js";
import { checkCount, readTokens, shownToken, type TokenProbability } from "./tokens.js";

/** A token whose probability changed. */
export interface Mover {
  readonly id: number;
  readonly text: string;
  readonly before: number;
  readonly after: number;
  readonly bytes?: readonly number[];
}

export interface ClampEffect {
  readonly before: TokenProbability[];
  readonly after: TokenProbability[];
  /** KL(before || after) in nats. */
  readonly kl: number;
  /** The tokens whose probability changed most, largest change first. */
  readonly movers: Mover[];
  readonly tokens: readonly Token[];
}

/**
 * Compares a model with a clamped view of it after a prompt. `top` (5 unless given) tokens are listed before, after, and
 * as movers. Throws where the two have different vocabularies.
 */
export async function clampEffect(
  model: Model,
  clamped: Model,
  prompt: Prompt,
  { top = 5 }: { readonly top?: number } = {},
): Promise<ClampEffect> {
  const { tokenizer, config } = model;
  checkCount(top, config.vocabulary);
  if (clamped.config.vocabulary !== config.vocabulary)
    throw usageError(
      `the models have vocabularies of ${config.vocabulary} and ${clamped.config.vocabulary} tokens: compare a model with a view of it`,
    );
  const tokens = model.tokens(prompt);
  const ids = tokens.map(({ id }) => id);
  const before = await predictNext(model, ids, top);
  const outputs = await clamped.compute(
    [ids],
    ({ last }, inputs) => compare(inputs.before as Value, last("logits"), top),
    {
      inputs: { before: before.logP },
    },
  );
  const at = (name: string) => outputs[name] as Tensor;
  const [was, is] = [toNumbers(at("moversBefore")), toNumbers(at("moversAfter"))];
  return {
    before: before.top,
    after: readTokens(tokenizer, { best: at("best"), probabilities: at("probabilities") }),
    kl: Number(at("kl").data[0]),
    movers: Array.from(toNumbers(at("movers")), (id, i) => ({
      ...shownToken(tokenizer, id),
      before: was[i] as number,
      after: is[i] as number,
    })),
    tokens,
  };
}

/** The graph: from log-probabilities [1, vocabulary] and logits of one row to what is reported. */
function compare(before: Value, logits: Value, top: number): Record<string, Value> {
  const after = logProbabilities(logits);
  const [was, is] = [exp(before), exp(after)];
  const movers = topK(abs(sub(is, was)), top).indices;
  const ofMovers = (probabilities: Value) => cast(gather(probabilities, movers, -1), "float32");
  return {
    ...likeliest(after, top),
    kl: divergence(before, after),
    movers,
    moversBefore: ofMovers(was),
    moversAfter: ofMovers(is),
  };
}
