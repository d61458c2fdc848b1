/**
 * What a small change of each token or pixel would do: the gradient (Simonyan et al. 2013, "Deep Inside Convolutional
 * Networks"), times the value itself (Shrikumar et al. 2016, "Not Just a Black Box"), and averaged over noisy copies
 * (Smilkov et al. 2017, "SmoothGrad").
 */
import { usageError } from "../errors.js";
import type { Token } from "../model/index.js";
import { random, reshaped, row, type Tensor } from "../runtime/index.js";
import {
  type DifferentiableFunction,
  evaluateMany,
  type ManyPointsOptions,
  type Reduction,
  reduceFeatures,
  sum,
} from "./differentiable.js";

export interface SaliencyOptions {
  /** How a token's or pixel's entries become one number: their Euclidean `norm`, or the largest `max` |entry|; `norm` unless given. */
  readonly reduce?: "norm" | "max";
}

export interface Saliency {
  /** What is explained, at the tensor as the run has it. */
  readonly value: number;
  /** The gradient there (of `smoothGrad`: its mean over noisy copies), in the shape of the tensor. */
  readonly gradient: Tensor;
  /** One number of each token or pixel, 0 or more. */
  readonly map: Tensor<"float32">;
  /** The prompt's tokens, in a language model. */
  readonly tokens?: readonly Token[];
}

export interface SmoothGradOptions extends SaliencyOptions, ManyPointsOptions {
  /** Noisy copies; 32 unless given. */
  readonly samples?: number;
  /** Standard deviation of the noise, as a share of the range from the tensor's smallest to its largest entry; 0.1 unless given. */
  readonly noise?: number;
  /** Seed of the noise; 0 unless given. */
  readonly seed?: number;
}

export interface GradientTimesInput {
  readonly value: number;
  /** Entry times gradient, in the shape of the tensor. */
  readonly attributions: Tensor<"float32">;
  /** Their sum for each token or pixel, signed. */
  readonly sums: Tensor<"float32">;
  readonly tokens?: readonly Token[];
}

const reductions: Readonly<Record<"norm" | "max", Reduction>> = {
  norm: { fold: (total, x) => total + x * x, finish: Math.sqrt },
  max: { fold: (total, x) => Math.max(total, Math.abs(x)), finish: (total) => total },
};

/** The size of the gradient at each token or pixel: M = ||dF/dx|| over a token's width, or max |dF/dx| over a pixel's channels. */
export async function saliency(f: DifferentiableFunction, options: SaliencyOptions = {}): Promise<Saliency> {
  const reduction = reductionOf(options);
  const { value, gradient } = await evaluateHere(f);
  return saliencyOf(f, value, gradient, reduction);
}

/** x * dF/dx, and its sums: how far each token or pixel carries the function, to first order, beyond what it is at zero. */
export async function gradientTimesInput(f: DifferentiableFunction): Promise<GradientTimesInput> {
  const { value, gradient } = await evaluateHere(f);
  const { shape, data } = f.at;
  const attributions = Float32Array.from(data as Float32Array, (x, i) => x * Number(gradient.data[i]));
  return {
    value,
    attributions: { dtype: "float32", shape, data: attributions },
    sums: reduceFeatures(attributions, shape, f.features, sum),
    ...labels(f),
  };
}

/**
 * The mean gradient over copies of the tensor with normal noise, reduced as `saliency` does: mean_k dF/dx(x + noise_k),
 * noise ~ N(0, (share * (max x - min x))^2).
 */
export async function smoothGrad(f: DifferentiableFunction, options: SmoothGradOptions = {}): Promise<Saliency> {
  const { samples = 32, noise = 0.1, seed = 0 } = options;
  const reduction = reductionOf(options);
  if (!Number.isInteger(samples) || samples < 1)
    throw usageError(`samples must be a whole number of at least 1, not ${samples}`);
  if (!(noise >= 0 && Number.isFinite(noise))) throw usageError(`noise must be a share of 0 or more, not ${noise}`);
  const { value } = await evaluateHere(f);
  const here = f.at.data as Float32Array;
  const deviation = noise * rangeOf(here);
  const total = new Float64Array(here.length);
  await evaluateMany(
    f,
    {
      count: samples,
      write(point, index) {
        const draws = random(seed, index); // a stream a copy, so that batches don't matter
        for (let i = 0; i < point.length; i++) point[i] = (here[i] as number) + deviation * draws.normal();
      },
      run: f.evaluate,
      visit({ gradients }, place) {
        const gradient = row(gradients, place).data;
        for (let i = 0; i < total.length; i++) (total[i] as number) += Number(gradient[i]) / samples;
      },
    },
    options,
  );
  return saliencyOf(f, value, { dtype: "float32", shape: f.at.shape, data: Float32Array.from(total) }, reduction);
}

function reductionOf({ reduce = "norm" }: SaliencyOptions): Reduction {
  const reduction = Object.hasOwn(reductions, reduce) ? reductions[reduce] : undefined;
  if (reduction === undefined) throw usageError(`entries reduce by "norm" or "max", not "${reduce}"`);
  return reduction;
}

async function evaluateHere({ at, evaluate }: DifferentiableFunction): Promise<{ value: number; gradient: Tensor }> {
  const { values, gradients } = await evaluate(reshaped(at, [1, ...at.shape]));
  return { value: values[0] as number, gradient: row(gradients, 0) };
}

function saliencyOf(f: DifferentiableFunction, value: number, gradient: Tensor, reduction: Reduction): Saliency {
  const map = reduceFeatures(gradient.data as Float32Array, gradient.shape, f.features, reduction);
  return { value, gradient, map, ...labels(f) };
}

const labels = ({ tokens }: DifferentiableFunction) => (tokens === undefined ? {} : { tokens });

function rangeOf(values: Float32Array): number {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const x of values) {
    least = Math.min(least, x);
    most = Math.max(most, x);
  }
  return values.length === 0 ? 0 : most - least;
}
