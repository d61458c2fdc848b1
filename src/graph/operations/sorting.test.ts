/** Sorting, quantiles, searching, running products and patterns: held against NumPy's results written out. */
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  argsort,
  constant,
  cumProd,
  cumSum,
  type Dim,
  evaluate,
  eye,
  grad,
  input,
  median,
  oneHot,
  quantile,
  reduceSum,
  searchSorted,
  sort,
  type Tensor,
  tensorOf,
  toNumbers,
  topK,
  trace,
  triu,
  type Value,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const float = (shape: readonly number[], numbers: readonly number[]) => tensorOf("float64", shape, numbers);
const symbolic = (shape: readonly Dim[]) => input("x", "float32", shape);

/**
 * The result on a tensor whose sizes are symbols, and on one of known sizes, by the reference and by the runtime: all
 * must agree.
 */
async function run(build: (x: Value) => Value, x: Tensor): Promise<number[]> {
  const results = [x.shape.map((_, i) => `n${i}`), x.shape].map(async (shape) => {
    const graph = trace(({ x }) => ({ y: build(x as Value) }), { x: { dtype: x.dtype, shape } });
    return [evaluate(graph, { x }).y, (await runtime.compile(graph).run({ x })).y];
  });
  const [first, ...others] = (await Promise.all(results)).flat().map((y) => [...toNumbers(y as Tensor)]);
  for (const other of others) expect(other).toEqual(first);
  return first as number[];
}

describe("sort", () => {
  const ties = float([2, 4], [2, 1, 2, 1, 0, 3, 3, -1]);

  it("sorts either way, equal values in their order", async () => {
    expect(await run((x) => sort(x), ties)).toEqual([1, 1, 2, 2, -1, 0, 3, 3]);
    expect(await run((x) => sort(x, 0, { descending: true }), ties)).toEqual([2, 3, 3, 1, 0, 1, 2, -1]);
    expect(await run((x) => argsort(x), ties)).toEqual([1, 3, 0, 2, 3, 0, 1, 2]);
    expect(await run((x) => argsort(x, -1, { descending: true }), ties)).toEqual([0, 2, 1, 3, 1, 2, 0, 3]);
  });

  it("takes what k and the axis allow", async () => {
    expect(topK(symbolic(["n", 4]), "k", 0).values.shape).toEqual(["k", 4]);
    expect(() => sort(symbolic([2]), 1)).toThrow("sort(float32[2]): axis 1 is out of range");
  });
});

describe("quantile", () => {
  const x = float([5], [5, 1, 4, 2, 3]);

  it("lies between two values in proportion", async () => {
    expect(await run((x) => quantile(x, 0.3), x)).toEqual([2.2]);
    expect(await run((x) => quantile(x, 0), x)).toEqual([1]);
    expect(await run((x) => quantile(x, 1), x)).toEqual([5]);
    expect(await run((x) => median(x), x)).toEqual([3]);
    expect(await run((x) => median(x, 0), float([4, 1], [4, 1, 3, 2]))).toEqual([2.5]);
  });

  it("has gradients with respect to the values and to the fraction", async () => {
    const ofValues = await run((x) => grad((x: Value) => quantile(x, 0.3))(x), x);
    ofValues.forEach((slope, i) => {
      expect(slope).toBeCloseTo([0, 0, 0, 0.8, 0.2][i] as number, 12); // weights rounded in float64
    });
    const fraction = constant(float([], [0.3]));
    expect(await run((x) => grad((q: Value) => quantile(x, q))(fraction), x)).toEqual([4]);
  });
});

describe("searchSorted", () => {
  it("finds places before or after equal values", async () => {
    const values = constant(float([4], [0, 2, 2.5, 9]));
    const sorted = float([4], [1, 2, 2, 3]);
    expect(await run((x) => searchSorted(x, values), sorted)).toEqual([0, 1, 3, 4]);
    expect(await run((x) => searchSorted(x, values, "right"), sorted)).toEqual([0, 3, 3, 4]);
  });
});

describe("cumProd", () => {
  const x = float([2, 5], [1, -2, 3, 0.5, 4, 2, 0, 5, -1, 3]);

  it("multiplies on, past zeros and signs, either way", async () => {
    expect(await run((x) => cumProd(x, 1), x)).toEqual([1, -2, -6, -3, -12, 2, 0, 0, -0, -0]);
    expect(await run((x) => cumProd(x, -1, { exclusive: true }), x)).toEqual([1, 1, -2, -6, -3, 1, 2, 0, 0, -0]);
    expect(await run((x) => cumProd(x, 1, { reverse: true }), x)).toEqual([-12, -12, 6, 2, 4, -0, -0, -15, -3, 3]);
    expect(await run((x) => cumProd(x, 0), x)).toEqual([1, -2, 3, 0.5, 4, 2, -0, 15, -0.5, 12]);
  });

  it("has a gradient that is right at a zero", async () => {
    const slope = await run((x) => grad((x: Value) => reduceSum(cumProd(x, 0), 0))(x), float([4], [2, 0, 5, 3]));
    expect(slope).toEqual([1, 2 * (1 + 5 + 15), 0, 0]);
  });

  it("is one number, or none", async () => {
    expect(await run((x) => cumProd(x, 0), float([1], [3]))).toEqual([3]);
    expect(await run((x) => cumProd(x, 0, { exclusive: true }), float([1], [3]))).toEqual([1]);
    expect(await run((x) => cumProd(x, 0), float([0], []))).toEqual([]);
  });

  it("needs numbers", async () => {
    expect(() => cumSum(input("x", "bool", [2]), 0)).toThrow("cumSum(bool[2]): takes numbers, not bool");
  });
});

describe("patterns", () => {
  it("are identity matrices of any diagonal", async () => {
    const both = (build: (n: Dim) => Value) => run((x) => build(x.shape[0] as Dim), float([2], [0, 0]));
    expect(await both((n) => eye(n))).toEqual([1, 0, 0, 1]);
    expect(await both((n) => eye(n, { columns: 3, k: 1, dtype: "int64" }))).toEqual([0, 1, 0, 0, 0, 1]);
    expect(await both((n) => eye(n, { k: -1 }))).toEqual([0, 0, 1, 0]);
    expect(() => triu(symbolic([3]))).toThrow("trilu(float32[3]): needs at least two dimensions");
  });

  it("are one-hot rows along any axis, none for an index out of range", async () => {
    const indices = tensorOf("int64", [3], [1, -1, 3]);
    const graph = (build: (x: Value) => Value) => run(build, indices);
    expect(await graph((x) => oneHot(x, 3))).toEqual([0, 1, 0, 0, 0, 1, 0, 0, 0]);
    expect(await graph((x) => oneHot(x, 2, { axis: 0, on: 5, off: -1 }))).toEqual([-1, -1, -1, 5, 5, -1]);
    expect(await graph((x) => oneHot(x, x.shape[0] as Dim))).toEqual([0, 1, 0, 0, 0, 1, 0, 0, 0]);
  });

  it("have gradients with respect to the values that they put", async () => {
    const on = constant(float([], [1]));
    const slope = (x: Value) =>
      grad((on: Value) => reduceSum(oneHot(x, 3, { on, off: constant(float([], [0])) }), [0, 1]))(on);
    expect(await run(slope, tensorOf("int64", [2], [1, 2]))).toEqual([2]);
  });
});
