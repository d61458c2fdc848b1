/**
 * Relevance: a metric handed back layer by layer to the tokens of a prompt, as a sum that is conserved on the way
 * (layer-wise relevance propagation; Bach et al. 2015, for transformers Achtibat et al. 2024 and Ali et al. 2022).
 */
import { usageError } from "../errors.js";
import { constantLike, expand, mul, pullback, reduceSum, type Value } from "../graph/index.js";
import type { ComputeContext, Metric, Model, Prompt, Recording } from "../model/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";
import { perRow } from "./patching.js";
import { type RelevanceRule, relevanceRules } from "./relevanceRules.js";
import { wholeSites } from "./sites.js";

export interface RelevanceOptions {
  /** What is explained: relevance is conserved where it is a sum of logits. */
  readonly of: Metric;
  /** Further sites, names or globs, whose relevance is returned in their own shape; none unless given. */
  readonly at?: string | readonly string[];
  /** `attnLrp` unless given. */
  readonly rule?: RelevanceRule;
}

/** Relevance at the sites asked for, in the shapes of the sites, and: */
export interface Relevance extends Recording {
  readonly rule: RelevanceRule;
  /** The metric. */
  readonly value: number;
  /** Relevance of each token: that of its embedding, summed over the width. */
  readonly byToken: number[];
  /** At the embedding and after every layer: all relevance there, and how far that is from the metric. */
  readonly conservation: { readonly site: string; readonly sum: number; readonly error: number }[];
}

/**
 * The relevance of every token, and of anything in between, for a metric: value times modified gradient (see
 * `relevanceRules`). One run of one compiled graph, at the cost of a gradient. In a model without biases `detached`
 * conserves to rounding; `attnLrp` loses what softmaxes absorb: at each, its relevance less that of the scores before it.
 * Clamps of the view are in force, and what they set absorbs.
 *
 * Throws where the metric does not depend on a site, or reads it at one position alone (`finalNorm` and `logits`).
 */
export async function relevance(model: Model, prompt: Prompt, options: RelevanceOptions): Promise<Relevance> {
  const { of, at = [], rule = "attnLrp" } = options;
  if (!["attnLrp", "detached"].includes(rule))
    throw usageError(`the rule of relevance is attnLrp or detached, not "${rule}"`);
  const asked = [at].flat().flatMap((pattern) => wholeSites(model, pattern).map(({ name }) => name));
  const streams = ["embed", ...Array.from({ length: model.config.layers }, (_, l) => `layers.${l}.residPost`)];
  const tokens = model.tokens(prompt);
  const outputs = await model.compute([tokens.map(({ id }) => id)], (context) =>
    traceRelevance(context, { of, asked, streams, rule }),
  );
  const numbers = (name: string) => [...toNumbers(outputs[name] as Tensor)];
  const [value] = numbers("value") as [number];
  return {
    sites: Object.fromEntries(asked.map((name) => [name, outputs[relevanceOf(name)] as Tensor])),
    tokens: [tokens],
    model: model.identity,
    rule,
    value,
    byToken: numbers("by token"),
    conservation: streams.map((site) => {
      const [sum] = numbers(sumOf(site)) as [number];
      return { site, sum, error: sum - value };
    }),
  };
}

const relevanceOf = (site: string) => `relevance of ${site}`;
const sumOf = (site: string) => `sum of ${site}`;

interface Explained {
  readonly of: Metric;
  readonly asked: readonly string[];
  readonly streams: readonly string[];
  readonly rule: RelevanceRule;
}

function traceRelevance(context: ComputeContext, { of, asked, streams, rule }: Explained): Record<string, Value> {
  const value = perRow(of, context);
  const names = [...streams, ...asked]; // always with the embedding: which factors are activations depends on it
  const at = names.map(context.site);
  const seeds = new Map([[value, expand(constantLike(value, 1), value.shape)]]);
  const found = pullback(seeds, at, { rules: relevanceRules(rule) });
  const relevances = new Map(
    names.map((name, i) => {
      const gradient = found[i];
      if (gradient !== undefined) return [name, mul(at[i] as Value, gradient)];
      throw usageError(
        `nothing of the metric is handed back to ${name}: it does not depend on it, the rule holds it constant, or it reads it at one position alone (finalNorm and logits): choose an earlier site, such as the residual stream`,
      );
    }),
  );
  return {
    value,
    "by token": reduceSum(relevances.get("embed") as Value, [0, 2]),
    ...Object.fromEntries(streams.map((name) => [sumOf(name), reduceSum(relevances.get(name) as Value, [0, 1, 2])])),
    ...Object.fromEntries(asked.map((name) => [relevanceOf(name), relevances.get(name) as Value])),
  };
}
