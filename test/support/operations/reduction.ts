/** Generated cases of operations that look along axes. */
import fc, { type Arbitrary } from "fast-check";
import {
  logSoftmax,
  reduceMax,
  reduceMean,
  reduceMin,
  reduceSum,
  softmax,
  type Value,
} from "../../../src/graph/index.js";
import {
  close,
  exact,
  finish,
  float,
  type OperationCase,
  type OperationCases,
  ordinary,
  shapeOf,
  summed,
  tensorArbitrary,
  withAxis,
} from "./case.js";

const reduced = (make: typeof reduceSum): Arbitrary<OperationCase> =>
  shapeOf(1, 4)
    .chain((shape) =>
      fc.record({
        shape: fc.constant(shape),
        axes: fc.shuffledSubarray(shape.map((_, i) => i)),
        negative: fc.boolean(),
        keepDims: fc.boolean(),
      }),
    )
    .chain(({ shape, axes, negative, keepDims }) => {
      const written = axes.map((axis) => (negative ? axis - shape.length : axis));
      return finish({
        tensors: [tensorArbitrary("float32", shape, ordinary)],
        build: ([x]) => make(x as Value, written, { keepDims }),
        label: `axes ${written.join(",")} keepDims ${keepDims}`,
      });
    });

const along = (make: (x: Value, axis?: number) => Value) =>
  withAxis((shape, axis, written) =>
    fc.constantFrom(ordinary, float(-8, 8)).map((values) => ({
      tensors: [tensorArbitrary("float32", shape, values)],
      build: ([x]) => (axis === shape.length - 1 ? make(x as Value) : make(x as Value, written)),
      label: `axis ${written}`,
    })),
  );

export const reductionCases: Readonly<Record<string, OperationCases>> = {
  reduceSum: summed(reduced(reduceSum)),
  reduceMean: summed(reduced(reduceMean)),
  reduceMax: exact(reduced(reduceMax)),
  reduceMin: exact(reduced(reduceMin)),
  softmax: close(along(softmax)),
  logSoftmax: close(along(logSoftmax)),
};
