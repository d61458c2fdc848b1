/**
 * Limited-memory BFGS inside the graph (Nocedal & Wright 2006, algorithm 7.4): a step is one direction from the last few
 * steps and changes of gradient, without a line search. The batch must be the whole data: on noise it diverges. For a
 * function on the host, with a line search, use `minimize` of linalg.
 */
import {
  abs,
  add,
  and,
  concat,
  div,
  greater,
  less,
  lessOrEqual,
  min,
  mul,
  neg,
  not,
  or,
  reduceMax,
  reduceSum,
  reshape,
  select,
  slice,
  sub,
  unsqueeze,
  type Value,
  where,
} from "../../graph/index.js";
import { elementCount, tensorOf, zeros } from "../../runtime/index.js";
import type { Optimizer } from "../optimizer.js";
import { rateAt } from "./schedules.js";
import type { CommonOptions } from "./shared.js";

export interface LbfgsOptions extends CommonOptions {
  /** Pairs that are kept; 10 unless given. */
  readonly history?: number;
}

const flat = (x: Value) => reshape(x, [elementCount(x.shape as readonly number[])]);
const dot = (a: Value, b: Value) => reduceSum(mul(a, b), [0]);

/**
 * LBFGS; the rate is 1 unless given. Equal to PyTorch's with `max_iter=1` and no line search: the first step has the length
 * min(1, 1 / |g|_1) times the rate, a pair whose product is at most 1e-10 is left out, and nothing moves where no gradient
 * is above 1e-7 or the direction goes down by less than 1e-9.
 */
export function lbfgs({ rate = 1, history = 10 }: LbfgsOptions = {}): Optimizer {
  return {
    name: "lbfgs",
    start(parameters) {
      const size = [...parameters.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
      const kept = ["steps", "changes"].map((name) => [name, zeros("float32", [history, size])] as const);
      const last = ["direction", "gradient"].map((name) => [name, zeros("float32", [size])] as const);
      return new Map([
        ...kept,
        ...last,
        ["pace", tensorOf("float32", [], [0])],
        ["scale", tensorOf("float32", [], [1])],
      ]);
    },
    update({ parameters, gradients, state, step }) {
      const read = (name: string) => state.get(name) as Value;
      const names = [...parameters.keys()];
      const g = concat(
        names.map((name) => flat(gradients.get(name) as Value)),
        0,
      );
      const first = less(step, 1.5); // step 1
      const change = sub(g, read("gradient"));
      const moved = mul(read("direction"), read("pace"));
      const product = dot(change, moved);
      const good = and(greater(product, 1e-10), not(first));
      const push = (rows: Value, row: Value) => where(good, concat([slice(rows, 0, 1), unsqueeze(row, 0)], 0), rows);
      const [steps, changes] = [push(read("steps"), moved), push(read("changes"), change)];
      const scale = where(good, div(product, where(good, dot(change, change), 1)), read("scale"));
      const direction = twoLoops(neg(g), steps, changes, scale, history);
      const length = reduceSum(abs(g), [0]);
      const still = or(lessOrEqual(reduceMax(abs(g), [0]), 1e-7), greater(dot(g, direction), -1e-9));
      const paced = mul(where(first, min(div(1, length), 1), 1), rateAt(rate, step));
      const pace = where(still, 0, paced);
      const along = mul(direction, pace);
      let at = 0;
      const next = names.map((name) => {
        const parameter = parameters.get(name) as Value;
        const count = elementCount(parameter.shape as readonly number[]);
        const own = reshape(slice(along, 0, at, at + count), parameter.shape);
        at += count;
        return [name, add(parameter, own)] as const;
      });
      return {
        parameters: new Map(next),
        state: new Map([
          ["steps", steps],
          ["changes", changes],
          ["direction", direction],
          ["gradient", g],
          ["pace", pace],
          ["scale", scale],
        ]),
      };
    },
  };
}

/** The product of the inverse Hessian's estimate with a vector; rows that were never filled are zero and count nothing. */
function twoLoops(vector: Value, steps: Value, changes: Value, scale: Value, history: number): Value {
  const rows = Array.from({ length: history }, (_, i) => {
    const [s, y] = [select(steps, 0, i), select(changes, 0, i)];
    const product = dot(s, y);
    const filled = greater(product, 0);
    return { s, y, rho: where(filled, div(1, where(filled, product, 1)), 0) };
  });
  const alphas: Value[] = [];
  let q = vector;
  for (const { s, y, rho } of [...rows].reverse()) {
    const alpha = mul(rho, dot(s, q));
    alphas.unshift(alpha);
    q = sub(q, mul(y, alpha));
  }
  let r = mul(q, scale);
  for (const [i, { s, y, rho }] of rows.entries()) {
    const beta = mul(rho, dot(y, r));
    r = add(r, mul(s, sub(alphas[i] as Value, beta)));
  }
  return r;
}
