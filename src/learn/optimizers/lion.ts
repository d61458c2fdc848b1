/**
 * Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2): the sign of a momentum. The state
 * holds the momentum divided by (1 - decay2), M = decay2 M + g, which spares passes over the parameters.
 */
import { add, clip, mul, neg, sub, type Value } from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import {
  type CommonOptions,
  checkedDecay,
  type DecayOption,
  decayed,
  decayOf,
  eachParameter,
  zeroState,
} from "./shared.js";

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
      const [d1, d2] = [checkedDecay("lion", "decay1", decay1), checkedDecay("lion", "decay2", decay2)];
      const share = (d1 * (1 - d2)) / (1 - d1); // of M beside a whole gradient
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const before = state("momentum");
        const along = scaledSign(add(mul(before, share), gradient), pace);
        const momentum = add(mul(before, d2), gradient);
        const kept = decayed(parameter, pace, decayOf(decay, name));
        return { parameter: sub(kept, along), state: { momentum } };
      });
    },
  };
}

/** `most` times the sign of x, for |x| above 1e-38: with the runtime's own Sign, this takes five times as long. */
const scaledSign = (x: Value, most: Value) => clip(mul(x, 1e38), { min: neg(most), max: most });
