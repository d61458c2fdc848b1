/**
 * The straight path from a baseline to a tensor, x(a) = b + a (x - b), and integrals of what happens along it. By the
 * gradient theorem what flows along the whole path adds up to F(x) - F(b): completeness, which says whether enough points
 * were taken.
 */
import { usageError } from "../errors.js";
import { row, type Tensor } from "../runtime/index.js";
import { type DifferentiableFunction, evaluateMany, type ManyPointsOptions } from "./differentiable.js";

export interface PathOptions extends ManyPointsOptions {
  /** Points along the path; 32 unless given. */
  readonly steps?: number;
  /** How they are placed: Gauss and Legendre's points, denser at both ends, or evenly spaced ones; `gauss-legendre` unless given. */
  readonly rule?: "gauss-legendre" | "trapezoid";
  /** Steps are doubled until complete, up to this many; as many as `steps` unless given. */
  readonly maxSteps?: number;
  /** The error of completeness that is accepted, as a share of the difference; 0.01 unless given. */
  readonly tolerance?: number;
}

/** Whether attributions add up to what they should. */
export interface Completeness {
  /** Of all attributions. */
  readonly sum: number;
  /** What is explained at the tensor, less what it is at the baseline. */
  readonly difference: number;
  /** |sum - difference| as a share of |difference|, or of a thousandth of the larger value where that is more: below is rounding. */
  readonly error: number;
}

/** A point of the path and its weight in the integral. */
interface PathNode {
  readonly share: number;
  readonly weight: number;
}

/** What was integrated along the path. */
export interface PathIntegral {
  readonly total: Float64Array;
  /** What is explained at the tensor, and at the baseline. */
  readonly value: number;
  readonly baselineValue: number;
  readonly completeness: Completeness;
  readonly steps: number;
}

/** What is integrated: its numbers at each of several points, [points, ...]. */
export interface PathTerms {
  readonly terms: Tensor;
  /** Whether the terms should add up to the difference. */
  readonly complete: boolean;
}

const rules: Readonly<Record<"gauss-legendre" | "trapezoid", (steps: number) => PathNode[]>> = {
  "gauss-legendre": gaussLegendre,
  trapezoid(steps) {
    const weight = (k: number) => (k === 0 || k === steps ? 0.5 : 1) / steps;
    return Array.from({ length: steps + 1 }, (_, k) => ({ share: k / steps, weight: weight(k) }));
  },
};

/** The integral of `terms` over the share of the path from `baseline` (the shape of `f.at`) to `f.at`. */
export async function integratePath(
  f: DifferentiableFunction,
  baseline: Float64Array,
  options: PathOptions,
  run: (points: Tensor) => Promise<PathTerms>,
): Promise<PathIntegral> {
  const { steps, maxSteps, rule, tolerance } = checkedOptions(options);
  const [baselineValue, value] = await valuesAtEnds(f, baseline);
  let done = 0;
  for (let count = steps; ; count *= 2) {
    const before = done;
    const onProgress = (batch: number, all: number) => {
      done = before + batch;
      options.onProgress?.(done, before + all);
    };
    const { total, complete } = await integrateOnce(f, baseline, rules[rule](count), run, { ...options, onProgress });
    const completeness = completenessOf(total, value, baselineValue);
    if (!complete || completeness.error <= tolerance || 2 * count > maxSteps)
      return { total, value, baselineValue, completeness, steps: count };
  }
}

/** What is explained at the baseline and at the tensor. Only gradients may be infinite at an end, so none is taken there. */
async function valuesAtEnds(f: DifferentiableFunction, baseline: Float64Array): Promise<[number, number]> {
  const ends: [number, number] = [0, 0];
  await evaluateMany(
    f,
    2,
    (point, index) => point.set(index === 0 ? baseline : (f.at.data as Float32Array)),
    f.values,
    (values, place, index) => {
      ends[index] = values[place] as number;
    },
    {},
  );
  return ends;
}

async function integrateOnce(
  f: DifferentiableFunction,
  baseline: Float64Array,
  nodes: readonly PathNode[],
  run: (points: Tensor) => Promise<PathTerms>,
  options: ManyPointsOptions,
): Promise<{ total: Float64Array; complete: boolean }> {
  const here = f.at.data as Float32Array;
  let total = new Float64Array();
  let complete = true;
  await evaluateMany(
    f,
    nodes.length,
    (point, index) => {
      const { share } = nodes[index] as PathNode;
      for (let i = 0; i < point.length; i++)
        point[i] = (1 - share) * (baseline[i] as number) + share * (here[i] as number);
    },
    run,
    (result, place, index) => {
      const terms = row(result.terms, place).data as ArrayLike<number>;
      const { weight } = nodes[index] as PathNode;
      if (index === 0) total = new Float64Array(terms.length);
      for (let i = 0; i < terms.length; i++) (total[i] as number) += weight * (terms[i] as number);
      complete = result.complete;
    },
    options,
  );
  return { total, complete };
}

/** Throws where an option is not what it can be. */
function checkedOptions({ steps = 32, maxSteps = steps, rule = "gauss-legendre", tolerance = 0.01 }: PathOptions) {
  if (!Number.isInteger(steps) || steps < 1)
    throw usageError(`steps must be a whole number of at least 1, not ${steps}`);
  if (!(maxSteps >= steps)) throw usageError(`maxSteps must be at least the ${steps} steps, not ${maxSteps}`);
  if (!Object.hasOwn(rules, rule)) throw usageError(`the rule is "gauss-legendre" or "trapezoid", not "${rule}"`);
  if (!(tolerance > 0)) throw usageError(`tolerance must be above 0, not ${tolerance}`);
  return { steps, maxSteps, rule, tolerance };
}

/** How well attributions add up to value - baselineValue. */
export function completenessOf(attributions: Float64Array, value: number, baselineValue: number): Completeness {
  const sum = attributions.reduce((total, x) => total + x, 0);
  const difference = value - baselineValue;
  const scale = Math.max(Math.abs(difference), 1e-3 * Math.max(Math.abs(value), Math.abs(baselineValue)));
  const miss = Math.abs(sum - difference);
  return { sum, difference, error: miss === 0 ? 0 : miss / scale };
}

/** The warning that a result carries where its attributions don't add up, or nothing. */
export function incompleteness(
  { sum, difference, error }: Completeness,
  steps: number,
  { tolerance = 0.01 }: PathOptions,
): { warning?: string } {
  if (error <= tolerance) return {};
  return {
    warning: `the attributions add up to ${sum.toPrecision(4)} and the difference is ${difference.toPrecision(4)}, an error of ${(100 * error).toPrecision(2)}%: take more than ${steps} steps (maxSteps doubles them until complete) or a nearer baseline`,
  };
}

/**
 * Gauss and Legendre's rule of `steps` points within (0, 1), which integrates polynomials of degree 2 steps - 1 exactly.
 * The points are roots of the Legendre polynomial, found by Newton's method.
 */
function gaussLegendre(steps: number): PathNode[] {
  return Array.from({ length: steps }, (_, k): PathNode => {
    let x = -Math.cos((Math.PI * (k + 0.75)) / (steps + 0.5));
    let slope = 1;
    for (let iteration = 0; iteration < 20; iteration++) {
      const { value, derivative } = legendre(steps, x);
      slope = derivative;
      const change = value / derivative;
      x -= change;
      if (Math.abs(change) < 1e-15) break;
    }
    return { share: (1 + x) / 2, weight: 1 / ((1 - x * x) * slope * slope) };
  });
}

/** The Legendre polynomial of that degree and its derivative at x in (-1, 1), by the three-term recurrence. */
function legendre(degree: number, x: number): { value: number; derivative: number } {
  let [before, value] = [1, x];
  for (let n = 2; n <= degree; n++) [before, value] = [value, ((2 * n - 1) * x * value - (n - 1) * before) / n];
  return { value, derivative: (degree * (before - x * value)) / (1 - x * x) };
}
