/** Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2): the sign of a momentum. */
import { add, mul, sign, sub } from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import { type CommonOptions, type DecayOption, decayed, decayOf, eachParameter, zeroState } from "./shared.js";

export interface LionOptions extends CommonOptions {
  /** How much of the momentum is in a step; 0.9 unless given. */
  readonly decay1?: number;
  /** Decay of the momentum; 0.99 unless given. */
  readonly decay2?: number;
  /** Decoupled weight decay; 0 unless given. */
  readonly decay?: DecayOption;
}

/** Lion; the rate is 0.0001 unless given. */
export function lion({ rate = 1e-4, decay1 = 0.9, decay2 = 0.99, decay = 0 }: LionOptions = {}): Optimizer {
  return {
    name: "lion",
    start: (parameters) => zeroState(parameters, ["momentum"]),
    update(context) {
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const before = state("momentum");
        const direction = sign(add(mul(before, decay1), mul(gradient, 1 - decay1)));
        const momentum = add(mul(before, decay2), mul(gradient, 1 - decay2));
        const kept = decayed(parameter, pace, decayOf(decay, name));
        return { parameter: sub(kept, mul(direction, pace)), state: { momentum } };
      });
    },
  };
}
