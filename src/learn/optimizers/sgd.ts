/** Stochastic gradient descent with momentum (Polyak 1964) and Nesterov's (Sutskever et al. 2013), as PyTorch writes it. */
import { add, constantLike, less, mul, sub, where } from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import { type CommonOptions, coupled, type DecayOption, decayOf, eachParameter, zeroState } from "./shared.js";

export interface SgdOptions extends CommonOptions {
  /** 0 unless given. */
  readonly momentum?: number;
  /** How much less a gradient counts in the momentum; 0 unless given. */
  readonly dampening?: number;
  readonly nesterov?: boolean;
  /** Added to the gradient, as a penalty of the squared norm is; 0 unless given. */
  readonly decay?: DecayOption;
}

/** Stochastic gradient descent; the rate is 0.01 unless given. */
export function sgd({
  rate = 0.01,
  momentum = 0,
  dampening = 0,
  nesterov = false,
  decay = 0,
}: SgdOptions = {}): Optimizer {
  return {
    name: "sgd",
    start: (parameters) => zeroState(parameters, momentum === 0 ? [] : ["momentum"]),
    update(context) {
      const pace = rateAt(rate, context.step);
      const [first, whole] = [less(context.step, 1.5), constantLike(context.step, 1)];
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const g = coupled(gradient, parameter, decayOf(decay, name));
        if (momentum === 0) return { parameter: sub(parameter, mul(g, pace)), state: {} };
        const share = dampening === 0 ? g : mul(g, where(first, whole, 1 - dampening)); // the first gradient counts whole
        const moving = add(mul(state("momentum"), momentum), share);
        const along = nesterov ? add(g, mul(moving, momentum)) : moving;
        return { parameter: sub(parameter, mul(along, pace)), state: { momentum: moving } };
      });
    },
  };
}
