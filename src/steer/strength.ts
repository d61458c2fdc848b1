/**
 * How strength trades what is steered for against what it costs: a metric of some prompts, and the fluency of other
 * texts, at each of several strengths. One compiled graph for each of the two serves all strengths.
 */
import { usageError } from "../errors.js";
import type { Value } from "../graph/index.js";
import type { Metric, Model, Prompt } from "../model/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";
import { type BatchOptions, batchesOf, pause } from "./batches.js";
import { divergenceSum, perRow, surprisalSum } from "./measure.js";
import { type SteerOptions, steer } from "./steer.js";
import type { SteeringVector } from "./vector.js";

export interface StrengthOptions extends BatchOptions, Omit<SteerOptions, "strength"> {
  /** Each multiplies every vector. */
  readonly strengths: readonly number[];
  readonly prompts: readonly Prompt[];
  /** One number a row. */
  readonly metric: Metric;
  /** Texts of two tokens or more, whose fluency is measured under the same steering; none unless given. */
  readonly fluency?: readonly Prompt[];
}

export interface StrengthPoint {
  readonly strength: number;
  /** Mean metric over the prompts. */
  readonly metric: number;
  /** The metric of each prompt. */
  readonly perPrompt: number[];
  /** exp of the mean surprisal a token of the fluency texts, under steering. */
  readonly perplexity?: number;
  /** Mean KL(before || after) a token of the fluency texts, in nats. */
  readonly kl?: number;
}

/** The metric, and the fluency where texts are given, at every strength, in the order given. */
export async function sweepStrength(
  model: Model,
  vectors: SteeringVector | readonly SteeringVector[],
  options: StrengthOptions,
): Promise<StrengthPoint[]> {
  const { strengths, prompts, metric, fluency = [], batchTokens = 256, signal } = options;
  if (strengths.length === 0) throw usageError("there is no strength to try");
  const count = [vectors].flat().length;
  const views = strengths.map((strength) =>
    steer(model, vectors, { ...options, strength: new Array<number>(count).fill(strength) }),
  );
  const measured = batchesOf(model, prompts, batchTokens);
  const texts = fluency.length === 0 ? [] : batchesOf(model, fluency, batchTokens, "fluency");
  const short = texts.flat().findIndex((line) => line.length < 2);
  if (short >= 0) throw usageError(`fluency text ${short} has one token: nothing in it is predicted`);
  const metrics = strengths.map((): number[] => []);
  const sums = strengths.map(() => ({ kl: 0, surprisal: 0 }));
  const total = (measured.length + texts.length) * views.length;
  let done = 0;
  const advance = async () => {
    done += 1;
    options.onProgress?.(done, total);
    await pause(signal);
  };
  for (const ids of measured) {
    for (const [i, view] of views.entries()) {
      const outputs = await view.compute(ids, (context) => ({ metric: perRow(context, metric) }));
      metrics[i]?.push(...toNumbers(outputs.metric as Tensor));
      await advance();
    }
  }
  for (const ids of texts) {
    const before = (await model.record(ids, "logits")).sites.logits as Tensor;
    for (const [i, view] of views.entries()) {
      const sum = sums[i] as (typeof sums)[0];
      const { kl, surprisal } = await fluencySums(view, ids, before);
      sum.kl += kl;
      sum.surprisal += surprisal;
      await advance();
    }
  }
  const tokens = texts.flat().reduce((sum, line) => sum + line.length, 0);
  const predicted = tokens - texts.flat().length;
  return strengths.map((strength, i) => {
    const perPrompt = metrics[i] as number[];
    const mean = perPrompt.reduce((a, b) => a + b, 0) / perPrompt.length;
    const { kl, surprisal } = sums[i] as (typeof sums)[0];
    const fluent = tokens === 0 ? {} : { perplexity: Math.exp(surprisal / predicted), kl: kl / tokens };
    return { strength, metric: mean, perPrompt, ...fluent };
  });
}

async function fluencySums(
  view: Model,
  ids: readonly (readonly number[])[],
  before: Tensor,
): Promise<{ kl: number; surprisal: number }> {
  const outputs = await view.compute(
    ids,
    (context, inputs) => ({
      kl: divergenceSum(context, inputs.before as Value),
      surprisal: surprisalSum(context),
    }),
    { inputs: { before } },
  );
  const sum = (name: string) => toNumbers(outputs[name] as Tensor).reduce((a, b) => a + b, 0);
  return { kl: sum("kl"), surprisal: sum("surprisal") };
}
