/**
 * Dissimilarity matrices against scipy, their comparison against scipy and loops, and tests of nothing that find
 * nothing.
 */
import { afterAll, describe, expect, it } from "vitest";
import { cases, gaussian, similarityData } from "../../../test/fixtures/explain/representations/cases.js";
import { apart, flat } from "../../../test/fixtures/linalg/check.js";
import { build, type Plain } from "../../../test/fixtures/linalg/matrices.js";
import { pearson, spearman } from "../../linalg/index.js";
import { createRuntime, tensorOf } from "../../runtime/index.js";
import {
  type ComparisonMeasure,
  compareDissimilarity,
  type DissimilarityMeasure,
  type DissimilarityOptions,
  dissimilarityMatrix,
  noiseCeiling,
} from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const { x, y } = similarityData;
const expected = cases.similarity;
const close = 1e-12;
/** Condition of the covariance times rounding. */
const whitened = 1e-10;

const covariance = tensorOf("float64", [4, 4], flat(expected.covariance));
const conditions = Array.from({ length: 30 }, (_, i) => i % 5);
const partitions = Array.from({ length: 30 }, (_, i) => Math.floor(i / 10));

/** The entries above the diagonal, row by row, as scipy lists them. */
function above({ shape, data }: { readonly shape: readonly number[]; readonly data: Float64Array }): number[] {
  const [count = 0] = shape;
  return Array.from(data).filter((_, at) => Math.floor(at / count) < at % count);
}

const rdm = async (rows: Plain, options: DissimilarityOptions = {}) =>
  (await dissimilarityMatrix(rows, { ...options, runtime })).matrix;

/** A symmetric matrix from its entries above the diagonal. */
function fromEntries(count: number, entries: readonly number[]): Plain {
  const place = (i: number, j: number) => i * count - (i * (i + 1)) / 2 + (j - i - 1);
  return build(count, count, (i, j) => (i === j ? 0 : (entries[place(Math.min(i, j), Math.max(i, j))] as number)));
}

describe("a dissimilarity matrix", () => {
  it.each(["correlation", "cosine", "euclidean"] as const)("of %s is scipy's", async (measure) => {
    const { matrix, conditions: names } = await dissimilarityMatrix(x, { measure });
    expect(apart(above(matrix), expected.rdms[measure])).toBeLessThan(close);
    expect(names).toEqual(Array.from({ length: 30 }, (_, i) => i));
    expect(matrix.data.filter((_, at) => at % 31 === 0)).toEqual(new Float64Array(30));
  });

  it("of Mahalanobis is scipy's for a given covariance, and estimates one from repeats", async () => {
    expect(apart(above(await rdm(x, { measure: "mahalanobis", covariance })), expected.rdms.mahalanobis)).toBeLessThan(
      whitened,
    );
    const means = build(5, 4, (k, j) =>
      [0, 1, 2, 3, 4, 5].reduce((sum, p) => sum + (x.data[(5 * p + k) * 4 + j] as number) / 6, 0),
    );
    const residuals = build(30, 4, (i, j) => (x.data[4 * i + j] as number) - (means.data[4 * (i % 5) + j] as number));
    const pooled = build(
      4,
      4,
      (a, b) =>
        Array.from(
          { length: 30 },
          (_, i) => (residuals.data[4 * i + a] as number) * (residuals.data[4 * i + b] as number),
        ).reduce((s, v) => s + v) / 25,
    );
    const estimated = await rdm(x, { measure: "mahalanobis", conditions, shrinkage: 0 });
    const given = await rdm(means, { measure: "mahalanobis", covariance: pooled });
    expect(apart(estimated.data, given.data)).toBeLessThan(whitened);
    const shrunk = await rdm(x, { measure: "mahalanobis", conditions });
    expect(apart(shrunk.data, given.data)).toBeGreaterThan(1e-3);
  });

  it("across partitions is the mean over pairs of them", async () => {
    const options = { measure: "crossnobis", conditions, partitions, covariance } as const;
    expect(apart(above(await rdm(x, options)), expected.crossnobis)).toBeLessThan(whitened);
    const other = await rdm(x, { ...options, partitions: partitions.map((_, i) => Math.floor(i / 15)) });
    expect(apart(above(other), expected.crossnobis)).toBeGreaterThan(1e-3);
  });

  it("across partitions is 0 on average where nothing differs, and the distance where something does", async () => {
    const identity = build(6, 6, (i, j) => (i === j ? 1 : 0));
    const options = {
      measure: "crossnobis",
      conditions: conditions.slice(0, 20),
      partitions: partitions.slice(0, 20),
      covariance: identity,
    } as const;
    const [nothing, plain, something]: [number[], number[], number[]] = [[], [], []];
    for (let seed = 0; seed < 40; seed++) {
      const rows = gaussian(20, 6, seed);
      nothing.push(...above(await rdm(rows, options)));
      plain.push(...above(await rdm(rows, { measure: "euclidean", conditions: options.conditions })).map((d) => d * d));
      const shifted = build(20, 6, (i, j) => (rows.data[6 * i + j] as number) + (i % 5 === 0 && j < 4 ? 1 : 0));
      something.push(...above(await rdm(shifted, options)).slice(0, 4)); // condition 0 against the others: 4 squared
    }
    const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
    expect(Math.abs(mean(nothing))).toBeLessThan(0.5); // sd 2.4 an entry, some 160 independent ones: 2.6 deviations
    expect(nothing.filter((value) => value < 0).length).toBeGreaterThan(100);
    expect(mean(plain)).toBeGreaterThan(2); // what the bias would be: 2 * 6 / 4 = 3
    expect(Math.abs(mean(something) - 4)).toBeLessThan(1);
  });

  it("averages repeats, under names in order", async () => {
    const names = conditions.map((k) => ["e", "d", "c", "b", "a"][k] as string);
    const found = await dissimilarityMatrix(x, { measure: "euclidean", conditions: names });
    expect(found.conditions).toEqual(["a", "b", "c", "d", "e"]);
    const mean = (k: number, j: number) =>
      [0, 1, 2, 3, 4, 5].reduce((sum, p) => sum + (x.data[(5 * p + k) * 4 + j] as number) / 6, 0);
    const wanted = Math.hypot(...[0, 1, 2, 3].map((j) => mean(4, j) - mean(2, j))); // "a" and "c"
    expect(found.matrix.data[2]).toBeCloseTo(wanted, 12);
  });

  it("does not change with what its measure does not see", async () => {
    const per = (by: (i: number) => number, plus: (i: number) => number) =>
      build(30, 4, (i, j) => (x.data[4 * i + j] as number) * by(i) + plus(i));
    const own = (measure: DissimilarityMeasure) => rdm(x, { measure });
    expect(
      apart(
        (
          await rdm(
            per(
              (i) => i + 1,
              (i) => i,
            ),
          )
        ).data,
        (await own("correlation")).data,
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        (
          await rdm(
            per(
              (i) => i + 1,
              () => 0,
            ),
            { measure: "cosine" },
          )
        ).data,
        (await own("cosine")).data,
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        (
          await rdm(
            per(
              () => 1,
              () => 9,
            ),
            { measure: "euclidean" },
          )
        ).data,
        (await own("euclidean")).data,
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        (
          await rdm(
            per(
              () => 1,
              () => 9,
            ),
            { measure: "cosine" },
          )
        ).data,
        (await own("cosine")).data,
      ),
    ).toBeGreaterThan(0.1);
  });

  it("refuses what it can't measure", async () => {
    const rejects = (options: DissimilarityOptions, message: RegExp, rows = x) =>
      expect(dissimilarityMatrix(rows, options)).rejects.toThrow(message);
    await rejects({ measure: "manhattan" as "cosine" }, /not "manhattan"/);
    await rejects(
      {},
      /condition 0 are constant: it has no correlation/,
      build(3, 4, () => 2),
    );
    await rejects(
      { measure: "cosine" },
      /condition 1 are zero/,
      build(3, 4, (i) => (i === 1 ? 0 : 1)),
    );
    await rejects({ measure: "mahalanobis" }, /without repeated conditions the noise is unknown/);
    await rejects({ measure: "mahalanobis", covariance: x }, /\[4, 4\], not \[30, 4\]/);
    await rejects({ measure: "crossnobis" }, /partitions are given for crossnobis/);
    await rejects({ partitions }, /partitions are given for crossnobis/);
    await rejects(
      { measure: "crossnobis", covariance, conditions, partitions: conditions },
      /partition 0 has no row of condition 1/,
    );
    await rejects({ conditions: [1, 2] }, /2 conditions for 30 rows/);
    await rejects({ conditions: conditions.map(() => 1) }, /needs two conditions/);
  });
});

describe("comparing dissimilarities", () => {
  const none = { permutations: 0, resamples: 0 } as const;

  it.each(["pearson", "spearman", "kendall", "cosine"] as const)(
    "by %s agrees with scipy, ties included",
    async (measure) => {
      const [first, second] = [await rdm(x, { measure: "euclidean" }), await rdm(y, { measure: "euclidean" })];
      const rounded = { ...second, data: second.data.map((value) => Math.round(value * 10) / 10) };
      const { similarity, p, interval, ceiling } = compareDissimilarity(first, rounded, { measure, ...none });
      expect(Math.abs(similarity - expected.comparisons[measure])).toBeLessThan(close);
      expect([p, interval, ceiling]).toEqual([undefined, undefined, undefined]);
      const itself = compareDissimilarity(first, first, { measure, ...none }).similarity;
      expect(itself).toBeCloseTo(1, 12);
      const opposite = { ...first, data: first.data.map((value) => -value) };
      expect(compareDissimilarity(first, opposite, { measure, ...none }).similarity).toBeCloseTo(-1, 12);
    },
  );

  it("tests against orders of conditions", async () => {
    const near = build(
      12,
      4,
      (i, j) => (x.data[4 * i + j] as number) + 0.1 * (gaussian(12, 4, 1).data[4 * i + j] as number),
    );
    const some = build(12, 4, (i, j) => x.data[4 * i + j] as number);
    const { p } = compareDissimilarity(await rdm(some), await rdm(near), { permutations: 199, resamples: 0 });
    expect(p).toBe(1 / 200);
    const ps: number[] = [];
    for (let seed = 0; seed < 20; seed++) {
      const pair = [await rdm(gaussian(8, 5, 10 + seed)), await rdm(gaussian(8, 5, 50 + seed))] as const;
      ps.push(compareDissimilarity(...pair, { permutations: 99, resamples: 0, seed }).p as number);
    }
    // Uniform where nothing is alike: 20 draws have a mean of 0.5 with a deviation of 0.065.
    expect(Math.abs(ps.reduce((a, b) => a + b) / 20 - 0.5)).toBeLessThan(0.2);
    expect(ps.filter((value) => value <= 0.05).length).toBeLessThan(5);
  });

  it("reorders as written out", async () => {
    const [a, b] = [await rdm(gaussian(4, 5, 1)), await rdm(gaussian(4, 5, 2))];
    const observed = compareDissimilarity(a, b, none).similarity;
    const orders = [0, 1, 2, 3]
      .flatMap((i) => [0, 1, 2, 3].flatMap((j) => [0, 1, 2, 3].map((k) => [i, j, k, 6 - i - j - k])))
      .filter((o) => new Set(o).size === 4);
    expect(orders).toHaveLength(24);
    const similarities = orders.map((order) =>
      spearman(
        above({
          shape: [4, 4],
          data: build(4, 4, (i, j) => a.data[4 * (order[i] as number) + (order[j] as number)] as number).data,
        }),
        above(b),
      ),
    );
    const share = similarities.filter((value) => value >= observed - 1e-12).length / 24;
    const { p } = compareDissimilarity(a, b, { permutations: 4000, resamples: 0 });
    expect(Math.abs((p as number) - share)).toBeLessThan(0.03); // 4000 draws: four deviations
  });

  it("draws conditions for its interval, without pairs of one with itself", async () => {
    const [a, b] = [
      await rdm(gaussian(20, 5, 1)),
      await rdm(
        build(
          20,
          5,
          (i, j) =>
            (gaussian(20, 5, 1).data[5 * i + j] as number) + 0.7 * (gaussian(20, 5, 2).data[5 * i + j] as number),
        ),
      ),
    ];
    const { similarity, interval } = compareDissimilarity(a, b, { measure: "pearson", permutations: 0 });
    expect(similarity).toBeCloseTo(pearson(above(a), above(b)), 12);
    expect(interval?.low).toBeLessThan(similarity);
    expect(interval?.high).toBeGreaterThan(similarity);
    // Zeros of a condition with itself in both would pull every sample towards 1: with constant matrices they decide.
    const constant = fromEntries(6, new Array(15).fill(1));
    const varied = fromEntries(
      6,
      Array.from({ length: 15 }, (_, i) => i),
    );
    const { interval: flatInterval } = compareDissimilarity(constant, varied, { measure: "kendall", permutations: 0 });
    expect(flatInterval).toEqual({ low: 0, high: 0 });
    const narrower = compareDissimilarity(a, b, { measure: "pearson", permutations: 0, level: 0.5 }).interval;
    expect((narrower?.high as number) - (narrower?.low as number)).toBeLessThan(
      ((interval?.high as number) - (interval?.low as number)) / 1.5,
    );
  });

  it("is not defined for constant matrices", () => {
    const constant = fromEntries(4, [1, 1, 1, 1, 1, 1]);
    const varied = fromEntries(4, [1, 2, 3, 4, 5, 6]);
    expect(compareDissimilarity(constant, varied)).toEqual({
      measure: "spearman",
      similarity: Number.NaN,
      references: [Number.NaN],
    });
    expect(compareDissimilarity(constant, varied, { measure: "kendall", ...none }).similarity).toBe(0);
  });
});

describe("several subjects", () => {
  const truth = gaussian(10, 6, 5);
  const subjects = async (noiseSize: number) =>
    Promise.all(
      [1, 2, 3, 4, 5].map((s) =>
        rdm(
          build(
            10,
            6,
            (i, j) =>
              (truth.data[6 * i + j] as number) + noiseSize * (gaussian(10, 6, 20 + s).data[6 * i + j] as number),
          ),
        ),
      ),
    );

  it.each(["pearson", "spearman", "cosine", "kendall"] as const)(
    "have a ceiling by %s that the truth lies under",
    async (measure: ComparisonMeasure) => {
      const own = await subjects(0.6);
      const found = compareDissimilarity(await rdm(truth), own, { measure, permutations: 99, resamples: 0 });
      const { lower, upper } = found.ceiling as { lower: number; upper: number };
      expect(lower).toBeLessThan(upper);
      expect(found.similarity).toBeLessThanOrEqual(upper);
      expect(found.similarity).toBeGreaterThan(lower);
      expect(found.similarity).toBeCloseTo(found.references.reduce((a, b) => a + b) / 5, 12);
      expect(found.p).toBe(0.01);
      expect(noiseCeiling(own, measure)).toEqual(found.ceiling);
      const noisier = noiseCeiling(await subjects(2), measure);
      expect(noisier.upper).toBeLessThan(upper);
      const same = noiseCeiling([own[0] as Plain, own[0] as Plain], measure);
      expect(same.lower).toBeCloseTo(1, 12);
      expect(same.upper).toBeCloseTo(1, 12);
    },
  );

  it("have the ceiling that Nili et al. define", async () => {
    const own = (await subjects(0.6)).map(above);
    const score = (values: number[]) => {
      const mean = values.reduce((a, b) => a + b) / values.length;
      const deviation = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length);
      return values.map((value) => (value - mean) / deviation);
    };
    const scored = own.map(score);
    const meanOver = (list: number[][]) =>
      (list[0] as number[]).map((_, k) => list.reduce((s, l) => s + (l[k] as number), 0) / list.length);
    const average = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
    const upper = average(own.map((one) => pearson(one, meanOver(scored))));
    const lower = average(own.map((one, s) => pearson(one, meanOver(scored.filter((_, t) => t !== s)))));
    const found = noiseCeiling(await subjects(0.6), "pearson");
    expect(found.upper).toBeCloseTo(upper, 12);
    expect(found.lower).toBeCloseTo(lower, 12);
  });
});

describe("what comparisons refuse", () => {
  const square = fromEntries(4, [1, 2, 3, 4, 5, 6]);
  it.each([
    [
      "matrices of other sizes",
      () => compareDissimilarity(square, fromEntries(3, [1, 2, 3])),
      /3 conditions, the first matrix 4/,
    ],
    [
      "matrices that are not square",
      () => compareDissimilarity(square, x),
      /the second matrix must be square, not \[30, 4\]/,
    ],
    [
      "matrices that are not symmetric",
      () =>
        compareDissimilarity(
          build(4, 4, (i, j) => 4 * i + j),
          square,
        ),
      /not symmetric: \[1, 0\] is 4 and \[0, 1\] is 1/,
    ],
    ["two conditions", () => compareDissimilarity(fromEntries(2, [1]), fromEntries(2, [1])), /2 rows; at least 3/],
    [
      "three conditions, for an interval",
      () => compareDissimilarity(fromEntries(3, [1, 2, 3]), fromEntries(3, [1, 2, 3])),
      /at least 4 conditions/,
    ],
    ["another measure", () => compareDissimilarity(square, square, { measure: "tau" as "cosine" }), /not "tau"/],
    ["no reference", () => compareDissimilarity(square, []), /no matrix to compare with/],
    ["negative permutations", () => compareDissimilarity(square, square, { permutations: -1 }), /permutations must be/],
    ["one subject's ceiling", () => noiseCeiling([square]), /at least 2 subjects/],
  ])("%s", (_, work, message) => {
    expect(work).toThrow(message);
  });
});
