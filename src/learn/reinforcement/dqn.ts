/**
 * Deep Q-learning (Mnih et al. 2015): a network learns the value of every action from remembered transitions, towards a copy
 * of itself that lags behind. The copy is part of the training step's state.
 */
import { usageError } from "../../errors.js";
import {
  add,
  argMax,
  equal,
  gatherElements,
  leavesOf,
  mod,
  mul,
  reduceMax,
  reduceMean,
  replaceLeaves,
  squeeze,
  stopGradient,
  type Tree,
  type Value,
  where,
} from "../../graph/index.js";
import { type Random, random, reshaped, type Tensor, tensorOf, withRuntime } from "../../runtime/index.js";
import { requireWhole } from "../environments/environment.js";
import type { Environment } from "../environments/index.js";
import { scope } from "../modules/index.js";
import type { Optimizer } from "../optimizer.js";
import { adam } from "../optimizers/index.js";
import type { Parameters } from "../parameters.js";
import type { StepOptions } from "../step.js";
import { actor } from "./acting.js";
import { actionStream, advance, startPlay } from "./episodes.js";
import { iterate, type Learned, type LearnOptions } from "./learner.js";
import { actionValueLoss } from "./losses.js";
import type { PolicyOutput } from "./policy.js";
import { replayBuffer } from "./replay.js";
import { checkShare } from "./returns.js";
import { type PlainPolicy, plainStep, trainerOf } from "./training.js";

export interface DqnOptions<P extends Parameters>
  extends LearnOptions<P>,
    Pick<StepOptions, "frozen" | "clip" | "edits"> {
  /** Episodes side by side; 8 unless given. */
  readonly episodes?: number;
  /** Steps of each in an iteration; 8 unless given. */
  readonly horizon?: number;
  /** Training steps of an iteration; 8 unless given. */
  readonly updates?: number;
  /** Transitions of a training step; 64 unless given. */
  readonly size?: number;
  /** Transitions that are remembered; 10,000 unless given. */
  readonly capacity?: number;
  /** Transitions before training begins; 500 unless given. */
  readonly warm?: number;
  /** Training steps after which the lagging copy is renewed; 100 unless given. */
  readonly targetEvery?: number;
  /** Double Q-learning (van Hasselt et al. 2016): the network chooses the next action, its copy values it. On unless given. */
  readonly double?: boolean;
  /** How often an action is random: from `first` (1) to `last` (0.05) in a straight line over `iterations` (half of all). */
  readonly exploration?: { readonly first?: number; readonly last?: number; readonly iterations?: number };
  /** What a reward is worth a step later; 0.99 unless given. */
  readonly discount?: number;
  /** Adam at 0.001 unless given. */
  readonly optimizer?: Optimizer;
}

/**
 * Deep Q-learning of a policy whose logits are the values of the actions. Gradients are clipped at a norm of 10 unless told.
 * In training, sites of the network on the next observation are named `next.*`, and those of its copy `target.*`: a clamp
 * that is to hold everywhere is a glob (`*actor.0`).
 *
 * @throws where the environment's actions are continuous
 */
export function dqn<P extends Parameters>(options: DqnOptions<P>): Promise<Learned<P>> {
  const {
    environment,
    episodes: count = 8,
    horizon = 8,
    updates = 8,
    size = 64,
    capacity = 10_000,
    seed = 0,
  } = options;
  const { warm = 500 } = options;
  for (const [name, value] of Object.entries({ episodes: count, horizon, updates, size })) requireWhole(name, value, 1);
  if (environment.actions.kind !== "discrete")
    throw usageError(`dqn learns discrete actions; those of ${environment.name} are continuous`);
  const step = stepOf(options, size);
  return withRuntime(options.runtime, async (runtime) => {
    const act = actor({ ...options, count, greedy: true }, runtime);
    const trainer = trainerOf(step, runtime, seed);
    const memory = replayBuffer(capacity);
    let position = startPlay(environment, count, seed);
    const ran = await iterate(options, async (iteration) => {
      const finished: number[] = [];
      for (let k = 0; k < horizon; k++) {
        const observations = environment.observe(position.episodes);
        const stream = actionStream(position.step);
        const { actions } = await act(trainer.parameters(), observations, { seed, stream });
        const chosen = explored(actions, environment, explorationAt(options, iteration), random(seed, stream));
        const { transition, position: next, finished: over } = advance(environment, position, chosen, seed);
        memory.add({
          observations,
          actions: chosen,
          rewards: transition.rewards,
          after: environment.observe(transition.episodes),
          going: tensorOf(
            "float32",
            [count],
            transition.terminated.map((flag) => 1 - flag),
          ),
        });
        finished.push(...over);
        position = next;
      }
      const ready = memory.size() >= warm;
      const drawn = ready ? memory.draw(updates * size, random(seed, updateStream + iteration)) : {};
      const metrics = ready ? await trainer.train(cut(drawn, updates)) : {};
      return { steps: count * horizon, finished, metrics };
    });
    return { ...ran, parameters: step.parameters(trainer.state()) };
  });
}

function stepOf<P extends Parameters>(options: DqnOptions<P>, size: number) {
  const { environment, parameters, optimizer = adam(), clip = { norm: 10 }, frozen, edits } = options;
  const { double = true, discount = 0.99, targetEvery = 100 } = options;
  checkShare("discount", discount);
  requireWhole("targetEvery", targetEvery, 1);
  const policy = options.policy as unknown as PlainPolicy;
  const seen = { dtype: "float32", shape: [size, ...environment.observation.shape] } as const;
  const number = { dtype: "float32", shape: [size] } as const;
  return plainStep({
    parameters,
    batch: {
      observations: seen,
      actions: { dtype: "int64", shape: [size] },
      rewards: number,
      after: seen,
      going: number,
    },
    state: { target: parameters },
    loss: (own, batch, { site, step }, state) => {
      const { target } = state as { readonly target: Tree };
      const { observations, actions, rewards, after, going } = batch as Readonly<Record<BatchName, Value>>;
      const values = actionValuesOf(policy(own, observations, site));
      const lagging = actionValuesOf(policy(target, after, scope(site, "target")));
      const next = double
        ? chosenBy(actionValuesOf(policy(own, after, scope(site, "next"))), lagging)
        : reduceMax(lagging, [1]);
      const targets = stopGradient(add(rewards, mul(mul(next, going), discount)));
      const renew = equal(mod(step, targetEvery), 0);
      const fresh = leavesOf(own as Tree);
      const copies = leavesOf(target).map((old, i) => where(renew, fresh[i] as Value, old));
      return {
        loss: actionValueLoss(values, actions, targets),
        metrics: { actionValue: reduceMean(values, [0, 1]) },
        state: { target: replaceLeaves(target, copies) },
      };
    },
    optimizer,
    clip,
    ...(frozen === undefined ? {} : { frozen }),
    ...(edits === undefined ? {} : { edits }),
  });
}

type BatchName = "observations" | "actions" | "rewards" | "after" | "going";

function actionValuesOf({ actions }: PolicyOutput): Value {
  if (actions.kind === "categorical") return actions.logits;
  throw usageError("dqn learns the values of discrete actions; this policy draws numbers");
}

/** The values [rows, actions] of the actions that another network thinks best: [rows]. */
function chosenBy(chooser: Value, values: Value): Value {
  return squeeze(gatherElements(values, argMax(chooser, 1, { keepDims: true }), 1), 1);
}

/** Streams of draws from memory lie below those of play. */
const updateStream = 2 ** 30;

function cut(rows: Readonly<Record<string, Tensor>>, parts: number): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(rows).map(([name, x]) => [
      name,
      reshaped(x, [parts, (x.shape[0] as number) / parts, ...x.shape.slice(1)]),
    ]),
  );
}

function explorationAt(
  { exploration = {}, iterations }: Pick<DqnOptions<never>, "exploration" | "iterations">,
  iteration: number,
): number {
  const { first = 1, last = 0.05, iterations: over = iterations / 2 } = exploration;
  return first + (last - first) * Math.min(1, (iteration - 1) / Math.max(1, over));
}

function explored(actions: Tensor, environment: Environment, share: number, source: Random): Tensor {
  const { count } = environment.actions as Extract<Environment["actions"], { kind: "discrete" }>;
  const chosen = Array.from(actions.data as BigInt64Array, (greedy) => {
    const [at, other] = [source.uniform(), source.integer(count)];
    return at < share ? other : Number(greedy);
  });
  return tensorOf("int64", actions.shape, chosen);
}
