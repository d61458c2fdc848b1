/** What agents minimise, as functions of the graph: the policy gradient, PPO's clipped form of it, and Q-learning's error. */
import {
  abs,
  add,
  cast,
  clip,
  div,
  exp,
  gatherElements,
  greater,
  min,
  mul,
  neg,
  reduceMean,
  squeeze,
  standardDeviation,
  sub,
  unsqueeze,
  type Value,
} from "../../graph/index.js";
import { huberLoss, meanSquaredError } from "../losses/index.js";
import type { LossResult } from "../step.js";
import { criticValue, entropyOf, logProbability, type PolicyOutput } from "./policy.js";

export interface ActorCriticWeights {
  /** Weight of the critic's squared error; 0.5 unless given. */
  readonly valueWeight?: number;
  /** Weight of the entropy, which is maximised; 0.01 unless given. */
  readonly entropyWeight?: number;
  /** Whether advantages are brought to mean 0 and deviation 1 in each batch; yes for PPO, no for A2C, unless given. */
  readonly normalise?: boolean;
}

/** What was done, and how it turned out: a batch of rows. */
export interface PolicyBatch {
  /** int64 [rows] or float32 [rows, size]. */
  readonly actions: Value;
  /** [rows]. */
  readonly advantages: Value;
  /** What the critic is to say, [rows]. */
  readonly returns: Value;
}

/**
 * Advantage actor-critic (Mnih et al. 2016): the mean of -log pi(a) A, plus the critic's squared error, minus entropy.
 * Metrics: `policyLoss`, `valueLoss`, `entropy`.
 */
export function advantageActorCriticLoss(
  output: PolicyOutput,
  { actions, advantages, returns }: PolicyBatch,
  { normalise = false, ...weights }: ActorCriticWeights = {},
): LossResult {
  const gains = normalise ? normalised(advantages) : advantages;
  const policyLoss = neg(reduceMean(mul(logProbability(output.actions, actions), gains), [0]));
  return withCritic(output, policyLoss, returns, weights);
}

export interface ClippedOptions extends ActorCriticWeights {
  /** How far the ratio of new and old probability counts from 1; 0.2 unless given. */
  readonly ratioClip?: number;
}

/**
 * PPO (Schulman et al. 2017): the mean of -min(r A, clip(r, 1 - c, 1 + c) A), where r = pi(a) / old pi(a), plus the critic's
 * squared error, minus entropy. Metrics besides those of A2C: `divergence` (an estimate of KL(old || new), the mean of
 * r - 1 - log r) and `clipped` (the share of ratios beyond the clip).
 */
export function clippedPolicyLoss(
  output: PolicyOutput,
  { actions, advantages, returns, logProbabilities }: PolicyBatch & { readonly logProbabilities: Value },
  { ratioClip = 0.2, normalise = true, ...weights }: ClippedOptions = {},
): LossResult {
  const gains = normalise ? normalised(advantages) : advantages;
  const change = sub(logProbability(output.actions, actions), logProbabilities);
  const ratio = exp(change);
  const limited = clip(ratio, { min: 1 - ratioClip, max: 1 + ratioClip });
  const policyLoss = neg(reduceMean(min(mul(ratio, gains), mul(limited, gains)), [0]));
  const { loss, metrics } = withCritic(output, policyLoss, returns, weights);
  const divergence = reduceMean(sub(sub(ratio, 1), change), [0]);
  const clipped = reduceMean(cast(greater(abs(sub(ratio, 1)), ratioClip), "float32"), [0]);
  return { loss, metrics: { ...metrics, divergence, clipped } };
}

function withCritic(
  output: PolicyOutput,
  policyLoss: Value,
  returns: Value,
  { valueWeight = 0.5, entropyWeight = 0.01 }: ActorCriticWeights,
): LossResult {
  const valueLoss = meanSquaredError(criticValue(output, "an actor-critic loss"), returns);
  const entropy = reduceMean(entropyOf(output.actions), [0]);
  const loss = sub(add(policyLoss, mul(valueLoss, valueWeight)), mul(entropy, entropyWeight));
  return { loss, metrics: { policyLoss, valueLoss, entropy } };
}

function normalised(x: Value): Value {
  const centred = sub(x, reduceMean(x, [0], { keepDims: true }));
  return div(centred, add(standardDeviation(x, [0], { correction: 1, keepDims: true }), 1e-8));
}

/** Huber's loss of the values [rows, actions] of the actions taken, int64 [rows], against their targets [rows]. */
export function actionValueLoss(actionValues: Value, actions: Value, targets: Value): Value {
  return huberLoss(squeeze(gatherElements(actionValues, unsqueeze(actions, 1), 1), 1), targets);
}
