/** Generated cases of gathers and scatters. */
import fc, { type Arbitrary } from "fast-check";
import {
  type Dtype,
  gather,
  gatherElements,
  gatherND,
  type ScatterReduction,
  scatterElements,
  scatterND,
  type Tensor,
  tensorOf,
  type Value,
} from "../../../src/graph/index.js";
import {
  exact,
  finish,
  float,
  moved,
  type Numbers,
  type OperationCase,
  type OperationCases,
  ordinary,
  shapeOf,
  size,
  sizeOrNone,
  summed,
  tensorArbitrary,
  whole,
  withAxis,
} from "./case.js";

const indexOf = (size: number): Numbers => fc.integer({ min: -size, max: size - 1 });

const gathers = withAxis(
  (shape, axis, written) =>
    shapeOf(0, 2, sizeOrNone).map((indices) => ({
      tensors: [
        tensorArbitrary("float32", shape, ordinary),
        tensorArbitrary("int64", indices, indexOf(shape[axis] as number)),
      ],
      build: ([x, at]) => gather(x as Value, at as Value, written),
      label: `axis ${written}`,
    })),
  size,
  3,
);

/** Shapes of indices within a shape: any size along the axis, no more than there are along the others. */
const within = (shape: readonly number[], axis: number): Arbitrary<number[]> =>
  fc.tuple(...shape.map((size, i) => (i === axis ? sizeOrNone : fc.integer({ min: 1, max: size }))));

const elementGathers = withAxis(
  (shape, axis, written) =>
    fc.tuple(within(shape, axis), fc.constantFrom(...moved)).map(([indices, [dtype, values]]) => ({
      tensors: [
        tensorArbitrary(dtype, shape, values),
        tensorArbitrary("int64", indices, indexOf(shape[axis] as number)),
      ],
      build: ([x, at]) => gatherElements(x as Value, at as Value, written),
      label: `axis ${written}`,
    })),
  size,
  3,
);

const reductions: readonly ScatterReduction[] = ["none", "add", "mul", "max", "min"];

/** Indices along an axis that are all different: the only ones that have a meaning where nothing is combined. */
function different(shape: readonly number[], axis: number, limit: number): Arbitrary<Tensor> {
  const length = shape[axis] as number;
  const step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const runs = shape.reduce((a, b) => a * b, 1) / Math.max(1, length);
  const order = fc.shuffledSubarray(
    Array.from({ length: limit }, (_, i) => i),
    { minLength: length, maxLength: length },
  );
  return fc.array(order, { minLength: runs, maxLength: runs }).map((orders) => {
    const data = shape.reduce((a, b) => a * b, 1);
    return tensorOf(
      "int64",
      shape,
      Array.from({ length: data }, (_, i) => {
        const run = Math.floor(i / (step * length)) * step + (i % step);
        return orders[run]?.[Math.floor(i / step) % length] as number;
      }),
    );
  });
}

const scattered: readonly (readonly [Dtype, Numbers])[] = [
  ["float32", float(-4, 4)],
  ["int64", whole],
];

const elementScatters = fc.constantFrom(...reductions).chain((reduction) =>
  withAxis(
    (shape, axis, written) =>
      fc.tuple(within(shape, axis), fc.constantFrom(...scattered)).map(([wanted, [dtype, values]]) => {
        const limit = shape[axis] as number;
        const indices = wanted.map((n, i) => (i === axis && reduction === "none" ? Math.min(n, limit) : n));
        return {
          tensors: [
            tensorArbitrary(dtype, shape, values),
            reduction === "none" ? different(indices, axis, limit) : tensorArbitrary("int64", indices, indexOf(limit)),
            tensorArbitrary(dtype, indices, values),
          ],
          build: ([data, at, updates]: readonly Value[]) =>
            scatterElements(data as Value, at as Value, updates as Value, written, reduction),
          label: `axis ${written} ${reduction}`,
        };
      }),
    size,
    3,
  ),
);

/** A tensor of index tuples [...lead, depth] into the axes of `sizes`; the last size stays a number. */
const tuples = (lead: readonly number[], sizes: readonly number[]): Arbitrary<Tensor> => {
  const count = lead.reduce((a, b) => a * b, 1);
  return fc
    .array(fc.tuple(...sizes.map(indexOf)), { minLength: count, maxLength: count })
    .map((all) => tensorOf("int64", [...lead, sizes.length], all.flat()));
};

/** The last size of index tuples is a number in every case. */
const knownDepth = (own: OperationCase): OperationCase => ({
  ...own,
  shapes: own.shapes.map((shape, i) =>
    i === 1 ? [...shape.slice(0, -1), own.tensors[1]?.shape[shape.length - 1] as number] : shape,
  ),
});

const tupleGathers = shapeOf(1, 4)
  .chain((shape) => fc.tuple(fc.constant(shape), fc.nat(shape.length - 1)))
  .chain(([shape, batchDims]) =>
    fc
      .tuple(fc.integer({ min: 1, max: shape.length - batchDims }), shapeOf(0, 2), fc.constantFrom(...moved))
      .chain(([depth, lead, [dtype, values]]) =>
        finish({
          tensors: [
            tensorArbitrary(dtype, shape, values),
            tuples([...shape.slice(0, batchDims), ...lead], shape.slice(batchDims, batchDims + depth)),
          ],
          build: ([x, at]) => gatherND(x as Value, at as Value, batchDims),
          label: `batchDims ${batchDims} depth ${depth}`,
        }),
      ),
  )
  .map(knownDepth);

/** As many different index tuples as there are, at most. */
function differentTuples(count: number, sizes: readonly number[]): Arbitrary<Tensor> {
  const total = sizes.reduce((a, b) => a * b, 1);
  const kept = Math.min(count, total);
  return fc
    .shuffledSubarray(
      Array.from({ length: total }, (_, i) => i),
      { minLength: kept, maxLength: kept },
    )
    .map((places) => {
      const strides = sizes.map((_, i) => sizes.slice(i + 1).reduce((a, b) => a * b, 1));
      const all = places.flatMap((place) => sizes.map((n, i) => Math.floor(place / (strides[i] as number)) % n));
      return tensorOf("int64", [kept, sizes.length], all);
    });
}

const tupleScatters = fc
  .tuple(shapeOf(1, 3), fc.constantFrom(...reductions))
  .chain(([shape, reduction]) =>
    fc
      .tuple(fc.integer({ min: 1, max: shape.length }), shapeOf(0, 2), fc.constantFrom(...scattered))
      .chain(([depth, lead, [dtype, values]]) => {
        const sizes = shape.slice(0, depth);
        const kept = Math.min(
          lead[0] ?? 1,
          sizes.reduce((a, b) => a * b, 1),
        );
        const places = reduction === "none" ? [kept] : lead;
        return finish({
          tensors: [
            tensorArbitrary(dtype, shape, values),
            reduction === "none" ? differentTuples(kept, sizes) : tuples(lead, sizes),
            tensorArbitrary(dtype, [...places, ...shape.slice(depth)], values),
          ],
          build: ([data, at, updates]) => scatterND(data as Value, at as Value, updates as Value, reduction),
          label: `depth ${depth} ${reduction}`,
        });
      }),
  )
  .map(knownDepth);

export const indexingCases: Readonly<Record<string, OperationCases>> = {
  gather: exact(gathers),
  gatherElements: exact(elementGathers),
  gatherND: exact(tupleGathers),
  scatterElements: summed(elementScatters),
  scatterND: summed(tupleScatters),
};
