/**
 * RMSprop (Tieleman & Hinton 2012) and AdaGrad (Duchi et al. 2011), as PyTorch writes them. RMSprop's mean square is held
 * divided by (1 - decay2), which spares a pass over the parameters.
 */
import { add, div, mul, sqrt, sub } from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import {
  type CommonOptions,
  checkedDecay,
  coupled,
  type DecayOption,
  decayOf,
  eachParameter,
  zeroState,
} from "./shared.js";

export interface RmspropOptions extends CommonOptions {
  /** Decay of the mean square; 0.99 unless given. */
  readonly decay2?: number;
  /** 1e-8 unless given. */
  readonly epsilon?: number;
  /** 0 unless given. */
  readonly momentum?: number;
  /** Weight decay, added to the gradient; 0 unless given. */
  readonly decay?: DecayOption;
}

/** RMSprop; the rate is 0.01 unless given. */
export function rmsprop({
  rate = 0.01,
  decay2 = 0.99,
  epsilon = 1e-8,
  momentum = 0,
  decay = 0,
}: RmspropOptions = {}): Optimizer {
  return {
    name: "rmsprop",
    start: (parameters) => zeroState(parameters, momentum === 0 ? ["square"] : ["square", "momentum"]),
    update(context) {
      const d2 = checkedDecay("rmsprop", "decay2", decay2);
      const root = Math.sqrt(1 / (1 - d2)); // g / (sqrt((1 - d2) S) + e) is root g / (sqrt(S) + e root)
      const pace = mul(rateAt(rate, context.step), root);
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const g = coupled(gradient, parameter, decayOf(decay, name));
        const square = add(mul(state("square"), d2), mul(g, g));
        const scaled = div(g, add(sqrt(square), epsilon * root));
        if (momentum === 0) return { parameter: sub(parameter, mul(scaled, pace)), state: { square } };
        const moving = add(mul(state("momentum"), momentum), scaled);
        return { parameter: sub(parameter, mul(moving, pace)), state: { square, momentum: moving } };
      });
    },
  };
}

export interface AdagradOptions extends CommonOptions {
  /** 1e-10 unless given. */
  readonly epsilon?: number;
  /** Weight decay, added to the gradient; 0 unless given. */
  readonly decay?: DecayOption;
}

/** AdaGrad; the rate is 0.01 unless given. */
export function adagrad({ rate = 0.01, epsilon = 1e-10, decay = 0 }: AdagradOptions = {}): Optimizer {
  return {
    name: "adagrad",
    start: (parameters) => zeroState(parameters, ["square"]),
    update(context) {
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const g = coupled(gradient, parameter, decayOf(decay, name));
        const square = add(state("square"), mul(g, g));
        return { parameter: sub(parameter, mul(div(g, add(sqrt(square), epsilon)), pace)), state: { square } };
      });
    },
  };
}
