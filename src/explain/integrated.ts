/**
 * Integrated gradients (Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks"): what each entry adds on
 * the way from a baseline to the tensor, attribution_i = (x_i - b_i) integral over a in [0, 1] of dF/dx_i(b + a (x - b)).
 * They add up to F(x) - F(b).
 */
import { usageError } from "../errors.js";
import type { Token } from "../model/index.js";
import { elementCount, type Tensor } from "../runtime/index.js";
import { type Baseline, baselineNumbers } from "./baselines.js";
import { type DifferentiableFunction, reduceFeatures, sum } from "./differentiable.js";
import { type Completeness, completenessOf, incompleteness, integratePath, type PathOptions } from "./path.js";

export interface IntegratedGradientsOptions extends PathOptions {
  /** Where the path starts; `zero` unless given. See `promptBaseline` and `meanEmbedding` for language models. */
  readonly baseline?: Baseline;
}

export interface IntegratedGradients {
  /** What is explained at the tensor, and at the baseline. */
  readonly value: number;
  readonly baselineValue: number;
  /** In the shape of the tensor. */
  readonly attributions: Tensor<"float32">;
  /** Their sum for each token or pixel. */
  readonly sums: Tensor<"float32">;
  readonly completeness: Completeness;
  /** Steps taken, after doubling. */
  readonly steps: number;
  /** Says so where the attributions don't add up to the difference. */
  readonly warning?: string;
  /** The prompt's tokens, in a language model. */
  readonly tokens?: readonly Token[];
}

export interface ExpectedGradientsOptions extends PathOptions {
  /** Where the paths start: samples of what the tensor may be. */
  readonly baselines: readonly Baseline[];
}

/**
 * The attributions of every entry of the explained tensor. Costs a gradient for each step, and two for the ends.
 *
 * Throws where the baseline does not fit the tensor or an option is not what it can be.
 */
export async function integratedGradients(
  f: DifferentiableFunction,
  { baseline = "zero", ...options }: IntegratedGradientsOptions = {},
): Promise<IntegratedGradients> {
  const found = await alongPath(f, baseline, options);
  return resultOf(f, found, options);
}

/**
 * The mean of integrated gradients over several baselines (Erion et al. 2021, "Improving performance of deep learning models
 * with axiomatic attribution priors and expected gradients"), each path integrated rather than sampled. They add up to F(x)
 * less the mean of F over the baselines. `onProgress` counts baselines.
 */
export async function expectedGradients(
  f: DifferentiableFunction,
  { baselines, onProgress, ...options }: ExpectedGradientsOptions,
): Promise<IntegratedGradients> {
  if (baselines.length === 0) throw usageError("give at least one baseline");
  for (const baseline of baselines) baselineNumbers(baseline, f.at.shape); // before anything runs
  const mean = new Float64Array(elementCount(f.at.shape));
  let [value, baselineValue, steps] = [0, 0, 0];
  for (const [index, baseline] of baselines.entries()) {
    const found = await alongPath(f, baseline, options);
    for (let i = 0; i < mean.length; i++) (mean[i] as number) += (found.attributions[i] as number) / baselines.length;
    value = found.value;
    baselineValue += found.baselineValue / baselines.length;
    steps = Math.max(steps, found.steps);
    onProgress?.(index + 1, baselines.length);
  }
  return resultOf(f, { attributions: mean, value, baselineValue, steps }, options);
}

interface Found {
  readonly attributions: Float64Array;
  readonly value: number;
  readonly baselineValue: number;
  readonly steps: number;
}

async function alongPath(f: DifferentiableFunction, baseline: Baseline, options: PathOptions): Promise<Found> {
  const start = baselineNumbers(baseline, f.at.shape);
  const way = Float64Array.from(f.at.data as Float32Array, (x, i) => x - (start[i] as number));
  const { total, value, baselineValue, steps } = await integratePath(f, start, options, async (points) => {
    const { gradients } = await f.evaluate(points);
    return { terms: alongWay(gradients, way), complete: true };
  });
  return { attributions: total, value, baselineValue, steps };
}

/** Gradients [points, ...] times the way from the baseline. */
function alongWay({ shape, data }: Tensor, way: Float64Array): Tensor {
  const terms = Float64Array.from(data as Float32Array, (x, i) => x * (way[i % way.length] as number));
  return { dtype: "float64", shape, data: terms };
}

function resultOf(f: DifferentiableFunction, found: Found, options: PathOptions): IntegratedGradients {
  const { attributions, value, baselineValue, steps } = found;
  const { shape } = f.at;
  const completeness = completenessOf(attributions, value, baselineValue);
  return {
    value,
    baselineValue,
    attributions: { dtype: "float32", shape, data: Float32Array.from(attributions) },
    sums: reduceFeatures(attributions, shape, f.features, sum),
    completeness,
    steps,
    ...incompleteness(completeness, steps, options),
    ...(f.tokens === undefined ? {} : { tokens: f.tokens }),
  };
}
