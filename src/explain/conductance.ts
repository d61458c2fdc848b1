/**
 * Layer conductance (Dhamdhere, Sundararajan and Yan 2018, "How Important Is a Neuron?"): what of integrated gradients flows
 * through each entry y_j of a hidden site, conductance_j = integral over a in [0, 1] of dF/dy_j dy_j/da, with the explained
 * tensor at b + a (x - b). Where everything passes through the site, they add up to F(x) - F(b).
 */
import type { Token } from "../model/index.js";
import { row, type Tensor } from "../runtime/index.js";
import { type Baseline, baselineNumbers } from "./baselines.js";
import { type DifferentiableFunction, type Flows, reduceFeatures, sum } from "./differentiable.js";
import { type Completeness, incompleteness, integratePath, type PathOptions } from "./path.js";

export interface ConductanceOptions extends PathOptions {
  /** The site whose entries are judged. */
  readonly hidden: string;
  /** Where the path of the explained tensor starts; `zero` unless given. */
  readonly baseline?: Baseline;
}

export interface Conductance {
  readonly hidden: string;
  /** What is explained at the tensor, and at the baseline. */
  readonly value: number;
  readonly baselineValue: number;
  /** In the shape of the hidden site, its row aside. */
  readonly conductance: Tensor<"float32">;
  /** Their sum for each token or pixel. */
  readonly sums: Tensor<"float32">;
  /**
   * Whether everything passes through the site (a residual stream, not one head or MLP beside it). Only then do the
   * conductances add up to the difference; else `completeness` says which share of it flows here.
   */
  readonly separates: boolean;
  readonly completeness: Completeness;
  /** Steps taken, after doubling (which only `separates` allows). */
  readonly steps: number;
  /** Says so where conductances don't add up to the difference and should. */
  readonly warning?: string;
  readonly tokens?: readonly Token[];
}

/**
 * The conductance of every entry of a hidden site. Costs a gradient and a forward derivative for each step.
 *
 * Throws where the hidden site does not lie between the explained tensor and the number that is explained.
 */
export async function layerConductance(
  f: DifferentiableFunction,
  { hidden, baseline = "zero", ...options }: ConductanceOptions,
): Promise<Conductance> {
  const start = baselineNumbers(baseline, f.at.shape);
  const direction: Tensor<"float32"> = {
    dtype: "float32",
    shape: f.at.shape,
    data: Float32Array.from(f.at.data as Float32Array, (x, i) => x - (start[i] as number)),
  };
  let last: Flows | undefined;
  const found = await integratePath(f, start, options, async (points) => {
    last = await f.flows(points, direction, hidden);
    return { terms: last.flows, complete: last.separates };
  });
  const { flows, features, separates } = last as Flows;
  const { shape } = row(flows, 0);
  const { total, value, baselineValue, completeness, steps } = found;
  return {
    hidden,
    value,
    baselineValue,
    conductance: { dtype: "float32", shape, data: Float32Array.from(total) },
    sums: reduceFeatures(total, shape, features, sum),
    separates,
    completeness,
    steps,
    ...(separates ? incompleteness(completeness, steps, options) : {}),
    ...(f.tokens === undefined ? {} : { tokens: f.tokens }),
  };
}
