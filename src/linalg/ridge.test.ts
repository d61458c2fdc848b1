import { afterAll, describe, expect, it } from "vitest";
import { apart, fixtures, flat } from "../../test/fixtures/linalg/check.js";
import { build, noise, noiseAt, type Plain } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../runtime/index.js";
import { folds, leastSquares, pca, pcaScores, predictLinear, ridge, ridgeSearch } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const penalties = [0.5, 3, 20];
const at = (matrix: Plain, i: number, j: number) => matrix.data[i * matrix.shape[1] + j] as number;

/** The data of `ridge_case` in make.py. */
function problem({ rows, features, targets }: { rows: number; features: number; targets: number }) {
  const x = build(rows, features, (i, j) => noiseAt(i * features + j) + 0.3);
  const extra = noise(rows, targets, 9000);
  return { x, y: build(rows, targets, (i, j) => at(x, i, j) * 2 + at(extra, i, j) + 5) };
}

describe.each(["primal", "dual"] as const)("ridge, %s", (form) => {
  const expected = fixtures.ridge[form];
  const { x, y } = problem(expected);

  it("agrees with scikit-learn, with a penalty a target, and without intercept", async () => {
    const fit = await ridge(x, y, penalties, { runtime });
    expect(apart(fit.weights.data, flat(expected.weights))).toBeLessThan(1e-12); // squared condition, times rounding
    expect(apart(fit.intercept, expected.intercept)).toBeLessThan(1e-12);
    const plain = await ridge(x, y, 0.7, { runtime, intercept: false });
    expect(apart(plain.weights.data, flat(expected.withoutIntercept))).toBeLessThan(1e-12);
    expect([...plain.intercept]).toEqual([0, 0, 0]);
    const other = await ridge(x, y, 0.71, { runtime, intercept: false });
    expect(apart(other.weights.data, flat(expected.withoutIntercept))).toBeGreaterThan(1e-4); // the control
  });

  it("chooses by the same held-out R² as scikit-learn", async () => {
    const options = { runtime, folds: folds(x.shape[0], { count: 4 }) };
    const candidates = [0.01, 1, 100];
    const found = await ridgeSearch(x, y, candidates, options);
    expect(apart(found.scores.data, flat(expected.scores))).toBeLessThan(1e-10); // R² of a fold divides by a small sum
    const best = [0, 1, 2].map((target) => {
      const scores = expected.scores.map((row) => row[target] as number);
      return candidates[scores.indexOf(Math.max(...scores))];
    });
    expect([...found.penalties]).toEqual(best);
    const shared = await ridgeSearch(x, y, candidates, { ...options, choice: "shared" });
    expect(new Set(shared.penalties).size).toBe(1);
    const same = await ridge(x, y, shared.penalties, { runtime });
    expect(shared.weights.data).toEqual(same.weights.data);
  });
});

describe("ridge", () => {
  it("goes to least squares as the penalty vanishes, and to the mean as it grows", async () => {
    const { x, y } = problem({ rows: 40, features: 6, targets: 2 });
    const near = await ridge(x, y, 1e-9, { runtime, intercept: false });
    expect(apart(near.weights.data, (await leastSquares(x, y, { runtime })).solution.data)).toBeLessThan(1e-8);
    const far = await ridge(x, y, 1e12, { runtime });
    const mean = y.data.filter((_, k) => k % 2 === 0).reduce((sum, value) => sum + value, 0) / 40;
    const predicted = await predictLinear(far, x, { runtime });
    expect(
      apart(
        predicted.data.filter((_, k) => k % 2 === 0),
        new Float64Array(40).fill(mean),
      ),
    ).toBeLessThan(1e-10);
  });

  it("picks a heavy penalty for noise and a light one for signal", async () => {
    const x = noise(80, 30);
    const y = build(80, 2, (i, j) => (j === 0 ? at(x, i, 3) : noiseAt(50_000 + i)));
    const { penalties: chosen, scores } = await ridgeSearch(x, y, [1e-3, 1e3], { runtime });
    expect([...chosen]).toEqual([1e-3, 1e3]);
    expect(scores.data[0]).toBeGreaterThan(0.99);
    expect(scores.data[1]).toBeLessThan(0);
  });

  it("refuses penalties that are not positive, lists that do not fit, and features without squares", async () => {
    const { x, y } = problem({ rows: 9, features: 3, targets: 2 });
    await expect(ridge(x, y, 0)).rejects.toThrow(/must be positive, not 0 \(for none, use leastSquares\)/);
    await expect(ridge(x, y, [1, 2, 3])).rejects.toThrow(/3 penalties were given for 2 targets/);
    await expect(ridge(x, noise(8, 2), 1)).rejects.toThrow(/the targets has 8 rows|8 rows where/);
    await expect(ridge({ ...x, data: x.data.map((v) => v * 1e150) }, y, 1)).rejects.toThrow(/scale them down/);
    await expect(ridgeSearch(x, y, [])).rejects.toThrow(/no penalty/);
    await expect(predictLinear(await ridge(x, y, 1), noise(2, 4))).rejects.toThrow(/takes 3 features, not 4/);
  });
});

describe("folds", () => {
  const groups = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4];
  const heldOut = (list: ReturnType<typeof folds>) => list.map(({ validation }) => [...validation]);

  it("are scikit-learn's KFold and GroupKFold", () => {
    expect(heldOut(folds(14, { count: 4 }))).toEqual(fixtures.folds.contiguous);
    const sorted = (list: number[][]) => list.map((fold) => fold.join()).sort();
    expect(sorted(heldOut(folds(15, { count: 3, groups })))).toEqual(sorted(fixtures.folds.groups));
  });

  it("hold every row out once and split no group, shuffled by the seed", () => {
    for (const options of [{ order: "shuffled" }, { order: "shuffled", groups }, { groups }] as const) {
      const list = folds(15, { count: 3, ...options });
      expect(
        heldOut(list)
          .flat()
          .sort((a, b) => a - b),
      ).toEqual(groups.map((_, i) => i));
      for (const { train, validation } of list) {
        expect([...train, ...validation].sort((a, b) => a - b)).toEqual(groups.map((_, i) => i));
        const outside = new Set([...train].map((i) => groups[i]));
        if ("groups" in options) expect([...validation].some((i) => outside.has(groups[i] as number))).toBe(false);
      }
    }
    const shuffled = (seed: number) => heldOut(folds(40, { order: "shuffled", seed }));
    expect(shuffled(1)).toEqual(shuffled(1));
    expect(shuffled(1)).not.toEqual(shuffled(2));
    expect(shuffled(1)).not.toEqual(heldOut(folds(40)));
  });

  it("refuse counts that cannot be", () => {
    expect(() => folds(3, { count: 4 })).toThrow(/from 2 to 3 \(the number of rows\), not 4/);
    expect(() => folds(15, { count: 6, groups })).toThrow(/from 2 to 5 \(the number of groups\), not 6/);
    expect(() => folds(3, { groups })).toThrow(/15 groups were given for 3 rows/);
  });
});

describe("pca", () => {
  const data = (name: "tall" | "wide") => {
    const { rows, features } = fixtures.pca[name];
    return build(rows, features, (i, j) => noiseAt(i * features + j) * (j + 1));
  };

  it.each([
    ["tall", "svd"],
    ["tall", "gram"],
    ["wide", "svd"],
    ["wide", "gram"],
  ] as const)("of %s data by %s agrees with scikit-learn", async (name, method) => {
    const expected = fixtures.pca[name];
    const fit = await pca(data(name), { runtime, method, count: expected.components.length });
    expect(apart(fit.components.data, flat(expected.components))).toBeLessThan(1e-12);
    expect(apart(fit.scores.data, flat(expected.scores))).toBeLessThan(1e-12);
    expect(apart(fit.variances, expected.variances)).toBeLessThan(1e-13);
    expect(apart(fit.ratios, expected.ratios)).toBeLessThan(1e-13);
    expect((await pcaScores(fit, data(name), { runtime })).data).toEqual(fit.scores.data);
    const flippedSign = fit.components.data.map((value) => -value);
    expect(apart(flippedSign, flat(expected.components))).toBeGreaterThan(1); // the control: signs are fixed
  });

  it.each(["svd", "gram"] as const)(
    "whitens to unit variance and leaves what has none at zero, by %s",
    async (method) => {
      const { scores, ratios } = await pca(data("wide"), { runtime, whiten: true, method });
      const variance = (j: number) => {
        const column = scores.data.filter((_, k) => k % 12 === j);
        return column.reduce((sum, value) => sum + value ** 2, 0) / 11;
      };
      for (let j = 0; j < 11; j++) expect(variance(j)).toBeCloseTo(1, 10);
      expect(ratios.reduce((sum, ratio) => sum + ratio, 0)).toBeCloseTo(1, 12);
      const constant = await pca(
        build(5, 3, () => 7),
        { runtime, whiten: true, method },
      );
      expect([...constant.scores.data].every((value) => value === 0)).toBe(true);
      expect([...constant.ratios]).toEqual([0, 0, 0]);
    },
  );

  it("refuses one row, too many components and other features", async () => {
    await expect(pca(noise(1, 3))).rejects.toThrow(/at least 2 rows/);
    await expect(pca(noise(4, 3), { count: 4 })).rejects.toThrow(/from 1 to 3/);
    await expect(pcaScores(await pca(noise(4, 3)), noise(4, 2))).rejects.toThrow(/3 features, the data 2/);
    await expect(pca(tensorOf("float64", [2, 1], [1, Number.NaN]))).rejects.toThrow(/the data holds NaN/);
  });
});
