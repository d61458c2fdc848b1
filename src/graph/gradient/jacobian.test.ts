/** Jacobians and Hessians against differences of values and of gradients, in both modes, with symbolic shapes. */
import { describe, expect, it } from "vitest";
import {
  add,
  cast,
  type Dim,
  evaluate,
  exp,
  exportOnnx,
  grad,
  hessian,
  jacobian,
  matmul,
  mul,
  reduceSum,
  reshape,
  sin,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
} from "../index.js";

const f64 = (shape: readonly Dim[]) => ({ dtype: "float64", shape }) as const;
const at = tensorOf("float64", [2, 3], [0.3, -0.7, 1.1, 0.2, 0.9, -0.4]);

/** All derivatives by differences at four points: good to some 1e-10 where fifth derivatives are of the order of 10. */
function differences(fn: (x: Value) => Value, x: Tensor): number[] {
  const graph = trace((values) => ({ y: fn(values.x) }), { x: f64(["n", 3]) });
  const columns = [...x.data.keys()].map((i) => {
    const [a, b, c, d] = [-2, -1, 1, 2].map((k) => {
      const moved = toNumbers(x).map((value, j) => (j === i ? value + k * 1e-3 : value));
      return toNumbers(evaluate(graph, { x: tensorOf("float64", x.shape, moved) }).y as Tensor);
    }) as [Float64Array, Float64Array, Float64Array, Float64Array];
    return [...a].map((value, o) => (value - 8 * (b[o] as number) + 8 * (c[o] as number) - (d[o] as number)) / 12e-3);
  });
  return (columns[0] as number[]).flatMap((_, o) => columns.map((column) => column[o] as number));
}

const functions: Readonly<Record<string, (x: Value) => Value>> = {
  "more numbers than it takes": (x) => matmul(sin(x), mul(x, x), { transposeB: true }),
  "fewer numbers than it takes": (x) => reduceSum(exp(mul(x, sin(x))), [1]),
  "as many, in another shape": (x) => reshape(mul(x, reduceSum(x, [0])), [3, x.shape[0] as Dim]),
  "a number": (x) => reduceSum(mul(x, mul(x, x)), [0, 1]),
};

describe.each(Object.entries(functions))("the Jacobian of a function that gives %s", (_, fn) => {
  it.each(["reverse", "forward", undefined] as const)("is what differences say: mode %s", (mode) => {
    const graph = trace(({ x }) => ({ y: fn(x), J: jacobian(fn, mode && { mode })(x) }), { x: f64(["n", 3]) });
    const { y, J } = evaluate(graph, { x: at });
    expect(J?.shape).toEqual([...(y as Tensor).shape, 2, 3]);
    const wanted = differences(fn, at);
    toNumbers(J as Tensor).forEach((x, i) => {
      expect(x).toBeCloseTo(wanted[i] as number, 8);
    });
  });
});

it("takes the cheaper mode of known sizes, and reverse where they are not known", () => {
  const widen = (x: Value) => matmul(x, x, { transposeA: true });
  const file = (rows: Dim, mode?: "reverse" | "forward") =>
    exportOnnx(trace(({ x }) => ({ J: jacobian(widen, mode && { mode })(x) }), { x: f64([rows, 3]) }));
  expect(file(1)).toEqual(file(1, "forward")); // 3 numbers to 9
  expect(file(4)).toEqual(file(4, "reverse")); // 12 to 9
  expect(file("n")).toEqual(file("n", "reverse"));
  expect(file(1)).not.toEqual(file(1, "reverse"));
});

it("of a scalar function's gradient is its Hessian: symmetric, and what differences of the gradient say", () => {
  const fn = (x: Value) => reduceSum(mul(exp(mul(x, 0.5)), sin(add(x, reduceSum(x, [0])))), [0, 1]);
  const graph = trace(({ x }) => ({ H: hessian(fn)(x) }), { x: f64(["n", 3]) });
  const { H } = evaluate(graph, { x: at });
  expect(H?.shape).toEqual([2, 3, 2, 3]);
  const wanted = differences(grad(fn), at);
  const own = toNumbers(H as Tensor);
  own.forEach((x, i) => {
    expect(x).toBeCloseTo(wanted[i] as number, 8);
    expect(x).toBeCloseTo(own[(i % 6) * 6 + Math.floor(i / 6)] as number, 13); // the same derivative in two orders
  });
});

it("refuses whole numbers", () => {
  const call = () => trace(({ x }) => ({ J: jacobian((own) => cast(own, "int64"))(x) }), { x: f64([2]) });
  expect(call).toThrow("jacobian() takes and gives floating-point numbers, not cast int64[2]");
});
