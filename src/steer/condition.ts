/**
 * Steering under a condition (Lee et al. 2024, "Programming refusal with conditional activation steering"): a second
 * vector tells which prompts are meant. A prompt is steered where the cosine of its activation with that vector is above
 * a threshold. (The paper compares h with the tanh of its projection on the vector; the plain cosine keeps the sign.)
 */
import type { GenerateOptions, Generation, Model, Prompt } from "../model/index.js";
import { row } from "../runtime/index.js";
import { promptActivations, steerableSite, steerableSites } from "./activations.js";
import type { BatchOptions } from "./batches.js";
import { type Direction, dot, fitDirection, heldOutScores } from "./directions.js";
import { classActivations, describeVector, type SteeringOptions, withFits } from "./extract.js";
import { type SteerOptions, steeringClamps } from "./steer.js";
import type { SteeringVector } from "./vector.js";

/** A site's vector and the cosine above which a prompt is meant. */
export interface Condition {
  readonly vector: SteeringVector;
  readonly threshold: number;
  /** 2 precision recall / (precision + recall) on the labelled prompts. */
  readonly f1: number;
  /** Share of the labelled prompts that are decided rightly. */
  readonly accuracy: number;
  /** Whether the prompts' cosines are with directions fitted without them, in this many folds; else with the vector itself. */
  readonly folds?: number;
}

export interface ConditionOptions extends Omit<SteeringOptions, "positive" | "negative" | "scale"> {
  /** Prompts that the condition is to hold for. */
  readonly matching: readonly Prompt[];
  /** Prompts that it is not to hold for. */
  readonly others: readonly Prompt[];
  /** Sites to choose from, by name or glob. */
  readonly sites: string | readonly string[];
}

/**
 * The best condition of all sites: for each, a direction from the other prompts to the matching ones, and every threshold
 * halfway between two cosines that occur. The highest F1 wins, then the wider gap around the threshold, as a share of the
 * cosines' range. Where both classes have two prompts or more, cosines are with directions that were fitted without them.
 */
export async function fitCondition(model: Model, options: ConditionOptions): Promise<Condition> {
  const { matching, others, positions = "last", seed = 0 } = options;
  const classesOf = { ...options, positive: matching, negative: others };
  const sites = steerableSites(model, options.sites);
  return withFits(classesOf, async (fit) => {
    const classes = await classActivations(model, sites, positions, classesOf);
    let best: (Condition & { readonly margin: number }) | undefined;
    for (const [i, site] of sites.entries()) {
      options.signal?.throwIfAborted();
      const own = classes[i] as (typeof classes)[0];
      const direction = await fitDirection(own, fit);
      const described = describeVector(site, own, direction, "unit");
      const cosine = (x: Float64Array, { unit }: Direction) => cosineOf(x, unit);
      const heldOut = await heldOutScores(own, fit, cosine, seed);
      const all = (matrix: (typeof own)["positive"]) =>
        Array.from({ length: matrix.shape[0] as number }, (_, r) => cosine(row(matrix, r).data, direction));
      const scores = heldOut ?? { positive: all(own.positive), negative: all(own.negative) };
      const found = bestThreshold(scores.positive, scores.negative);
      if (best !== undefined && (found.f1 < best.f1 || (found.f1 === best.f1 && found.margin <= best.margin))) continue;
      const vector = { ...described, method: fit.method, positions, model: model.identity };
      best = { ...found, vector, ...(heldOut === undefined ? {} : { folds: heldOut.folds }) };
    }
    const { margin: _, ...condition } = best as NonNullable<typeof best>;
    return condition;
  });
}

/** What a condition says of a prompt. */
export interface ConditionDecision {
  /** Cosine of the prompt's activation with the condition's vector. */
  readonly similarity: number;
  /** Whether it is above the threshold. */
  readonly matches: boolean;
}

/** Decides for every prompt by its activation at the condition's site and positions. */
export async function decideCondition(
  model: Model,
  { vector, threshold }: Condition,
  prompts: readonly Prompt[],
  options: BatchOptions = {},
): Promise<ConditionDecision[]> {
  const [activations] = await promptActivations(
    model,
    prompts,
    [steerableSite(model, vector.site)],
    vector.positions,
    options,
  );
  return prompts.map((_, r) => {
    const similarity = cosineOf(row(activations as NonNullable<typeof activations>, r).data, vector.vector.data);
    return { similarity, matches: similarity > threshold };
  });
}

/** A model that is steered for some prompts only. */
export interface ConditionalModel {
  /** What the condition says of prompts, read without steering. */
  decide(prompts: readonly Prompt[]): Promise<ConditionDecision[]>;
  /** The view for exactly these prompts as one batch, in this order: rows that match are steered, the others untouched. */
  view(prompts: readonly Prompt[]): Promise<Model>;
  /** Continues prompts in one batch, each steered or not as was decided before its first new token. */
  generateAll(prompts: readonly Prompt[], options?: GenerateOptions): Promise<Generation[]>;
}

/**
 * A model that steers along vectors only where a prompt meets the condition. For a decision of each token in the graph,
 * at the site where it is steered: `steer` with `when`.
 *
 * @example
 * const polite = conditionalSteering(model, { condition, vectors: vector, strength: 2 });
 * await polite.generateAll(prompts);
 */
export function conditionalSteering(
  model: Model,
  {
    condition,
    vectors,
    ...options
  }: SteerOptions & { readonly condition: Condition; readonly vectors: SteeringVector | readonly SteeringVector[] },
): ConditionalModel {
  steeringClamps(model, vectors, options); // a wrong call is an error here and not at the first prompt
  const view = async (prompts: readonly Prompt[]) => {
    const decisions = await decideCondition(model, condition, prompts);
    const rows = decisions.map(({ matches }) => matches);
    return model.with(...steeringClamps(model, vectors, options, rows));
  };
  return {
    decide: (prompts) => decideCondition(model, condition, prompts),
    view,
    generateAll: async (prompts, own = {}) => (await view(prompts)).generateAll(prompts, own),
  };
}

function cosineOf(x: ArrayLike<number>, direction: ArrayLike<number>): number {
  const size = Math.sqrt(dot(x, x) * dot(direction, direction));
  return size === 0 ? 0 : dot(x, direction) / size;
}

/** The threshold with the highest F1 (then the widest gap) among those halfway between two scores, or below all. */
function bestThreshold(matching: readonly number[], others: readonly number[]) {
  const scores = [...new Set([...matching, ...others])].sort((a, b) => a - b);
  const [lowest = 0, highest = 0] = [scores[0], scores.at(-1)];
  const candidates = scores.map((score, i) => {
    const below = scores[i - 1];
    const threshold = below === undefined ? score - 1e-6 : (below + score) / 2;
    const hits = matching.filter((x) => x > threshold).length;
    const wrong = others.filter((x) => x > threshold).length;
    return {
      threshold,
      f1: (2 * hits) / (matching.length + hits + wrong),
      accuracy: (hits + others.length - wrong) / (matching.length + others.length),
      margin: below === undefined ? 0 : (score - below) / (highest - lowest),
    };
  });
  return candidates.reduce((best, next) =>
    next.f1 > best.f1 || (next.f1 === best.f1 && next.margin > best.margin) ? next : best,
  );
}
