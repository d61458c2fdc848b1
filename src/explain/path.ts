/**
 * The straight path from a baseline to a tensor, x(a) = b + a (x - b), and integrals of gradients along it. What flows along
 * a stretch adds up to the difference of the function between its ends (completeness), so every stretch tells its own error,
 * and points are added only where the function is rough: in a language model that is a small part of the path.
 */
import { failure, messageOf, PatchclampError, usageError } from "../errors.js";
import { row, type Tensor } from "../runtime/index.js";
import { type DifferentiableFunction, evaluateMany, type ManyPointsOptions } from "./differentiable.js";
import { type QuadratureNode, type QuadratureRule, quadratureRules } from "./quadrature.js";

export interface PathOptions extends ManyPointsOptions {
  /** Points along the whole path at first; 32 unless given. */
  readonly steps?: number;
  /** How they are placed: Gauss and Legendre's points, denser at both ends, or evenly spaced ones; `gauss-legendre` unless given. */
  readonly rule?: QuadratureRule;
  /**
   * While attributions don't add up, rough stretches are divided, up to this many points in all; 1024 unless given, and at
   * least `steps`. As many as `steps`: never.
   */
  readonly maxSteps?: number;
  /** The error of completeness that is accepted; 0.01 unless given. */
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
  const path: Path = { f, baseline, run };
  const [baselineValue, value] = [...(await valuesAlong(path, [0, 1]))] as [number, number];
  const whole = { from: 0, to: 1, fromValue: baselineValue, toValue: value };
  let stretches = await onThePath(integrate(path, [whole], quadratureRules[rule](steps), options));
  const nodes = quadratureRules[rule](pointsOfPart);
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
    const found = await onThePath(integrate(path, divided, nodes, { ...options, onProgress }));
    stretches = [...stretches.filter((stretch) => !rough.includes(stretch)), ...found];
  }
  const total = new Float64Array(stretches[0]?.total.length ?? 0);
  for (const stretch of stretches)
    for (let i = 0; i < total.length; i++) (total[i] as number) += stretch.total[i] as number;
  return { total, value, baselineValue, completeness: completenessOf(total, value, baselineValue), steps: taken };
}

/** Says where it was that the work failed: at zeros, the norms of a deep network multiply a gradient by hundreds each. */
async function onThePath<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof PatchclampError) || error.kind !== "failure") throw error;
    throw failure(`between baseline and tensor, ${messageOf(error)}: start from another baseline`, error);
  }
}

/** Throws where an option is not what it can be. */
function checkedOptions({ steps = 32, rule = "gauss-legendre", tolerance = 0.01, ...options }: PathOptions) {
  const maxSteps = options.maxSteps ?? Math.max(1024, steps);
  if (!Number.isInteger(steps) || steps < 1)
    throw usageError(`steps must be a whole number of at least 1, not ${steps}`);
  if (!(maxSteps >= steps)) throw usageError(`maxSteps must be at least the ${steps} steps, not ${maxSteps}`);
  if (!Object.hasOwn(quadratureRules, rule))
    throw usageError(`the rule is "gauss-legendre" or "trapezoid", not "${rule}"`);
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
  await evaluateMany(f, {
    count: shares.length,
    write: (point, index) => write(point, shares[index] as number),
    run: f.values,
    visit(values, place, index) {
      found[index] = values[place] as number;
    },
  });
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
  nodes: readonly QuadratureNode[],
  options: ManyPointsOptions,
): Promise<Integrated[]> {
  const write = pathPoint(f, baseline);
  const placeOf = (index: number) => {
    const which = Math.floor(index / nodes.length);
    return { which, stretch: stretches[which] as Stretch, node: nodes[index % nodes.length] as QuadratureNode };
  };
  const totals: Float64Array[] = [];
  let complete = true;
  await evaluateMany(
    f,
    {
      count: stretches.length * nodes.length,
      write(point, index) {
        const { stretch, node } = placeOf(index);
        write(point, stretch.from + node.share * (stretch.to - stretch.from));
      },
      run,
      visit(result, place, index) {
        const { which, stretch, node } = placeOf(index);
        const terms = row(result.terms, place).data as ArrayLike<number>;
        totals[which] ??= new Float64Array(terms.length);
        const total = totals[which];
        const weight = node.weight * (stretch.to - stretch.from);
        for (let i = 0; i < terms.length; i++) (total[i] as number) += weight * (terms[i] as number);
        complete = result.complete;
      },
    },
    options,
  );
  return stretches.map((stretch, s) => {
    const total = totals[s] as Float64Array;
    const miss = addUp(total) - (stretch.toValue - stretch.fromValue);
    if (!Number.isFinite(miss)) throw failure("a value or a gradient is not finite");
    return { ...stretch, total, miss, complete };
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
