/**
 * Measures of similarity against scipy, scikit-learn and formulas in numpy, and each against what must not change it.
 */
import { afterAll, describe, expect, it } from "vitest";
import { cases, gaussian, similarityData } from "../../../test/fixtures/explain/representations/cases.js";
import { apart, flat, times } from "../../../test/fixtures/linalg/check.js";
import { build, noise, type Plain } from "../../../test/fixtures/linalg/matrices.js";
import { qr } from "../../linalg/index.js";
import { createRuntime, tensorOf } from "../../runtime/index.js";
import { cca, cka, minibatchCka, procrustes, pwcca, svcca } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const { x, y } = similarityData;
const expected = cases.similarity;

/** Both sides in float64, by other orders of summation. */
const close = 1e-12;
/** An arc cosine or a root near its end doubles what rounding takes away. */
const halved = 1e-6;

const rotationOf = async (size: number, seed: number) => (await qr(gaussian(size, size, seed), { runtime })).q as Plain;
const moved = (matrix: Plain, by: number) =>
  build(matrix.shape[0], matrix.shape[1], (i, j) => (matrix.data[i * matrix.shape[1] + j] as number) + by * (j + 1));
const enlarged = (matrix: Plain, by: number) =>
  build(matrix.shape[0], matrix.shape[1], (i, j) => (matrix.data[i * matrix.shape[1] + j] as number) * by);
const rowsOf = (matrix: Plain, from: number, to: number) =>
  build(to - from, matrix.shape[1], (i, j) => matrix.data[(from + i) * matrix.shape[1] + j] as number);

describe("centred kernel alignment", () => {
  it("is numpy's, by either kernel, with and without bias", async () => {
    const rbf = { kernel: "rbf", bandwidth: 0.8 } as const;
    const found = {
      linear: await cka(x, y, { runtime }),
      rbf: await cka(x, y, { ...rbf, runtime }),
      debiased: await cka(x, y, { debiased: true, runtime }),
      debiasedRbf: await cka(x, y, { ...rbf, debiased: true, runtime }),
    };
    for (const [name, value] of Object.entries(found))
      expect(Math.abs(value - expected.cka[name as keyof typeof found])).toBeLessThan(close);
    expect(new Set(Object.values(found).map((value) => value.toFixed(3))).size).toBe(4);
  });

  it("is the same by features as by examples", async () => {
    const tall = gaussian(40, 6, 1);
    const byFeatures = await cka(tall, noise(40, 5), { runtime });
    const padded = build(40, 45, (i, j) => (j < 6 ? (tall.data[i * 6 + j] as number) : 0)); // wider than its examples
    expect(Math.abs((await cka(padded, noise(40, 5), { runtime })) - byFeatures)).toBeLessThan(close);
  });

  it("is 1 for itself, and unmoved by rotation, scale and shift, but not by other maps", async () => {
    const turned = enlarged(times(x, await rotationOf(4, 5)), -3);
    for (const options of [
      {},
      { debiased: true },
      { kernel: "rbf" as const },
      { kernel: "rbf" as const, debiased: true },
    ]) {
      expect(await cka(x, moved(turned, 2), { ...options, runtime })).toBeCloseTo(1, 10);
      const before = await cka(x, y, { ...options, runtime });
      expect(await cka(turned, y, { ...options, runtime })).toBeCloseTo(before, 10);
      const sheared = build(30, 4, (i, j) => (x.data[4 * i + j] as number) * 10 ** j);
      expect(Math.abs((await cka(sheared, y, { ...options, runtime })) - before)).toBeGreaterThan(0.01);
    }
  });

  it("has the known bias for independent features, and none without it", async () => {
    const [n, p, q] = [60, 40, 30];
    const values = { biased: 0, debiased: 0 };
    const draws = 10;
    for (let seed = 0; seed < draws; seed++) {
      const pair = [gaussian(n, p, 2 * seed), gaussian(n, q, 2 * seed + 1)] as const;
      values.biased += (await cka(...pair, { runtime })) / draws;
      values.debiased += (await cka(...pair, { debiased: true, runtime })) / draws;
    }
    // Of Wishart matrices with m = n - 1 degrees: E |Y'X|^2 = m p q, E |X'X|^2 = m p (m + p + 1).
    const m = n - 1;
    const bias = (p * q * m) / Math.sqrt(m * p * (m + p + 1) * m * q * (m + q + 1));
    expect(bias).toBeGreaterThan(0.3);
    expect(Math.abs(values.biased - bias)).toBeLessThan(0.01);
    expect(Math.abs(values.debiased)).toBeLessThan(0.02); // 0.02 a draw, over the root of ten: three deviations
  });

  it("adds up over batches", async () => {
    const parts = [
      [0, 10],
      [10, 18],
      [18, 30],
    ].map(([from = 0, to = 0]) => [rowsOf(x, from, to), rowsOf(y, from, to)] as const);
    expect(Math.abs((await minibatchCka(parts, { runtime })) - expected.cka.minibatch)).toBeLessThan(close);
    expect(await minibatchCka([[x, y]], { runtime })).toBeCloseTo(expected.cka.debiased, 12);
    async function* later() {
      yield* parts;
    }
    expect(await minibatchCka(later(), { runtime })).toBeCloseTo(expected.cka.minibatch, 12);
    await expect(minibatchCka([], { runtime })).rejects.toThrow(/there is no batch/);
    await expect(minibatchCka([[rowsOf(x, 0, 3), rowsOf(y, 0, 3)]], { runtime })).rejects.toThrow(/3 rows; at least 4/);
  });

  it("refuses what it can't align", async () => {
    await expect(cka(x, rowsOf(y, 0, 20))).rejects.toThrow(/x has 30 examples and y 20/);
    await expect(cka(x, y, { kernel: "cubic" as "rbf" })).rejects.toThrow(/linear or rbf, not "cubic"/);
    await expect(cka(x, y, { bandwidth: 0 })).rejects.toThrow(/bandwidth must be positive/);
    expect(
      await cka(
        x,
        build(30, 2, () => 1),
        { runtime },
      ),
    ).toBeNaN();
  });
});

describe("canonical correlations", () => {
  it("are the cosines of scipy's angles, and scikit-learn's", async () => {
    const { correlations, mean, meanSquared, forced } = await cca(x, y, { runtime });
    expect(apart(correlations, expected.cca.correlations)).toBeLessThan(close);
    expect(apart(correlations, expected.cca.scikitLearn)).toBeLessThan(1e-9); // its power iteration ends there
    expect(mean).toBeCloseTo(expected.cca.correlations.reduce((a, b) => a + b) / 3, 12);
    expect(meanSquared).toBeCloseTo(expected.cca.correlations.reduce((sum, r) => sum + r * r, 0) / 3, 12);
    expect(forced).toBe(0);
  });

  it("are 1 for any invertible map, which alignment is not", async () => {
    const map = build(4, 4, (i, j) => (i === j ? 10 ** i : 0.5));
    const { correlations } = await cca(times(x, map), x, { runtime });
    expect(apart(correlations, [1, 1, 1, 1])).toBeLessThan(1e-10); // condition 1e3, squared in nothing
    expect(await cka(times(x, map), x, { runtime })).toBeLessThan(0.9);
    const before = await cca(x, y, { runtime });
    const after = await cca(times(x, map), moved(y, 5), { runtime });
    expect(apart(after.correlations, before.correlations)).toBeLessThan(1e-10);
  });

  it("drop directions that are rounding, in the features' own type", async () => {
    const doubled = build(30, 5, (i, j) =>
      Math.fround(j < 4 ? (x.data[4 * i + j] as number) : (x.data[4 * i] as number) + (x.data[4 * i + 1] as number)),
    );
    const single = tensorOf("float32", [30, 5], doubled.data);
    expect((await cca(single, single, { runtime })).correlations).toHaveLength(4);
    expect((await cca(single, single, { relativeCut: 1e-15, runtime })).correlations).toHaveLength(5);
  });

  it("say how many mean nothing where examples are few", async () => {
    const [a, b] = [gaussian(10, 6, 1), gaussian(10, 5, 2)];
    const { correlations, forced } = await cca(a, b, { runtime });
    expect(forced).toBe(2); // 6 + 5 - 9
    expect([...correlations].filter((r) => r > 1 - 1e-9)).toHaveLength(2);
  });

  it("of principal components are numpy's", async () => {
    const found = await svcca(x, y, { keep: 0.7, runtime });
    expect(found.correlations).toHaveLength(Math.min(...expected.svcca.ranks));
    expect(apart(found.correlations, expected.svcca.correlations)).toBeLessThan(1e-11); // an angle near a right one
    expect((await svcca(x, y, { keep: 1, runtime })).mean).toBeCloseTo((await cca(x, y, { runtime })).mean, 12);
    const turned = times(x, await rotationOf(4, 9));
    expect(apart((await svcca(turned, y, { keep: 0.7, runtime })).correlations, found.correlations)).toBeLessThan(
      1e-10,
    );
  });

  it("weighted by projections are numpy's, and differ by side", async () => {
    expect(Math.abs((await pwcca(x, y, { runtime })) - expected.pwcca)).toBeLessThan(close);
    expect(Math.abs((await pwcca(y, x, { runtime })) - expected.pwcca)).toBeGreaterThan(1e-3);
    expect(await pwcca(x, x, { runtime })).toBeCloseTo(1, 12);
  });

  it("refuse what has none", async () => {
    const flatFeatures = build(30, 3, () => 2);
    await expect(cca(x, flatFeatures)).rejects.toThrow(/the same features/);
    await expect(svcca(flatFeatures, x)).rejects.toThrow(/the same features/);
    await expect(svcca(x, y, { keep: 0 })).rejects.toThrow(/keep must be above 0/);
    await expect(cca(x, y, { relativeCut: 1 })).rejects.toThrow(/relativeCut/);
    await expect(pwcca(x, rowsOf(y, 0, 9))).rejects.toThrow(/30 examples and y 9/);
  });
});

describe("Procrustes", () => {
  it("is scipy's", async () => {
    const found = await procrustes(x, y, { runtime });
    const { nuclear, disparity, rotation } = expected.procrustes;
    expect(apart(found.rotation.data, flat(rotation))).toBeLessThan(1e-10); // the smallest singular value is far below 1
    expect(found.distance).toBeCloseTo(Math.sqrt(2 - 2 * nuclear), 12);
    expect(found.angle).toBeCloseTo(Math.acos(nuclear), 12);
    const scaled = await procrustes(x, y, { scaling: true, runtime });
    expect(scaled.distance ** 2).toBeCloseTo(disparity, 12);
  });

  it.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])(
    "predicts the wider side from the narrower as far as it says (normalize %s, scaling %s)",
    async (normalize, scaling) => {
      const found = await procrustes(y, x, { normalize, scaling, runtime });
      const { meanX, meanY, scale, rotation } = found;
      const centre = build(30, 3, (i, j) => (y.data[3 * i + j] as number) - (meanX[j] as number));
      const misses = times(centre, rotation).data.map(
        (value, at) => scale * value + (meanY[at % 4] as number) - (x.data[at] as number),
      );
      const norm = Math.hypot(...x.data.map((value, at) => value - (meanY[at % 4] as number)));
      expect(Math.hypot(...misses) / (normalize ? norm : 1)).toBeCloseTo(found.distance, 10);
    },
  );

  it("finds a rotation, a scale and a shift", async () => {
    const turn = await rotationOf(4, 7);
    const image = moved(enlarged(times(x, turn), 2.5), 3);
    const found = await procrustes(x, image, { scaling: true, runtime });
    expect(apart(found.rotation.data, turn.data)).toBeLessThan(1e-11);
    expect(found.scale).toBeCloseTo(2.5, 11);
    expect(found.distance).toBeLessThan(halved);
    expect(found.angle).toBeLessThan(halved);
    expect((await procrustes(x, image, { runtime })).distance).toBeLessThan(halved);
    expect((await procrustes(x, image, { normalize: false, runtime })).distance).toBeGreaterThan(1);
  });

  it("is a metric: symmetric, with triangles, and moved by maps that are no rotation", async () => {
    const z = gaussian(30, 5, 3);
    const angle = async (a: Plain, b: Plain) => (await procrustes(a, b, { runtime })).angle;
    expect(await angle(x, y)).toBeCloseTo(await angle(y, x), 12);
    expect(await angle(x, y)).toBeLessThan((await angle(x, z)) + (await angle(z, y)));
    expect(
      await angle(
        x,
        times(
          x,
          build(4, 4, (i, j) => (i === j ? 10 ** i : 0)),
        ),
      ),
    ).toBeGreaterThan(0.1);
  });

  it("refuses what has no shape", async () => {
    await expect(
      procrustes(
        x,
        build(30, 2, () => 4),
      ),
    ).rejects.toThrow(/every example of y has the same features/);
    await expect(procrustes(x, rowsOf(y, 0, 4))).rejects.toThrow(/30 examples and y 4/);
  });
});
