/** Generated cases of operations that move values. */
import fc, { type Arbitrary } from "fast-check";
import {
  add,
  concat,
  type Dim,
  dimension,
  expand,
  multiplyDims,
  pad,
  reshape,
  slice,
  transpose,
  type Value,
} from "../../../src/graph/index.js";
import {
  broadcastable,
  exact,
  finish,
  moved,
  type OperationCase,
  type OperationCases,
  ordinary,
  shapeOf,
  size,
  sizeOrNone,
  tensorArbitrary,
  withAxis,
} from "./case.js";

const reshapes: Arbitrary<OperationCase> = shapeOf(0, 4, sizeOrNone)
  .chain((shape) => fc.tuple(fc.constant(shape), fc.constantFrom("join", "tail", "ones", "flat", "reverse")))
  .chain(([shape, how]) =>
    finish({
      tensors: [tensorArbitrary("float32", shape, ordinary)],
      label: how,
      build([value]) {
        const x = value as Value;
        const [first = 1, second = 1, ...rest] = x.shape;
        const inferable = !x.shape.includes("n0");
        if (how === "join" && inferable) return reshape(x, [multiplyDims(first, second), ...rest]);
        if (how === "tail" && inferable)
          return reshape(x, [...x.shape.slice(0, -2), multiplyDims(...x.shape.slice(-2))]);
        if (how === "ones") return reshape(x, [1, ...x.shape, 1]);
        if (how === "flat") return reshape(x, [multiplyDims(...x.shape)]);
        return reshape(x, [...x.shape].reverse());
      },
    }),
  );

const transposes = shapeOf(1, 4, sizeOrNone).chain((shape) =>
  fc
    .shuffledSubarray(
      shape.map((_, i) => i),
      { minLength: shape.length },
    )
    .chain((permutation) =>
      finish({
        tensors: [tensorArbitrary("float32", shape, ordinary)],
        build: ([x]) => transpose(x as Value, permutation),
        label: permutation.join(),
      }),
    ),
);

const concats = withAxis((shape, axis, written) =>
  fc
    .tuple(fc.array(sizeOrNone, { minLength: 1, maxLength: 3 }), fc.constantFrom(...moved))
    .map(([sizes, [dtype, values]]) => ({
      tensors: sizes.map((n) =>
        tensorArbitrary(
          dtype,
          shape.map((old, i) => (i === axis ? n : old)),
          values,
        ),
      ),
      build: (values) => concat(values, written),
      label: `axis ${written}`,
    })),
);

const slices = withAxis(
  (shape, axis, written) =>
    fc.tuple(fc.nat(shape[axis] as number), fc.nat(shape[axis] as number), fc.boolean()).map(([a, b, open]) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)];
      return {
        tensors: [tensorArbitrary("float32", shape, ordinary)],
        build: ([x]) => (open ? slice(x as Value, written, start) : slice(x as Value, written, start, end)),
        label: `${written}: ${start}:${open ? "" : end}`,
      };
    }),
  sizeOrNone,
);

const pads = withAxis(
  (shape, axis, written) =>
    fc
      .tuple(fc.nat(3), fc.nat(3), fc.boolean(), fc.constantFrom(...moved))
      .map(([before, after, own, [dtype, values]]) => ({
        tensors: [tensorArbitrary(dtype, shape, values)],
        // `own` pads by the axis' own size, which may be a symbol
        build: ([x]) => pad(x as Value, written, before, own ? ((x as Value).shape[axis] as Dim) : after),
        label: `${written}: ${before}, ${own ? "own size" : after}`,
      })),
  sizeOrNone,
);

/** A value to pad with: a number, or a value of the graph. */
const filledPads = withAxis(
  (shape, _, written) =>
    fc
      .tuple(fc.integer({ min: -1, max: 3 }), fc.nat(3), fc.constantFrom(...moved), fc.boolean())
      .map(([before, after, [dtype, values], constant]) => ({
        tensors: [tensorArbitrary(dtype, shape, values), tensorArbitrary(dtype, [], values)],
        build: ([x, value]) => pad(x as Value, written, before, after, { value: constant ? 3 : (value as Value) }),
        label: `${written}: ${before}, ${after} with a value`,
      })),
  size,
);

const expands = broadcastable(2).chain(([a, b]) =>
  finish({
    tensors: [tensorArbitrary("float32", a as number[], ordinary), tensorArbitrary("float32", b as number[], ordinary)],
    build: ([x, like]) => [expand(x as Value, (like as Value).shape), add(like as Value, 0)],
  }),
);

// The runtime gives batches of empty matrices a wrong shape, so sizes of 0 come without a batch.
const dimensions = shapeOf(1, 3, sizeOrNone).chain((shape) =>
  finish({
    tensors: [tensorArbitrary("float32", shape, ordinary)],
    build: ([x]) => [dimension(multiplyDims(...(x as Value).shape)), add(x as Value, 0)],
  }),
);

export const movementCases: Readonly<Record<string, OperationCases>> = {
  dimension: exact(dimensions),
  reshape: exact(reshapes),
  transpose: exact(transposes),
  concat: exact(concats),
  slice: exact(slices),
  pad: exact(fc.oneof(pads, filledPads)),
  expand: exact(expands),
};
