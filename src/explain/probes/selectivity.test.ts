/** Selectivity: probes that can memorise types and probes that can't; permutation tests of something and of nothing. */
import { describe, expect, it } from "vitest";
import { gaussian } from "../../../test/fixtures/explain/representations/cases.js";
import { build } from "../../../test/fixtures/linalg/matrices.js";
import { selectivity } from "./index.js";
import { controlLabels } from "./selectivity.js";

/** 30 words of 8 tokens: a part of speech in one feature, the word itself in 30 others, as one-hot vectors. */
const words = Array.from({ length: 240 }, (_, i) => i % 30);
const tags = words.map((word) => (word % 2 === 0 ? "noun" : "verb"));
const jitter = gaussian(240, 31, 8);
const featuresOf = (tagged: number, named: number) =>
  build(240, 31, (i, j) => {
    const word = words[i] as number;
    const signal = j === 30 ? tagged * (word % 2) : named * Number(word === j);
    return signal + 0.3 * (jitter.data[i * 31 + j] as number);
  });

const quick = { permutations: 19, draws: 4, probe: { kind: "linear", method: "lda", resamples: 50 } } as const;

describe("selectivity", () => {
  it("is large where the tag alone can be read, and small where words can be memorised", async () => {
    const tagOnly = await selectivity(featuresOf(3, 0), tags, { ...quick, types: words });
    const wordOnly = await selectivity(featuresOf(0, 3), tags, { ...quick, types: words });
    expect(tagOnly.task.score.mean).toBeGreaterThan(0.95);
    expect(wordOnly.task.score.mean).toBeGreaterThan(0.9); // the score alone does not tell the two apart
    expect(tagOnly.selectivity).toBeGreaterThan(0.25);
    expect(Math.abs(wordOnly.selectivity)).toBeLessThan(0.1);
    expect(tagOnly.selectivity).toBeCloseTo(
      tagOnly.task.score.mean - tagOnly.control.scores.reduce((a, b) => a + b) / 4,
      12,
    );
  });

  it("finds labels that go with features, and none that don't", async () => {
    const there = await selectivity(featuresOf(3, 0), tags, quick);
    expect(there.shuffled.p).toBe(1 / 20);
    const ps: number[] = [];
    for (let seed = 0; seed < 6; seed++) {
      const labels = Array.from({ length: 60 }, (_, i) => i % 2);
      ps.push((await selectivity(gaussian(60, 4, 77 + seed), labels, { ...quick, draws: 1, seed })).shuffled.p);
    }
    expect(Math.max(...ps)).toBeGreaterThan(0.3);
    expect(ps.filter((p) => p <= 0.05).length).toBeLessThan(3); // p is uniform: 3 of 6 have a chance of 0.2%
  });

  it("counts every cross-validation, and repeats itself by its seed", async () => {
    const steps: number[] = [];
    const options = { ...quick, permutations: 3, draws: 2, types: words };
    const first = await selectivity(featuresOf(1, 0), tags, {
      ...options,
      onProgress: (done, total) => steps.push(done, total),
    });
    expect(steps).toEqual([1, 6, 2, 6, 3, 6, 4, 6, 5, 6, 6, 6]);
    expect(await selectivity(featuresOf(1, 0), tags, options)).toEqual(first);
    const other = await selectivity(featuresOf(1, 0), tags, { ...options, seed: 1 });
    expect(other.control.scores).not.toEqual(first.control.scores);
  });
});

describe("control labels", () => {
  it("are one a type, and go with the labels' frequencies", () => {
    const typeOf = Int32Array.from({ length: 3000 }, (_, i) => i % 1000);
    const labels = Array.from({ length: 3000 }, (_, i) => (i % 4 === 0 ? "rare" : "often"));
    const drawn = controlLabels(labels, typeOf, 3, 1);
    for (let i = 1000; i < 3000; i++) expect(drawn[i]).toBe(drawn[i - 1000]);
    const share = drawn.filter((label) => label === "rare").length / 3000;
    expect(Math.abs(share - 0.25)).toBeLessThan(0.055); // four standard deviations of 1000 draws
    expect(controlLabels(labels, typeOf, 3, 2)).not.toEqual(drawn);
  });

  it("are refused where types are too few", async () => {
    const work = selectivity(featuresOf(1, 0), tags, { types: tags.map(() => "one") });
    await expect(work).rejects.toThrow(/too few types/);
    await expect(selectivity(featuresOf(1, 0), tags, { types: [1, 2] })).rejects.toThrow(/2 types for 240 rows/);
    await expect(selectivity(featuresOf(1, 0), tags, { draws: 0 })).rejects.toThrow(
      /draws must be a whole number of at least 1/,
    );
  });
});
