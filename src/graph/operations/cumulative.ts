/** Running sums and products along an axis. */
import { type Dim, subtractDims } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { shifted } from "./batching.js";
import { constantLike, max, mul, sub } from "./elementwise.js";
import { gather } from "./indexing.js";
import { axisOf, concat, expand, pad, slice } from "./movement.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { range } from "./patterns.js";
import { flip } from "./rearranging.js";
import { readRun, runs } from "./reduction.js";

/** Whether an element's own value is left out, and whether the running starts at the end. */
export interface Running {
  readonly exclusive?: boolean;
  readonly reverse?: boolean;
}

type CumSum = { axis: number; exclusive: boolean; reverse: boolean };

const cumSumOperation: Operation<CumSum> = {
  name: "cumSum",
  infer([value]) {
    const { dtype, shape } = value as ValueType;
    if (dtype === "bool") throw new Error("takes numbers, not bool");
    return [{ dtype, shape }];
  },
  emit: (node, { axis, exclusive, reverse }, emitter) =>
    emitAs("CumSum", node, emitter, { exclusive: Number(exclusive), reverse: Number(reverse) }, [
      emitter.int64([axis]),
    ]),
  gradient(node, [g]) {
    const { axis, exclusive, reverse } = node.attributes as CumSum;
    return [g && cumSum(g, axis, { exclusive, reverse: !reverse })];
  },
  batch: shifted(
    () => cumSumOperation,
    ({ axis, ...rest }) => ({ ...rest, axis: axis + 1 }),
  ),
  reference([value], { axis, exclusive, reverse }) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const result = new Float64Array(data.length);
    for (const run of runs(shape, axis)) {
      let sum = 0;
      const places = [...readRun(data, run).entries()];
      for (const [i, x] of reverse ? places.reverse() : places) {
        result[run.start + i * run.step] = exclusive ? sum : sum + x;
        sum += x;
      }
    }
    return [{ dtype, shape, data: result }];
  },
};

export const cumulativeOperations = [cumSumOperation];

/**
 * The sum of each element along an axis and all before it; after it, where `reverse`; without it, where `exclusive`.
 */
export function cumSum(x: Value, axis: number, { exclusive = false, reverse = false }: Running = {}): Value {
  return applyOne(cumSumOperation, [x], { axis: axisOf("cumSum", x, axis), exclusive, reverse });
}

/** The largest number of doublings that an axis can need: sizes end below 2^31. */
const doublings = 31;

/**
 * The product of each element along an axis and all before it; after it, where `reverse`; without it, where
 * `exclusive`. By doubling (Hillis & Steele 1986): each step multiplies by the products of as many elements as are
 * known so far, so zeros and signs are right, in values and in gradients. An axis of n takes log2(n) steps, one of
 * symbolic size 31.
 */
export function cumProd(x: Value, axis: number, { exclusive = false, reverse = false }: Running = {}): Value {
  const at = axisOf("cumProd", x, axis);
  if (reverse) return flip(cumProd(flip(x, at), at, { exclusive }), at);
  const size = x.shape[at] as Dim;
  const one = constantLike(x, 1);
  if (exclusive)
    return size === 0 ? x : cumProd(pad(slice(x, at, 0, subtractDims(size, 1)), at, 1, 0, { value: 1 }), at);
  let result = x;
  if (typeof size === "number") {
    for (let step = 1; step < size; step *= 2) {
      result = mul(result, pad(slice(result, at, 0, size - step), at, step, 0, { value: one }));
    }
    return result;
  }
  const ones = expand(
    one,
    x.shape.map((dim, i) => (i === at ? 1 : dim)),
  );
  for (let doubling = 0; doubling < doublings; doubling++) {
    const from = max(sub(range(size), 2 ** doubling - 1), 0); // counted from the 1 that stands first
    result = mul(result, gather(concat([ones, result], at), from, at));
  }
  return result;
}
