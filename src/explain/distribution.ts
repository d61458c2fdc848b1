/**
 * Distributions over the vocabulary, traced into the graph so that only a few numbers of them leave it. Logarithms and
 * sums are float64: in float32 the divergence of two near distributions drowns in rounding (a floor near 1e-6 nats).
 */
import { cast, exp, gather, logSoftmax, max, mul, reduceSum, squeeze, sub, topK, type Value } from "../graph/index.js";

/** log softmax of logits [..., vocabulary], float64. */
export function logProbabilities(logits: Value): Value {
  return logSoftmax(cast(logits, "float64"));
}

/** KL(p || q) = sum p (log p - log q) in nats over the last dimension, from log-probabilities; float32, never below 0. */
export function divergence(logP: Value, logQ: Value): Value {
  return max(cast(reduceSum(mul(exp(logP), sub(logP, logQ)), -1), "float32"), 0);
}

/** The likeliest entries of log-probabilities [..., vocabulary]: `probabilities` and ids (`best`), both [..., count], likeliest first. */
export function likeliest(logP: Value, count: number): { best: Value; probabilities: Value } {
  const { values, indices } = topK(logP, count);
  return { best: indices, probabilities: cast(exp(values), "float32") };
}

/** The probability [...] of one token, whose id is an int64 value [1], from log-probabilities [..., vocabulary]. */
export function probabilityOf(logP: Value, id: Value): Value {
  return squeeze(cast(exp(gather(logP, id, -1)), "float32"), -1);
}
