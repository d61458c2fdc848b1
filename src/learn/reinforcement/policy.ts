/**
 * A policy is a plain function of parameters and observations: it gives a distribution of actions, and perhaps a guess of the
 * return. Its sites can be recorded and clamped, while it learns and while it acts.
 */
import { usageError } from "../../errors.js";
import {
  add,
  argMax,
  categorical,
  div,
  exp,
  gatherElements,
  logSoftmax,
  type MarkSite,
  mul,
  neg,
  randomNormal,
  reduceSum,
  reshape,
  squeeze,
  sub,
  tanh,
  unsqueeze,
  type Value,
  zerosLike,
} from "../../graph/index.js";
import { elementCount, random, type Tensor, zeros } from "../../runtime/index.js";
import type { Environment } from "../environments/index.js";
import { initialisers } from "../initialisers.js";
import { type DenseParameters, dense, denseParameters, scope } from "../modules/index.js";
import type { Parameters, Traced } from "../parameters.js";

/** What to do: one of several actions by their logits [rows, actions], or normal numbers [rows, size]. */
export type Distribution =
  | { readonly kind: "categorical"; readonly logits: Value }
  /** The logarithm of the standard deviations is [size] or [rows, size]. */
  | { readonly kind: "gaussian"; readonly mean: Value; readonly logDeviation: Value };

export interface PolicyOutput {
  readonly actions: Distribution;
  /** The return that is expected from here on, [rows]. */
  readonly value?: Value;
}

/** What an agent does with what it sees, [rows, ...shape]. */
export type Policy<P extends Parameters> = (parameters: Traced<P>, observations: Value, site: MarkSite) => PolicyOutput;

const halfLogTurn = 0.5 * Math.log(2 * Math.PI);

/** The logarithm of the probability (or density) of actions, int64 [rows] or float32 [rows, size]: [rows]. */
export function logProbability(distribution: Distribution, actions: Value): Value {
  if (distribution.kind === "categorical")
    return squeeze(gatherElements(logSoftmax(distribution.logits), unsqueeze(actions, 1), 1), 1);
  const { mean, logDeviation } = distribution;
  const distance = div(sub(actions, mean), exp(logDeviation));
  return neg(reduceSum(add(add(mul(mul(distance, distance), 0.5), logDeviation), halfLogTurn), [1]));
}

/** The entropy of each row in nats: [rows]. */
export function entropyOf(distribution: Distribution): Value {
  if (distribution.kind === "categorical") {
    const logs = logSoftmax(distribution.logits);
    return neg(reduceSum(mul(exp(logs), logs), [1]));
  }
  const { mean, logDeviation } = distribution;
  return reduceSum(add(add(zerosLike(mean), logDeviation), halfLogTurn + 0.5), [1]);
}

/** Actions drawn from the distribution by a key (int64 [2]): int64 [rows] or float32 [rows, size]. */
export function sampleActions(distribution: Distribution, key: Value): Value {
  if (distribution.kind === "categorical") return categorical(distribution.logits, key);
  const { mean, logDeviation } = distribution;
  return add(mean, mul(exp(logDeviation), randomNormal(key, mean.shape)));
}

/** The likeliest actions. */
export function likeliestActions(distribution: Distribution): Value {
  return distribution.kind === "categorical" ? argMax(distribution.logits) : distribution.mean;
}

export type DensePolicyParameters = {
  readonly actor: readonly DenseParameters[];
  /** [actions], for continuous actions. */
  readonly logDeviation?: Tensor<"float32">;
  readonly critic?: readonly DenseParameters[];
};

export interface DensePolicyOptions {
  /** Units of the hidden layers; two layers of 64 unless given. */
  readonly hidden?: readonly number[];
  /** Whether there is a second network of the same hidden layers for the value; yes unless given. */
  readonly critic?: boolean;
  /** Gain of the last layer of the actor; 0.01 unless given, so that every action starts out equally likely. */
  readonly lastGain?: number;
  /** 0 unless given. */
  readonly seed?: number;
}

/**
 * A policy of dense layers with tanh between them, for an environment; weights are orthogonal of gain sqrt(2), biases 0,
 * standard deviations 1. Sites: `actor.0`, `actor.1` ... (hidden units), `actor.out` (logits or means), and `critic.*`.
 */
export function densePolicy(
  environment: Environment,
  { hidden = [64, 64], critic = true, lastGain = 0.01, seed = 0 }: DensePolicyOptions = {},
): { readonly parameters: DensePolicyParameters; readonly policy: Policy<DensePolicyParameters> } {
  const { observation, actions } = environment;
  const inputs = elementCount(observation.shape);
  const discrete = actions.kind === "discrete";
  const outputs = discrete ? actions.count : actions.size;
  const parameters: DensePolicyParameters = {
    actor: layersOf([inputs, ...hidden, outputs], lastGain, seed, 0),
    ...(discrete ? {} : { logDeviation: zeros("float32", [outputs]) }),
    ...(critic ? { critic: layersOf([inputs, ...hidden, 1], 1, seed, 1) } : {}),
  };
  return {
    parameters,
    policy: (own, observations, site) => {
      const seen = reshape(observations, [observations.shape[0] as number, inputs]);
      const out = stacked(own.actor, seen, scope(site, "actor"));
      return {
        actions: discrete
          ? { kind: "categorical", logits: out }
          : { kind: "gaussian", mean: out, logDeviation: own.logDeviation as Value },
        ...(own.critic === undefined ? {} : { value: squeeze(stacked(own.critic, seen, scope(site, "critic")), 1) }),
      };
    },
  };
}

function layersOf(sizes: readonly number[], lastGain: number, seed: number, stream: number): DenseParameters[] {
  const source = random(seed, stream);
  return sizes.slice(1).map((outputs, i) => {
    const gain = i === sizes.length - 2 ? lastGain : Math.SQRT2;
    const initialise = initialisers.orthogonal(gain);
    return denseParameters(source, { inputs: sizes[i] as number, outputs, initialise });
  });
}

function stacked(layers: Traced<readonly DenseParameters[]>, x: Value, site: MarkSite): Value {
  return layers.reduce((input, layer, i) => {
    const out = dense(layer, input);
    return i === layers.length - 1 ? site("out", out) : site(`${i}`, tanh(out));
  }, x);
}

/** The value of a policy's output. Throws where it has none. */
export function criticValue({ value }: PolicyOutput, method: string): Value {
  if (value === undefined) throw usageError(`${method}: the policy gives no value; it needs a critic`);
  return value;
}
