/**
 * Steering vectors from prompts of two classes (Turner et al. 2023, "Activation addition"; Rimsky et al. 2023, "Steering
 * Llama 2 via contrastive activation addition"; Zou et al. 2023, "Representation engineering").
 */
import { usageError } from "../errors.js";
import type { Model, Prompt, SiteDescription } from "../model/index.js";
import { createRuntime, type Runtime, row, tensorOf } from "../runtime/index.js";
import { promptActivations, steerableSite, steerableSites, tokenShape } from "./activations.js";
import type { BatchOptions } from "./batches.js";
import {
  type Classes,
  type Direction,
  type DirectionMethod,
  type DirectionOptions,
  directionMethods,
  dot,
  fitDirection,
  heldOutScores,
} from "./directions.js";
import { checkPositions, type Positions } from "./positions.js";
import { lengthOf, type SteeringVector } from "./vector.js";

/** What a vector's length is: the distance between the classes' means along it, 1, or the mean length of activations. */
export type VectorScale = "gap" | "unit" | "activation";

export interface SteeringOptions extends BatchOptions {
  /** Prompts that show what is steered towards. */
  readonly positive: readonly Prompt[];
  /** Prompts that show what is steered away from. */
  readonly negative: readonly Prompt[];
  /** Where prompts are read: the last token unless given; several positions count as their mean. */
  readonly positions?: Positions;
  /** `meanDifference` unless given. */
  readonly method?: DirectionMethod;
  /** Whether prompt i of one list belongs to prompt i of the other; true for lists of one length unless given. */
  readonly paired?: boolean;
  /** Of a probe: the factor of its squared weights. 1 for `logistic`, the activations' mean squared spread for `ridge`. */
  readonly penalty?: number;
  /** `gap` unless given: with a strength of 1, a step as long as from one class to the other. */
  readonly scale?: VectorScale;
  /** Seed of the folds behind `separation`; 0 unless given. */
  readonly seed?: number;
}

/**
 * The vector of one site: see `steeringVectors`.
 *
 * @example
 * const vector = await steeringVector(model, { site: "layers.14.residPost", positive: happyTexts, negative: sadTexts });
 * await steer(model, vector, { strength: 2 }).generate("I think that");
 */
export async function steeringVector(
  model: Model,
  { site, ...options }: SteeringOptions & { readonly site: string },
): Promise<SteeringVector> {
  const { name } = steerableSite(model, site);
  return (await steeringVectors(model, { ...options, sites: name }))[0] as SteeringVector;
}

/**
 * The vectors of every site that names and globs stand for, from one run over the prompts. Each points from the negative
 * to the positive class. `separation` is measured in up to five folds, whose directions are fitted without the prompts
 * that they are tried on; a class of one prompt has none.
 *
 * Throws where a class is empty, both classes have the same activations, or a site has no vector of a token.
 */
export async function steeringVectors(
  model: Model,
  options: SteeringOptions & { readonly sites: string | readonly string[] },
): Promise<SteeringVector[]> {
  const { positions = "last", scale = "gap", seed = 0 } = options;
  checkScale(scale);
  checkPositions(positions);
  const sites = steerableSites(model, options.sites);
  return withFits(options, async (fit) => {
    const classes = await classActivations(model, sites, positions, options);
    const vectors: SteeringVector[] = [];
    for (const [i, site] of sites.entries()) {
      options.signal?.throwIfAborted();
      const own = classes[i] as Classes;
      const direction = await fitDirection(own, fit);
      const separation = await separationOf(own, fit, seed);
      vectors.push({
        ...describeVector(site, own, direction, scale),
        method: fit.method,
        positions,
        ...(separation === undefined ? {} : { separation }),
        model: model.identity,
      });
    }
    return vectors;
  });
}

/** Runs `work` with checked options of a fit, on a runtime that lives as long. */
export async function withFits<T>(
  options: Pick<SteeringOptions, "positive" | "negative" | "method" | "paired" | "penalty">,
  work: (fit: DirectionOptions) => Promise<T>,
): Promise<T> {
  const {
    positive,
    negative,
    method = "meanDifference",
    paired = positive.length === negative.length,
    penalty,
  } = options;
  if (!directionMethods.includes(method))
    throw usageError(`the method of a direction is one of ${directionMethods.join(", ")}, not "${method}"`);
  if (paired && positive.length !== negative.length)
    throw usageError(`${positive.length} positive and ${negative.length} negative prompts are no pairs`);
  const runtime: Runtime = createRuntime();
  try {
    return await work({ method, paired, runtime, ...(penalty === undefined ? {} : { penalty }) });
  } finally {
    await runtime.close();
  }
}

/** The activations of both classes at every site. */
export async function classActivations(
  model: Model,
  sites: readonly SiteDescription[],
  positions: Positions,
  { positive, negative, ...options }: SteeringOptions,
): Promise<Classes[]> {
  const total = positive.length + negative.length;
  const read = (prompts: readonly Prompt[], what: string, before: number) =>
    promptActivations(model, prompts, sites, positions, {
      ...options,
      what,
      onProgress: (done) => options.onProgress?.(before + done, total),
    });
  const ofPositive = await read(positive, "positive", 0);
  const ofNegative = await read(negative, "negative", positive.length);
  return sites.map((_, i) => ({ positive: ofPositive[i], negative: ofNegative[i] }) as Classes);
}

/** What is known of a site's direction, at the length that was asked for. */
export function describeVector(
  site: SiteDescription,
  { positive, negative }: Classes,
  { unit, means }: Direction,
  scale: VectorScale,
): Pick<SteeringVector, "site" | "vector" | "norm" | "activationNorm" | "means" | "prompts"> {
  const rows = [positive, negative].flatMap((matrix) =>
    Array.from({ length: matrix.shape[0] as number }, (_, i) => row(matrix, i).data),
  );
  const activationNorm = rows.reduce((sum, x) => sum + Math.hypot(...x), 0) / rows.length;
  const length = { gap: means.positive - means.negative, unit: 1, activation: activationNorm }[scale];
  const vector = tensorOf(
    "float32",
    tokenShape(site),
    unit.map((x) => x * length),
  );
  return { site: site.name, vector, norm: lengthOf(vector), activationNorm, means, prompts: rows.length };
}

async function separationOf(
  classes: Classes,
  fit: DirectionOptions,
  seed: number,
): Promise<SteeringVector["separation"]> {
  const side = (x: Float64Array, { unit, means }: Direction) => dot(x, unit) - (means.positive + means.negative) / 2;
  const scores = await heldOutScores(classes, fit, side, seed);
  if (scores === undefined) return undefined;
  const { positive, negative, folds } = scores;
  const right = positive.filter((score) => score > 0).length + negative.filter((score) => score < 0).length;
  return { accuracy: right / (positive.length + negative.length), folds };
}

function checkScale(scale: VectorScale): void {
  if (!["gap", "unit", "activation"].includes(scale))
    throw usageError(`the scale of a vector is gap, unit or activation, not "${scale}"`);
}
