/** Bootstrap and permutation tests: against scipy on the very same resamples, and by what they promise over many samples. */
import { describe, expect, it } from "vitest";
import fixture from "../../../test/fixtures/linalg/statistics.json" with { type: "json" };
import { random } from "../../runtime/index.js";
import {
  type BootstrapOptions,
  bootstrap,
  correlationTest,
  mean,
  type PermutationOptions,
  pairedTest,
  pearson,
  ranks,
  twoSampleTest,
  variance,
} from "./index.js";

const { x, y, bootstraps, permutations } = fixture;
const { skewed, other } = bootstraps;

const take = (values: readonly number[], cases: Int32Array | undefined) =>
  Float64Array.from(cases ?? [], (i) => values[i] as number);

const statistics = {
  mean: { sizes: 25, of: (cases: Int32Array) => mean(take(skewed, cases)) },
  variance: {
    sizes: 25,
    of: (cases: Int32Array) => variance(take(skewed, cases)),
  },
  correlation: { sizes: 30, of: (cases: Int32Array) => pearson(take(x, cases), take(y, cases)) },
};

describe("the bootstrap", () => {
  it.each(Object.entries(statistics))(
    "agrees with scipy's intervals of the %s on the same resamples",
    (name, { sizes, of }) => {
      const stored = bootstraps[name as keyof typeof statistics];
      const { level, seed, resamples } = stored;
      for (const method of ["percentile", "bca"] as const) {
        const found = bootstrap(sizes, (cases) => of(cases as Int32Array), { level, seed, resamples, method });
        // The same float64 numbers, summed in another order; BCa's probabilities pass through both normal functions.
        expect(Math.abs(found.low - (stored[method][0] as number))).toBeLessThan(1e-10);
        expect(Math.abs(found.high - (stored[method][1] as number))).toBeLessThan(1e-10);
        expect(Math.abs(found.standardError - stored.standardError)).toBeLessThan(1e-10);
      }
    },
  );

  it("resamples groups that were sampled apart by themselves, as scipy does", () => {
    const { level, seed, resamples, ...stored } = bootstraps.difference;
    const of = (a?: Int32Array, b?: Int32Array) => mean(take(skewed, a)) - mean(take(other, b));
    for (const method of ["percentile", "bca"] as const) {
      const { low, high } = bootstrap([25, 18], of, { level, seed, resamples, method });
      expect(Math.abs(low - (stored[method][0] as number))).toBeLessThan(1e-10); // as above
      expect(Math.abs(high - (stored[method][1] as number))).toBeLessThan(1e-10);
    }
  });

  it("is the same for the same seed, and sorted", () => {
    const of = (cases?: Int32Array) => mean(take(skewed, cases));
    const first = bootstrap(25, of, { resamples: 200, seed: 1 });
    expect(bootstrap(25, of, { resamples: 200, seed: 1 })).toEqual(first);
    expect(bootstrap(25, of, { resamples: 200, seed: 2 }).samples).not.toEqual(first.samples);
    expect(first.samples).toEqual(first.samples.slice().sort());
    expect(first.estimate).toBe(mean(skewed));
  });

  it("keeps pairs together: what is perfectly correlated stays so", () => {
    const doubled = x.map((value) => 2 * value);
    const { low, high } = bootstrap(30, (cases) => pearson(take(x, cases), take(doubled, cases)), {
      resamples: 200,
      method: "percentile",
    });
    expect(low).toBeGreaterThan(1 - 1e-12);
    expect(high).toBeLessThanOrEqual(1);
    const torn = (a?: Int32Array, b?: Int32Array) => pearson(take(x, a), take(doubled, b));
    const apart = bootstrap([30, 30], torn, { resamples: 200, method: "percentile" });
    expect(apart.low).toBeLessThan(0.5); // the control: independent of each other
  });

  it("covers the true value about as often as it says, BCa of a skewed mean no less than percentiles", () => {
    const covered = (method: NonNullable<BootstrapOptions["method"]>) => {
      const source = random(31);
      let hits = 0;
      for (let trial = 0; trial < 300; trial++) {
        const sample = Array.from({ length: 30 }, () => -Math.log(source.uniform())); // exponential, of mean 1
        const of = (cases?: Int32Array) => take(sample, cases).reduce((a, b) => a + b) / 30;
        const { low, high } = bootstrap(30, of, { resamples: 299, level: 0.9, seed: trial, method });
        if (low <= 1 && 1 <= high) hits += 1;
      }
      return hits / 300;
    };
    const [percentile, bca] = [covered("percentile"), covered("bca")];
    // 0.9 less what a sample of 30 skewed numbers costs (about 0.03); standard error 0.02.
    for (const share of [percentile, bca]) {
      expect(share).toBeGreaterThan(0.82);
      expect(share).toBeLessThan(0.95);
    }
    expect(bca).toBeGreaterThanOrEqual(percentile - 0.02);
  });

  it("has a point as interval where nothing varies, and refuses what has none", () => {
    expect(bootstrap(5, () => 3, { resamples: 20 })).toMatchObject({ estimate: 3, low: 3, high: 3, standardError: 0 });
    const smallest = (cases?: Int32Array) => new Set(cases).size; // every resample has fewer distinct cases
    expect(() => bootstrap(50, smallest, { resamples: 50 })).toThrow(/one side of the estimate.*percentile/);
    expect(bootstrap(50, smallest, { resamples: 50, method: "percentile" }).high).toBeLessThan(50);
    expect(() => bootstrap(3, () => NaN)).toThrow(/NaN for the cases as they are/);
    expect(() => bootstrap(1, () => 1)).toThrow(/at least 2/);
    expect(() => bootstrap([], () => 1)).toThrow(/at least one group/);
    expect(() => bootstrap(3, () => 1, { level: 1 })).toThrow(/level/);
  });
});

const tests = { twoSample: twoSampleTest, paired: pairedTest, correlation: correlationTest };
type TestName = keyof typeof tests;
const names = Object.keys(tests) as TestName[];

describe.each(names)("the permutation test %s", (name) => {
  const test = tests[name];
  const stored = permutations[name];

  it.each(["greater", "less", "two-sided"] as const)("agrees with scipy when exact: %s", (alternative) => {
    const found = test(stored.x, stored.y, { alternative });
    expect(found.exact).toBe(true);
    expect(Math.abs(found.statistic - stored.statistic)).toBeLessThan(1e-14); // float64
    expect(Math.abs(found.p - stored[alternative])).toBeLessThan(1e-14); // a ratio of counts
    expect(found.permutations).toBe({ twoSample: 792, paired: 512, correlation: 720 }[name]);
  });

  it("estimates the exact p-value by drawing, and counts the observed arrangement", () => {
    for (const alternative of ["greater", "two-sided"] as const) {
      const found = test(stored.x, stored.y, { alternative, permutations: 500, seed: 3 });
      expect(found).toMatchObject({ exact: false, permutations: 500 });
      const wanted = stored[alternative];
      const error = Math.sqrt((wanted * (1 - wanted)) / 500);
      expect(Math.abs(found.p - wanted)).toBeLessThan(4 * error + 1 / 501);
      expect(Number.isInteger(Math.round(found.p * 501 * 1e9) / 1e9)).toBe(true); // (k + 1) / (n + 1)
    }
  });

  it("gives p-values that are uniform when nothing is there", () => {
    const p = Float64Array.from({ length: 400 }, (_, trial) => {
      const source = random(trial, 77);
      const draw = () => Array.from({ length: 12 }, () => source.normal());
      return test(draw(), draw(), { permutations: 199, seed: trial }).p;
    }).sort();
    const distance = Math.max(...p.map((value, i) => Math.max((i + 1) / 400 - value, value - i / 400)));
    // Kolmogorov and Smirnov's 0.1% point of 400 numbers, and the grain of 1/200.
    expect(distance).toBeLessThan(1.95 / 20 + 1 / 200);
  });

  it("finds an effect, in the direction that it has", () => {
    const source = random(4, 5);
    const a = Array.from({ length: 25 }, () => source.normal());
    const b = name === "correlation" ? a.map((value) => value + source.normal()) : a.map(() => source.normal() - 1.5);
    const p = (options: PermutationOptions) => test(a, b, { permutations: 999, ...options }).p;
    expect(p({})).toBeLessThan(0.01);
    expect(p({ alternative: "greater" })).toBeLessThan(0.01);
    expect(p({ alternative: "less" })).toBeGreaterThan(0.99);
    expect(p({ permutations: 99 })).toBeGreaterThanOrEqual(0.01); // never below 1 / (n + 1)
  });

  it("leaves its data as they are, and is the same for the same seed", () => {
    const [a, b] = [Float64Array.from(x), Float64Array.from(y)];
    const first = test(a, b, { permutations: 50, seed: 8 });
    expect(test(a, b, { permutations: 50, seed: 8 })).toEqual(first);
    expect([Array.from(a), Array.from(b)]).toEqual([x, y]);
  });
});

describe("permutation tests", () => {
  it("count arrangements that differ by rounding alone as ties", () => {
    // 0.1 + 0.2 and 0.3 differ in their last bit; scaled or shifted, the p-value must not change.
    const [a, b] = [
      [0.1, 0.2, 0.6],
      [0.3, 0.3, 0.3],
    ];
    for (const [scale, shift] of [
      [1, 0],
      [1e-9, 0],
      [10, 1e6],
    ] as const) {
      const moved = (values: number[]) => values.map((value) => value * scale + shift);
      expect(twoSampleTest(moved(a as number[]), moved(b as number[])).p).toBe(1); // equal means
    }
    expect(pairedTest([0.1, 0.2], [0, 0]).p).toBe(0.5);
  });

  it("have p = 1 where nothing varies, and refuse an undefined correlation", () => {
    expect(twoSampleTest([2, 2], [2, 2]).p).toBe(1);
    expect(pairedTest([2, 3], [2, 3]).p).toBe(1);
    expect(() => correlationTest([1, 2, 3], [4, 4, 4])).toThrow(/constant/);
    expect(() => pairedTest([1, 2], [1])).toThrow(/pairs/);
    expect(() => twoSampleTest([], [1])).toThrow(/a has 0 numbers/);
    expect(() => twoSampleTest([1], [2], { permutations: 0 })).toThrow(/permutations/);
  });

  it("use ranks for Spearman's", () => {
    const monotone = correlationTest(ranks([1, 2, 3, 4, 5]), ranks([1, 8, 27, 64, 1000]));
    expect(monotone.p).toBe(2 / 120);
    expect(Math.abs(monotone.statistic - 1)).toBeLessThan(1e-14);
  });
});
