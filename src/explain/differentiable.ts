/**
 * A differentiable function of one tensor: what a network makes of one of its values, as a number, and the gradient there.
 * Attribution methods are functions of this alone, so language models and image networks share them.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import {
  constantLike,
  expand,
  input,
  mul,
  pullback,
  pushForward,
  substitute,
  topologicalOrder,
  type Value,
} from "../graph/index.js";
import type { Token } from "../model/index.js";
import { elementCount, row, stridesOf, type Tensor, zeros } from "../runtime/index.js";

/** What a function is at several points. */
export interface Evaluation {
  /** [points] */
  readonly values: Float64Array;
  /** [points, ...] */
  readonly gradients: Tensor;
}

/** How change flows from the explained tensor to the function through a hidden value, at several points. */
export interface Flows {
  /** [points, ...hidden]: gradient at the hidden value times its derivative along the direction, entry by entry. */
  readonly flows: Tensor;
  /** As `DifferentiableFunction.features`, of the hidden value. */
  readonly features: readonly number[];
  /** Whether the function depends on the explained tensor through the hidden value alone. */
  readonly separates: boolean;
}

export interface DifferentiableFunction {
  /** The tensor that is explained, as the run has it, without a dimension for rows. */
  readonly at: Tensor;
  /** Its dimensions that together are one token or pixel (width, channels): maps and sums reduce over them. */
  readonly features: readonly number[];
  /** Most points in one evaluation. */
  readonly rows: number;
  /** The prompt's tokens, in a language model. */
  readonly tokens?: readonly Token[];
  /** Values at points [n, ...], at most `rows` of them. */
  values(points: Tensor): Promise<Float64Array>;
  /** Values and gradients at points [n, ...], at most `rows` of them. */
  evaluate(points: Tensor): Promise<Evaluation>;
  /** At points [n, ...], what flows through a hidden site when all of them move along `direction`, of the shape of `at`. */
  flows(points: Tensor, direction: Tensor, hidden: string): Promise<Flows>;
}

/** What every method that evaluates many points takes. */
export interface ManyPointsOptions {
  /** Called after each batch with the points done so far; the total grows where a method finds that it needs more. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between two batches. */
  readonly signal?: AbortSignal;
}

/** How many points are evaluated. */
export interface ManyPoints<T> {
  readonly count: number;
  /** Fills in point `index`. */
  readonly write: (point: Float32Array, index: number) => void;
  /** Evaluates a batch. */
  readonly run: (points: Tensor) => Promise<T>;
  /** Takes what `run` returned for point `index`, which was at `place` of its batch. */
  readonly visit: (result: T, place: number, index: number) => void;
}

/** Evaluates points in batches of one size, because a batch of another size may be another compiled graph. */
export async function evaluateMany<T>(
  { at, rows }: Pick<DifferentiableFunction, "at" | "rows">,
  { count, write, run, visit }: ManyPoints<T>,
  { onProgress, signal }: ManyPointsOptions = {},
): Promise<void> {
  const size = Math.ceil(count / Math.ceil(count / rows));
  const points = zeros("float32", [size, ...at.shape]);
  for (let first = 0; first < count; first += size) {
    signal?.throwIfAborted();
    // The last batch is filled up with its last point.
    for (let place = 0; place < size; place++) write(row(points, place).data, Math.min(first + place, count - 1));
    const result = await run(points);
    const end = Math.min(first + size, count);
    for (let index = first; index < end; index++) visit(result, index - first, index);
    onProgress?.(end, count);
    await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
  }
}

/** How entries of one token or pixel become one number: from 0, `fold` takes each in, and `finish` ends it. */
export interface Reduction {
  readonly fold: (total: number, entry: number) => number;
  readonly finish: (total: number) => number;
}

/** The plain sum. */
export const sum: Reduction = { fold: (total, x) => total + x, finish: (total) => total };

/** Entries of a tensor of that shape reduced over `features`: a number for each place in the other dimensions. */
export function reduceFeatures(
  values: ArrayLike<number>,
  shape: readonly number[],
  features: readonly number[],
  { fold, finish }: Reduction,
): Tensor<"float32"> {
  const kept = shape.flatMap((_, d) => (features.includes(d) ? [] : [d]));
  const sizes = kept.map((d) => shape[d] as number);
  const [from, to] = [stridesOf(shape), stridesOf(sizes)];
  const totals = new Float64Array(elementCount(sizes));
  for (let i = 0; i < values.length; i++) {
    let place = 0;
    kept.forEach((d, k) => {
      place += (Math.floor(i / (from[d] as number)) % (shape[d] as number)) * (to[k] as number);
    });
    totals[place] = fold(totals[place] as number, values[i] as number);
  }
  return { dtype: "float32", shape: sizes, data: Float32Array.from(totals, finish) };
}

/** The graph of `Flows`: what of `value` [rows] flows from `x` through `hidden` along `direction`, of the shape of `x`. */
export function traceFlows(
  value: Value,
  x: Value,
  hidden: Value,
  direction: Value,
  names: { readonly at: string; readonly hidden: string },
): { flows: Value; separates: boolean } {
  if (!topologicalOrder([hidden]).includes(x.node))
    throw usageError(`${names.hidden} does not depend on ${names.at}, so nothing flows there: name a later site`);
  const [gradient] = pullback(new Map([[value, ones(value)]]), [hidden]);
  if (gradient === undefined)
    throw usageError(`what is explained does not depend on ${names.hidden}: name an earlier site`);
  const [derivative] = pushForward([hidden], [x], [direction]) as [Value];
  const [rest] = substitute([value], new Map([[hidden, input("hidden", hidden.dtype, hidden.shape)]])) as [Value];
  return { flows: mul(gradient, derivative), separates: !topologicalOrder([rest]).includes(x.node) };
}

/** Ones in the shape of a value: the seed of its pullback. */
export function ones(value: Value): Value {
  return expand(constantLike(value, 1), value.shape);
}
