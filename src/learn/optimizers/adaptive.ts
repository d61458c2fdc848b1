/** RMSprop (Tieleman & Hinton 2012) and AdaGrad (Duchi et al. 2011), as PyTorch writes them. */
import { add, div, mul, sqrt, sub } from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import { type CommonOptions, eachParameter, zeroState } from "./shared.js";

export interface RmspropOptions extends CommonOptions {
  /** Decay of the mean square; 0.99 unless given. */
  readonly decay2?: number;
  /** 1e-8 unless given. */
  readonly epsilon?: number;
  /** 0 unless given. */
  readonly momentum?: number;
}

/** RMSprop; the rate is 0.01 unless given. */
export function rmsprop({ rate = 0.01, decay2 = 0.99, epsilon = 1e-8, momentum = 0 }: RmspropOptions = {}): Optimizer {
  return {
    name: "rmsprop",
    start: (parameters) => zeroState(parameters, momentum === 0 ? ["square"] : ["square", "momentum"]),
    update(context) {
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ parameter, gradient, state }) => {
        const square = add(mul(state("square"), decay2), mul(mul(gradient, gradient), 1 - decay2));
        const scaled = div(gradient, add(sqrt(square), epsilon));
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
}

/** AdaGrad; the rate is 0.01 unless given. */
export function adagrad({ rate = 0.01, epsilon = 1e-10 }: AdagradOptions = {}): Optimizer {
  return {
    name: "adagrad",
    start: (parameters) => zeroState(parameters, ["square"]),
    update(context) {
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ parameter, gradient, state }) => {
        const square = add(state("square"), mul(gradient, gradient));
        return { parameter: sub(parameter, mul(div(gradient, add(sqrt(square), epsilon)), pace)), state: { square } };
      });
    },
  };
}
