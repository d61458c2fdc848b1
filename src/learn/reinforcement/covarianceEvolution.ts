/**
 * CMA-ES (Hansen & Ostermeier 2001; constants of Hansen's tutorial, arXiv 1604.00772): candidates are drawn from a normal
 * distribution whose mean, covariance and width follow the best of them. For tens of numbers, where gradients mislead.
 */
import { usageError } from "../../errors.js";
import { symmetricEigen } from "../../linalg/index.js";
import { normals, type Runtime, tensor, withRuntime } from "../../runtime/index.js";
import { requireWhole } from "../environments/environment.js";
import type { Parameters } from "../parameters.js";
import { checkedScores } from "./evolution.js";
import type { Fitness } from "./fitness.js";
import { iterate, type LearnOptions } from "./learner.js";

export interface CovarianceEvolutionOptions
  extends Pick<LearnOptions<Parameters>, "iterations" | "seed" | "onIteration" | "signal" | "runtime"> {
  /** Where the mean starts. */
  readonly start: ArrayLike<number>;
  readonly fitness: Fitness;
  /** Standard deviation at the start; 0.3 unless given. */
  readonly deviation?: number;
  /** Candidates of a generation; 4 + 3 ln(size), rounded down, unless given. */
  readonly population?: number;
}

export interface CovarianceEvolved {
  /** The mean of the last distribution. */
  readonly mean: Float64Array;
  /** The best candidate that was ever seen, and its fitness. */
  readonly best: Float64Array;
  readonly fitness: number;
  /** The width of the last distribution. */
  readonly deviation: number;
  readonly history: ReadonlyMap<string, readonly number[]>;
  readonly stopped: boolean;
}

/** Where the search stands. */
interface Search {
  readonly mean: Float64Array;
  readonly deviation: number;
  /** [n, n], row-major. */
  readonly covariance: Float64Array;
  /** Evolution paths of the width and of the covariance. */
  readonly widthPath: Float64Array;
  readonly path: Float64Array;
  readonly best: Float64Array;
  readonly fitness: number;
}

/** Maximises a fitness. An iteration is a generation; metrics are `fitness` (mean), `best` (so far) and `deviation`. */
export function covarianceEvolution(options: CovarianceEvolutionOptions): Promise<CovarianceEvolved> {
  const { start, fitness, deviation = 0.3, seed = 0 } = options;
  const n = start.length;
  const { population = 4 + Math.floor(3 * Math.log(n)) } = options;
  requireWhole("the number of numbers to search", n, 1);
  requireWhole("population", population, 2);
  if (!(deviation > 0)) throw usageError(`deviation must be above 0, not ${deviation}`);
  const constants = constantsOf(n, population);
  let search: Search = {
    mean: Float64Array.from(start),
    deviation,
    covariance: Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
    widthPath: new Float64Array(n),
    path: new Float64Array(n),
    best: Float64Array.from(start),
    fitness: Number.NEGATIVE_INFINITY,
  };
  return withRuntime(options.runtime, async (runtime) => {
    const ran = await iterate(options, async (generation) => {
      const axes = await axesOf(search.covariance, n, runtime);
      const steps = stepsAlong(axes, normals(population * n, seed, generation), population);
      const drawn = steps.map((step) => step.map((x, i) => (search.mean[i] as number) + search.deviation * x));
      const candidates = tensor("float64", [population, n], Float64Array.from(drawn.flatMap((row) => [...row])));
      const scores = Array.from(checkedScores(await fitness(candidates, generation), population));
      search = updated(search, constants, { axes, steps, drawn, scores, generation });
      const mean = scores.reduce((a, b) => a + b, 0) / population;
      const metrics = { fitness: mean, best: search.fitness, deviation: search.deviation };
      return { steps: population, finished: scores, metrics };
    });
    const { mean, best, fitness: highest, deviation: width } = search;
    return { ...ran, mean, best, fitness: highest, deviation: width };
  });
}

interface Constants {
  readonly n: number;
  /** Of the best candidates, falling, summing to 1. */
  readonly weights: readonly number[];
  /** 1 / the sum of their squares: how many candidates the mean is worth. */
  readonly effective: number;
  readonly pathRate: number;
  readonly widthRate: number;
  readonly widthDamping: number;
  readonly rankOne: number;
  readonly rankMany: number;
  /** The mean length of a standard normal vector. */
  readonly length: number;
}

function constantsOf(n: number, population: number): Constants {
  const parents = Math.floor(population / 2);
  const raw = Array.from({ length: parents }, (_, i) => Math.log((population + 1) / 2) - Math.log(i + 1));
  const sum = raw.reduce((a, b) => a + b, 0);
  const weights = raw.map((w) => w / sum);
  const effective = 1 / weights.reduce((a, w) => a + w * w, 0);
  const widthRate = (effective + 2) / (n + effective + 5);
  const rankOne = 2 / ((n + 1.3) ** 2 + effective);
  return {
    n,
    weights,
    effective,
    pathRate: (4 + effective / n) / (n + 4 + (2 * effective) / n),
    widthRate,
    widthDamping: 1 + 2 * Math.max(0, Math.sqrt((effective - 1) / (n + 1)) - 1) + widthRate,
    rankOne,
    rankMany: Math.min(1 - rankOne, (2 * (effective - 2 + 1 / effective)) / ((n + 2) ** 2 + effective)),
    length: Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
  };
}

/** The axes of a distribution: unit vectors as columns [n, n], and the standard deviation along each. */
interface Axes {
  readonly vectors: Float64Array;
  readonly deviations: Float64Array;
}

async function axesOf(covariance: Float64Array, n: number, runtime: Runtime): Promise<Axes> {
  const { values, vectors } = await symmetricEigen(tensor("float64", [n, n], covariance), { runtime });
  // Rounding can turn what is nearly nothing negative.
  const deviations = Float64Array.from(values, (x) => Math.sqrt(Math.max(x, 1e-300)));
  return { vectors: vectors.data, deviations };
}

function stepsAlong({ vectors, deviations }: Axes, noise: Float32Array, population: number): Float64Array[] {
  const n = deviations.length;
  return Array.from({ length: population }, (_, k) => {
    const scaled = deviations.map((d, j) => d * (noise[k * n + j] as number));
    return product(vectors, scaled);
  });
}

/** A x for A [n, n]. */
function product(a: Float64Array, x: Float64Array): Float64Array {
  const n = x.length;
  return x.map((_, i) => x.reduce((sum, value, j) => sum + (a[i * n + j] as number) * value, 0));
}

/** C^(-1/2) x. */
function whitened({ vectors, deviations }: Axes, x: Float64Array): Float64Array {
  const n = x.length;
  const along = deviations.map(
    (d, j) => x.reduce((sum, value, i) => sum + (vectors[i * n + j] as number) * value, 0) / d,
  );
  return product(vectors, along);
}

interface Generation {
  readonly axes: Axes;
  /** Candidates less the mean, over the width. */
  readonly steps: readonly Float64Array[];
  readonly drawn: readonly Float64Array[];
  readonly scores: readonly number[];
  readonly generation: number;
}

function updated(search: Search, constants: Constants, { axes, steps, drawn, scores, generation }: Generation): Search {
  const { n, weights, effective, pathRate, widthRate, widthDamping, rankOne, rankMany, length } = constants;
  const order = scores.map((_, i) => i).sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  const parents = weights.map((weight, i) => ({ weight, step: steps[order[i] as number] as Float64Array }));
  const move = new Float64Array(n).map((_, i) =>
    parents.reduce((sum, { weight, step }) => sum + weight * (step[i] as number), 0),
  );
  const white = whitened(axes, move);
  const widthGain = Math.sqrt(widthRate * (2 - widthRate) * effective);
  const widthPath = search.widthPath.map((x, i) => (1 - widthRate) * x + widthGain * (white[i] as number));
  const norm = Math.hypot(...widthPath);
  // The covariance's path waits while the width grows fast, as it does from a start that is far too narrow.
  const waits = norm / Math.sqrt(1 - (1 - widthRate) ** (2 * generation)) >= (1.4 + 2 / (n + 1)) * length;
  const gain = waits ? 0 : Math.sqrt(pathRate * (2 - pathRate) * effective);
  const path = search.path.map((x, i) => (1 - pathRate) * x + gain * (move[i] as number));
  const kept = 1 - rankOne - rankMany + (waits ? rankOne * pathRate * (2 - pathRate) : 0);
  const covariance = search.covariance.map((x, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    const many = parents.reduce((sum, { weight, step }) => sum + weight * (step[i] as number) * (step[j] as number), 0);
    return kept * x + rankOne * (path[i] as number) * (path[j] as number) + rankMany * many;
  });
  const first = order[0] as number;
  const better = (scores[first] as number) > search.fitness;
  return {
    mean: search.mean.map((x, i) => x + search.deviation * (move[i] as number)),
    deviation: search.deviation * Math.exp((widthRate / widthDamping) * (norm / length - 1)),
    covariance,
    widthPath,
    path,
    best: better ? (drawn[first] as Float64Array) : search.best,
    fitness: better ? (scores[first] as number) : search.fitness,
  };
}
