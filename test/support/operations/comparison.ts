/** Generated cases of comparisons, truth values, bits, and changes of element type. */
import fc from "fast-check";
import {
  and,
  bitwiseAnd,
  bitwiseNot,
  bitwiseOr,
  bitwiseXor,
  cast,
  type Dtype,
  equal,
  greater,
  greaterOrEqual,
  isInf,
  isNaN as isNotANumber,
  less,
  lessOrEqual,
  not,
  notEqual,
  or,
  type Value,
  where,
  xor,
} from "../../../src/graph/index.js";
import {
  binary,
  broadcastable,
  exact,
  finish,
  float,
  infinite,
  moved,
  type Numbers,
  numbers,
  type OperationCases,
  ordinary,
  tensorArbitrary,
  truth,
  unary,
  whole,
} from "./case.js";

const anything: Numbers = fc.oneof({ weight: 3, arbitrary: infinite }, fc.constant(Number.NaN));
const floats = [
  ["float32", anything],
  ["float64", anything],
] as const;
const compared = [...numbers, ...floats] as const;

const integers = [
  ["int64", fc.oneof(whole, fc.integer({ min: -(2 ** 40), max: 2 ** 40 }))],
  ["int32", fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })],
  ["int8", fc.integer({ min: -128, max: 127 })],
  ["uint8", fc.integer({ min: 0, max: 255 })],
] as const;

const infinities = fc
  .record({ negative: fc.boolean(), positive: fc.boolean() })
  .chain((signs) => unary((x) => isInf(x, signs), floats));

const casts = fc
  .constantFrom<readonly [Dtype, Dtype, Numbers]>(
    ["float32", "int64", float(-100, 100)],
    ["float32", "int32", ordinary],
    ["float32", "bool", ordinary],
    ["float64", "float32", fc.double({ min: -1e9, max: 1e9, noNaN: true })],
    ["int64", "float32", fc.integer({ min: -(2 ** 40), max: 2 ** 40 })],
    ["bool", "float32", truth],
    ["bool", "int64", truth],
    ["int64", "int32", whole],
  )
  .chain(([from, to, values]) => unary((x) => cast(x, to), [[from, values]]));

const wheres = fc.tuple(broadcastable(3), fc.constantFrom(...moved)).chain(([[c, a, b], [dtype, values]]) =>
  finish({
    tensors: [
      tensorArbitrary("bool", c as number[], truth),
      tensorArbitrary(dtype, a as number[], values),
      tensorArbitrary(dtype, b as number[], values),
    ],
    build: ([condition, x, y]) => where(condition as Value, x as Value, y as Value),
  }),
);

export const comparisonCases: Readonly<Record<string, OperationCases>> = {
  equal: exact(binary(equal, [...compared, ["bool", truth]])),
  notEqual: exact(binary(notEqual, [...compared, ["bool", truth]])),
  less: exact(binary(less, compared)),
  lessOrEqual: exact(binary(lessOrEqual, compared)),
  greater: exact(binary(greater, compared)),
  greaterOrEqual: exact(binary(greaterOrEqual, compared)),
  and: exact(binary(and, [["bool", truth]])),
  or: exact(binary(or, [["bool", truth]])),
  xor: exact(binary(xor, [["bool", truth]])),
  not: exact(unary(not, [["bool", truth]])),
  isNaN: exact(unary(isNotANumber, floats)),
  isInf: exact(infinities),
  where: exact(wheres),
  bitwiseAnd: exact(binary(bitwiseAnd, integers)),
  bitwiseOr: exact(binary(bitwiseOr, integers)),
  bitwiseXor: exact(binary(bitwiseXor, integers)),
  bitwiseNot: exact(unary(bitwiseNot, integers)),
  cast: { ...exact(casts), differenceTolerance: 1e-3 }, // values are rounded to float32 on the way
};
