/**
 * Episodes played by a policy: rollouts of many at once to learn from, and whole episodes to judge by. Every random number
 * belongs to a stream of its own, named by the seed and the step, so that the same seed plays the same episodes.
 */
import { elementCount, type Random, type Runtime, random, type Tensor, zeros } from "../../runtime/index.js";
import type { Environment, Episodes, Transition } from "../environments/index.js";
import { flatten, type Parameters } from "../parameters.js";
import { type Actor, type ActorOptions, actor } from "./acting.js";

/** Streams of a seed: those of training steps lie below. */
const firstStream = 2 ** 31;
const environmentStream = (step: number) => firstStream + 2 * step;
/** The stream that the actions of a step are drawn from. */
export const actionStream = (step: number) => firstStream + 2 * step + 1;

/** Where play stands. */
export interface Position {
  readonly episodes: Episodes;
  /** Steps of all episodes so far. */
  readonly step: number;
  /** What each episode has paid so far, [count]. */
  readonly paid: Float64Array;
}

/** Play from its start: step 0 is the start's own. */
export function startPlay(environment: Environment, count: number, seed: number): Position {
  const episodes = environment.start(count, random(seed, environmentStream(0)));
  return { episodes, step: 1, paid: new Float64Array(count) };
}

/** A step of play, and the position after it, in which what ended has begun anew. */
export interface Advanced {
  readonly transition: Transition;
  readonly ended: Uint8Array;
  readonly position: Position;
  /** What the episodes that ended have paid in all. */
  readonly finished: readonly number[];
}

/** Makes one step of play. */
export function advance(environment: Environment, from: Position, actions: Tensor, seed: number): Advanced {
  const source: Random = random(seed, environmentStream(from.step));
  const transition = environment.step(from.episodes, actions, source);
  const ended = transition.terminated.map((flag, i) => flag | (transition.truncated[i] as number));
  const total = from.paid.map((sum, i) => sum + (transition.rewards.data[i] as number));
  const any = ended.includes(1);
  return {
    transition,
    ended,
    position: {
      episodes: any ? environment.restart(transition.episodes, ended, source) : transition.episodes,
      step: from.step + 1,
      paid: total.map((sum, i) => (ended[i] === 1 ? 0 : sum)),
    },
    finished: [...total].filter((_, i) => ended[i] === 1),
  };
}

/** What some steps of many episodes were: rows are steps, then episodes. */
export interface Rollout {
  readonly steps: number;
  readonly count: number;
  /** float32 [steps * count, ...shape]. */
  readonly observations: Tensor<"float32">;
  /** int64 [steps * count] or float32 [steps * count, size]. */
  readonly actions: Tensor;
  readonly logProbabilities: Tensor<"float32">;
  readonly rewards: Float64Array;
  /** The critic's value of each observation, and of what followed before any restart; zeros without a critic. */
  readonly values: Float64Array;
  readonly nextValues: Float64Array;
  readonly terminated: Uint8Array;
  /** Terminated or cut off. */
  readonly ended: Uint8Array;
  /** What the episodes that ended have paid. */
  readonly finished: readonly number[];
  /** [steps * count, ...]: what was recorded, by site. */
  readonly sites: Readonly<Record<string, Tensor>>;
  readonly position: Position;
}

export interface CollectOptions {
  readonly environment: Environment;
  readonly actor: Actor;
  /** By path. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly position: Position;
  readonly steps: number;
  readonly seed: number;
}

/** Plays some steps of all episodes, restarting those that end. */
export async function collect({ environment, actor: act, parameters, position, steps, seed }: CollectOptions) {
  const { count } = position.episodes;
  const rows = steps * count;
  const numbers = () => new Float64Array(rows);
  const made = { rewards: numbers(), values: numbers(), nextValues: numbers() };
  const flags = { terminated: new Uint8Array(rows), ended: new Uint8Array(rows) };
  const columns = new Map<string, Tensor>();
  const finished: number[] = [];
  const actAt = (seen: Tensor<"float32">, step: number) => act(parameters, seen, { seed, stream: actionStream(step) });
  let at = position;
  let seen = environment.observe(at.episodes);
  let acted = await actAt(seen, at.step);
  for (let k = 0; k < steps; k++) {
    const first = k * count;
    const { actions, logProbabilities, values, sites } = acted;
    const recorded = Object.entries(sites).map(([name, x]) => [`site.${name}`, x] as const);
    for (const [name, x] of [...Object.entries({ observations: seen, actions, logProbabilities }), ...recorded])
      keep(columns, name, x, k, steps);
    const next = advance(environment, at, actions, seed);
    made.rewards.set(next.transition.rewards.data, first);
    flags.terminated.set(next.transition.terminated, first);
    flags.ended.set(next.ended, first);
    finished.push(...next.finished);
    at = next.position;
    seen = environment.observe(at.episodes);
    acted = await actAt(seen, at.step);
    if (values === undefined || acted.values === undefined) continue;
    made.values.set(values.data, first);
    made.nextValues.set(acted.values.data, first);
    if (!next.transition.truncated.includes(1)) continue;
    // What was cut off goes on in the critic's eyes: its value is that of the state before the restart.
    const cut = (await actAt(environment.observe(next.transition.episodes), at.step)).values as Tensor<"float32">;
    next.transition.truncated.forEach((flag, i) => {
      if (flag === 1) made.nextValues[first + i] = cut.data[i] as number;
    });
  }
  const column = (name: string) => columns.get(name) as Tensor;
  const recorded = [...columns].filter(([name]) => name.startsWith("site."));
  const rollout: Rollout = {
    steps,
    count,
    observations: column("observations") as Tensor<"float32">,
    actions: column("actions"),
    logProbabilities: column("logProbabilities") as Tensor<"float32">,
    ...made,
    ...flags,
    finished,
    sites: Object.fromEntries(recorded.map(([name, x]) => [name.slice("site.".length), x])),
    position: at,
  };
  return rollout;
}

/** Writes the rows of step `k` into a column, which is made at the first. */
function keep(columns: Map<string, Tensor>, name: string, part: Tensor, k: number, steps: number): void {
  const [count = 1, ...rest] = part.shape;
  const column = columns.get(name) ?? zeros(part.dtype, [steps * count, ...rest]);
  (column.data as Float32Array).set(part.data as Float32Array, k * part.data.length);
  columns.set(name, column);
}

export interface PlayOptions<P extends Parameters> extends Omit<ActorOptions<P>, "count"> {
  /** Episodes to play, each to its end; 100 unless given. */
  readonly episodes?: number;
  /** 0 unless given. */
  readonly seed?: number;
}

export interface Played {
  /** What each episode paid, undiscounted. */
  readonly returns: readonly number[];
  /** Steps of each. */
  readonly lengths: readonly number[];
  readonly meanReturn: number;
  /** What was recorded at each step, by site: [steps, episodes, ...]. After its end an episode's rows mean nothing. */
  readonly sites: Readonly<Record<string, Tensor>>;
}

/** Plays whole episodes side by side: greedily unless told. Its streams are apart from those of training with the seed. */
export async function playEpisodes<P extends Parameters>(
  { environment, episodes: count = 100, seed = 0, greedy = true, ...options }: PlayOptions<P>,
  runtime: Runtime,
): Promise<Played> {
  const act = actor({ ...options, environment, count, greedy }, runtime);
  const parameters = flatten(options.parameters);
  const own = (seed ^ 0x5bd1e995) >>> 0; // any other seed: judged on other episodes than learned from
  const scores = scoreKeeper(count);
  const columns = new Map<string, Tensor>();
  let episodes = environment.start(count, random(own, environmentStream(0)));
  let step = 0;
  while (step < environment.limit && !scores.done()) {
    step += 1;
    const acted = await act(parameters, environment.observe(episodes), { seed: own, stream: actionStream(step) });
    for (const [name, x] of Object.entries(acted.sites)) keep(columns, name, x, step - 1, environment.limit);
    const transition = environment.step(episodes, acted.actions, random(own, environmentStream(step)));
    scores.add(transition);
    episodes = transition.episodes;
  }
  const steps = step;
  const cut = ([name, { dtype, shape, data }]: readonly [string, Tensor]) => {
    const whole = [steps, count, ...shape.slice(1)];
    return [name, { dtype, shape: whole, data: data.slice(0, elementCount(whole)) } as Tensor] as const;
  };
  return { ...scores.result(), sites: Object.fromEntries([...columns].map(cut)) };
}

/** Adds up rewards of episodes until each has ended for the first time. */
export function scoreKeeper(count: number) {
  const returns = new Float64Array(count);
  const lengths = new Int32Array(count);
  const over = new Uint8Array(count);
  return {
    add({ rewards, terminated, truncated }: Transition): void {
      for (let i = 0; i < count; i++) {
        if (over[i] === 1) continue;
        returns[i] = (returns[i] as number) + (rewards.data[i] as number);
        lengths[i] = (lengths[i] as number) + 1;
        over[i] = (terminated[i] as number) | (truncated[i] as number);
      }
    },
    done: () => !over.includes(0),
    result: () => ({
      returns: [...returns],
      lengths: [...lengths],
      meanReturn: returns.reduce((a, b) => a + b, 0) / count,
    }),
  };
}
