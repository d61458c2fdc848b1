/**
 * What steering is judged by, one number a row: a metric of people's choice, and fluency, as how far the predictions of
 * other texts move (KL divergence) and how surprising those texts become (perplexity). Logarithms are float64.
 */
import { usageError } from "../errors.js";
import {
  cast,
  type Dim,
  exp,
  gatherElements,
  greaterOrEqual,
  logSoftmax,
  mul,
  neg,
  reduceSum,
  slice,
  squeeze,
  sub,
  subtractDims,
  unsqueeze,
  type Value,
  where,
} from "../graph/index.js";
import type { ComputeContext, Metric } from "../model/index.js";

/** The metric [batch]. Throws where it is one number of the whole batch: rows are different prompts here. */
export function perRow(context: ComputeContext, metric: Metric): Value {
  const value = context.metric(metric);
  if (value.shape.length === 1) return value;
  throw usageError("the metric must be one number a row here, shape [batch], not one of all rows");
}

/** log-probabilities [batch, seq, vocabulary], float64. */
const logProbabilities = (logits: Value) => logSoftmax(cast(logits, "float64"));

/**
 * Sum over a row's tokens of KL(before || after) in nats, float32 [batch].
 *
 * @param before logits [batch, seq, vocabulary] of the model that is compared with
 */
export function divergenceSum({ site, positions }: ComputeContext, before: Value): Value {
  const after = site("logits");
  const [batch, seq] = after.shape as [Dim, Dim];
  const own = slice(slice(before, 0, 0, batch), 1, 0, seq); // all of it, by the names that the graph has for its sizes
  const [logP, logQ] = [logProbabilities(own), logProbabilities(after)];
  const kl = reduceSum(mul(exp(logP), sub(logP, logQ)), -1);
  return cast(reduceSum(where(greaterOrEqual(positions, 0), kl, 0), 1), "float32");
}

/** Sum over a row's tokens but the first of -log p(token), in nats, float32 [batch]. */
export function surprisalSum({ site, positions, ids }: ComputeContext): Value {
  const before = subtractDims(ids.shape[1] as Dim, 1);
  const logP = logProbabilities(slice(site("logits"), 1, 0, before));
  const next = unsqueeze(slice(ids, 1, 1), -1);
  const surprisal = neg(squeeze(gatherElements(logP, next, -1), -1));
  const real = greaterOrEqual(slice(positions, 1, 0, before), 0);
  return cast(reduceSum(where(real, surprisal, 0), 1), "float32");
}
