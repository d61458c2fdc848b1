/**
 * Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019). The runtime fuses no elementwise operations, so the passes
 * over the parameters are few: the state holds the moments divided by (1 - decay), M = decay M + g, and every correction is
 * a scalar.
 */
import { add, div, mul, sqrt, sub, type Value } from "../../graph/index.js";
import type { Optimizer, Update, Updated } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import {
  type CommonOptions,
  correction,
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
  const pace = rateAt(rate, context.step);
  // rate * m / c1 / (sqrt(v / c2) + e) with m = (1 - d1) M and v = (1 - d2) V is scale * M / (sqrt(V) + e root),
  // where root = sqrt(c2 / (1 - d2)).
  const root = sqrt(div(correction(decay2, context.step), 1 - decay2));
  const scale = mul(mul(pace, div(1 - decay1, correction(decay1, context.step))), root);
  const floor = mul(root, epsilon);
  return eachParameter(context, ({ name, parameter, gradient, state }) => {
    const own = decayOf(decay, name);
    const g = own === 0 || decoupled ? gradient : add(gradient, mul(parameter, own));
    const mean = add(mul(state("mean"), decay1), g);
    const square = add(mul(state("square"), decay2), mul(g, g));
    const kept: Value = decoupled ? decayed(parameter, pace, own) : parameter;
    return { parameter: sub(kept, div(mul(mean, scale), add(sqrt(square), floor))), state: { mean, square } };
  });
}
