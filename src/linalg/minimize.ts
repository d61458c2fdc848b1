/**
 * Minimisation of a smooth function of many numbers by limited-memory BFGS: the last few steps and changes of gradient
 * stand for the inverse Hessian (Nocedal & Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5).
 */
import { usageError } from "../errors.js";
import { lineSearch, type Trial } from "./lineSearch.js";
import { checkWhole, toVector, type Vector } from "./vector.js";

export interface Evaluation {
  readonly value: number;
  /** As many numbers as the point has, in memory that later evaluations don't write to. */
  readonly gradient: Float64Array;
}

/** The function to minimise. It must not change the point. */
export type Objective = (point: Float64Array) => Evaluation | Promise<Evaluation>;

export interface MinimizeStep {
  /** Iterations so far, from 1. */
  readonly iteration: number;
  readonly value: number;
  /** The largest absolute element of the gradient. */
  readonly gradientNorm: number;
}

export interface MinimizeOptions {
  /** Pairs of step and change of gradient that are kept; 10 unless given. */
  readonly memory?: number;
  /** Done when no element of the gradient is larger than this; 1e-8 unless given. */
  readonly gradientTolerance?: number;
  /**
   * Done when three iterations in a row each lower the value f by no more than this times max(|f|, 1); 2e-15 unless
   * given, which is where rounding hides further progress.
   */
  readonly decreaseTolerance?: number;
  /** 1000 unless given. */
  readonly maxIterations?: number;
  /** Called after every iteration. */
  readonly onStep?: (step: MinimizeStep) => void;
  /** Checked before every evaluation. */
  readonly signal?: AbortSignal;
}

/** One step that gains nothing may be rounding, or a badly scaled memory; three in a row are the end. */
const patience = 3;

/** Why the search ended: the two tolerances, the limit of iterations, or no step that lowers the value. */
export type MinimizeReason = "gradient" | "decrease" | "iterations" | "lineSearch";

export interface Minimum {
  readonly x: Float64Array;
  readonly value: number;
  /** The largest absolute element of the gradient at `x`. */
  readonly gradientNorm: number;
  readonly iterations: number;
  readonly evaluations: number;
  /** Whether a tolerance was met. */
  readonly converged: boolean;
  readonly reason: MinimizeReason;
}

/** A point of the search, as the line search sees it. */
interface Point extends Trial {
  readonly x: Float64Array;
  readonly gradient: Float64Array;
}

interface Pair {
  readonly step: Float64Array;
  readonly change: Float64Array;
  /** 1 / (step . change). */
  readonly rho: number;
}

/**
 * A local minimum of `objective` near `start`, which is not changed.
 *
 * Throws where the objective isn't finite at the start; where it isn't finite later, the step is shortened. Ending
 * without convergence is no error: see `converged` and `reason`.
 */
export async function lbfgs(objective: Objective, start: Vector, options: MinimizeOptions = {}): Promise<Minimum> {
  const { memory = 10, gradientTolerance = 1e-8, decreaseTolerance = 2e-15, maxIterations = 1000 } = options;
  checkWhole(memory, "memory", 1);
  checkWhole(maxIterations, "maxIterations", 0);
  let evaluations = 0;
  const evaluate = async (x: Float64Array, step: number, direction?: Float64Array): Promise<Point> => {
    options.signal?.throwIfAborted();
    evaluations += 1;
    const { value, gradient } = await objective(x);
    if (gradient.length !== x.length)
      throw usageError(`the objective's gradient has ${gradient.length} numbers; its point has ${x.length}`);
    return { x, value, gradient, step, slope: direction === undefined ? 0 : dot(gradient, direction) };
  };
  let point = await evaluate(toVector(start, "the start"), 0);
  if (!Number.isFinite(point.value + largest(point.gradient)))
    throw usageError(`the objective is not finite at the start (value ${point.value}); start where it is`);
  let pairs: Pair[] = [];
  let iterations = 0;
  let stalled = 0;
  const finished = (reason: MinimizeReason): Minimum => ({
    x: point.x,
    value: point.value,
    gradientNorm: largest(point.gradient),
    iterations,
    evaluations,
    converged: reason === "gradient" || reason === "decrease",
    reason,
  });
  for (;;) {
    if (largest(point.gradient) <= gradientTolerance) return finished("gradient");
    if (iterations === maxIterations) return finished("iterations");
    const direction = descentDirection(point.gradient, pairs);
    const origin = { ...point, step: 0, slope: dot(point.gradient, direction) };
    const firstStep = pairs.length > 0 ? 1 : Math.min(1, 1 / Math.sqrt(dot(direction, direction)));
    const along = (step: number) => evaluate(moved(origin.x, step, direction), step, direction);
    const next = await lineSearch(along, origin, firstStep);
    if (next === undefined) {
      if (pairs.length === 0) return finished("lineSearch");
      pairs = []; // rounding may have spoiled the memory: once more, along the gradient itself
      continue;
    }
    pairs = [...pairs, ...pairBetween(origin, next)].slice(-memory);
    point = next;
    iterations += 1;
    options.onStep?.({ iteration: iterations, value: next.value, gradientNorm: largest(next.gradient) });
    const scale = Math.max(Math.abs(origin.value), Math.abs(next.value), 1);
    stalled = origin.value - next.value <= decreaseTolerance * scale ? stalled + 1 : 0;
    if (stalled === patience && largest(next.gradient) > gradientTolerance) return finished("decrease");
  }
}

/** Minus the inverse Hessian of the pairs times the gradient: the two-loop recursion (algorithm 7.4). */
function descentDirection(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const direction = gradient.map((x) => -x);
  const alphas = pairs.map(() => 0);
  for (let i = pairs.length - 1; i >= 0; i--) {
    const { step, change, rho } = pairs[i] as Pair;
    alphas[i] = rho * dot(step, direction);
    addScaled(direction, -(alphas[i] as number), change);
  }
  const last = pairs.at(-1);
  if (last !== undefined) {
    const scale = 1 / (last.rho * dot(last.change, last.change)); // equation 7.20
    for (let i = 0; i < direction.length; i++) direction[i] = scale * (direction[i] as number);
  }
  pairs.forEach(({ step, change, rho }, i) => {
    addScaled(direction, (alphas[i] as number) - rho * dot(change, direction), step);
  });
  return direction;
}

/** The pair of one iteration; none where the curvature along it is lost in rounding, which would spoil the recursion. */
function pairBetween(from: Point, to: Point): Pair[] {
  const step = moved(to.x, -1, from.x);
  const change = moved(to.gradient, -1, from.gradient);
  const curvature = dot(step, change);
  return curvature > Number.EPSILON * Math.sqrt(dot(step, step) * dot(change, change))
    ? [{ step, change, rho: 1 / curvature }]
    : [];
}

function moved(x: Float64Array, scale: number, direction: Float64Array): Float64Array {
  const result = x.slice();
  addScaled(result, scale, direction);
  return result;
}

function addScaled(target: Float64Array, scale: number, x: Float64Array): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + scale * (x[i] as number);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function largest(x: Float64Array): number {
  return x.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
}
