/** Generated cases of elementwise arithmetic. */
import fc from "fast-check";
import {
  abs,
  add,
  ceil,
  clip,
  div,
  floor,
  max,
  min,
  mod,
  mul,
  neg,
  pow,
  reciprocal,
  round,
  sign,
  sub,
  type Value,
} from "../../../src/graph/index.js";
import {
  binary,
  broadcastable,
  close,
  exact,
  finish,
  float,
  infinite,
  type Numbers,
  numbers,
  type OperationCases,
  ordinary,
  positive,
  tensorArbitrary,
  unary,
  whole,
} from "./case.js";

const bothFloats = [
  ["float32", infinite],
  ["float64", ordinary],
] as const;

const divisor: Numbers = fc.oneof(fc.integer({ min: 1, max: 7 }), fc.integer({ min: -7, max: -1 }));

const floorMods = binary(mod, [
  ["int64", whole, divisor],
  ["int32", whole, divisor],
]);

const truncatedMods = binary(
  (a, b) => mod(a, b, { fmod: true }),
  [
    ["float32", infinite, ordinary],
    ["float64", ordinary],
    ["int64", whole, divisor],
  ],
);

/** Bounds as scalars and as values that broadcast, in order and not. */
const clips = fc
  .record({
    shapes: broadcastable(3),
    kind: fc.constantFrom(...numbers),
    bounds: fc.constantFrom("scalar", "broadcast", "min", "max"),
  })
  .chain(({ shapes: [x = [], low = [], high = []], kind: [dtype, values], bounds }) =>
    finish({
      tensors: [x, bounds === "broadcast" ? low : [], bounds === "broadcast" ? high : []].map((shape) =>
        tensorArbitrary(dtype, shape, values),
      ),
      build: ([value, min, max]) =>
        clip(value as Value, {
          ...(bounds !== "max" && { min: min as Value }),
          ...(bounds !== "min" && { max: max as Value }),
        }),
      label: `${dtype} ${bounds}`,
    }),
  );

export const arithmeticCases: Readonly<Record<string, OperationCases>> = {
  add: exact(binary(add, numbers)),
  sub: exact(binary(sub, numbers)),
  mul: exact(binary(mul, numbers)),
  div: {
    ...exact(binary(div, bothFloats)),
    smooth: [
      [-2, 2.3],
      [1, 4],
    ],
  },
  pow: {
    ...close(
      binary(pow, [
        ["float32", positive, float(-3, 3)],
        ["float32", fc.integer({ min: -5, max: 5 }), fc.integer({ min: 0, max: 4 })],
      ]),
    ),
    smooth: [
      [0.5, 3],
      [-2, 2.3],
    ],
  },
  // Quotients between 2.1 and 2.9: nothing jumps in between.
  mod: {
    ...exact(fc.oneof(floorMods, truncatedMods)),
    smooth: [
      [6.5, 7.3],
      [2.5, 3.1],
    ],
  },
  max: exact(binary(max, numbers)),
  min: exact(binary(min, numbers)),
  clip: exact(clips),
  neg: exact(unary(neg, numbers)),
  abs: exact(unary(abs, numbers)),
  sign: exact(unary(sign, numbers)),
  reciprocal: { ...exact(unary(reciprocal, bothFloats)), smooth: [0.5, 4] },
  floor: exact(unary(floor, bothFloats)),
  ceil: exact(unary(ceil, bothFloats)),
  round: exact(unary(round, bothFloats)),
};
