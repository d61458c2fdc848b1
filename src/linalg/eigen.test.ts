import { afterAll, describe, expect, it } from "vitest";
import { apart, fixtures, skewness, stretched, times } from "../../test/fixtures/linalg/check.js";
import { build, noiseAt, symmetricCases, withEigenvalues } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../runtime/index.js";
import { symmetricEigen } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

// Rounding in n = 81 terms stays below n · 2.2e-16 · (a small constant) = 1e-13 of the largest entry or value.
const tolerance = 1e-13;

describe("symmetricEigen", () => {
  it.each(Object.entries(symmetricCases))(
    "of %s agrees with numpy, and its vectors are eigenvectors",
    async (name, a) => {
      const { values, vectors } = await symmetricEigen(a, { runtime });
      expect(apart(values, fixtures.eigenvalues[name] as number[])).toBeLessThan(tolerance);
      expect(skewness(vectors)).toBeLessThan(tolerance);
      expect(apart(times(a, vectors).data, stretched(vectors, values).data)).toBeLessThan(tolerance * a.shape[0]);
      expect([...values]).toEqual([...values].sort((x, y) => y - x));
    },
  );

  it("finds other values for another matrix: the comparison can fail", async () => {
    const { values } = await symmetricEigen(symmetricCases.noise75 as (typeof symmetricCases)[string], { runtime });
    const moved = [...(fixtures.eigenvalues.noise75 as number[])];
    moved[40] = (moved[40] as number) + 1e-11;
    expect(apart(values, moved)).toBeGreaterThan(tolerance);
  });

  it("keeps vectors orthogonal through all levels of divide and conquer", async () => {
    const a = build(300, 300, (i, j) => noiseAt(Math.max(i, j) * 300 + Math.min(i, j)));
    const { values, vectors } = await symmetricEigen(a, { runtime });
    expect(skewness(vectors)).toBeLessThan(tolerance);
    expect(apart(times(a, vectors).data, stretched(vectors, values).data)).toBeLessThan(1e-12);
    const trace = a.data.reduce((sum, value, at) => (at % 301 === 0 ? sum + value : sum), 0);
    expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(trace, 10);
  });

  it("tells apart values that almost coincide, and keeps their plane", async () => {
    const a = withEigenvalues(Array.from({ length: 64 }, (_, k) => 1 + (k % 8) * 1e-14));
    const { values, vectors } = await symmetricEigen(a, { runtime });
    expect(Math.max(...values) - Math.min(...values)).toBeLessThan(1e-12);
    expect(skewness(vectors)).toBeLessThan(tolerance);
  });

  it("reads float32 and leaves its input alone", async () => {
    const a = tensorOf("float32", [2, 2], [2, 1, 1, 2]);
    const { values } = await symmetricEigen(a);
    expect(apart(values, [3, 1])).toBeLessThan(1e-15); // two roundings
    expect([...a.data]).toEqual([2, 1, 1, 2]);
  });

  it("refuses what is not symmetric, not square, not finite, not a matrix", async () => {
    const of = (shape: number[], values: number[]) => symmetricEigen(tensorOf("float64", shape, values));
    await expect(of([2, 2], [1, 2, 3, 4])).rejects.toThrow(/not symmetric: \[1, 0\] is 3 and \[0, 1\] is 2/);
    await expect(of([1, 2], [1, 2])).rejects.toThrow(/must be square, not \[1, 2\]/);
    await expect(of([2, 2], [1, 2, 2, Number.NaN])).rejects.toThrow(/holds NaN at \[1, 1\]/);
    await expect(of([2, 2], [1, Number.POSITIVE_INFINITY, 2, 1])).rejects.toThrow(/holds Infinity at \[0, 1\]/);
    await expect(of([2], [1, 2])).rejects.toThrow(/must have rows and columns, not shape \[2\]/);
    await expect(of([0, 0], [])).rejects.toThrow(/must have rows and columns/);
    await expect(symmetricEigen(tensorOf("int32", [1, 1], [1]))).rejects.toThrow(/float32 or float64, not int32/);
  });
});
