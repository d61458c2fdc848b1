/** Generated cases of functions of one number. */
import fc from "fast-check";
import {
  acos,
  acosh,
  asin,
  asinh,
  atan,
  atanh,
  cos,
  cosh,
  erf,
  exp,
  expm1,
  log,
  log1p,
  sin,
  sinh,
  sqrt,
  tan,
  tanh,
  type Value,
} from "../../../src/graph/index.js";
import { close, exact, float, floats, type Numbers, type OperationCases, positive, unary } from "./case.js";

const edged = (inner: Numbers, ...edges: number[]): Numbers =>
  fc.oneof({ weight: 4, arbitrary: inner }, fc.constantFrom(...edges));

/** Cases of a function of float32 numbers (and of float64 ones, where the runtime has a kernel). */
const of = (make: (x: Value) => Value, values: Numbers, both = false): OperationCases =>
  close(
    unary(
      make,
      both
        ? [
            ["float32", values],
            ["float64", values],
          ]
        : [["float32", values]],
    ),
  );

const small: Numbers = edged(float(-0.99, 0.99), 0, -0, 0.5, -0.5, 2 ** -20);

export const transcendentalCases: Readonly<Record<string, OperationCases>> = {
  exp: close(unary(exp, [["float32", float(-20, 20)]])),
  log: { ...close(unary(log, [["float32", positive]])), smooth: [0.5, 4] },
  expm1: of(expm1, edged(float(-20, 20), 0, -0, 1e-6, -1e-6, 100, Infinity, -Infinity), true),
  log1p: { ...of(log1p, edged(float(-0.99, 20), 0, -0, 1e-6, -1e-6, -1, -2, 1e9, Infinity), true), smooth: [-0.4, 3] },
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
  // The poles lie at odd multiples of pi/2.
  tan: { ...of(tan, edged(float(-1.5, 1.5), 0, 3, -3)), smooth: [-1.1, 1.2] },
  asin: { ...of(asin, edged(small, 1, -1)), smooth: [-0.7, 0.8] },
  acos: { ...of(acos, edged(small, 1, -1)), smooth: [-0.7, 0.8] },
  atan: of(atan, edged(float(-8, 8), 0, 1000, Infinity, -Infinity)),
  sinh: of(sinh, edged(float(-8, 8), 0, 30, -30, 2 ** -20)),
  cosh: of(cosh, edged(float(-8, 8), 0, 30, -30)),
  tanh: close(unary(tanh, floats)),
  asinh: of(asinh, edged(float(-8, 8), 0, 1000, -1000, 2 ** -20)),
  acosh: { ...of(acosh, edged(float(1, 9), 1, 1000)), smooth: [1.5, 4] },
  atanh: { ...of(atanh, edged(small, 1, -1)), smooth: [-0.7, 0.8] },
  erf: close(unary(erf, floats)),
};
