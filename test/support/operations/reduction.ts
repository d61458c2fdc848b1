/** Generated cases of operations that look along axes. */
import fc, { type Arbitrary } from "fast-check";
import {
  type Dtype,
  logSoftmax,
  reduceL1,
  reduceL2,
  reduceLogSumExp,
  reduceMax,
  reduceMean,
  reduceMin,
  reduceProd,
  reduceSum,
  reduceSumSquare,
  softmax,
  type Value,
} from "../../../src/graph/index.js";
import {
  close,
  exact,
  finish,
  float,
  floats,
  infinite,
  type Numbers,
  type OperationCase,
  type OperationCases,
  ordinary,
  shapeOf,
  summed,
  tensorArbitrary,
  whole,
  withAxis,
} from "./case.js";

type Kinds = readonly (readonly [Dtype, Numbers])[];
const floatsAndWhole: Kinds = [
  ["float32", ordinary],
  ["int64", whole],
];

const reduced = (make: typeof reduceSum, kinds: Kinds = floatsAndWhole): Arbitrary<OperationCase> =>
  shapeOf(1, 4)
    .chain((shape) =>
      fc.record({
        shape: fc.constant(shape),
        axes: fc.shuffledSubarray(shape.map((_, i) => i)),
        negative: fc.boolean(),
        keepDims: fc.boolean(),
        kind: fc.constantFrom(...kinds),
      }),
    )
    .chain(({ shape, axes, negative, keepDims, kind: [dtype, values] }) => {
      const written = axes.map((axis) => (negative ? axis - shape.length : axis));
      return finish({
        tensors: [tensorArbitrary(dtype, shape, values)],
        build: ([x]) => make(x as Value, written, { keepDims }),
        label: `${dtype} axes ${written.join(",")} keepDims ${keepDims}`,
      });
    });

/** Numbers whose product stays a float32, zeros among them. */
const factors = fc.oneof({ weight: 6, arbitrary: float(-1.3, 1.3) }, fc.constantFrom(0, 1, -1));

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
  reduceMean: summed(reduced(reduceMean, floats)),
  reduceMax: exact(reduced(reduceMax)),
  reduceMin: exact(reduced(reduceMin)),
  // up to 256 roundings of 6e-8; a product of as many numbers has derivatives of its own order
  reduceProd: { tolerance: 2e-5, cases: reduced(reduceProd, [["float32", factors]]), smooth: [0.8, 1.2] },
  reduceL1: summed(reduced(reduceL1)),
  // away from the tip of the cone
  reduceL2: { ...summed(reduced(reduceL2, floats)), smooth: [0.5, 2.5] },
  reduceSumSquare: summed(reduced(reduceSumSquare)),
  reduceLogSumExp: summed(reduced(reduceLogSumExp, [["float32", infinite]])),
  softmax: close(along(softmax)),
  logSoftmax: close(along(logSoftmax)),
};
