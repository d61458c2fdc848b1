/** Initialisers: moments against their closed forms, orthogonality, and numbers that a seed fixes. */
import { describe, expect, it } from "vitest";
import { random, type Tensor } from "../runtime/index.js";
import { fansOf, type Initialiser, initialisers } from "./initialisers.js";

const shape = [400, 250];
const count = 100_000;

function moments({ data }: Tensor<"float32">) {
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length;
  return { mean, variance };
}

/** Variance of a standard normal number within two deviations: 1 - 4 phi(2) / (2 Phi(2) - 1). */
const truncated = 0.7737413035499232;

/** Mean and variance; the largest number that can come, where there is one; the kurtosis, for the error of a variance. */
const cases: readonly (readonly [string, Initialiser, number, number, number, number])[] = [
  ["uniform", initialisers.uniform(-1, 3), 1, 16 / 12, 3, 1.8],
  ["normal", initialisers.normal(0.5, 2), 2, 0.25, Infinity, 3],
  ["truncatedNormal", initialisers.truncatedNormal(0.5), 0, 0.25 * truncated, 1, 3],
  ["glorotNormal", initialisers.glorotNormal(), 0, 2 / 650, Infinity, 3],
  ["glorotUniform", initialisers.glorotUniform(), 0, 2 / 650, Math.sqrt(6 / 650), 1.8],
  ["heNormal", initialisers.heNormal(), 0, 2 / 400, Infinity, 3],
  ["heUniform", initialisers.heUniform(), 0, 2 / 400, Math.sqrt(6 / 400), 1.8],
  ["lecunNormal", initialisers.lecunNormal(), 0, 1 / 400, Infinity, 3],
  ["lecunUniform", initialisers.lecunUniform(), 0, 1 / 400, Math.sqrt(3 / 400), 1.8],
  [
    "varianceScaling",
    initialisers.varianceScaling({ scale: 3, fan: "outputs", distribution: "truncatedNormal" }),
    0,
    3 / 250,
    2 * Math.sqrt(3 / 250 / truncated),
    3,
  ],
];

describe("initialisers", () => {
  it.each(cases)("%s has its mean and variance", (_, initialise, mean, variance, largest, kurtosis) => {
    const made = initialise(random(3), shape);
    const found = moments(made);
    // Five standard errors of 100,000 numbers: chance fails one of the twenty checks once in 90,000 seeds.
    expect(Math.abs(found.mean - mean)).toBeLessThan(5 * Math.sqrt(variance / count));
    expect(Math.abs(found.variance / variance - 1)).toBeLessThan(5 * Math.sqrt((kurtosis - 1) / count));
    expect(made.data.every((x) => x <= largest * (1 + 1e-6))).toBe(true); // rounded to float32
  });

  it("fills with one number", () => {
    expect([...initialisers.zeros()(random(1), [2]).data]).toEqual([0, 0]);
    expect([...initialisers.ones()(random(1), [2]).data]).toEqual([1, 1]);
    expect([...initialisers.constant(2.5)(random(1), [2]).data]).toEqual([2.5, 2.5]);
  });

  it.each([
    [[5, 9], 5],
    [[9, 5], 5],
    [[4, 3, 2, 2], 4],
  ])("orthogonal: the shorter side of %j", (own, side) => {
    const gain = 1.5;
    const { data } = initialisers.orthogonal(gain)(random(2), own);
    const rows = own[0] as number;
    const columns = data.length / rows;
    const at = (i: number, k: number) => data[rows <= columns ? i * columns + k : k * columns + i] as number;
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        const product = Array.from({ length: data.length / side }, (_, k) => at(i, k) * at(j, k));
        const sum = product.reduce((total, x) => total + x, 0);
        expect(sum).toBeCloseTo(i === j ? gain ** 2 : 0, 6); // float32 of numbers near 1
      }
    }
  });

  it("orthogonal refuses a vector", () => {
    expect(() => initialisers.orthogonal()(random(1), [4])).toThrow(/at least two axes.*\[4\]/);
  });

  it("reads fans off matrices [inputs, outputs] and kernels [outputs, inputs, ...taps], or is told them", () => {
    expect(fansOf([3, 5])).toEqual({ inputs: 3, outputs: 5 });
    expect(fansOf([8, 4, 3, 2])).toEqual({ inputs: 24, outputs: 48 });
    expect(fansOf([7])).toEqual({ inputs: 7, outputs: 7 });
    const told = initialisers.lecunNormal()(random(1), [2, 2], { inputs: 8, outputs: 8 });
    const read = initialisers.lecunNormal()(random(1), [2, 2]);
    told.data.forEach((x, i) => {
      expect(x).toBeCloseTo((read.data[i] as number) / 2, 6); // a fan four times as large halves a deviation
    });
  });

  it("gives one seed the same numbers, another seed or stream others", () => {
    for (const make of [initialisers.heNormal(), initialisers.orthogonal(), initialisers.truncatedNormal(1)]) {
      const numbers = (seed: number, stream: number) => [...make(random(seed, stream), [4, 4]).data];
      expect(numbers(1, 0)).toEqual(numbers(1, 0));
      expect(numbers(1, 0)).not.toEqual(numbers(2, 0));
      expect(numbers(1, 0)).not.toEqual(numbers(1, 1));
    }
  });
});
