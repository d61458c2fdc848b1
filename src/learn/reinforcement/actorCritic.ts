/**
 * Learning from rollouts: play some steps, find what the actions were worth, make a few training steps on that, and again.
 * A2C and PPO are this with their own losses and numbers of steps.
 */
import { shuffled, takeRows } from "../../data/index.js";
import { usageError } from "../../errors.js";
import type { Value } from "../../graph/index.js";
import { reshaped, type Tensor, tensorOf, withRuntime } from "../../runtime/index.js";
import { requireWhole } from "../environments/environment.js";
import type { Optimizer } from "../optimizer.js";
import { adam, rmsprop } from "../optimizers/index.js";
import type { Parameters } from "../parameters.js";
import type { LossResult, StepOptions } from "../step.js";
import { actor } from "./acting.js";
import { collect, type Rollout, startPlay } from "./episodes.js";
import { iterate, type Learned, type LearnOptions } from "./learner.js";
import {
  type ActorCriticWeights,
  advantageActorCriticLoss,
  type ClippedOptions,
  clippedPolicyLoss,
  type PolicyBatch,
} from "./losses.js";
import type { PolicyOutput } from "./policy.js";
import { type AdvantageOptions, generalisedAdvantages } from "./returns.js";
import { type PlainPolicy, plainStep, trainerOf } from "./training.js";

interface RolloutOptions<P extends Parameters>
  extends LearnOptions<P>,
    AdvantageOptions,
    Pick<StepOptions, "frozen" | "clip" | "edits"> {
  /** Episodes side by side; 16 for A2C, 8 for PPO, unless given. */
  readonly episodes?: number;
  /** Steps of each in a rollout; 5 for A2C, 128 for PPO, unless given. */
  readonly horizon?: number;
  readonly optimizer?: Optimizer;
}

export interface A2cOptions<P extends Parameters> extends RolloutOptions<P>, ActorCriticWeights {}

/**
 * Advantage actor-critic (Mnih et al. 2016), all episodes in step: each iteration plays `horizon` steps of each and makes one
 * training step on them. RMSprop at 0.0007, gradients clipped at a norm of 0.5, discount 0.99 and lambda 1 unless given.
 */
export function a2c<P extends Parameters>(options: A2cOptions<P>): Promise<Learned<P>> {
  return learnFromRollouts(
    { episodes: 16, horizon: 5, lambda: 1, optimizer: rmsprop({ rate: 7e-4, epsilon: 1e-5 }), ...options },
    { epochs: 1, minibatches: 1, loss: (output, batch) => advantageActorCriticLoss(output, batch, options) },
  );
}

export interface PpoOptions<P extends Parameters> extends RolloutOptions<P>, ClippedOptions {
  /** Passes over each rollout; 4 unless given. */
  readonly epochs?: number;
  /** Parts of it in each pass; 4 unless given. They divide `episodes` times `horizon`. */
  readonly minibatches?: number;
}

/**
 * Proximal policy optimisation (Schulman et al. 2017): each iteration plays `horizon` steps of each episode, and makes
 * `epochs` times `minibatches` training steps on them in one call. Adam at 0.00025, gradients clipped at a norm of 0.5,
 * discount 0.99 and lambda 0.95 unless given.
 */
export function ppo<P extends Parameters>(options: PpoOptions<P>): Promise<Learned<P>> {
  const { epochs = 4, minibatches = 4 } = options;
  return learnFromRollouts(
    { episodes: 8, horizon: 128, lambda: 0.95, optimizer: adam({ rate: 2.5e-4, epsilon: 1e-5 }), ...options },
    { epochs, minibatches, loss: (output, batch) => clippedPolicyLoss(output, batch, options) },
  );
}

type RolloutBatch = PolicyBatch & { readonly logProbabilities: Value };

interface Method {
  readonly epochs: number;
  readonly minibatches: number;
  readonly loss: (output: PolicyOutput, batch: RolloutBatch) => LossResult;
}

type Filled<P extends Parameters> = RolloutOptions<P> &
  Required<Pick<RolloutOptions<P>, "episodes" | "horizon" | "optimizer">>;

function learnFromRollouts<P extends Parameters>(options: Filled<P>, method: Method): Promise<Learned<P>> {
  const { environment, episodes: count, horizon, seed = 0 } = options;
  const { epochs, minibatches } = method;
  for (const [name, value] of Object.entries({ episodes: count, horizon, epochs, minibatches }))
    requireWhole(name, value, 1);
  const rows = count * horizon;
  if (rows % minibatches !== 0)
    throw usageError(
      `${minibatches} minibatches don't divide ${rows} rows: ${count} episodes (episodes) of ${horizon} steps (horizon)`,
    );
  const step = stepOf(options, method, rows / minibatches);
  return withRuntime(options.runtime, async (runtime) => {
    const act = actor({ ...options, count }, runtime);
    const trainer = trainerOf(step, runtime, seed);
    let position = startPlay(environment, count, seed);
    const ran = await iterate(options, async (iteration) => {
      const parameters = trainer.parameters();
      const rollout = await collect({ environment, actor: act, parameters, position, steps: horizon, seed });
      position = rollout.position;
      const metrics = await trainer.train(batchesOf(rollout, options, method, (iteration - 1) * epochs));
      return { steps: rows, finished: rollout.finished, metrics };
    });
    return { ...ran, parameters: step.parameters(trainer.state()) };
  });
}

function stepOf<P extends Parameters>(options: Filled<P>, { loss }: Method, size: number) {
  const decide = options.policy as unknown as PlainPolicy;
  const { environment, parameters, optimizer, clip = { norm: 0.5 }, frozen, edits } = options;
  const { observation, actions } = environment;
  const number = { dtype: "float32", shape: [size] } as const;
  return plainStep({
    parameters,
    batch: {
      observations: { dtype: "float32", shape: [size, ...observation.shape] },
      actions:
        actions.kind === "discrete"
          ? { dtype: "int64", shape: [size] }
          : { dtype: "float32", shape: [size, actions.size] },
      logProbabilities: number,
      advantages: number,
      returns: number,
    },
    loss: (own, batch, { site }) =>
      loss(decide(own, batch.observations as Value, site), batch as unknown as RolloutBatch),
    optimizer,
    clip,
    ...(frozen === undefined ? {} : { frozen }),
    ...(edits === undefined ? {} : { edits }),
  });
}

/** A rollout as batches of training steps: every epoch all rows in another order, cut into minibatches. */
function batchesOf<P extends Parameters>(
  rollout: Rollout,
  { seed = 0, ...options }: Filled<P>,
  { epochs, minibatches }: Method,
  firstEpoch: number,
): Record<string, Tensor> {
  const { observations, actions, logProbabilities } = rollout;
  const { advantages, returns } = generalisedAdvantages(rollout, options);
  const rows = advantages.length;
  const numbers = (values: Float64Array) => tensorOf("float32", [rows], values);
  const columns = {
    observations,
    actions,
    logProbabilities,
    advantages: numbers(advantages),
    returns: numbers(returns),
  };
  const order = new Uint32Array(epochs * rows);
  for (let e = 0; e < epochs; e++) order.set(shuffled(rows, { seed, epoch: firstEpoch + e }), e * rows);
  return Object.fromEntries(
    Object.entries(columns).map(([name, column]) => {
      const shape = [epochs * minibatches, rows / minibatches, ...column.shape.slice(1)];
      return [name, reshaped(takeRows(column, order), shape)];
    }),
  );
}
