/** Adafactor (Shazeer & Stern 2018) as PyTorch writes it: the mean square of a matrix is a row times a column. */
import {
  add,
  div,
  matmul,
  max,
  min,
  mul,
  pow,
  reduceMean,
  reduceSumSquare,
  reshape,
  sqrt,
  sub,
  type Value,
} from "../../graph/index.js";
import { type Tensor, zeros } from "../../runtime/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import { type CommonOptions, type DecayOption, decayed, decayOf, eachParameter } from "./shared.js";

export interface AdafactorOptions extends CommonOptions {
  /** The mean square's new share is step to this power; -0.8 unless given. */
  readonly decayPower?: number;
  /** Least mean square, as a root; float32's 2^-23 unless given. */
  readonly epsilon1?: number;
  /** Least size of a parameter, for steps in proportion to it; 0.001 unless given. */
  readonly epsilon2?: number;
  /** Most root mean square of an update; 1 unless given. */
  readonly clipping?: number;
  /** Decoupled weight decay; 0 unless given. */
  readonly decay?: DecayOption;
}

const axesOf = ({ shape }: Value) => shape.map((_, i) => i);
const countOf = (shape: readonly unknown[]) => (shape as readonly number[]).reduce((a, b) => a * b, 1);
/** Root mean square of all elements. */
const size = (x: Value) => sqrt(div(reduceSumSquare(x, axesOf(x)), countOf(x.shape)));

/** Adafactor; the rate is 0.01 unless given. */
export function adafactor({
  rate = 0.01,
  decayPower = -0.8,
  epsilon1 = 2 ** -23,
  epsilon2 = 1e-3,
  clipping = 1,
  decay = 0,
}: AdafactorOptions = {}): Optimizer {
  return {
    name: "adafactor",
    start: (parameters) => new Map([...parameters].flatMap(([name, tensor]) => startOf(name, tensor))),
    update(context) {
      const pace = rateAt(rate, context.step);
      const share = pow(context.step, decayPower);
      const most = min(pace, div(1, sqrt(context.step)));
      const toward = (old: Value, recent: Value) => add(old, mul(sub(recent, old), share));
      return eachParameter(context, ({ name, parameter, gradient, state }) => {
        const along = mul(max(size(parameter), epsilon2), most);
        const square = mul(gradient, gradient);
        const rank = parameter.shape.length;
        const matrix = rank > 1;
        const own: Record<string, Value> = matrix
          ? {
              row: toward(state("row"), reduceMean(square, [rank - 1], { keepDims: true })),
              column: toward(state("column"), reduceMean(square, [rank - 2], { keepDims: true })),
            }
          : { square: toward(state("square"), square) };
        const update = div(gradient, max(rootOf(own, rank, epsilon1), epsilon1));
        const scaled = div(along, max(div(size(update), clipping), 1));
        const kept = decayed(parameter, pace, decayOf(decay, name));
        return { parameter: sub(kept, mul(update, reshape(scaled, []))), state: own };
      });
    },
  };
}

/**
 * The root of the mean square's estimate. Of a matrix it is a product of a row's and a column's roots, which are small:
 * that spares two passes over the matrix.
 */
function rootOf({ row, column, square }: Readonly<Record<string, Value>>, rank: number, epsilon: number): Value {
  if (row === undefined || column === undefined) return sqrt(square as Value);
  const whole = max(reduceMean(row, [rank - 2], { keepDims: true }), epsilon);
  return matmul(sqrt(div(row, whole)), sqrt(column));
}

function startOf(name: string, { shape }: Tensor): (readonly [string, Tensor])[] {
  if (shape.length < 2) return [[`square.${name}`, zeros("float32", shape)]];
  const [front, rows, columns] = [shape.slice(0, -2), shape.at(-2) as number, shape.at(-1) as number];
  return [
    [`row.${name}`, zeros("float32", [...front, rows, 1])],
    [`column.${name}`, zeros("float32", [...front, 1, columns])],
  ];
}
