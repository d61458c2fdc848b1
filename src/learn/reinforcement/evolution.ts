/**
 * Evolution strategies (Salimans et al. 2017): the gradient of the mean fitness around the parameters is estimated from random
 * steps in pairs, there and back, by their ranks; an optimizer follows it. Nothing needs a gradient of the fitness itself.
 */
import { usageError } from "../../errors.js";
import {
  concat,
  leavesOf,
  mul,
  multiplyDims,
  neg,
  reduceSum,
  reshape,
  type Tree,
  type Value,
} from "../../graph/index.js";
import { normals, type Tensor, tensor, tensorOf, withRuntime } from "../../runtime/index.js";
import type { Optimizer } from "../optimizer.js";
import { adam } from "../optimizers/index.js";
import { flatten, type Parameters, parameterCount } from "../parameters.js";
import type { Fitness } from "./fitness.js";
import { iterate, type Learned, type LearnOptions } from "./learner.js";
import { plainStep, trainerOf } from "./training.js";

export interface EvolutionOptions<P extends Parameters> extends Omit<LearnOptions<P>, "environment" | "policy"> {
  readonly fitness: Fitness;
  /** Candidates of a generation, an even number; 32 unless given. */
  readonly population?: number;
  /** Standard deviation of the steps; 0.1 unless given. */
  readonly deviation?: number;
  /** Adam at 0.05 unless given. */
  readonly optimizer?: Optimizer;
}

/**
 * Evolution strategies with antithetic steps and centred ranks. An iteration is a generation; `meanReturn` and the metrics
 * `fitness` (mean) and `best` are of its candidates, and `steps` counts candidates.
 */
export function evolutionStrategy<P extends Parameters>(options: EvolutionOptions<P>): Promise<Learned<P>> {
  const { parameters, fitness, population = 32, deviation = 0.1, optimizer = adam({ rate: 0.05 }), seed = 0 } = options;
  if (!Number.isInteger(population) || population < 2 || population % 2 !== 0)
    throw usageError(`population must be an even number of at least 2, not ${population}`);
  if (!(deviation > 0)) throw usageError(`deviation must be above 0, not ${deviation}`);
  const size = parameterCount(parameters);
  const step = plainStep({
    parameters,
    batch: { direction: { dtype: "float32", shape: [size] } },
    // The gradient of this is minus the direction, for any optimizer to follow.
    loss: (own, { direction }) => ({ loss: neg(reduceSum(mul(flatValue(own as Tree), direction as Value), [0])) }),
    optimizer,
  });
  return withRuntime(options.runtime, async (runtime) => {
    const trainer = trainerOf(step, runtime, seed);
    const ran = await iterate(options, async (generation) => {
      const centre = flatNumbers(trainer.parameters());
      const noise = normals((population / 2) * size, seed, generation);
      const scores = await fitness(pairsAround(centre, noise, deviation), generation);
      const direction = rankedDirection(checkedScores(scores, population), noise, deviation);
      await trainer.train({ direction: tensorOf("float32", [1, size], direction) });
      const fitnesses = Array.from(scores);
      const metrics = { fitness: fitnesses.reduce((a, b) => a + b, 0) / population, best: Math.max(...fitnesses) };
      return { steps: population, finished: fitnesses, metrics };
    });
    return { ...ran, parameters: step.parameters(trainer.state()) };
  });
}

/** All numbers of the parameters in a row, in the order of `flatten`. */
export function flatNumbers(parameters: ReadonlyMap<string, Tensor> | Parameters): Float64Array {
  const tensors =
    parameters instanceof Map ? [...parameters.values()] : [...flatten(parameters as Parameters).values()];
  return Float64Array.from((tensors as Tensor<"float32">[]).flatMap(({ data }) => [...data]));
}

const flatValue = (tree: Tree): Value =>
  concat(
    leavesOf(tree).map((x) => reshape(x, [multiplyDims(...x.shape)])),
    0,
  );

/** [population, size]: one step there and one back for each row of noise. */
function pairsAround(centre: Float64Array, noise: Float32Array, deviation: number): Tensor<"float64"> {
  const size = centre.length;
  const pairs = noise.length / size;
  const data = new Float64Array(2 * noise.length);
  for (let i = 0; i < noise.length; i++) {
    const [middle, step] = [centre[i % size] as number, deviation * (noise[i] as number)];
    data[i] = middle + step;
    data[noise.length + i] = middle - step;
  }
  return tensor("float64", [2 * pairs, size], data);
}

/** The estimate of the gradient: the mean over candidates of centred rank times step, over the deviation. */
function rankedDirection(scores: ArrayLike<number>, noise: Float32Array, deviation: number): Float64Array {
  const ranks = centredRanks(scores);
  const pairs = scores.length / 2;
  const size = noise.length / pairs;
  const direction = new Float64Array(size);
  for (let p = 0; p < pairs; p++) {
    const weight = ((ranks[p] as number) - (ranks[pairs + p] as number)) / (scores.length * deviation);
    for (let i = 0; i < size; i++) direction[i] = (direction[i] as number) + weight * (noise[p * size + i] as number);
  }
  return direction;
}

/** Ranks from -0.5 (worst) to 0.5 (best); equals share the mean of theirs. */
export function centredRanks(scores: ArrayLike<number>): Float64Array {
  const order = Array.from(scores, (score, i) => ({ score, i })).sort((a, b) => a.score - b.score);
  const ranks = new Float64Array(order.length);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && order[to]?.score === order[from]?.score) to += 1;
    for (const { i } of order.slice(from, to)) ranks[i] = (from + to - 1) / 2 / Math.max(1, order.length - 1) - 0.5;
    from = to;
  }
  return ranks;
}

/** Throws where there isn't a number for every candidate. */
export function checkedScores(scores: ArrayLike<number>, population: number): ArrayLike<number> {
  if (scores.length !== population)
    throw usageError(`the fitness gave ${scores.length} numbers for ${population} candidates`);
  const odd = Array.from(scores).findIndex((x) => Number.isNaN(x));
  if (odd >= 0) throw usageError(`the fitness of candidate ${odd} is no number`);
  return scores;
}
