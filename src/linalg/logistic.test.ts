/** Logistic regression against scikit-learn, against its own objective's derivative, and on what has no solution. */
import { afterAll, describe, expect, it } from "vitest";
import fixture from "../../test/fixtures/linalg/statistics.json" with { type: "json" };
import { createRuntime, random, tensorOf } from "../runtime/index.js";
import {
  fitLogistic,
  type LogisticModel,
  type LogisticOptions,
  predictClasses,
  predictProbabilities,
} from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const matrix = (rows: readonly (readonly number[])[], dtype: "float32" | "float64" = "float64") =>
  tensorOf(dtype, [rows.length, rows[0]?.length ?? 0], rows.flat());
const features = matrix(fixture.logistic.features);

type Stored = (typeof fixture.logistic.fits)[number];
const optionsOf = ({ penalty, intercept, standardize, classWeights }: Stored): LogisticOptions => ({
  penalty,
  intercept,
  standardize,
  runtime,
  ...(classWeights === null ? {} : { classWeights: classWeights as readonly number[] | "balanced" }),
});
const nameOf = ({ labels, offset, probabilities, weights, predicted, ...rest }: Stored) =>
  `${weights.length === 1 ? "two" : "three"} classes ${JSON.stringify(rest)}`;

/** Norm of the difference relative to the norm of the reference. */
function relativeGap(found: ArrayLike<number>, wanted: readonly number[]): number {
  expect(found.length).toBe(wanted.length);
  const gap = wanted.reduce((sum, x, i) => sum + (x - (found[i] as number)) ** 2, 0);
  return Math.sqrt(gap / wanted.reduce((sum, x) => sum + x * x, 0));
}

describe("logistic regression", () => {
  it.each(fixture.logistic.fits.map((stored) => ({ name: nameOf(stored), stored })))(
    "agrees with scikit-learn: $name",
    async ({ stored }) => {
      const fit = await fitLogistic(features, stored.labels, optionsOf(stored));
      expect(fit.converged).toBe(true);
      expect(fit.weights.shape).toEqual([stored.weights.length, 5]);
      // Both stop at gradients of some 1e-8 and less of the mean loss, over curvatures of about a hundredth.
      expect(relativeGap(fit.weights.data, stored.weights.flat())).toBeLessThan(1e-5);
      if (stored.intercept) expect(relativeGap(fit.intercept, stored.offset)).toBeLessThan(1e-5);
      else expect(fit.intercept.every((x) => x === 0)).toBe(true);
      const probabilities = await predictProbabilities(fit, features, { runtime });
      expect(probabilities.shape).toEqual([60, stored.weights.length === 1 ? 2 : 3]);
      expect(relativeGap(probabilities.data, stored.probabilities.flat())).toBeLessThan(1e-5);
      expect(Array.from(await predictClasses(fit, features, { runtime }))).toEqual(stored.predicted);
    },
  );

  it("means its penalty: another one, or the penalty of standardised weights, is another fit", async () => {
    const stored = fixture.logistic.fits[4] as Stored;
    const wanted = stored.weights.flat();
    for (const changed of [{ penalty: 1.1 }, { standardize: true }, { classWeights: [1, 1.1, 1] }]) {
      const fit = await fitLogistic(features, stored.labels, { ...optionsOf(stored), ...changed });
      expect(relativeGap(fit.weights.data, wanted)).toBeGreaterThan(1e-3); // a hundred times the tolerance above
    }
  });

  it("ends where no neighbour has a lower objective", async () => {
    const stored = fixture.logistic.fits[5] as Stored;
    const options = optionsOf(stored);
    const fit = await fitLogistic(features, stored.labels, options);
    expect(Math.abs(objectiveByHand(fit, stored) - fit.objective)).toBeLessThan(1e-10 * fit.objective); // float64 sums
    for (let at = 0; at < fit.weights.data.length; at++) {
      for (const step of [-1e-3, 1e-3]) {
        const data = fit.weights.data.map((x, i) => (i === at ? x + step : x));
        expect(objectiveByHand({ ...fit, weights: { ...fit.weights, data } }, stored)).toBeGreaterThan(fit.objective);
      }
    }
  });

  it("takes float32 features, and offsets that dwarf what varies", async () => {
    const stored = fixture.logistic.fits[0] as Stored;
    const narrow = await fitLogistic(matrix(fixture.logistic.features, "float32"), stored.labels, optionsOf(stored));
    expect(relativeGap(narrow.weights.data, stored.weights.flat())).toBeLessThan(1e-5); // features rounded at 6e-8
    const moved = fixture.logistic.features.map((row) => row.map((x) => x + 1e6));
    const far = await fitLogistic(matrix(moved), stored.labels, optionsOf(stored));
    expect(far.iterations).toBeLessThan(100);
    expect(relativeGap(far.weights.data, stored.weights.flat())).toBeLessThan(1e-5); // 1e6 costs six of sixteen digits
  });

  it("ignores a constant feature", async () => {
    const stored = fixture.logistic.fits[0] as Stored;
    const wider = matrix(fixture.logistic.features.map((row) => [...row, 7]));
    for (const standardize of [false, true]) {
      const fit = await fitLogistic(wider, stored.labels, { ...optionsOf(stored), standardize, penalty: 0.5 });
      expect(fit.weights.data.at(-1)).toBe(0);
      expect(fit.converged).toBe(true);
    }
  });

  it("learns from what tells classes apart and from nothing else", async () => {
    const source = random(5);
    const draw = (shift: number) => {
      const labels = Array.from({ length: 400 }, (_, i) => i % 2);
      return { x: matrix(labels.map((k) => [source.normal() + shift * k, source.normal()])), labels };
    };
    const accuracy = async (shift: number) => {
      const [seen, unseen] = [draw(shift), draw(shift)];
      const fit = await fitLogistic(seen.x, seen.labels, { runtime });
      const predicted = await predictClasses(fit, unseen.x, { runtime });
      return predicted.filter((k, i) => k === unseen.labels[i]).length / 400;
    };
    expect(await accuracy(2)).toBeGreaterThan(0.79); // the best there is: Phi(1) = 0.84, standard error 0.018
    expect(Math.abs((await accuracy(0)) - 0.5)).toBeLessThan(0.08); // three standard errors of 0.025
  });

  it("opens one session for fits of one size", async () => {
    const own = createRuntime({ threads: 1 });
    const stored = fixture.logistic.fits[4] as Stored;
    for (const penalty of [0.1, 1, 10]) await fitLogistic(features, stored.labels, { penalty, runtime: own });
    expect(own.statistics().sessionsOpened).toBe(1);
    await own.close();
  });

  it("has finite weights for classes that can be told apart: the penalty bounds them, or the loss is flat", async () => {
    const line = matrix([[-2], [-1], [1], [2]]);
    const weightAt = async (penalty: number) => {
      const fit = await fitLogistic(line, [0, 0, 1, 1], { penalty, runtime });
      return { weight: fit.weights.data[0] as number, objective: fit.objective };
    };
    const [strong, weak, none] = [await weightAt(1), await weightAt(1e-3), await weightAt(0)];
    expect(weak.weight).toBeGreaterThan(2 * strong.weight);
    expect(none.weight).toBeGreaterThan(weak.weight);
    expect(Number.isFinite(none.weight)).toBe(true);
    expect(none.objective).toBeLessThan(1e-6); // its infimum is zero, without a minimum
  });

  it("says when it has not converged", async () => {
    const stored = fixture.logistic.fits[4] as Stored;
    const fit = await fitLogistic(features, stored.labels, { maxIterations: 2, runtime });
    expect(fit).toMatchObject({ converged: false, reason: "iterations", iterations: 2 });
  });

  it("refuses what makes no sense", async () => {
    const labels = fixture.logistic.fits[0]?.labels as number[];
    await expect(fitLogistic(features, labels.slice(1))).rejects.toThrow(/59 labels for 60 rows/);
    await expect(fitLogistic(features, labels, { penalty: -1 })).rejects.toThrow(/penalty/);
    await expect(fitLogistic(features, labels, { classes: 3 })).rejects.toThrow(/no row has label 2/);
    await expect(fitLogistic(features, labels, { classes: 1e12 })).rejects.toThrow(/no row has label 2/);
    await expect(fitLogistic(features, labels.with(3, 0.5))).rejects.toThrow(/label 3 is 0.5/);
    await expect(fitLogistic(features, labels, { classWeights: [1] })).rejects.toThrow(/2 positive numbers/);
    await expect(fitLogistic(tensorOf("float64", [60], labels), labels)).rejects.toThrow(/features must have rows/);
    const fit = await fitLogistic(features, labels, { runtime });
    await expect(predictClasses(fit, matrix([[1, 2]]))).rejects.toThrow(/2 columns; the model was fitted on 5/);
    await expect(fitLogistic(features, labels, { runtime, signal: AbortSignal.abort("stop") })).rejects.toBe("stop");
  });
});

/** The objective as documented, in plain loops. */
function objectiveByHand(model: LogisticModel, { labels, penalty, classWeights }: Stored): number {
  const { data } = model.weights;
  const squares = data.reduce((sum, x) => sum + x * x, 0);
  return fixture.logistic.features.reduce(
    (sum, row, i) => {
      const scores = Array.from(model.intercept, (b, k) =>
        row.reduce((score, x, j) => score + x * (data[k * 5 + j] as number), b),
      );
      const label = labels[i] as number;
      const loss = Math.log(scores.reduce((total, score) => total + Math.exp(score - (scores[label] as number)), 0));
      return sum + ((classWeights as number[])[label] as number) * loss;
    },
    (penalty * squares) / 2,
  );
}
