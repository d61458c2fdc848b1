import { afterAll, describe, expect, it } from "vitest";
import { apart, fixtures, flat, flipped, times } from "../../test/fixtures/linalg/check.js";
import { build, generalCases, noise, type Plain } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../runtime/index.js";
import { cholesky, choleskyLogDeterminant, choleskySolve, leastSquares, solve, solveTriangular } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const vector = (values: number[]) => tensorOf("float64", [values.length], values);
const plus = (a: Plain, b: Plain) => ({ ...a, data: a.data.map((value, at) => value + (b.data[at] as number)) });
const diagonal = (size: number, value: number) => build(size, size, (i, j) => (i === j ? value : 0));

describe("solve", () => {
  it("agrees with scipy", async () => {
    const found = await solve(noise(50, 50), noise(50, 3, 5000), { runtime });
    expect(apart(found.data, flat(fixtures.solution))).toBeLessThan(1e-12); // condition 200 times rounding, and room
  });

  it("finds what the right side was made of, over several blocks, for a vector too", async () => {
    const [a, x] = [plus(noise(150, 150), diagonal(150, 4)), noise(150, 1, 777)];
    const found = await solve(a, { ...times(a, x), shape: [150] }, { runtime });
    expect(found.shape).toEqual([150]);
    expect(apart(found.data, x.data)).toBeLessThan(1e-12);
    expect(apart(found.data, noise(150, 1, 778).data)).toBeGreaterThan(0.1); // the control: another solution is far
  });

  it("exchanges rows where the first pivot is zero or tiny", async () => {
    const found = await solve(tensorOf("float64", [2, 2], [1e-20, 1, 1, 1]), vector([1, 2]));
    expect(apart(found.data, [1, 1])).toBeLessThan(1e-15);
  });

  it("refuses singular matrices and sides that do not fit", async () => {
    await expect(
      solve(
        build(3, 3, () => 1),
        vector([1, 2, 3]),
      ),
    ).rejects.toThrow(/singular: pivot 1 is zero/);
    await expect(solve(noise(3, 3), vector([1, 2]))).rejects.toThrow(/has 2 rows where the matrix asks for 3/);
    await expect(solve(noise(3, 2), vector([1, 2, 3]))).rejects.toThrow(/must be square/);
    await expect(solve(noise(1, 1), vector([Number.NaN]))).rejects.toThrow(/right side holds NaN/);
  });
});

describe("solveTriangular", () => {
  it.each(["lower", "upper"] as const)(
    "solves %s triangles over several blocks and reads no other half",
    async (half) => {
      const full = plus(noise(100, 100), diagonal(100, 9));
      const triangle = build(100, 100, (i, j) =>
        (half === "lower" ? j <= i : j >= i) ? (full.data[i * 100 + j] as number) : 0,
      );
      const x = noise(100, 4, 31);
      const found = await solveTriangular(full, times(triangle, x), half, { runtime });
      expect(apart(found.data, x.data)).toBeLessThan(1e-13); // well conditioned: rounding alone
      const wrong = await solveTriangular(full, times(full, x), half, { runtime });
      expect(apart(wrong.data, x.data)).toBeGreaterThan(1e-3); // the control: the other half would have mattered
    },
  );

  it("names the index of a zero on the diagonal", async () => {
    const a = build(40, 40, (i, j) => (i === j && i !== 35 ? 1 : 0));
    await expect(solveTriangular(a, noise(40, 1), "lower")).rejects.toThrow(/zero at index 35/);
  });
});

describe("cholesky", () => {
  const positive = plus(times(noise(45, 60), flipped(noise(45, 60))), diagonal(45, 0.1));

  it("agrees with numpy and solves", async () => {
    const factor = await cholesky(positive, { runtime });
    expect(apart(factor.data, flat(fixtures.cholesky.factor))).toBeLessThan(1e-13);
    expect(apart(times(factor, flipped(factor)).data, positive.data)).toBeLessThan(1e-14);
    expect(choleskyLogDeterminant(factor)).toBeCloseTo(fixtures.cholesky.logDeterminant, 10);
    const x = noise(45, 2, 99);
    const found = await choleskySolve(factor, times(positive, x), { runtime });
    expect(apart(found.data, x.data)).toBeLessThan(1e-12); // condition 200
    expect(apart(times(factor, factor).data, positive.data)).toBeGreaterThan(0.01); // the control: L L is not L Lᵀ
  });

  it("keeps the scale of huge and tiny matrices", async () => {
    for (const power of [1e150, 1e-150]) {
      const scaled = { ...positive, data: positive.data.map((value) => value * power) };
      const factor = await cholesky(scaled, { runtime });
      expect(apart(times(factor, flipped(factor)).data, scaled.data)).toBeLessThan(1e-14);
    }
  });

  it("names the first pivot that is not positive", async () => {
    const broken = build(70, 70, (i, j) => (i === j ? (i < 50 ? 2 : -1) : 0));
    await expect(cholesky(broken, { runtime })).rejects.toThrow(/not positive definite: pivot 50 is -1\.00/);
    await expect(cholesky(build(3, 3, () => 0))).rejects.toThrow(/pivot 0 is 0\.00/);
    await expect(cholesky(build(2, 2, () => 1))).rejects.toThrow(/pivot 1 is 0\.00/);
  });
});

describe("leastSquares", () => {
  const cases = { tall: noise(90, 34), wide: noise(34, 90), deficient: generalCases.deficient as Plain };

  it.each(["tall", "wide", "deficient"] as const)("agrees with numpy on a %s matrix", async (name) => {
    const a = cases[name];
    const { solution, rank, singularValues } = await leastSquares(a, noise(a.shape[0], 2, 5000), { runtime });
    expect(rank).toBe(fixtures.leastSquares[name].rank);
    expect(apart(solution.data, flat(fixtures.leastSquares[name].solution))).toBeLessThan(1e-12); // condition below 100
    expect(singularValues.length).toBe(Math.min(...a.shape));
  });

  it("counts singular values above the cut, and gives zeros for a zero matrix", async () => {
    const a = build(3, 3, (i, j) => (i === j ? 10 ** -i : 0));
    const right = vector([1, 1, 1]);
    expect(apart((await leastSquares(a, right)).solution.data, [1, 10, 100])).toBeLessThan(1e-14);
    const cut = await leastSquares(a, right, { relativeCut: 0.05 });
    expect(cut.rank).toBe(2);
    expect(apart(cut.solution.data, [1, 10, 0])).toBeLessThan(1e-14);
    const none = await leastSquares(
      build(3, 2, () => 0),
      right,
    );
    expect([none.rank, ...none.solution.data, none.solution.shape]).toEqual([0, 0, 0, [2]]);
    await expect(leastSquares(a, right, { relativeCut: 1 })).rejects.toThrow(/relativeCut/);
  });
});
