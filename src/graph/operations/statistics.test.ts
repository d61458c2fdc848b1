/** Norms, variances, products with vectors, and the gradient of a product with zeros: by hand, in the runtime, by differences. */
import { afterAll, describe, expect, it } from "vitest";
import {
  type Build,
  derivativeError,
  referenceError,
  runtimeError,
} from "../../../test/support/operations/functionChecks.js";
import { createRuntime } from "../../runtime/index.js";
import {
  dot,
  evaluate,
  grad,
  matvec,
  norm,
  outer,
  reduceL2,
  reduceLogSum,
  reduceProd,
  reduceSum,
  standardDeviation,
  tensorOf,
  toNumbers,
  trace,
  type Value,
  variance,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const of = (shape: number[], ...numbers: number[]) => tensorOf("float64", shape, numbers);
const one =
  (make: (x: Value) => Value): Build =>
  ([x]) =>
    make(x as Value);
const two =
  (make: (a: Value, b: Value) => Value): Build =>
  ([a, b]) =>
    make(a as Value, b as Value);
const x = of([2, 3], 1, 2, 4.5, 3, 5, 7.5);
const matrix = of([2, 2], 1, 2, 3, 5);

describe.each<[string, Build, ReturnType<typeof of>[], ReturnType<typeof of>]>([
  ["reduceLogSum", one((v) => reduceLogSum(v, 1)), [x], of([2], Math.log(7.5), Math.log(15.5))],
  ["variance", one((v) => variance(v, [0])), [x], of([3], 1, 2.25, 2.25)],
  [
    "variance with a correction",
    one((v) => variance(v, 0, { correction: 1, keepDims: true })),
    [x],
    of([1, 3], 2, 4.5, 4.5),
  ],
  ["variance over all", one((v) => variance(v, [0, -1])), [of([2, 2], 1, 3, 5, 7)], of([], 5)],
  ["standardDeviation", one((v) => standardDeviation(v, 0)), [x], of([3], 1, 1.5, 1.5)],
  ["norm", one((v) => norm(v, -1)), [of([2, 2], 3, -4, 6, 8)], of([2], 5, 10)],
  ["norm of order 1", one((v) => norm(v, 0, { order: 1 })), [of([2, 2], 3, -4, 6, 8)], of([2], 9, 12)],
  ["norm of order 3", one((v) => norm(v, 0, { order: 3 })), [of([3], 3, -4, 5)], of([], 6)],
  [
    "the largest",
    one((v) => norm(v, 1, { order: Infinity, keepDims: true })),
    [of([2, 2], 3, -4, 6, 8)],
    of([2, 1], 4, 8),
  ],
  ["dot", two(dot), [of([2], 1, 2), of([2], 3, 5)], of([], 13)],
  ["dot of rows", two(dot), [matrix, of([2], 2, 1)], of([2], 4, 11)],
  ["outer", two(outer), [of([2], 1, 2), of([3], 3, 4, 5)], of([2, 3], 3, 4, 5, 6, 8, 10)],
  ["matvec", two(matvec), [matrix, of([2], 2, 1)], of([2], 4, 11)],
  ["matvec of batches", two(matvec), [of([2, 1, 2], 1, 2, 3, 5), of([2, 2], 2, 1, 1, 1)], of([2, 1], 4, 8)],
])("%s", (_, build, inputs, wanted) => {
  it("is right, runs, and has its gradient", async () => {
    for (const named of [[], [2], [2, 3]])
      expect(referenceError(build, { attributes: {}, inputs, outputs: [wanted] }, named)).toBeLessThan(1e-14);
    expect(await runtimeError(runtime, build, inputs, [2, 3])).toBeLessThan(1e-5); // float32 rounding of a few numbers
    expect(derivativeError(build, inputs)).toBeLessThan(1e-7); // smooth there, differences at four points
  });
});

describe("the gradient of reduceProd where elements are 0", () => {
  const product = one((v) => reduceProd(v, [0]));
  const gradientAt = (...numbers: number[]) => {
    const graph = trace(({ v }) => ({ y: grad((own: Value) => reduceProd(own, [0]))(v) }), {
      v: { dtype: "float64", shape: ["n"] },
    });
    return [...toNumbers(evaluate(graph, { v: of([numbers.length], ...numbers) }).y as ReturnType<typeof of>)];
  };

  it.each<[string, number[], number[]]>([
    ["none", [2, 3, -4], [-12, -8, 6]],
    ["one", [2, 0, -4], [0, -8, 0]],
    ["two", [0, 3, 0], [0, 0, 0]],
    ["alone", [0], [1]],
  ])("with %s", (_, at, wanted) => {
    expect(gradientAt(...at).map((n) => n + 0)).toEqual(wanted);
  });

  it.each([1, 2])("and of that gradient with %i zeros is what differences say", (zeros) => {
    const at = zeros === 1 ? [2, 0, -1.5, 0.5] : [0, 2, -1.5, 0];
    expect(derivativeError(product, [of([4], ...at)])).toBeLessThan(1e-7); // a polynomial of degree 4 in each step
  });

  it("runs in rows with and without zeros", async () => {
    const rows = of([3, 3], 1, 2, 3, 0, 2, -1, 0, 4, 0);
    expect(
      await runtimeError(
        runtime,
        one((v) => reduceProd(v, 1)),
        [rows],
        [3],
      ),
    ).toBeLessThan(1e-6); // whole numbers
  });
});

it("the gradient of a norm is 0 at a vector of zeros", () => {
  const graph = trace(({ v }) => ({ y: grad((own: Value) => reduceSum(reduceL2(own, 1), 0))(v) }), {
    v: { dtype: "float64", shape: [2, 2] },
  });
  const { y } = evaluate(graph, { v: of([2, 2], 0, 0, 3, 4) });
  const [a, b, c, d] = toNumbers(y as ReturnType<typeof of>);
  expect([a, b, d]).toEqual([0, 0, 0.8]);
  expect(c).toBeCloseTo(0.6, 15);
});
