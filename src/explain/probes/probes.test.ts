/** Probes against scikit-learn's, against their own invariances, and against data in which there is nothing to find. */
import { afterAll, describe, expect, it } from "vitest";
import { cases, gaussian, probeData } from "../../../test/fixtures/explain/representations/cases.js";
import { apart, flat } from "../../../test/fixtures/linalg/check.js";
import { build, type Plain } from "../../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../../runtime/index.js";
import {
  type ClassProbeSpec,
  type LinearMethod,
  linearProbe,
  logisticProbe,
  predictLabels,
  predictTargets,
  ridgeProbe,
} from "./index.js";
import { classProbe } from "./kinds.js";
import { classMeans, residualsOf, shrunkCovariance } from "./rows.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const { features, two, three, targets } = probeData;
const quick = { runtime, resamples: 50 };
const contiguous = { ...quick, order: "contiguous" } as const;
const expected = cases.probes;

/** Conditioning of the covariance (1e6 here, unscaled) times rounding. */
const direct = 1e-9;
/** Two minimisers of one convex function, each to its own gradient tolerance. */
const minimised = 1e-5;

const kinds: readonly ClassProbeSpec[] = [
  { kind: "linear", method: "leastSquares" },
  { kind: "linear", method: "differenceInMeans" },
  { kind: "linear", method: "lda" },
  { kind: "logistic", penalty: 1 },
];

const nameOf = (spec: ClassProbeSpec) => (spec.kind === "linear" ? (spec.method as LinearMethod) : spec.kind);
const every = kinds.map((spec) => [nameOf(spec), spec] as const);

/** Rows of a matrix under a map of their entries. */
const mapped = (matrix: Plain, entry: (value: number, i: number, j: number) => number) =>
  build(matrix.shape[0], matrix.shape[1], (i, j) => entry(matrix.data[i * matrix.shape[1] + j] as number, i, j));

describe("linear probes", () => {
  it.each([
    ["two", two],
    ["three", three],
  ] as const)("by discriminants are scikit-learn's, %s classes", async (name, labels) => {
    const { weights, intercept } = await linearProbe(features, labels, {
      ...quick,
      method: "lda",
      shrinkage: 0.3,
      standardize: false,
    });
    expect(apart(weights.data, flat(expected.lda[name].weights))).toBeLessThan(direct);
    expect(apart(intercept, expected.lda[name].intercept)).toBeLessThan(direct);
    const other = await linearProbe(features, labels, { ...quick, shrinkage: 0.31, standardize: false });
    expect(apart(other.weights.data, flat(expected.lda[name].weights))).toBeGreaterThan(1e-3);
  });

  it("by discriminants without shrinkage are the same in any units", async () => {
    const { weights } = await linearProbe(features, three, { ...quick, shrinkage: 0 });
    // Centring the features adds one vector to the weights of every class, which changes no comparison of classes.
    const differences = (values: ArrayLike<number>) =>
      Array.from({ length: 15 }, (_, at) => (values[at] as number) - (values[at - (at % 3)] as number));
    expect(apart(differences(weights.data), differences(flat(expected.lda.plain.weights)))).toBeLessThan(direct);
  });

  it("shrink covariances as Ledoit and Wolf do", async () => {
    const residuals = residualsOf(features, three, classMeans(features, three, 3).means);
    const found = await shrunkCovariance(residuals, "auto", { runtime });
    expect(apart(found.data, flat(expected.ledoitWolf.covariance))).toBeLessThan(1e-12);
    expect(expected.ledoitWolf.shrinkage).toBeGreaterThan(0.01); // or the agreement would say nothing
  });

  it.each([
    ["two", two],
    ["three", three],
  ] as const)("by least squares hold out what scikit-learn does, %s classes", async (name, labels) => {
    const { heldOut } = await linearProbe(features, labels, { ...contiguous, method: "leastSquares" });
    expect(apart(heldOut.data, flat(expected.leastSquares[name]))).toBeLessThan(direct);
  });

  it("by means give a row the label of the nearest mean", async () => {
    const { predicted } = await linearProbe(features, three, { ...contiguous, method: "differenceInMeans" });
    expect(predicted).toEqual(expected.nearestMean);
  });

  it("by means point from the first mean to the second", async () => {
    const { weights, directions } = await linearProbe(features, two, { ...quick, method: "differenceInMeans" });
    const { means } = classMeans(features, two, 2);
    const difference = Array.from({ length: 5 }, (_, j) => (means.data[5 + j] as number) - (means.data[j] as number));
    expect(apart(weights.data, difference)).toBeLessThan(1e-14);
    expect(Math.hypot(...directions.data)).toBeCloseTo(1, 12);
    expect(
      apart(
        directions.data,
        difference.map((value) => value / Math.hypot(...difference)),
      ),
    ).toBeLessThan(1e-12);
  });
});

describe("logistic probes", () => {
  it.each([
    ["two", two],
    ["three", three],
  ] as const)("hold out what scikit-learn does, %s classes", async (name, labels) => {
    const { heldOut } = await logisticProbe(features, labels, { ...contiguous, penalty: 2 });
    expect(apart(heldOut.data, flat(expected.logistic[name]))).toBeLessThan(minimised);
    const other = await logisticProbe(features, labels, { ...contiguous, penalty: 2.1 });
    expect(apart(other.heldOut.data, flat(expected.logistic[name]))).toBeGreaterThan(100 * minimised);
  });

  it("choose penalties inside each fold, by held-out loss", async () => {
    const probe = await logisticProbe(features, two, { ...contiguous, penalty: [0.1, 1, 10, 100] });
    expect(apart(probe.heldOut.data, expected.logistic.search)).toBeLessThan(minimised);
    expect([...(probe.penalties as Float64Array)]).toEqual([expected.logistic.chosen]);
  });

  it("weigh classes alike where asked", async () => {
    const labels = two.map((label, i) => (i % 10 === 1 ? label : 0)); // six of sixty
    const plain = await logisticProbe(features, labels, { ...quick, penalty: 10, score: "balancedAccuracy" });
    const weighted = await logisticProbe(features, labels, {
      ...quick,
      penalty: 10,
      score: "balancedAccuracy",
      classWeights: "balanced",
    });
    expect(plain.predicted.filter((label) => label === 1).length).toBeLessThan(6);
    expect(weighted.predicted.filter((label) => label === 1).length).toBeGreaterThan(6);
  });
});

describe("ridge probes", () => {
  it("hold out what scikit-learn does, under one penalty and under chosen ones", async () => {
    const fixed = await ridgeProbe(features, targets, { ...contiguous, penalty: 5 });
    expect(apart(fixed.heldOut.data, flat(expected.ridge.fixed))).toBeLessThan(direct);
    const search = await ridgeProbe(features, targets, { ...contiguous, penalty: [0.1, 1, 10, 100] });
    expect(apart(search.heldOut.data, flat(expected.ridge.search))).toBeLessThan(direct);
    expect([...(search.penalties as Float64Array)]).toEqual(expected.ridge.chosen);
    expect(apart(search.heldOut.data, flat(expected.ridge.fixed))).toBeGreaterThan(1e-4);
  });

  it("score every target, and the mean of them, as written out", async () => {
    const probe = await ridgeProbe(features, targets, { ...contiguous, penalty: 5 });
    for (const target of [0, 1]) {
      const folds = [0, 1, 2, 3, 4].map((fold) => {
        const rows = Array.from({ length: 12 }, (_, i) => 12 * fold + i);
        const y = rows.map((row) => targets.data[row * 2 + target] as number);
        const mean = y.reduce((a, b) => a + b) / 12;
        const missed = rows.map((row, i) => (y[i] as number) - (expected.ridge.fixed[row]?.[target] as number));
        return 1 - missed.reduce((s, e) => s + e * e, 0) / y.reduce((s, value) => s + (value - mean) ** 2, 0);
      });
      expect(apart(probe.targets[target]?.folds as number[], folds)).toBeLessThan(direct);
    }
    const means = probe.targets.map(({ mean }) => mean);
    expect(probe.score.mean).toBeCloseTo(((means[0] as number) + (means[1] as number)) / 2, 12);
    expect(probe.score.low).toBeLessThan(probe.score.mean);
    expect(probe.score.high).toBeGreaterThan(probe.score.mean);
  });

  it("score correlations that do not see a scale, and take a list", async () => {
    const list = Array.from({ length: 60 }, (_, i) => targets.data[2 * i] as number);
    const options = { ...contiguous, penalty: 1e4, score: "correlation" } as const;
    const strong = await ridgeProbe(features, list, options);
    const { targets: both } = await ridgeProbe(features, targets, options);
    expect(strong.score.mean).toBeGreaterThan(0.5);
    expect(strong.score.folds).toEqual(both[0]?.folds);
    const r2 = await ridgeProbe(features, list, { ...options, score: "r2" });
    expect(r2.score.mean).toBeLessThan(0.1); // such a penalty shrinks predictions to nearly nothing
    const opposite = await ridgeProbe(
      features,
      list.map((value) => -value),
      options,
    );
    expect(opposite.score.mean).toBeCloseTo(strong.score.mean, 10);
  });

  it("predict new rows by their own weights", async () => {
    const probe = await ridgeProbe(features, targets, { ...quick, penalty: 1e-3 });
    const values = await predictTargets(probe, features, { runtime });
    expect(apart(values.data, targets.data)).toBeLessThan(0.2);
    const row = Array.from({ length: 2 }, (_, t) => {
      const products = Array.from(
        { length: 5 },
        (_, j) => (features.data[j] as number) * (probe.weights.data[2 * j + t] as number),
      );
      return products.reduce((a, b) => a + b, probe.intercept[t] as number);
    });
    expect(apart(values.data.slice(0, 2), row)).toBeLessThan(1e-12);
  });
});

describe.each(every)("a %s probe", (_, spec) => {
  const run = (x: Plain, labels: readonly (number | string)[], options = {}) =>
    classProbe(x, labels, { ...spec, ...quick, ...options });

  it("finds what is there, and gives new rows their labels", async () => {
    const x = mapped(gaussian(90, 6, 3), (value, i, j) => value + (j === 2 && i % 2 === 1 ? 5 : 0));
    const labels = Array.from({ length: 90 }, (_, i) => (i % 2 === 1 ? "odd" : "even"));
    const probe = await run(x, labels);
    expect(probe.classes).toEqual(["even", "odd"]);
    expect(probe.score.mean).toBeGreaterThan(0.95);
    expect(probe.score.folds).toHaveLength(5);
    expect(probe.chance).toBe(0.5);
    expect(probe.directions.data[2]).toBeGreaterThan(0.9);
    expect(
      await predictLabels(probe, tensorOf("float32", [2, 6], [0, 0, 9, 0, 0, 0, 0, 0, -9, 0, 0, 0]), { runtime }),
    ).toEqual(["odd", "even"]);
  });

  it("scores at chance on noise, within its interval", async () => {
    const inside: boolean[] = [];
    for (let seed = 0; seed < 8; seed++) {
      const labels = Array.from({ length: 80 }, (_, i) => i % 2);
      const { score } = await run(gaussian(80, 4, 100 + seed), labels, { seed, resamples: 200 });
      expect(score.mean).toBeLessThan(0.7); // 3.6 standard deviations of 80 coin tosses
      inside.push(score.low <= 0.5 && score.high >= 0.5);
    }
    // 95% each if the fits were fixed; fits that vary make scores vary more: one or two may miss.
    expect(inside.filter(Boolean).length).toBeGreaterThanOrEqual(6);
  });

  it("lets no held-out row see another", async () => {
    const labels = Array.from({ length: 40 }, (_, i) => i % 2);
    const x = gaussian(40, 4, 9);
    const [before, after] = [x, mapped(x, (value, i) => (i === 1 ? 1e6 * value : value))].map((data) =>
      run(data, labels, { order: "contiguous", standardize: true }),
    );
    const [own, other] = [await before, await after];
    // Row 1 is held out with rows 0 to 7: these keep their values to the last bit. In the other folds it is fitted on.
    expect(own?.heldOut.data.slice(2, 8)).toEqual(other?.heldOut.data.slice(2, 8));
    expect(own?.heldOut.data[0]).toBe(other?.heldOut.data[0]);
    expect(own?.heldOut.data[1]).not.toBe(other?.heldOut.data[1]);
    expect(own?.heldOut.data[8]).not.toBe(other?.heldOut.data[8]);
  });

  it("repeats itself by its seed", async () => {
    const x = gaussian(50, 3, 5);
    const labels = Array.from({ length: 50 }, (_, i) => i % 2);
    const [a, b, c] = [
      await run(x, labels, { seed: 1 }),
      await run(x, labels, { seed: 1 }),
      await run(x, labels, { seed: 2 }),
    ];
    expect(a).toEqual(b);
    expect(a.score.folds).not.toEqual(c.score.folds);
  });
});

describe("what would leak", () => {
  it("is found where features are scaled before they are split", async () => {
    // A feature that is 0 but for one row a fold: its scale over all rows tells how far that row lies from the others.
    const x = gaussian(40, 3, 21);
    const labels = Array.from({ length: 40 }, (_, i) => i % 2);
    const scaledFirst = (data: Plain) => {
      const moments = [0, 1, 2].map((j) => {
        const column = Array.from({ length: 40 }, (_, i) => data.data[3 * i + j] as number);
        const mean = column.reduce((a, b) => a + b) / 40;
        return { mean, deviation: Math.sqrt(column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 40) };
      });
      return mapped(data, (value, _, j) => (value - (moments[j]?.mean as number)) / (moments[j]?.deviation as number));
    };
    const spoiled = mapped(x, (value, i) => (i === 1 ? 1e3 * value : value));
    const options = { ...contiguous, penalty: 1, standardize: false };
    const before = await logisticProbe(scaledFirst(x), labels, options);
    const after = await logisticProbe(scaledFirst(spoiled), labels, options);
    expect(after.heldOut.data[0]).not.toBe(before.heldOut.data[0]); // what the test above would see of such a leak
  });

  it("is kept from probes by groups", async () => {
    // Rows of one group are copies: whoever has seen one knows the label of the others, which are random.
    const base = gaussian(20, 30, 4);
    const labels = Array.from(
      { length: 60 },
      (_, i) => [0, 1, 1, 0, 1, 0, 0, 1, 1, 0][(7 * Math.floor(i / 3)) % 10] as number,
    );
    const x = build(60, 30, (i, j) => base.data[Math.floor(i / 3) * 30 + j] as number);
    const groups = Array.from({ length: 60 }, (_, i) => `story ${Math.floor(i / 3)}`);
    const leaked = await linearProbe(x, labels, { ...quick, method: "leastSquares" });
    const kept = await linearProbe(x, labels, { ...quick, method: "leastSquares", groups });
    expect(leaked.score.mean).toBeGreaterThan(0.9);
    expect(kept.score.mean).toBeLessThan(0.75);
    const wider = kept.score.high - kept.score.low;
    expect(wider).toBeGreaterThan(leaked.score.high - leaked.score.low);
  });
});

describe("scores", () => {
  it("are the share of right labels, its mean over classes, and the area under the curve", async () => {
    const labels = two.map((label, i) => (i % 3 === 0 ? 0 : label));
    const options = { ...contiguous, penalty: 1, folds: 2 };
    const accuracy = await logisticProbe(features, labels, options);
    const balanced = await logisticProbe(features, labels, { ...options, score: "balancedAccuracy" });
    const area = await logisticProbe(features, labels, { ...options, score: "areaUnderRoc" });
    const halves = [labels.slice(0, 30), labels.slice(30)].map((half, f) =>
      half.map((label, i) => ({ label, i: 30 * f + i })),
    );
    const right = ({ label, i }: { label: number; i: number }) => Number(accuracy.predicted[i] === label);
    const share = (list: { label: number; i: number }[]) =>
      list.reduce((sum, one) => sum + right(one), 0) / list.length;
    halves.forEach((half, f) => {
      const [negative, positive] = [half.filter(({ label }) => label === 0), half.filter(({ label }) => label === 1)];
      expect(accuracy.score.folds[f]).toBeCloseTo(share(half), 12);
      expect(balanced.score.folds[f]).toBeCloseTo((share(negative) + share(positive)) / 2, 12);
      const value = ({ i }: { i: number }) => accuracy.heldOut.data[i] as number;
      const wins = positive.flatMap((p) => negative.map((n) => Number(value(p) > value(n))));
      expect(area.score.folds[f]).toBeCloseTo(wins.reduce((a, b) => a + b) / wins.length, 12);
    });
    expect(accuracy.chance).toBeCloseTo(2 / 3, 12);
    expect(balanced.chance).toBe(0.5);
    expect(accuracy.score.mean).not.toBeCloseTo(balanced.score.mean, 3);
  });

  it("draw folds where each holds a single group", async () => {
    const groups = three;
    const { score } = await logisticProbe(features, two, { ...quick, resamples: 2000, penalty: 1, groups, folds: 3 });
    const rounding = 1e-12;
    expect(Math.abs(score.low - Math.min(...score.folds))).toBeLessThan(rounding); // three of one fold: 1 in 27 samples
    expect(Math.abs(score.high - Math.max(...score.folds))).toBeLessThan(rounding);
  });

  it("ignore features that are constant where they are fitted on", async () => {
    const x = mapped(features, (value, i, j) => (j === 1 ? (i === 59 ? 1e9 : 7.1) : value));
    const without = mapped(features, (value, _, j) => (j === 1 ? 7.1 : value));
    const probe = await logisticProbe(x, two, { ...contiguous, penalty: 1 });
    const other = await logisticProbe(without, two, { ...contiguous, penalty: 1 });
    expect(probe.heldOut.data.slice(48)).toEqual(other.heldOut.data.slice(48)); // the fold that holds out row 59
    expect(other.weights.data[1]).toBe(0);
  });
});

describe("what probes refuse", () => {
  const rejects = (work: Promise<unknown>, message: RegExp) => expect(work).rejects.toThrow(message);
  it("other scores", async () => {
    await rejects(linearProbe(features, two, { score: "f1" as "accuracy" }), /areaUnderRoc, not "f1"/);
    await rejects(ridgeProbe(features, targets, { score: "mse" as "r2" }), /r2 or correlation, not "mse"/);
  });
  it("labels that don't match", () => rejects(linearProbe(features, [1, 2]), /2 labels for 60 rows/));
  it("one class", () =>
    rejects(
      linearProbe(
        features,
        two.map(() => "a"),
      ),
      /every label is "a"/,
    ));
  it("labels that are no numbers", () =>
    rejects(
      linearProbe(
        features,
        two.map((x, i) => (i ? x : Number.NaN)),
      ),
      /labels\[0\] is NaN/,
    ));
  it("a class of one row", () =>
    rejects(
      linearProbe(
        features,
        two.map((_, i) => Number(i === 3)),
      ),
      /fold \d holds out every row labelled 1/,
    ));
  it("sorted labels without shuffling", () =>
    rejects(
      linearProbe(features, [...two].sort(), { order: "contiguous", folds: 2 }),
      /fold 0 holds out every row labelled 0/,
    ));
  it("another method", () =>
    rejects(
      linearProbe(features, two, { method: "svm" as LinearMethod }),
      /leastSquares, differenceInMeans, lda, not "svm"/,
    ));
  it("a covariance without inverse", () =>
    rejects(linearProbe(gaussian(8, 9, 1), [0, 1, 0, 1, 0, 1, 0, 1], { shrinkage: 0, folds: 2 }), /shrinkage above 0/));
  it("shrinkage out of range", () =>
    rejects(linearProbe(features, two, { shrinkage: 1.5 }), /from 0 to 1 or "auto", not 1.5/));
  it("negative penalties", () => rejects(logisticProbe(features, two, { penalty: -1 }), /at least 0, not -1/));
  it("no penalties", () => rejects(logisticProbe(features, two, { penalty: [] }), /an empty list/));
  it("an area of three classes", () =>
    rejects(logisticProbe(features, three, { score: "areaUnderRoc" }), /two classes, not of 3/));
  it("too many folds", () => rejects(logisticProbe(features, two, { folds: 61 }), /from 2 to 60/));
  it("features that are not finite", () =>
    rejects(
      ridgeProbe(
        mapped(features, (v, i) => (i === 3 ? Infinity : v)),
        targets,
      ),
      /features holds Infinity in row 3/,
    ));
  it("features of another rank", () =>
    rejects(
      linearProbe(tensorOf("float32", [60], new Float32Array(60)), two),
      /must have shape \[rows, columns\], not \[60\]/,
    ));
  it("targets of other rows", () => rejects(ridgeProbe(features, [1, 2, 3]), /targets for 3 rows and features for 60/));
  it("new features of another width", async () => {
    const probe = await linearProbe(features, two, quick);
    await rejects(predictLabels(probe, gaussian(2, 4, 1)), /takes 5 features, not 4/);
  });
  it("to go on after an abort", async () => {
    const controller = new AbortController();
    const done: number[] = [];
    const work = linearProbe(features, two, {
      ...quick,
      signal: controller.signal,
      onProgress(count, total) {
        expect(total).toBe(6);
        done.push(count);
        controller.abort();
      },
    });
    await expect(work).rejects.toMatchObject({ name: "AbortError" });
    expect(done).toEqual([1]);
  });
});
