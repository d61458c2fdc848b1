/**
 * Activation maximisation (Erhan et al. 2009; Simonyan et al. 2013, equation 1; Olah et al. 2017): the picture that excites
 * a unit most, by gradient ascent with Adam from noise or from a picture.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import type { Network } from "../model/index.js";
import { random, type Tensor, tensor } from "../runtime/index.js";
import { adam } from "./adam.js";
import { openAscent } from "./ascent.js";
import type { Regularisers } from "./penalties.js";
import type { ClassifierOptions, Feeds, Target } from "./targets.js";
import { drawMaps, type Transformations } from "./transformations.js";

export interface MaximizationOptions extends ClassifierOptions {
  /** A class, a list of them (each gets pictures of its own), or one number a row of any sites, as `unit` makes it. */
  readonly of: Target | readonly number[];
  /** Pictures of each target; 1 unless given. */
  readonly count?: number;
  /** 256 unless given. */
  readonly steps?: number;
  /** Of Adam; 0.05 unless given. */
  readonly learningRate?: number;
  /** Noise (unless given), or pictures [channels, height, width] or [rows, channels, height, width] to start from. */
  readonly start?: "noise" | Tensor;
  /** Standard deviation of noise on the parameters at the start; 0.01 unless given, 0 from pictures. */
  readonly noise?: number;
  /** `fourier` unless given: spatial frequencies in decorrelated colours. `pixels`: clipped to the range at each step. */
  readonly parametrisation?: "fourier" | "pixels";
  /** For `fourier`: [channels][channels], a root of the covariance of colours; that of photographs unless given. */
  readonly colours?: readonly (readonly number[])[];
  /** Least and largest number of a picture; [0, 1] unless given. */
  readonly range?: readonly [number, number];
  /** Weights of penalties; none unless given. */
  readonly regularisers?: Regularisers;
  /** At each step others; none unless given. `{ shift: 2, scale: [0.9, 1.1], rotate: 5 }` is a fair start. */
  readonly transformations?: Transformations;
  /** Pictures of one target are to differ in the channels of a site that they excite together. */
  readonly diversity?: { readonly site: string; readonly weight: number };
  /** The network's other inputs. */
  readonly feeds?: Feeds;
  /** Of the noise and the transformations; 0 unless given. */
  readonly seed?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface Maximization {
  /** Pictures within the range, [targets * count, channels, height, width], those of one target one after another. */
  readonly images: Tensor<"float32">;
  /** What each picture makes of its target, without transformations. */
  readonly values: readonly number[];
  /** The same before each step, under that step's transformations: [steps][rows]. */
  readonly trajectory: readonly (readonly number[])[];
}

/**
 * Pictures that raise a class' score or a unit's activation as far as regularisers let them.
 *
 * @throws where the image's sizes are symbols, an option is out of range, or the target does not depend on the image
 */
export async function activationMaximization(network: Network, options: MaximizationOptions): Promise<Maximization> {
  const { steps = 256, learningRate = 0.05, transformations = {}, seed = 0, onProgress, signal } = options;
  if (!Number.isInteger(steps) || steps < 0) throw usageError(`steps must be a whole number, not ${steps}`);
  if (!(learningRate > 0 && learningRate < Infinity))
    throw usageError(`learningRate must be a number above 0, not ${learningRate}`);
  const ascent = await openAscent(network, options);
  const [low, high] = ascent.bounds;
  const source = random(seed, 1);
  let parameters = await ascent.start(random(seed));
  const update = adam(parameters.data.length, learningRate);
  const trajectory: number[][] = [];
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const maps = drawMaps(transformations, ascent.rows, ascent.picture, source);
    const { gradient, values } = await ascent.slope(parameters, maps);
    trajectory.push(values);
    const moved = update(parameters.data, gradient).map((x) => Math.min(Math.max(x, low), high));
    parameters = tensor("float32", parameters.shape, moved);
    onProgress?.(step + 1, steps);
    await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
  }
  return { ...(await ascent.show(parameters)), trajectory };
}
