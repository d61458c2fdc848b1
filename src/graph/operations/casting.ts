/** The change of element type. */
import type { Value, ValueType } from "../graph.js";
import type { Dtype } from "../tensor.js";
import { broadcasting } from "./batching.js";
import { broadcastReference } from "./broadcast.js";
import { floats, onnxDtype } from "./dtypes.js";
import { applyOne, emitAs, isFloat, type Operation } from "./operation.js";

const castOperation: Operation<{ to: Dtype }> = {
  name: "cast",
  infer: ([value], { to }) => [{ dtype: to, shape: (value as ValueType).shape }],
  emit: (node, { to }, emitter) => emitAs("Cast", node, emitter, { to: onnxDtype[to] }),
  reference: (inputs, { to }) => [broadcastReference(inputs, to, (x) => castReference(x as number, to))],
  gradient(node, [g]) {
    const { dtype } = node.inputs[0] as Value;
    return [g && isFloat(dtype) ? cast(g, dtype) : undefined];
  },
  batch: broadcasting(() => castOperation as Operation),
};

export const castingOperations = [castOperation];

/** The same values in another element type; casts to integers truncate. */
export function cast(x: Value, to: Dtype): Value {
  return x.dtype === to ? x : applyOne(castOperation, [x], { to });
}

function castReference(x: number, to: Dtype): number {
  if (to === "bool") return x === 0 ? 0 : 1;
  if (to === "float32") return Math.fround(x);
  return floats.includes(to) ? x : Math.trunc(x);
}
