/**
 * Muon (Jordan et al. 2024): the momentum of a matrix, made orthogonal by a few Newton-Schulz iterations. Vectors and
 * whatever else `on` leaves out have another optimizer. The state holds the momentum divided by (1 - momentum),
 * M = momentum M + g: the direction's length does not matter, and passes over the parameters do.
 */
import {
  add,
  div,
  matmul,
  max,
  mul,
  reduceSumSquare,
  reshape,
  sqrt,
  sub,
  transpose,
  type Value,
} from "../../graph/index.js";
import type { Optimizer } from "../optimizer.js";
import { adamW } from "./adam.js";
import { byName } from "./groups.js";
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

export interface MuonOptions extends CommonOptions {
  /** 0.95 unless given. */
  readonly momentum?: number;
  /** On unless given. */
  readonly nesterov?: boolean;
  /** Newton-Schulz iterations; 5 unless given. */
  readonly iterations?: number;
  /** Decoupled weight decay; 0.1 unless given. */
  readonly decay?: DecayOption;
  /**
   * What the rate is multiplied by, for a matrix [in, out] (of a convolution, [out, the rest]): "spectral" is
   * sqrt(max(1, out / in)), "rms" is 0.2 sqrt(max(in, out)), so that a step is as large as one of AdamW. "spectral" unless
   * given.
   */
  readonly scale?: "spectral" | "rms";
  /** Parameters (by path, with their shape) that Muon takes; all of two dimensions and more unless given. */
  readonly on?: (name: string, shape: readonly number[]) => boolean;
  /** The optimizer of the others; AdamW unless given. */
  readonly others?: Optimizer;
}

/** Coefficients of the quintic: a x + b x^3 + c x^5, steepest at 0. */
const [linear, cubic, quintic] = [3.4445, -4.775, 2.0315];

/** Muon; the rate is 0.001 unless given. */
export function muon({
  on = (_, shape) => shape.length >= 2,
  others = adamW(),
  ...options
}: MuonOptions = {}): Optimizer {
  return byName([[on, matrices(options)]], others);
}

function matrices({
  rate = 1e-3,
  momentum = 0.95,
  nesterov = true,
  iterations = 5,
  decay = 0.1,
  scale = "spectral",
}: Omit<MuonOptions, "on" | "others">): Optimizer {
  return {
    name: "muon",
    start: (parameters) => zeroState(parameters, ["momentum"]),
    update(context) {
      const share = checkedDecay("muon", "momentum", momentum);
      const pace = rateAt(rate, context.step);
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const moving = add(mul(state("momentum"), share), gradient);
        const along = nesterov ? add(gradient, mul(moving, share)) : moving;
        const { rows, columns, factor } = asMatrix(parameter.shape as readonly number[], scale);
        const turned = orthogonal(reshape(along, [rows, columns]), iterations, 1e-7 / (1 - share));
        const kept = decayed(parameter, pace, decayOf(decay, name));
        return {
          parameter: sub(kept, mul(reshape(turned, parameter.shape), mul(pace, factor))),
          state: { momentum: moving },
        };
      });
    },
  };
}

/** A parameter's shape as that of a matrix, and what its rate is multiplied by. */
function asMatrix(shape: readonly number[], scale: "spectral" | "rms") {
  const [rows = 1, ...rest] = shape;
  const columns = rest.reduce((a, b) => a * b, 1);
  const [inputs, outputs] = shape.length === 2 ? [rows, columns] : [columns, rows];
  const factor =
    scale === "spectral" ? Math.sqrt(Math.max(1, outputs / inputs)) : 0.2 * Math.sqrt(Math.max(inputs, outputs));
  return { rows, columns, factor };
}

/**
 * Near the orthogonal factor of a matrix: U V' of its singular value decomposition, with singular values near 1. Nothing is
 * divided by less than `least`.
 */
function orthogonal(x: Value, iterations: number, least: number): Value {
  const [rows, columns] = x.shape as readonly [number, number];
  const tall = rows > columns;
  const wide = tall ? transpose(x, [1, 0]) : x;
  const norm = max(reshape(sqrt(reduceSumSquare(wide, [0, 1])), []), least);
  let y = div(wide, norm);
  for (let i = 0; i < iterations; i++) {
    const gram = matmul(y, transpose(y, [1, 0]));
    const update = add(mul(gram, cubic), mul(matmul(gram, gram), quintic));
    y = add(mul(y, linear), matmul(update, y));
  }
  return tall ? transpose(y, [1, 0]) : y;
}
