/**
 * Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019). The runtime fuses no elementwise operations, so the passes
 * over the parameters are few, ten: the state holds the moments divided by (1 - decay), M = decay M + g, every correction
 * is a scalar, and the quotient is scaled after the division, where it overwrites the divisor's memory (2-7% faster than
 * scaling M before). Running all passes over one block after the other, in cache, takes twice as long: blocks that fit are
 * too small for two threads.
 */
import { add, div, mul, sqrt, sub } from "../../graph/index.js";
import type { Optimizer, Update, Updated } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import {
  type CommonOptions,
  checkedDecay,
  correction,
  coupled,
  type DecayOption,
  decayed,
  decayOf,
  eachParameter,
  zeroState,
} from "./shared.js";

export interface AdamOptions extends CommonOptions {
  /** Decay of the mean of gradients; 0.9 unless given. */
  readonly decay1?: number;
  /** Decay of the mean of their squares; 0.999 unless given. */
  readonly decay2?: number;
  /** Added to the root of the mean square; 1e-8 unless given. */
  readonly epsilon?: number;
  /** Weight decay; 0 for Adam (where it is added to the gradient), 0.01 for AdamW (where it is not), unless given. */
  readonly decay?: DecayOption;
}

/** Adam; the rate is 0.001 unless given. */
export function adam(options: AdamOptions = {}): Optimizer {
  return { name: "adam", start, update: (context) => adamStep(context, options, false) };
}

/** AdamW: Adam whose weight decay is apart from the gradient; the rate is 0.001 and the decay 0.01 unless given. */
export function adamW(options: AdamOptions = {}): Optimizer {
  return { name: "adamW", start, update: (context) => adamStep(context, { decay: 0.01, ...options }, true) };
}

const start: Optimizer["start"] = (parameters) => zeroState(parameters, ["mean", "square"]);

function adamStep(
  context: Update,
  { rate = 1e-3, decay1 = 0.9, decay2 = 0.999, epsilon = 1e-8, decay = 0 }: AdamOptions,
  decoupled: boolean,
): Updated {
  const optimizer = decoupled ? "adamW" : "adam";
  // As float32 has them, since 1 - 0.999 and 1 less float32's 0.999 differ by 1e-5, and the corrections are to undo the sums.
  const d1 = Math.fround(checkedDecay(optimizer, "decay1", decay1));
  const d2 = Math.fround(checkedDecay(optimizer, "decay2", decay2));
  const pace = rateAt(rate, context.step);
  // rate * m / c1 / (sqrt(v / c2) + e) with m = (1 - d1) M and v = (1 - d2) V is scale * M / (sqrt(V) + e root),
  // where root = sqrt(c2 / (1 - d2)).
  const root = sqrt(div(correction(d2, context.step), 1 - d2));
  const scale = mul(mul(pace, div(1 - d1, correction(d1, context.step))), root);
  const floor = mul(root, epsilon);
  return eachParameter(context, ({ name, parameter, gradient, state }) => {
    const own = decayOf(decay, name);
    const g = decoupled ? gradient : coupled(gradient, parameter, own);
    const mean = add(mul(state("mean"), d1), g);
    const square = add(mul(state("square"), d2), mul(g, g));
    const kept = decoupled ? decayed(parameter, pace, own) : parameter;
    const along = mul(div(mean, add(sqrt(square), floor)), scale);
    return { parameter: sub(kept, along), state: { mean, square } };
  });
}
