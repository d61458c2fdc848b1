/** From models to examples to probes: against recordings of one prompt at a time, on tiny checkpoints. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelsFolder } from "../../../test/fixtures/explain/byHand.js";
import { type Model, open, recorded, scale } from "../../model/index.js";
import { toNumbers } from "../../runtime/index.js";
import { linearProbe, probeSites, ridgeProbe, siteExamples } from "./index.js";

/** Batches of other sizes round sums elsewhere; streams are of size 1. */
const rounding = 1e-5;

/** Prompts of 3 to 6 tokens that start with one of four; the label is whether that one is above 30. */
const prompts = Array.from({ length: 24 }, (_, i) =>
  Array.from({ length: 3 + (i % 4) }, (_, p) =>
    p === 0 ? ([5, 40, 12, 55][(i + Math.floor(i / 4)) % 4] as number) : (7 * i + 13 * p * p + 11) % 61,
  ),
);
const labels = prompts.map(([first = 0]) => (first > 30 ? "high" : "low"));

describe.each(["llama-gqa", "gpt2"])("examples of %s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  /** One row of a site, recorded by itself: [tokens][features]. */
  const byItself = async (ids: readonly number[], site: string) => {
    const values = [...toNumbers(recorded(await model.record(ids, site), site))];
    const width = values.length / ids.length;
    return ids.map((_, p) => values.slice(p * width, (p + 1) * width));
  };
  const apart = (a: ArrayLike<number>, b: readonly number[]) => {
    expect(a.length).toBe(b.length);
    return Math.max(...b.map((value, i) => Math.abs(value - (a[i] as number))));
  };

  it.each(["layers.1.residPost", "layers.0.attn.z"])("are the chosen tokens of %s", async (site) => {
    const rows: number[][][] = [];
    for (const prompt of prompts) rows.push(await byItself(prompt, site));
    const chosen = prompts.map((_, i) => i % 3);
    const wanted = {
      last: rows.map((list) => list.at(-1) as number[]),
      first: rows.map((list) => list[0] as number[]),
      each: rows.map((list, i) => list[chosen[i] as number] as number[]),
      all: rows.flat(),
      mean: rows.map((list) =>
        (list[0] as number[]).map((_, j) => list.reduce((sum, row) => sum + (row[j] as number), 0) / list.length),
      ),
    };
    const positions = { last: -1, first: 0, each: chosen, all: "all", mean: "mean" } as const;
    for (const key of ["last", "first", "each", "all", "mean"] as const) {
      const found = await siteExamples(model, prompts, { sites: site, positions: positions[key], batchTokens: 20 });
      const value = found.features.get(site);
      expect(value?.shape).toEqual([wanted[key].length, wanted[key][0]?.length]);
      expect(apart(value?.data as Float32Array, wanted[key].flat())).toBeLessThan(rounding);
      const owners = key === "all" ? prompts.flatMap((prompt, i) => prompt.map(() => i)) : prompts.map((_, i) => i);
      expect([...found.prompts]).toEqual(owners);
    }
    expect(Math.abs((wanted.first.flat()[0] as number) - (wanted.last.flat()[0] as number))).toBeGreaterThan(
      10 * rounding,
    );
  });

  it("are the same from a recording as from the model", async () => {
    const site = "layers.0.residPost";
    const recording = await model.record(prompts, site);
    const own = await linearProbe({ recording, site, positions: 0 }, labels, { folds: 3 });
    const { probes } = await probeSites(model, prompts, labels, {
      sites: site,
      positions: 0,
      probe: { kind: "linear", folds: 3 },
    });
    expect(apart(probes[0]?.heldOut.data as Float64Array, [...own.heldOut.data])).toBeLessThan(1e-2); // rounding over a small variance
    expect(own.score.mean).toBe(probes[0]?.score.mean);
  });

  it("keep the tokens of one prompt together", async () => {
    const tokens = prompts.flat();
    const recording = await model.record(prompts, "embed");
    const found = await ridgeProbe({ recording, site: "embed", positions: "all" }, tokens, { folds: 24, penalty: 1 });
    expect(found.score.folds).toHaveLength(24); // a fold a prompt is all there can be
    await expect(ridgeProbe({ recording, site: "embed", positions: "all" }, tokens, { folds: 25 })).rejects.toThrow(
      /from 2 to 24 \(the number of groups\)/,
    );
  });

  it("are probed site by site: the first token is in its own stream and not in later tokens' embeddings", async () => {
    const progress: number[] = [];
    const spec = { kind: "logistic", penalty: 1, folds: 4, resamples: 100 } as const;
    const found = await probeSites(model, prompts, labels, {
      sites: ["embed", "layers.*.residPost"],
      positions: 0,
      probe: spec,
      onProgress: (done, total) => progress.push(done, total),
    });
    const count = model.config.layers + 1;
    expect(found.sites).toEqual(["embed", ...Array.from({ length: count - 1 }, (_, i) => `layers.${i}.residPost`)]);
    expect(progress.slice(-2)).toEqual([count, count]);
    for (const column of [found.scores, found.low, found.high, found.probes]) expect(column).toHaveLength(count);
    found.scores.forEach((score, i) => {
      expect(score).toBe(found.probes[i]?.score.mean);
      expect(found.low[i]).toBeLessThanOrEqual(score);
      expect(found.high[i]).toBeGreaterThanOrEqual(score);
    });
    expect(Math.max(...found.scores)).toBe(found.scores[found.sites.indexOf(found.best)]);
    expect(found.chance).toBe(Math.max(...["high", "low"].map((l) => labels.filter((x) => x === l).length)) / 24);
    expect(found.tokens.map((line) => line.map(({ id }) => id))).toEqual(prompts);
    const view = await probeSites(model.with(scale("embed", 0)), prompts, labels, {
      sites: "embed",
      positions: 0,
      probe: spec,
    });
    expect(view.scores[0]).toBeLessThanOrEqual(found.chance + 1e-9); // nothing is left to read
    expect(found.scores[0]).toBe(1);
  });

  it("take numbers for ridge probes", async () => {
    const lengths = prompts.map((prompt) => prompt.length);
    const { scores, chance } = await probeSites(model, prompts, lengths, {
      sites: "layers.0.attn.out",
      probe: { kind: "ridge" },
    });
    expect(scores[0]).toBeLessThanOrEqual(1);
    expect(chance).toBe(0);
  });

  it("are refused where they don't exist", async () => {
    const rejects = (options: Parameters<typeof siteExamples>[2], message: RegExp) =>
      expect(siteExamples(model, prompts, options)).rejects.toThrow(message);
    await rejects({ sites: "layers.0.attn.pattern" }, /belongs to pairs of tokens/);
    await rejects({ sites: "layers.9.residPost" }, /layers 0 to/);
    await rejects({ positions: 3 }, /position 3 is out of range: the prompt has 3 tokens/);
    await rejects({ positions: [1] }, /1 positions for 24 prompts/);
    await rejects({ batchTokens: 0 }, /batchTokens/);
    await rejects({ sites: [] }, /no site was given/);
    await expect(siteExamples(model, [], {})).rejects.toThrow(/no prompt was given/);
    await expect(probeSites(model, prompts, ["a"])).rejects.toThrow(/1 labels for 24 rows/);
    await expect(probeSites(model, prompts, labels, { probe: { kind: "ridge" } })).rejects.toThrow(
      /these labels are texts/,
    );
    const recording = await model.record(prompts, "layers.0.attn.pattern");
    await expect(linearProbe({ recording, site: "layers.0.attn.pattern" }, labels)).rejects.toThrow(
      /no mean over tokens/,
    );
  });
});
