/** Generated cases of elementwise operations. */
import fc from "fast-check";
import {
  abs,
  add,
  and,
  cast,
  cos,
  type Dtype,
  div,
  equal,
  erf,
  exp,
  floor,
  gelu,
  greater,
  less,
  lessOrEqual,
  log,
  max,
  min,
  mul,
  neg,
  not,
  or,
  pow,
  relu,
  round,
  sigmoid,
  sin,
  sqrt,
  sub,
  tanh,
  type Value,
  where,
} from "../../../src/graph/index.js";
import {
  binary,
  broadcastable,
  close,
  exact,
  finish,
  float,
  floats,
  infinite,
  moved,
  type Numbers,
  numbers,
  type OperationCases,
  ordinary,
  positive,
  tensorArbitrary,
  truth,
  unary,
  whole,
} from "./case.js";

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

export const elementwiseCases: Readonly<Record<string, OperationCases>> = {
  add: exact(binary(add, numbers)),
  sub: exact(binary(sub, numbers)),
  mul: exact(binary(mul, numbers)),
  div: {
    ...exact(
      binary(div, [
        ["float32", infinite],
        ["float64", ordinary],
      ]),
    ),
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
  max: exact(binary(max, numbers)),
  min: exact(binary(min, numbers)),
  equal: exact(binary(equal, [...numbers, ["bool", truth]])),
  less: exact(binary(less, numbers)),
  lessOrEqual: exact(binary(lessOrEqual, numbers)),
  greater: exact(binary(greater, numbers)),
  and: exact(binary(and, [["bool", truth]])),
  or: exact(binary(or, [["bool", truth]])),
  not: exact(unary(not, [["bool", truth]])),
  neg: exact(unary(neg, numbers)),
  abs: exact(unary(abs, numbers)),
  exp: close(unary(exp, [["float32", float(-20, 20)]])),
  log: { ...close(unary(log, [["float32", positive]])), smooth: [0.5, 4] },
  sqrt: {
    ...exact(
      unary(sqrt, [
        ["float32", positive],
        ["float64", positive],
      ]),
    ),
    smooth: [0.5, 4],
  },
  sin: close(unary(sin, floats)),
  cos: close(unary(cos, floats)),
  tanh: close(unary(tanh, floats)),
  erf: close(unary(erf, floats)),
  sigmoid: close(unary(sigmoid, floats)),
  relu: exact(
    unary(relu, [
      ["float32", infinite],
      ["float64", ordinary],
    ]),
  ),
  floor: exact(
    unary(floor, [
      ["float32", infinite],
      ["float64", ordinary],
    ]),
  ),
  round: exact(
    unary(round, [
      ["float32", infinite],
      ["float64", ordinary],
    ]),
  ),
  where: exact(wheres),
  gelu: close(
    fc.constantFrom<"none" | "tanh">("none", "tanh").chain((approximate) => unary((x) => gelu(x, approximate), floats)),
  ),
  cast: { ...exact(casts), differenceTolerance: 1e-3 }, // values are rounded to float32 on the way
};
