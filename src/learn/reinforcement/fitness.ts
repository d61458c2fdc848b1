/** What sets of parameters are worth in an environment: a whole population plays side by side, in one call a step. */
import { type Runtime, random, type Tensor } from "../../runtime/index.js";
import type { Environment, Episodes } from "../environments/index.js";
import type { Parameters } from "../parameters.js";
import { type PopulationActor, populationActor, stackedParameters } from "./acting.js";
import { scoreKeeper } from "./episodes.js";
import type { Policy } from "./policy.js";

/** What each candidate is worth, more being better. Candidates are rows of numbers, [candidates, size]. */
export type Fitness = (
  candidates: Tensor<"float64">,
  generation: number,
) => ArrayLike<number> | Promise<ArrayLike<number>>;

export interface FitnessOptions<P extends Parameters> {
  readonly environment: Environment;
  readonly policy: Policy<P>;
  /** Their structure and shapes count here, not their numbers. */
  readonly parameters: P;
  /** Episodes of each candidate; 1 unless given. */
  readonly episodes?: number;
  /** Of the episodes' starts and noise; 0 unless given. */
  readonly seed?: number;
}

/**
 * The mean return of a policy that acts greedily, as a function of its parameters. All candidates of a generation meet the
 * same starts; another generation meets others.
 */
export function policyFitness<P extends Parameters>(
  { environment, policy, parameters, episodes: count = 1, seed = 0 }: FitnessOptions<P>,
  runtime: Runtime,
): Fitness {
  const actors = new Map<number, PopulationActor>();
  return async (candidates, generation) => {
    const [population] = candidates.shape as readonly [number, number];
    const act =
      actors.get(population) ?? populationActor({ environment, policy, parameters, count }, population, runtime);
    actors.set(population, act);
    const own = stackedParameters(parameters, candidates);
    const scores = scoreKeeper(population * count);
    const source = random(seed, generation);
    let episodes = repeated(environment.start(count, source), population);
    while (!scores.done()) {
      const transition = environment.step(episodes, await act(own, environment.observe(episodes)), source);
      scores.add(transition);
      episodes = transition.episodes;
    }
    const { returns } = scores.result();
    return Float64Array.from({ length: population }, (_, i) => {
      const mine = returns.slice(i * count, (i + 1) * count);
      return mine.reduce((a, b) => a + b, 0) / count;
    });
  };
}

/** The same episodes many times over. */
function repeated({ count, columns }: Episodes, times: number): Episodes {
  const many = Object.entries(columns).map(([name, values]) => {
    const all = new Float64Array(values.length * times);
    for (let i = 0; i < times; i++) all.set(values, i * values.length);
    return [name, all] as const;
  });
  return { count: count * times, columns: Object.fromEntries(many), elapsed: new Int32Array(count * times) };
}
