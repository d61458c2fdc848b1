/** L-BFGS against scipy's on the usual hard functions, against exact solutions, and where it must not succeed. */
import { describe, expect, it } from "vitest";
import fixture from "../../test/fixtures/linalg/statistics.json" with { type: "json" };
import { type Evaluation, lbfgs, type MinimizeStep } from "./index.js";

const { minima } = fixture;
const tight = { gradientTolerance: 1e-10, decreaseTolerance: 0, maxIterations: 20000 };

function rosenbrock(x: Float64Array): Evaluation {
  const gradient = new Float64Array(x.length);
  let value = 0;
  for (let i = 0; i + 1 < x.length; i++) {
    const [a, b] = [x[i] as number, x[i + 1] as number];
    value += 100 * (b - a * a) ** 2 + (1 - a) ** 2;
    gradient[i] = (gradient[i] as number) - 400 * a * (b - a * a) - 2 * (1 - a);
    gradient[i + 1] = (gradient[i + 1] as number) + 200 * (b - a * a);
  }
  return { value, gradient };
}

/** sum c_i (x_i - x_(i+1) / 2)^2 / 2 - sum x_i with curvatures c from 1 to 1e6. */
function quadratic(x: Float64Array): Evaluation {
  const gradient = x.map(() => -1);
  let value = -x.reduce((a, b) => a + b, 0);
  x.forEach((a, i) => {
    const part = 10 ** ((6 * i) / 19) * (a - (x[i + 1] ?? 0) / 2);
    value += (part * (a - (x[i + 1] ?? 0) / 2)) / 2;
    gradient[i] = (gradient[i] as number) + part;
    if (i + 1 < x.length) gradient[i + 1] = (gradient[i + 1] as number) - part / 2;
  });
  return { value, gradient };
}

function logistic(w: Float64Array): Evaluation {
  const gradient = w.slice();
  let value = w.reduce((sum, x) => sum + (x * x) / 2, 0);
  minima.logistic.features.forEach((row, i) => {
    const sign = minima.logistic.labels[i] === 1 ? 1 : -1;
    const margin = sign * row.reduce((sum, x, j) => sum + x * (w[j] as number), 0);
    value += Math.log1p(Math.exp(-margin));
    row.forEach((x, j) => {
      gradient[j] = (gradient[j] as number) - (sign * x) / (1 + Math.exp(margin));
    });
  });
  return { value, gradient };
}

const largestGap = (x: ArrayLike<number>, y: ArrayLike<number>) =>
  Math.max(...Array.from(x, (value, i) => Math.abs(value - (y[i] as number))));

describe("lbfgs", () => {
  it.each([
    ["rosenbrock2", 2, minima.rosenbrock2],
    ["rosenbrock100", 100, minima.rosenbrock100],
  ])("finds the minimum of %s in about scipy's number of evaluations", async (_, size, theirs) => {
    const start = Float64Array.from({ length: size }, (_, i) => (i % 2 === 0 ? -1.2 : 1));
    const found = await lbfgs(rosenbrock, start, tight);
    expect(found).toMatchObject({ converged: true, reason: "gradient" });
    expect(largestGap(found.x, theirs.x)).toBeLessThan(1e-9); // a gradient of 1e-10 over curvatures of 0.4 and more
    expect(found.gradientNorm).toBeLessThanOrEqual(1e-10);
    expect(found.evaluations).toBeLessThan(1.5 * theirs.evaluations); // the line searches differ
    expect(start[0]).toBe(-1.2); // the start is not changed
  });

  it("solves a badly conditioned quadratic, where rounding ends the search", async () => {
    const found = await lbfgs(quadratic, new Float64Array(20), { ...tight, gradientTolerance: 1e-8 });
    expect(found.converged).toBe(true);
    expect(largestGap(found.x, minima.quadratic.exact)).toBeLessThan(5e-7); // values near 2 rounded at 1e-15: the root of it over the smallest curvature
    expect(found.value).toBeLessThanOrEqual(minima.quadratic.value + 1e-14);
    expect(found.iterations).toBeLessThan(2 * minima.quadratic.iterations);
  });

  it("agrees with scipy on a logistic regression", async () => {
    const found = await lbfgs(logistic, new Float64Array(3), tight);
    expect(largestGap(found.x, minima.logistic.x)).toBeLessThan(4e-10); // two gradients of 1e-10 in three numbers, curvatures of 1 and more
    expect(Math.abs(found.value - minima.logistic.value)).toBeLessThan(1e-12);
    expect(found.evaluations).toBeLessThanOrEqual(2 * minima.logistic.evaluations);
  });

  it("needs the gradient: a wrong one finds no minimum", async () => {
    const wrong = (x: Float64Array) => ({ ...rosenbrock(x), gradient: rosenbrock(x).gradient.map((g) => -g) });
    const found = await lbfgs(wrong, [-1.2, 1], tight);
    expect(found).toMatchObject({ converged: false, reason: "lineSearch", iterations: 0 });
    expect(Array.from(found.x)).toEqual([-1.2, 1]);
  });

  it("shortens a step that leaves the function's domain", async () => {
    const found = await lbfgs(
      (x) => ({ value: (x[0] as number) - Math.log(x[0] as number), gradient: x.map((a) => 1 - 1 / a) }),
      [1e-3], // the gradient here is -999, and a logarithm ends at zero
      tight,
    );
    expect(Math.abs((found.x[0] as number) - 1)).toBeLessThan(1e-9);
    const cliff = await lbfgs(
      (x) => ({ value: (x[0] as number) < 2 ? ((x[0] as number) - 1) ** 2 : NaN, gradient: x.map((a) => 2 * (a - 1)) }),
      [-1e6], // the first quadratic step may overshoot into what is not a number
    );
    expect(Math.abs((cliff.x[0] as number) - 1)).toBeLessThan(1e-8);
  });

  it("stops at its limits and says which", async () => {
    const steps: MinimizeStep[] = [];
    const onStep = (step: MinimizeStep) => steps.push(step);
    const short = await lbfgs(rosenbrock, [-1.2, 1], { maxIterations: 5, onStep });
    expect(short).toMatchObject({ converged: false, reason: "iterations", iterations: 5 });
    expect(steps.map(({ iteration }) => iteration)).toEqual([1, 2, 3, 4, 5]);
    expect(steps.at(-1)).toMatchObject({ value: short.value, gradientNorm: short.gradientNorm });
    expect(steps.every(({ value }, i) => i === 0 || value < (steps[i - 1] as MinimizeStep).value)).toBe(true);
    const loose = await lbfgs(rosenbrock, [-1.2, 1], { decreaseTolerance: 0.1 });
    expect(loose).toMatchObject({ converged: true, reason: "decrease" });
    const there = await lbfgs(rosenbrock, [1, 1]);
    expect(there).toMatchObject({ converged: true, reason: "gradient", iterations: 0, evaluations: 1 });
  });

  it("works with one pair in memory, more slowly", async () => {
    const start = Float64Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? -1.2 : 1));
    const [one, ten] = [await lbfgs(rosenbrock, start, { memory: 1 }), await lbfgs(rosenbrock, start)];
    expect(largestGap(one.x, ten.x)).toBeLessThan(1e-6); // both end where values of 1e-13 stall: the root of it
    expect(one.iterations).toBeGreaterThan(ten.iterations);
  });

  it("ends on a function without a minimum", async () => {
    const found = await lbfgs((x) => ({ value: -(x[0] as number), gradient: x.map(() => -1) }), [0]);
    expect(found.converged).toBe(false);
  });

  it("refuses what it can't start from, and stops when told to", async () => {
    const broken = () => ({ value: NaN, gradient: new Float64Array(1) });
    await expect(lbfgs(broken, [0])).rejects.toThrow(/not finite at the start/);
    await expect(lbfgs(() => ({ value: 0, gradient: new Float64Array(2) }), [0])).rejects.toThrow(/2 numbers.*has 1/);
    await expect(lbfgs(rosenbrock, [0, NaN])).rejects.toThrow(/holds NaN at \[1\]/);
    await expect(lbfgs(rosenbrock, [0, 0], { memory: 0 })).rejects.toThrow(/memory/);
    const abort = new AbortController();
    const stopped = lbfgs(rosenbrock, [-1.2, 1], { signal: abort.signal, onStep: () => abort.abort("enough") });
    await expect(stopped).rejects.toBe("enough");
  });
});
