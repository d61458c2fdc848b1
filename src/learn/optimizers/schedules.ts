/** Learning rates as traced functions of the step, which counts from 1: each is a number, or a schedule of it. */
import {
  add,
  constantLike,
  cos,
  div,
  floor,
  less,
  max,
  min,
  mul,
  pow,
  sqrt,
  sub,
  type Value,
  where,
} from "../../graph/index.js";

/** The rate at a step (float32 scalar, from 1). */
export type Schedule = (step: Value) => Value;

/** A number, or a schedule. */
export type Rate = number | Schedule;

/** The rate at a step as a value of the graph. */
export function rateAt(rate: Rate, step: Value): Value {
  return typeof rate === "number" ? constantLike(step, rate) : rate(step);
}

const fraction = (step: Value, from: number, to: number) =>
  max(min(div(sub(step, from), Math.max(1, to - from)), 1), 0);

/** The same rate at every step. */
export const constantRate =
  (rate: number): Schedule =>
  (step) =>
    constantLike(step, rate);

/** From `rate / warmup` up to the rate of `then` over the first steps; `then` sees steps of its own, from 1. */
export function warmup(steps: number, then: Rate): Schedule {
  return (step) => {
    const later = max(sub(step, steps), 1);
    const peak = rateAt(then, constantLike(step, 1));
    return where(less(step, steps + 1), mul(peak, div(step, Math.max(1, steps))), rateAt(then, later));
  };
}

/** Half a cosine from `rate` at the first step to `last` (0 unless given) at step `steps`, and `last` from there on. */
export function cosineDecay(rate: number, steps: number, last = 0): Schedule {
  return (step) => {
    const wave = mul(add(cos(mul(fraction(step, 1, steps), Math.PI)), 1), 0.5 * (rate - last));
    return add(wave, last);
  };
}

/** A straight line from `rate` at the first step to `last` (0 unless given) at step `steps`, and `last` from there on. */
export function linearDecay(rate: number, steps: number, last = 0): Schedule {
  return (step) => add(mul(fraction(step, 1, steps), last - rate), rate);
}

/** `rate` over the square root of the step (times the square root of `warm`, so that it is `rate` at step `warm`). */
export function inverseSquareRoot(rate: number, warm = 1): Schedule {
  return (step) => div(rate * Math.sqrt(warm), sqrt(max(step, warm)));
}

/** `rate` times `factor` after every `every` steps. */
export function stepDecay(rate: number, every: number, factor: number): Schedule {
  return (step) => {
    const passed = sub(step, 1);
    const whole = div(sub(passed, modulo(passed, every)), every);
    return mul(pow(constantLike(step, factor), whole), rate);
  };
}

function modulo(x: Value, by: number): Value {
  return sub(x, mul(floor(div(add(x, 0.5), by)), by));
}

/** Warm-up, then constant, then linear decay to 0 over the last `decay` steps (Hu et al. 2024). */
export function warmupStableDecay(
  rate: number,
  { warm, steps, decay }: { readonly warm: number; readonly steps: number; readonly decay: number },
): Schedule {
  return (step) => mul(mul(fraction(step, 0, warm), sub(1, fraction(step, steps - decay, steps))), rate);
}

/** One cycle (Smith 2018): a cosine up to `rate` over the first `share` of the steps, and one down to nearly 0. */
export function oneCycle(
  rate: number,
  {
    steps,
    share = 0.3,
    first = 25,
    last = 1e4,
  }: { readonly steps: number; readonly share?: number; readonly first?: number; readonly last?: number },
): Schedule {
  const turn = share * steps;
  const between = (from: number, to: number, at: Value) => add(mul(add(cos(mul(at, Math.PI)), 1), (from - to) / 2), to);
  return (step) => {
    const at = sub(step, 1);
    const up = between(rate / first, rate, fraction(at, 0, turn - 1));
    const down = between(rate, rate / first / last, fraction(at, turn - 1, steps - 1));
    return where(less(at, turn - 1), up, down);
  };
}
