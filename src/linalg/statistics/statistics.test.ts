/** Moments, correlations, corrections and effect sizes against scipy, NumPy and scikit-learn. */
import { describe, expect, it } from "vitest";
import fixture from "../../../test/fixtures/linalg/statistics.json" with { type: "json" };
import { random, tensorOf } from "../../runtime/index.js";
import * as statistics from "./index.js";

const { x, y, moments, correlations, multiplicity, effects } = fixture;

/** Float64 sums of a few dozen numbers, in another order than the reference's. */
const tolerance = 1e-13;

function near(found: ArrayLike<number>, wanted: readonly number[], relative = tolerance): void {
  expect(found.length).toBe(wanted.length);
  wanted.forEach((value, i) => {
    expect(Math.abs((found[i] as number) - value)).toBeLessThanOrEqual(relative * Math.max(Math.abs(value), 1e-3));
  });
}

describe("moments", () => {
  it("agree with NumPy", () => {
    near(
      [statistics.mean(x), statistics.variance(x), statistics.variance(x, { ddof: 0 }), statistics.covariance(x, y)],
      [moments.mean, moments.variance, moments.population, moments.covariance],
    );
    near(statistics.zScore(x), moments.zScore, 1e-12); // small scores are differences of numbers near 5
    near(statistics.zScore(x, { ddof: 1 }), moments.zScoreSample, 1e-12);
    for (const [probability, value] of moments.quantiles)
      near([statistics.quantile(x, probability as number)], [value as number]);
  });

  it("keep their digits with a mean far from zero", () => {
    // Numbers near 1e9 are themselves rounded at 1e-7, so this is the variance of those; one pass over squares gives noise.
    const values = fixture.offset.x;
    near([statistics.variance(values)], [fixture.offset.variance], 1e-12);
    const onePass = values.reduce((sum, value) => sum + value * value, 0) - 30 * statistics.mean(values) ** 2;
    expect(Math.abs(onePass / 29 - fixture.offset.variance)).toBeGreaterThan(0.1);
  });

  it("take tensors and leave them as they are", () => {
    const value = tensorOf("float64", [30], x);
    expect(statistics.quantile(value, 0.5)).toBe(statistics.quantile(x, 0.5));
    expect(Array.from(value.data)).toEqual(x);
    expect(() => statistics.mean(tensorOf("float64", [5, 6], x))).toThrow(/vector, not a tensor of shape \[5, 6\]/);
  });

  it("refuse what has no answer", () => {
    expect(() => statistics.mean([])).toThrow(/at least 1/);
    expect(() => statistics.variance([1])).toThrow(/too few/);
    expect(() => statistics.zScore([0.1, 0.1, 0.1])).toThrow(/all are equal/);
    expect(() => statistics.quantile([1, 2], 1.1)).toThrow(/between 0 and 1/);
    expect(() => statistics.covariance([1, 2], [1, 2, 3])).toThrow(/pairs/);
    expect(() => statistics.mean([1, NaN])).toThrow(/NaN at \[1\]/);
  });

  it("of columns agree with NumPy", async () => {
    const rows = fixture.logistic.features;
    const matrix = tensorOf("float64", [rows.length, 5], rows.flat());
    const column = (j: number) => rows.map((row) => row[j] as number);
    const found = statistics.columnMoments(matrix);
    near(
      found.mean,
      [0, 1, 2, 3, 4].map((j) => statistics.mean(column(j))),
    );
    near(
      found.variance,
      [0, 1, 2, 3, 4].map((j) => statistics.variance(column(j), { ddof: 0 })),
    );
    near((await statistics.covarianceMatrix(matrix)).data, moments.covarianceMatrix.flat(), 1e-11); // sums that cancel
    near((await statistics.correlationMatrix(matrix)).data, moments.correlationMatrix.flat(), 1e-12);
    const withConstant = tensorOf("float64", [3, 2], [1, 0.1, 2, 0.1, 4, 0.1]);
    expect(Array.from((await statistics.correlationMatrix(withConstant)).data)).toEqual([1, NaN, NaN, NaN]);
    await expect(statistics.covarianceMatrix(tensorOf("float64", [1, 2], [1, 2]))).rejects.toThrow(/1 rows/);
  });
});

describe("correlations", () => {
  it.each(correlations)("agree with scipy (case %#)", (stored) => {
    near(
      [
        statistics.pearson(stored.x, stored.y),
        statistics.spearman(stored.x, stored.y),
        statistics.kendall(stored.x, stored.y),
      ],
      [stored.pearson, stored.spearman, stored.kendall],
    );
    near(statistics.ranks(stored.x), stored.ranks, 0);
  });

  it("Kendall's counts what a double loop counts", () => {
    const source = random(9);
    for (let trial = 0; trial < 20; trial++) {
      const [a, b] = [0, 1].map(() => Array.from({ length: 25 }, () => source.integer(8))) as [number[], number[]];
      let balance = 0;
      let [untiedA, untiedB] = [0, 0];
      for (let i = 0; i < 25; i++) {
        for (let j = 0; j < i; j++) {
          const [da, db] = [
            Math.sign((a[i] as number) - (a[j] as number)),
            Math.sign((b[i] as number) - (b[j] as number)),
          ];
          balance += da * db;
          untiedA += da * da;
          untiedB += db * db;
        }
      }
      near([statistics.kendall(a, b)], [balance / Math.sqrt(untiedA * untiedB)]);
    }
  });

  it("are one for what rises together, at any scale, and undefined for a constant", () => {
    for (const scale of [1e-200, 1, 1e200]) {
      const scaled = x.map((value) => value * scale);
      expect(Math.abs(statistics.pearson(x, scaled) - 1)).toBeLessThan(1e-14);
      expect(
        Math.abs(
          statistics.pearson(
            x,
            scaled.map((value) => -value),
          ) + 1,
        ),
      ).toBeLessThan(1e-14);
    }
    const curved = x.map((value) => value ** 3);
    expect(Math.abs(statistics.spearman(x, curved) - 1)).toBeLessThan(1e-14);
    expect(statistics.kendall(x, curved)).toBe(1);
    expect(statistics.pearson(x, curved)).toBeLessThan(0.999);
    for (const of of [statistics.pearson, statistics.spearman, statistics.kendall])
      expect(of([1, 2, 3], [0.1, 0.1, 0.1])).toBeNaN();
  });

  it("have Fisher's interval, as scipy's", () => {
    const { r, level, low, high } = fixture.fisher;
    const found = statistics.fisherInterval(r, 30, level);
    near([found.low, found.high], [low, high]);
    expect(statistics.fisherInterval(1, 10)).toEqual({ low: 1, high: 1 });
    expect(() => statistics.fisherInterval(0.5, 3)).toThrow(/more than 3 pairs/);
    expect(() => statistics.fisherInterval(1.5, 10)).toThrow(/between -1 and 1/);
    expect(() => statistics.fisherInterval(0.5, 10, 95)).toThrow(/level/);
  });
});

describe("the normal distribution", () => {
  it("agrees with scipy, far in the tails too", () => {
    for (const [z, p] of fixture.normal.cdf as [number, number][])
      expect(Math.abs(statistics.normalCdf(z) - p)).toBeLessThanOrEqual(1e-12 * p); // 8 sigma: exp's own rounding, 40 ulp
    for (const [p, z] of fixture.normal.quantile as [number, number][])
      expect(Math.abs(statistics.normalQuantile(p) - z)).toBeLessThanOrEqual(1e-13 * Math.max(1, Math.abs(z)));
  });

  it("knows its ends", () => {
    expect([0, 1, 0.5].map(statistics.normalQuantile)).toEqual([-Infinity, Infinity, 0]);
    expect(statistics.normalQuantile(1.1)).toBeNaN();
    expect([-Infinity, -100, 100, Infinity].map(statistics.normalCdf)).toEqual([0, 0, 1, 1]);
  });
});

describe("corrections for many tests", () => {
  it("agree with scipy and with Holm's definition", () => {
    near(statistics.benjaminiHochberg(multiplicity.p), multiplicity.benjaminiHochberg);
    near(statistics.holm(multiplicity.p), multiplicity.holm);
  });

  it("keep the order and never lower a p-value", () => {
    for (const adjust of [statistics.benjaminiHochberg, statistics.holm]) {
      const found = adjust(multiplicity.p);
      multiplicity.p.forEach((p, i) => {
        expect(found[i]).toBeGreaterThanOrEqual(p);
        multiplicity.p.forEach((q, j) => {
          if (p < q) expect(found[i]).toBeLessThanOrEqual(found[j] as number);
        });
      });
    }
    expect(() => statistics.holm([0.5, 1.5])).toThrow(/p-value 1 is 1.5/);
  });

  it("hold false rejections down where plain p-values don't", () => {
    const source = random(17);
    let [plain, family, discovery] = [0, 0, 0];
    for (let trial = 0; trial < 400; trial++) {
      const p = Float64Array.from({ length: 20 }, () => source.uniform()); // every null hypothesis is true
      if (p.some((value) => value <= 0.05)) plain += 1 / 400;
      if (statistics.holm(p).some((value) => value <= 0.05)) family += 1 / 400;
      if (statistics.benjaminiHochberg(p).some((value) => value <= 0.05)) discovery += 1 / 400;
    }
    expect(plain).toBeGreaterThan(0.5); // 1 - 0.95^20 = 0.64, standard error 0.024
    expect(family).toBeLessThan(0.09); // 0.05, standard error 0.011
    expect(discovery).toBeLessThan(0.09);
  });
});

describe("effect sizes", () => {
  it("agree with scikit-learn and the definition", () => {
    const tied = correlations[1] as (typeof correlations)[number];
    near([statistics.areaUnderRoc(tied.x, effects.labels)], [effects.area]);
    near([statistics.cohenD(x, fixture.bootstraps.skewed)], [effects.cohenD]);
  });

  it("change sides with the groups", () => {
    const labels = x.map((_, i) => i % 3 === 0);
    const area = statistics.areaUnderRoc(x, labels);
    expect(
      Math.abs(
        statistics.areaUnderRoc(
          x,
          labels.map((label) => !label),
        ) -
          (1 - area),
      ),
    ).toBeLessThan(1e-14);
    expect(statistics.areaUnderRoc([1, 2, 3, 4], [0, 0, 1, 1])).toBe(1);
    expect(statistics.areaUnderRoc([1, 1, 1], [0, 1, 0])).toBe(0.5);
    expect(statistics.cohenD(x, y)).toBe(-statistics.cohenD(y, x));
  });

  it("refuse what has no answer", () => {
    expect(() => statistics.areaUnderRoc([1, 2], [1, 1])).toThrow(/both kinds/);
    expect(() => statistics.areaUnderRoc([1, 2], [1, 2])).toThrow(/label 1 is 2/);
    expect(() => statistics.areaUnderRoc([1, 2], [1])).toThrow(/1 labels for 2 scores/);
    expect(() => statistics.cohenD([1, 1], [2, 2])).toThrow(/constant/);
  });
});
