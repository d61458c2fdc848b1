/** Order along an axis: the largest and smallest values, sorting, and what follows from a sorted axis. */
import type { Dim } from "../dims.js";
import { evaluateDim } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { elementCount } from "../tensor.js";
import { shifted } from "./batching.js";
import { constantLike } from "./elementwise.js";
import { scatterElements } from "./indexing.js";
import { axisOf, expand } from "./movement.js";
import { apply, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { readRun, runs } from "./reduction.js";

type TopK = { k: Dim; axis: number; largest: boolean };

const topKOperation: Operation<TopK> = {
  name: "topK",
  infer([value], { k, axis }) {
    const { dtype, shape } = value as ValueType;
    const size = shape[axis] as Dim;
    if (typeof k === "number" && (!Number.isInteger(k) || k < 1))
      throw new Error(`k must be a whole number of at least 1, not ${k}`);
    if (typeof size === "number" && typeof k === "number" && k > size)
      throw new Error(`k = ${k} is more than the ${size} values along axis ${axis}`);
    const kept = shape.map((dim, i) => (i === axis ? k : dim));
    return [
      { dtype, shape: kept },
      { dtype: "int64", shape: kept },
    ];
  },
  emit: (node, { k, axis, largest }, emitter) =>
    emitAs("TopK", node, emitter, { axis, largest: largest ? 1 : 0, sorted: 1 }, [emitter.dims([k])]),
  gradient(node, [g]) {
    const [x] = node.inputs as readonly [Value];
    if (g === undefined) return [undefined];
    const zeros = expand(constantLike(g, 0), x.shape);
    return [scatterElements(zeros, node.outputs[1] as Value, g, node.attributes.axis as number)];
  },
  batch: shifted(
    () => topKOperation,
    ({ axis, ...rest }) => ({ ...rest, axis: axis + 1 }),
  ),
  reference([value], { k, axis, largest }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const count = evaluateDim(k, sizes);
    const kept = shape.map((size, i) => (i === axis ? count : size));
    const values = new Float64Array(elementCount(kept));
    const indices = new Float64Array(elementCount(kept));
    const targets = [...runs(kept, axis)];
    const sign = largest ? 1 : -1;
    [...runs(shape, axis)].forEach((run, r) => {
      const row = readRun(data, run);
      const order = Array.from(row.keys()).sort((a, b) => sign * ((row[b] as number) - (row[a] as number)) || a - b);
      const { start, step } = targets[r] as { start: number; step: number };
      order.slice(0, count).forEach((index, i) => {
        values[start + i * step] = row[index] as number;
        indices[start + i * step] = index;
      });
    });
    return [
      { dtype, shape: kept, data: values },
      { dtype: "int64", shape: kept, data: indices },
    ];
  },
};

export const sortingOperations = [topKOperation];

/**
 * The k largest values along an axis (the last unless given), in falling order, and their int64 indices; ties by lower
 * index. With `largest` false, the k smallest in rising order. `k` may be symbolic.
 */
export function topK(
  x: Value,
  k: Dim,
  axis = -1,
  { largest = true }: { largest?: boolean } = {},
): { values: Value; indices: Value } {
  const [values, indices] = apply(topKOperation, [x], { k, axis: axisOf("topK", x, axis), largest });
  return { values: values as Value, indices: indices as Value };
}
