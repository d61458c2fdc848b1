/** Values made of positions alone, and what is kept or set by them: ranges, identity matrices, triangles, one-hot rows. */
import { type Dim, evaluateDim } from "../dims.js";
import type { Value } from "../graph.js";
import { applyOne, type Operation } from "./operation.js";

const rangeOperation: Operation<{ dims: readonly Dim[] }> = {
  name: "range",
  infer: (_, { dims }) => [{ dtype: "int64", shape: dims }],
  emit(node, { dims }, emitter) {
    const outputs = [emitter.name(node.outputs[0] as Value)];
    const scalar = (name: string) => emitter.node("Squeeze", [name, emitter.int64([0])])[0] as string;
    const ends = [emitter.int64([0]), emitter.dims(dims), emitter.int64([1])].map(scalar);
    emitter.node("Range", ends, { outputs });
  },
  reference: (_, { dims }, sizes) => {
    const size = evaluateDim(dims[0] as Dim, sizes);
    return [{ dtype: "int64", shape: [size], data: Float64Array.from({ length: size }, (_, i) => i) }];
  },
  gradient: () => [],
};

export const patternOperations = [rangeOperation];

/** The whole numbers from 0 to one less than a dimension: int64 [size]. */
export function range(size: Dim): Value {
  return applyOne(rangeOperation, [], { dims: [size] });
}
