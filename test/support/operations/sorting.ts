/** Generated cases of operations that order values along an axis. */
import fc from "fast-check";
import { argMax, argMin, type Dim, topK, type Value } from "../../../src/graph/index.js";
import { exact, numbers, type OperationCases, tensorArbitrary, withAxis } from "./case.js";

/** Few different values, so that ties are common. */
const tied = fc.constantFrom(-1, 0, 1, 2);

const tops = withAxis((shape, axis, written) =>
  fc
    .tuple(fc.integer({ min: 1, max: shape[axis] as number }), fc.boolean(), fc.boolean())
    .map(([count, all, largest]) => ({
      tensors: [tensorArbitrary("float32", shape, tied)],
      build([value]) {
        const x = value as Value;
        const { values, indices } = topK(x, all ? (x.shape[axis] as Dim) : count, written, { largest });
        return [values, indices];
      },
      label: `k ${all ? "all" : count} axis ${written} ${largest ? "largest" : "smallest"}`,
    })),
);

const extremes = (make: typeof argMax) =>
  withAxis((shape, _, written) =>
    fc
      .tuple(fc.constantFrom(...numbers.map(([dtype]) => dtype)), fc.boolean(), fc.boolean())
      .map(([dtype, keepDims, selectLastIndex]) => ({
        tensors: [tensorArbitrary(dtype, shape, tied)],
        build: ([x]) => make(x as Value, written, { keepDims, selectLastIndex }),
        label: `${dtype} axis ${written} keepDims ${keepDims} selectLastIndex ${selectLastIndex}`,
      })),
  );

export const sortingCases: Readonly<Record<string, OperationCases>> = {
  topK: exact(tops),
  argMax: exact(extremes(argMax)),
  argMin: exact(extremes(argMin)),
};
