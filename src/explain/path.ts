/**
 * The straight path from a baseline to a tensor, x(a) = b + a (x - b), and integrals of gradients along it. What flows along
 * a stretch adds up to the difference of the function between its ends (completeness), so every stretch tells its own error,
 * and points are added only where the function is rough: in a language model that is a small part of the path.
 */
import { failure, messageOf, PatchclampError, usageError } from "../errors.js";
import { row, type Tensor } from "../runtime/index.js";
import { type DifferentiableFunction, evaluateMany, type ManyPointsOptions } from "./differentiable.js";

export interface PathOptions extends ManyPointsOptions {
  /** Points along the whole path at first; 32 unless given. */
  readonly steps?: number;
  /** How they are placed: Gauss and Legendre's points, denser at both ends, or evenly spaced ones; `gauss-legendre` unless given. */
  readonly rule?: PathRule;
  /**
   * While attributions don't add up, rough stretches are divided, up to this many points in all; 1024 unless given, and at
   * least `steps`. As many as `steps`: never.
   */
  readonly maxSteps?: number;
  /** The error of completeness that is accepted; 0.01 unless given. */
  readonly tolerance?: number;
}

type PathRule = "gauss-legendre" | "trapezoid";

/** Whether attributions add up to what they should. */
export interface Completeness {
  /** Of all attributions. */
  readonly sum: number;
  /** What is explained at the tensor, less what it is at the baseline. */
  readonly difference: number;
  /** |sum - difference| as a share of |difference|, or of a thousandth of the larger value where that is more: below is rounding. */
  readonly error: number;
}

/** What was integrated along the path. */
export interface PathIntegral {
  readonly total: Float64Array;
  /** What is explained at the tensor, and at the baseline. */
  readonly value: number;
  readonly baselineValue: number;
  readonly completeness: Completeness;
  /** Points taken in all. */
  readonly steps: number;
}

/** What is integrated: its numbers at each of several points, [points, ...]. */
export interface PathTerms {
  readonly terms: Tensor;
  /** Whether their integral should add up to the difference. */
  readonly complete: boolean;
}

/** What is integrated, along one path. */
interface Path {
  readonly f: DifferentiableFunction;
  readonly baseline: Float64Array;
  readonly run: (points: Tensor) => Promise<PathTerms>;
}

/** A part of the path between two shares of it, and the function at both. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly fromValue: number;
  readonly toValue: number;
}

/** A stretch with its integral, and how far the integral's sum is from the difference of the ends. */
interface Integrated extends Stretch {
  readonly total: Float64Array;
  readonly miss: number;
  readonly complete: boolean;
}

/** A point of a stretch, from 0 to 1, and its weight in the integral. */
interface PathNode {
  readonly share: number;
  readonly weight: number;
}

const rules: Readonly<Record<PathRule, (steps: number) => PathNode[]>> = {
  "gauss-legendre": gaussLegendre,
  trapezoid(steps) {
    const weight = (k: number) => (k === 0 || k === steps ? 0.5 : 1) / steps;
    return Array.from({ length: steps + 1 }, (_, k) => ({ share: k / steps, weight: weight(k) }));
  },
};

/** A stretch that is too rough is divided into so many, each with so many points. */
const parts = 4;
const pointsOfPart = 8;

/**
 * The integral of the terms that `run` gives over the share of the path from `baseline` (in the shape of `f.at`) to `f.at`.
 * Throws where an option is not what it can be, and where a gradient on the path is not finite.
 */
export async function integratePath(
  f: DifferentiableFunction,
  baseline: Float64Array,
  options: PathOptions,
  run: (points: Tensor) => Promise<PathTerms>,
): Promise<PathIntegral> {
  const { steps, maxSteps, rule, tolerance } = checkedOptions(options);
  const path: Path = { f, baseline, run: explainingFailures(run) };
  const [baselineValue, value] = [...(await valuesAlong(path, [0, 1]))] as [number, number];
  const whole = { from: 0, to: 1, fromValue: baselineValue, toValue: value };
  let stretches = await integrate(path, [whole], rules[rule](steps), options);
  const nodes = rules[rule](pointsOfPart);
  const accepted = tolerance * scaleOf(value, baselineValue);
  let taken = steps;
  for (;;) {
    const affordable = Math.floor((maxSteps - taken) / (parts * pointsOfPart));
    const rough = roughest(stretches, accepted).slice(0, affordable);
    if (rough.length === 0) break;
    const divided = await divide(path, rough);
    const before = taken;
    taken += rough.length * parts * pointsOfPart;
    const onProgress = (done: number, all: number) => options.onProgress?.(before + done, before + all);
    const found = await integrate(path, divided, nodes, { ...options, onProgress });
    stretches = [...stretches.filter((stretch) => !rough.includes(stretch)), ...found];
  }
  const total = new Float64Array(stretches[0]?.total.length ?? 0);
  for (const stretch of stretches)
    for (let i = 0; i < total.length; i++) (total[i] as number) += stretch.total[i] as number;
  return { total, value, baselineValue, completeness: completenessOf(total, value, baselineValue), steps: taken };
}

/** A gradient that overflows says where it lies: at zeros, the norms of a deep network multiply it by hundreds each. */
function explainingFailures(run: Path["run"]): Path["run"] {
  return async (points) => {
    try {
      return await run(points);
    } catch (error) {
      if (!(error instanceof PatchclampError) || error.kind !== "failure") throw error;
      throw failure(`between baseline and tensor, ${messageOf(error)}: start from another baseline`, error);
    }
  };
}

/** Throws where an option is not what it can be. */
function checkedOptions({ steps = 32, rule = "gauss-legendre", tolerance = 0.01, ...options }: PathOptions) {
  const maxSteps = options.maxSteps ?? Math.max(1024, steps);
  if (!Number.isInteger(steps) || steps < 1)
    throw usageError(`steps must be a whole number of at least 1, not ${steps}`);
  if (!(maxSteps >= steps)) throw usageError(`maxSteps must be at least the ${steps} steps, not ${maxSteps}`);
  if (!Object.hasOwn(rules, rule)) throw usageError(`the rule is "gauss-legendre" or "trapezoid", not "${rule}"`);
  if (!(tolerance > 0)) throw usageError(`tolerance must be above 0, not ${tolerance}`);
  return { steps, maxSteps, rule, tolerance };
}

/** The stretches that miss most, such that the others together miss no more than half of what is accepted; none if all do. */
function roughest(stretches: readonly Integrated[], accepted: number): Integrated[] {
  const sorted = stretches.filter(({ complete }) => complete).sort((a, b) => Math.abs(a.miss) - Math.abs(b.miss));
  const missed = sorted.reduce((total, { miss }) => total + Math.abs(miss), 0);
  if (missed <= accepted) return [];
  let kept = 0;
  const first = sorted.findIndex(({ miss }) => {
    kept += Math.abs(miss);
    return kept > accepted / 2;
  });
  return sorted.slice(first).reverse();
}

/** Every stretch in equal parts, with the function at their ends. */
async function divide(path: Path, stretches: readonly Stretch[]): Promise<Stretch[]> {
  const inner = Array.from({ length: parts - 1 }, (_, k) => (k + 1) / parts);
  const cuts = stretches.map(({ from, to }) => inner.map((share) => from + share * (to - from)));
  const values = await valuesAlong(path, cuts.flat());
  return stretches.flatMap(({ from, to, fromValue, toValue }, s) => {
    const shares = [from, ...(cuts[s] as number[]), to];
    const known = [fromValue, ...values.slice(s * inner.length, (s + 1) * inner.length), toValue];
    return Array.from({ length: parts }, (_, k) => ({
      from: shares[k] as number,
      to: shares[k + 1] as number,
      fromValue: known[k] as number,
      toValue: known[k + 1] as number,
    }));
  });
}

/** The function at shares of the path. No gradient is taken: at a baseline it may be infinite where the value is not. */
async function valuesAlong({ f, baseline }: Path, shares: readonly number[]): Promise<Float64Array> {
  const found = new Float64Array(shares.length);
  const write = pathPoint(f, baseline);
  await evaluateMany(
    f,
    shares.length,
    (point, index) => write(point, shares[index] as number),
    f.values,
    (values, place, index) => {
      found[index] = values[place] as number;
    },
    {},
  );
  return found;
}

/** Fills in the point at a share of the path. */
function pathPoint({ at }: DifferentiableFunction, baseline: Float64Array) {
  const here = at.data as Float32Array;
  return (point: Float32Array, share: number): void => {
    for (let i = 0; i < point.length; i++)
      point[i] = (1 - share) * (baseline[i] as number) + share * (here[i] as number);
  };
}

/** The integrals over stretches, each with the same nodes. */
async function integrate(
  { f, baseline, run }: Path,
  stretches: readonly Stretch[],
  nodes: readonly PathNode[],
  options: ManyPointsOptions,
): Promise<Integrated[]> {
  const write = pathPoint(f, baseline);
  const place = (index: number) => ({
    stretch: stretches[Math.floor(index / nodes.length)] as Stretch,
    node: nodes[index % nodes.length] as PathNode,
  });
  const totals: Float64Array[] = stretches.map(() => new Float64Array());
  let complete = true;
  await evaluateMany(
    f,
    stretches.length * nodes.length,
    (point, index) => {
      const { stretch, node } = place(index);
      write(point, stretch.from + node.share * (stretch.to - stretch.from));
    },
    run,
    (result, at, index) => {
      const { stretch, node } = place(index);
      const terms = row(result.terms, at).data as ArrayLike<number>;
      const which = Math.floor(index / nodes.length);
      if (index % nodes.length === 0) totals[which] = new Float64Array(terms.length);
      const total = totals[which] as Float64Array;
      const weight = node.weight * (stretch.to - stretch.from);
      for (let i = 0; i < terms.length; i++) (total[i] as number) += weight * (terms[i] as number);
      complete = result.complete;
    },
    options,
  );
  return stretches.map((stretch, s) => {
    const total = totals[s] as Float64Array;
    return { ...stretch, total, miss: addUp(total) - (stretch.toValue - stretch.fromValue), complete };
  });
}

const addUp = (values: Float64Array) => values.reduce((total, x) => total + x, 0);

/** What an error is a share of: the difference, or a thousandth of the larger value where that is more. */
function scaleOf(value: number, baselineValue: number): number {
  return Math.max(Math.abs(value - baselineValue), 1e-3 * Math.max(Math.abs(value), Math.abs(baselineValue)));
}

/** How well attributions add up to value - baselineValue. */
export function completenessOf(attributions: Float64Array, value: number, baselineValue: number): Completeness {
  const sum = addUp(attributions);
  const difference = value - baselineValue;
  const miss = Math.abs(sum - difference);
  return { sum, difference, error: miss === 0 ? 0 : miss / scaleOf(value, baselineValue) };
}

/** The warning that a result carries where its attributions don't add up, or nothing. */
export function incompleteness(
  { sum, difference, error }: Completeness,
  steps: number,
  { tolerance = 0.01 }: PathOptions,
): { warning?: string } {
  if (error <= tolerance) return {};
  return {
    warning: `after ${steps} steps the attributions add up to ${sum.toPrecision(4)} and the difference is ${difference.toPrecision(4)}, an error of ${(100 * error).toPrecision(2)}%: raise maxSteps, or choose a nearer baseline`,
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
