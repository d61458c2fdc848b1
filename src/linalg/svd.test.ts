import { afterAll, describe, expect, it } from "vitest";
import { apart, fixtures, flipped, skewness, stretched, times } from "../../test/fixtures/linalg/check.js";
import { build, generalCases, noise, noiseAt } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, type Tensor, tensorOf } from "../runtime/index.js";
import { randomizedSvd, type Svd, svd } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

// Rounding in n = 90 terms, several passes: n · 2.2e-16 · 5.
const tolerance = 1e-13;
const rebuilt = ({ u, values, v }: Svd) => times(stretched(u, values), flipped(v)).data;

describe("svd", () => {
  it.each(Object.entries(generalCases))("of %s agrees with numpy and rebuilds the matrix", async (name, a) => {
    const found = await svd(a, { runtime });
    expect(apart(found.values, fixtures.singularValues[name] as number[])).toBeLessThan(tolerance);
    expect(skewness(found.u)).toBeLessThan(tolerance);
    expect(skewness(found.v)).toBeLessThan(tolerance);
    expect(apart(rebuilt(found), a.data)).toBeLessThan(tolerance);
    expect([...found.values]).toEqual([...found.values].map(Math.abs).sort((x, y) => y - x));
  });

  it("completes both bases", async () => {
    for (const a of [noise(9, 4), noise(4, 9), build(6, 3, () => 0)]) {
      const { u, values, v } = await svd(a, { runtime, full: true });
      expect([u.shape, v.shape]).toEqual([
        [a.shape[0], a.shape[0]],
        [a.shape[1], a.shape[1]],
      ]);
      expect(skewness(u)).toBeLessThan(tolerance);
      expect(skewness(v)).toBeLessThan(tolerance);
      const middle = build(a.shape[0], a.shape[1], (i, j) => (i === j ? (values[i] as number) : 0));
      expect(apart(times(times(u, middle), flipped(v)).data, a.data)).toBeLessThan(tolerance);
    }
  });

  it("truncated misses the matrix by the next singular value, no more and no less", async () => {
    const a = noise(30, 20);
    const whole = await svd(a, { runtime });
    const part = await svd(a, { runtime, rank: 5 });
    expect(part.u.shape).toEqual([30, 5]);
    const left = { ...a, data: a.data.map((value, at) => value - (rebuilt(part)[at] as number)) };
    const { values } = await svd(left, { runtime });
    expect(values[0]).toBeCloseTo(whole.values[5] as number, 12);
    expect(apart(rebuilt(part), a.data)).toBeGreaterThan(0.1); // the control: without the rest it is not the matrix
  });

  it("refuses a rank outside the matrix, and numbers that are not finite", async () => {
    await expect(svd(noise(3, 5), { rank: 4 })).rejects.toThrow(/rank must be a whole number from 1 to 3/);
    await expect(svd(noise(3, 5), { rank: 2, full: true })).rejects.toThrow(/exclude each other/);
    await expect(svd(tensorOf("float64", [1, 1], [Number.NaN]))).rejects.toThrow(/holds NaN at \[0, 0\]/);
  });
});

describe("randomizedSvd", () => {
  const falling = build(120, 80, (i, j) => {
    let sum = 0;
    for (let k = 0; k < 30; k++) sum += 2 ** -k * noiseAt(1000 + k * 120 + i) * noiseAt(9000 + k * 80 + j);
    return sum;
  });
  const leading = async (a: Tensor, rank: number) => (await svd(a, { runtime, rank })).values;

  it("finds the leading values and vectors of a falling spectrum to rounding", async () => {
    const found = await randomizedSvd(falling, 8, { runtime });
    expect(apart(found.values, await leading(falling, 8))).toBeLessThan(1e-12); // four powers of σ₁₉/σ₈ = 2e-4
    expect([skewness(found.u), skewness(found.v)].every((x) => x < tolerance)).toBe(true);
    const along = times(falling, found.v);
    expect(apart(along.data, stretched(found.u, found.values).data)).toBeLessThan(1e-7); // vectors: the root of that
  });

  it("is exact where the rank is whole, and near on a flat spectrum, nearer with more iterations", async () => {
    const flat = noise(60, 50);
    const exact = await randomizedSvd(flat, 50, { runtime, powerIterations: 0 });
    expect(apart(rebuilt(exact), flat.data)).toBeLessThan(tolerance);
    const truth = await leading(flat, 5);
    const missed = async (powerIterations: number) =>
      apart((await randomizedSvd(flat, 5, { runtime, powerIterations, oversampling: 5 })).values, truth);
    const [none, many] = [await missed(0), await missed(8)];
    expect(none).toBeGreaterThan(0.05); // the control: a random basis alone misses
    expect(many).toBeLessThan(none / 10);
  });

  it("is a function of the seed", async () => {
    const of = async (seed: number) => [...(await randomizedSvd(noise(40, 30), 3, { runtime, seed })).values];
    expect(await of(1)).toEqual(await of(1));
    expect(await of(1)).not.toEqual(await of(2));
  });

  it("handles a rank above that of the matrix, and refuses bad counts", async () => {
    const { values, u } = await randomizedSvd(generalCases.deficient as Tensor, 6, { runtime });
    expect(Math.max(...values.subarray(2))).toBeLessThan(1e-14 * (values[0] as number) * 10);
    expect(skewness(u)).toBeLessThan(tolerance);
    await expect(randomizedSvd(noise(3, 3), 4)).rejects.toThrow(/rank must be/);
    await expect(randomizedSvd(noise(3, 3), 2, { powerIterations: -1 })).rejects.toThrow(/powerIterations/);
  });
});
