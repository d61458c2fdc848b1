/** Batch rules that families of operations share: how an operation runs over a new leading axis of its inputs. */
import type { Attributes, Value } from "../graph.js";
import { expand, reshape } from "./movement.js";
import { apply, type BatchRule, type Operation } from "./operation.js";

/** For operations that broadcast: inputs of a lower rank get ones between the batch axis and their own. */
export function broadcasting(operation: () => Operation): BatchRule {
  return (inputs, batched, node) => {
    const rank = Math.max(...node.inputs.map(({ shape }) => shape.length));
    const aligned = inputs.map((x, i) => (batched[i] ? padRank(x, rank) : x));
    return apply(operation(), aligned, node.attributes);
  };
}

/** `x` [n, ...shape] with ones after the batch axis, so that `rank` dimensions follow it. */
export function padRank(x: Value, rank: number): Value {
  const missing = rank + 1 - x.shape.length;
  if (missing <= 0) return x;
  const [batch = 1, ...own] = x.shape;
  return reshape(x, [batch, ...Array.from({ length: missing }, () => 1), ...own]);
}

/** For operations whose attributes name axes of their input: the same operation with every axis one further. */
export function shifted<A extends Attributes>(operation: () => Operation<A>, shift: (attributes: A) => A): BatchRule {
  return (inputs, batched, node) => apply(operation(), allBatched(inputs, batched), shift(node.attributes as A));
}

/** Inputs that lack the batch axis get it, repeated. */
export function allBatched(inputs: readonly Value[], batched: readonly boolean[]): Value[] {
  const batch = inputs[batched.indexOf(true)]?.shape[0] ?? 1;
  return inputs.map((x, i) => (batched[i] ? x : expand(reshape(x, [1, ...x.shape]), [batch, ...x.shape])));
}

/** Whether only the first input of a node is batched. */
export const onlyFirst = (batched: readonly boolean[]): boolean => batched.every((yes, i) => yes === (i === 0));
