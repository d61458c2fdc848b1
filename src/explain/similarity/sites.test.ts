/** Layers against layers: every entry against the measure on recorded features, on tiny checkpoints. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelsFolder } from "../../../test/fixtures/explain/byHand.js";
import { type Model, open, scale } from "../../model/index.js";
import { createRuntime, type Tensor } from "../../runtime/index.js";
import { siteExamples } from "../probes/index.js";
import {
  cca,
  cka,
  compareDissimilarity,
  dissimilarityMatrix,
  procrustes,
  pwcca,
  rsaSites,
  type SimilarityMeasure,
  svcca,
} from "./index.js";

const prompts = Array.from({ length: 40 }, (_, i) =>
  Array.from({ length: 4 + (i % 3) }, (_, p) => (7 * i + 13 * p * p + 11) % 61),
);

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

/** Features differ in the last bits of float32 between runs of other batches; bases of them by their condition. */
const tolerance = 1e-4;

const byHand: Record<SimilarityMeasure, (x: Tensor, y: Tensor) => Promise<number>> = {
  cka: (x, y) => cka(x, y, { debiased: true, runtime }),
  async rsa(x, y) {
    const pair = [await dissimilarityMatrix(x), await dissimilarityMatrix(y)] as const;
    return compareDissimilarity(...pair, { permutations: 0, resamples: 0 }).similarity;
  },
  cca: async (x, y) => (await cca(x, y, { runtime })).mean,
  svcca: async (x, y) => (await svcca(x, y, { runtime })).mean,
  pwcca: (x, y) => pwcca(x, y, { runtime }),
  procrustes: async (x, y) => Math.cos((await procrustes(x, y, { runtime })).angle),
};

describe("layers of two models", () => {
  let first: Model;
  let second: Model;
  beforeAll(async () => {
    first = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
    second = await open(`${modelsFolder}gpt2`, { threads: 1 });
  });
  afterAll(() => Promise.all([first.close(), second.close()]));

  it.each(Object.keys(byHand) as SimilarityMeasure[])("are compared by %s as by hand", async (measure) => {
    const options = { sites: ["embed", "layers.*.residPost"], positions: "all" } as const;
    const found = await rsaSites(first, second, prompts, { ...options, measure });
    const [a, b] = [await siteExamples(first, prompts, options), await siteExamples(second, prompts, options)];
    expect([found.rows, found.columns]).toEqual([[...a.features.keys()], [...b.features.keys()]]);
    expect(found.examples).toBe(prompts.flat().length);
    const wanted: number[] = [];
    for (const x of a.features.values()) for (const y of b.features.values()) wanted.push(await byHand[measure](x, y));
    const apart = (other: number[]) =>
      Math.max(...found.values.flat().map((value, i) => Math.abs(value - (other[i] as number))));
    expect(apart(wanted)).toBeLessThan(tolerance);
    expect(apart([...wanted].reverse())).toBeGreaterThan(10 * tolerance);
  });

  it.each(Object.keys(byHand) as SimilarityMeasure[])("are 1 by %s where they are the same", async (measure) => {
    const progress: number[] = [];
    const found = await rsaSites(first, first, prompts, {
      measure,
      positions: "mean",
      onProgress: (done, total) => progress.push(done, total),
    });
    const { values } = found;
    const layers = first.config.layers;
    expect(progress.slice(-2)).toEqual([layers ** 2, layers ** 2]);
    for (let i = 0; i < layers; i++) {
      expect(values[i]?.[i]).toBeCloseTo(1, 9);
      for (let j = 0; j < i; j++)
        if (measure !== "pwcca") expect(values[i]?.[j]).toBeCloseTo(values[j]?.[i] as number, 9);
    }
  });

  it("show where a clamp starts to matter", async () => {
    const options = { sites: ["layers.*.residPre", "layers.*.residPost"], positions: "all" } as const;
    const { rows, values } = await rsaSites(first, first.with(scale("layers.1.mlp.out", 5)), prompts, options);
    const diagonal = rows.map((_, i) => values[i]?.[i] as number);
    const at = rows.indexOf("layers.1.residPost");
    diagonal.forEach((value, i) => {
      if (rows[i] === "layers.0.residPre" || rows[i] === "layers.0.residPost") expect(value).toBeCloseTo(1, 9);
    });
    expect(diagonal[at >= 0 ? at : diagonal.length - 1]).toBeLessThan(0.99);
  });

  it("take other sites for the second, and other settings", async () => {
    const found = await rsaSites(first, second, prompts, {
      sites: "layers.0.mlp.act",
      otherSites: "layers.*.attn.z",
      cka: { kernel: "rbf", debiased: false },
    });
    expect(found.rows).toEqual(["layers.0.mlp.act"]);
    expect(found.columns).toEqual(Array.from({ length: second.config.layers }, (_, i) => `layers.${i}.attn.z`));
    const tau = await rsaSites(first, second, prompts, {
      measure: "rsa",
      rsa: { dissimilarity: "euclidean", comparison: "kendall" },
    });
    const plain = await rsaSites(first, second, prompts, { measure: "rsa" });
    expect(tau.values).not.toEqual(plain.values);
  });

  it("are refused where they can't be compared", async () => {
    const rejects = (work: Promise<unknown>, message: RegExp) => expect(work).rejects.toThrow(message);
    await rejects(
      rsaSites(first, second, prompts, { measure: "dot" as "cka" }),
      /cka, rsa, cca, svcca, pwcca, procrustes, not "dot"/,
    );
    await rejects(rsaSites(first, second, prompts.slice(0, 3)), /3 rows; at least 4/);
    await rejects(rsaSites(first, second, prompts, { sites: "layers.0.attn.pattern" }), /pairs of tokens/);
    await rejects(rsaSites(first, second, prompts, { signal: AbortSignal.abort() }), /abort/i);
  });
});
