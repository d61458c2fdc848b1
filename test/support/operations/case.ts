/**
 * What a generated case of an operation is, and the generators that families of operations share: random shapes,
 * broadcasts, axes, element types and edge values, some sizes symbolic.
 */
import fc, { type Arbitrary } from "fast-check";
import { type Dim, type Dtype, elementCount, type Tensor, tensorOf, type Value } from "../../../src/graph/index.js";

/** Inputs with the shapes that the graph knows of them, and what to build on them. */
export interface OperationCase {
  readonly label: string;
  readonly tensors: readonly Tensor[];
  readonly shapes: readonly (readonly Dim[])[];
  readonly build: (values: readonly Value[]) => Value | readonly Value[];
}

export interface OperationCases {
  /** Largest difference, relative to the reference where that is above 1. Zero: the runtime must be exactly right. */
  readonly tolerance: number;
  readonly cases: Arbitrary<OperationCase>;
  /** Between which numbers the gradient is checked: one range for all float inputs or one for each; -2 and 2.3 unless given. */
  readonly smooth?: Range | readonly Range[];
  /** Largest difference between the gradient and differences of values; 1e-7 unless given. */
  readonly differenceTolerance?: number;
  /** Derivatives are zero by intent, whatever differences say. */
  readonly stops?: boolean;
  /** Largest difference of the runtime's float32 gradient, relative where that is above 1; 2e-5 unless given. */
  readonly gradientTolerance?: number;
}

export type Range = readonly [number, number];

export type Numbers = Arbitrary<number>;

export const float = (min: number, max: number): Numbers =>
  fc.float({ min: Math.fround(min), max: Math.fround(max), noNaN: true });
export const edges = fc.constantFrom(0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -3.5, 2 ** -20, 1000, -1000);
export const ordinary: Numbers = fc.oneof({ weight: 3, arbitrary: float(-8, 8) }, edges);
export const infinite: Numbers = fc.oneof({ weight: 8, arbitrary: ordinary }, fc.constantFrom(Infinity, -Infinity));
export const positive: Numbers = fc.oneof(
  { weight: 4, arbitrary: float(0.01, 9) },
  fc.constantFrom(1, 1e6, 1e-6).map(Math.fround),
);
export const whole: Numbers = fc.integer({ min: -9, max: 9 });
export const truth: Numbers = fc.constantFrom(0, 1);

export const size = fc.integer({ min: 1, max: 4 });
export const sizeOrNone = fc.integer({ min: 0, max: 4 });
export const shapeOf = (minLength: number, maxLength: number, sizes = size) =>
  fc.array(sizes, { minLength, maxLength });

export const tensorArbitrary = (dtype: Dtype, shape: readonly number[], values: Numbers): Arbitrary<Tensor> =>
  fc
    .array(values, { minLength: elementCount(shape), maxLength: elementCount(shape) })
    .map((data) => tensorOf(dtype, shape, data));

export interface Draft {
  readonly tensors: readonly Arbitrary<Tensor>[];
  readonly build: (values: readonly Value[]) => Value | readonly Value[];
  readonly label?: string;
}

/** A case of a draft, in which a size above 1 is a symbol wherever it stands, or a number wherever it stands. */
export function finish({ tensors, build, label = "" }: Draft): Arbitrary<OperationCase> {
  return fc.record({ tensors: fc.tuple(...tensors), named: fc.subarray([0, 2, 3, 4]) }).map(({ tensors, named }) => {
    const shapes = tensors.map(({ shape }) => shape.map((n): Dim => (named.includes(n) ? `n${n}` : n)));
    return { label: `${label} ${shapes.map((shape) => `[${shape.join(", ")}]`).join(" ")}`, tensors, shapes, build };
  });
}

/** Shapes that broadcast together: dropped leading dimensions and ones, out of one common shape. */
export const broadcastable = (count: number, sizes = sizeOrNone): Arbitrary<number[][]> =>
  shapeOf(0, 4, sizes).chain((common) =>
    fc.tuple(
      ...Array.from({ length: count }, () =>
        fc
          .record({
            from: fc.nat(common.length),
            ones: fc.array(fc.boolean(), { minLength: common.length, maxLength: common.length }),
          })
          .map(({ from, ones }) => common.map((n, i) => (ones[i] ? 1 : n)).slice(from)),
      ),
    ),
  );

export type Make = (a: Value, b: Value) => Value;

export function binary(make: Make, kinds: readonly (readonly [Dtype, Numbers, Numbers?])[]): Arbitrary<OperationCase> {
  return fc.tuple(broadcastable(2), fc.constantFrom(...kinds)).chain(([[a, b], [dtype, left, right = left]]) =>
    finish({
      tensors: [tensorArbitrary(dtype, a as number[], left), tensorArbitrary(dtype, b as number[], right)],
      build: ([x, y]) => make(x as Value, y as Value),
      label: dtype,
    }),
  );
}

export function unary(
  make: (x: Value) => Value,
  kinds: readonly (readonly [Dtype, Numbers])[],
): Arbitrary<OperationCase> {
  return fc
    .tuple(shapeOf(0, 4, sizeOrNone), fc.constantFrom(...kinds))
    .chain(([shape, [dtype, values]]) =>
      finish({ tensors: [tensorArbitrary(dtype, shape, values)], build: ([x]) => make(x as Value), label: dtype }),
    );
}

/** One input of at least one axis, and one of its axes, possibly counted from the end. */
export function withAxis(
  draft: (shape: number[], axis: number, written: number) => Arbitrary<Draft>,
  sizes = size,
  maxRank = 4,
): Arbitrary<OperationCase> {
  return shapeOf(1, maxRank, sizes)
    .chain((shape) => fc.tuple(fc.constant(shape), fc.nat(shape.length - 1), fc.boolean()))
    .chain(([shape, axis, negative]) => draft(shape, axis, negative ? axis - shape.length : axis))
    .chain(finish);
}
export const numbers: readonly (readonly [Dtype, Numbers])[] = [
  ["float32", infinite],
  ["float64", ordinary],
  ["int64", whole],
  ["int32", whole],
];
export const floats: readonly (readonly [Dtype, Numbers])[] = [["float32", ordinary]];

export const moved: readonly (readonly [Dtype, Numbers])[] = [
  ["float32", infinite],
  ["int64", whole],
];
export const exact = (cases: Arbitrary<OperationCase>): OperationCases => ({ tolerance: 0, cases });
/** Float32 functions of the runtime's are approximations good to a few units in the last place (6e-8 each). */
export const close = (cases: Arbitrary<OperationCase>): OperationCases => ({ tolerance: 2e-6, cases });
/** Sums of up to a few hundred float32 terms that partly cancel. */
export const summed = (cases: Arbitrary<OperationCase>): OperationCases => ({ tolerance: 1e-5, cases });
