/**
 * The real model against its reference implementation: token ids, every site, clamps, and greedy continuations. The
 * reference's values are sketched (support/sketch.ts), so that a small fixture holds every site of twenty prompts.
 * The twin on tiny checkpoints, which never skips, is agreement.test.ts.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, type Model, open, type Recording, readSafetensors, recordedRow } from "../src/model/index.js";
import { elementCount, normals, row, type Tensor, tensor, toNumbers } from "../src/runtime/index.js";
import { needsRealModel, realModel } from "./support/realModel.js";
import { projections, sketch, sketchError } from "./support/sketch.js";

const folder = new URL("./fixtures/models/smollm2/", import.meta.url).pathname;

/** Thirty layers in float32 against another library's float32; the estimate of a sketch is within 18%. */
const tolerance = 1e-3;
/** Greedy tokens may differ where the reference's two best logits are closer than this. */
const tie = 1e-4;

interface PromptCase {
  readonly text: string;
  readonly ids: number[];
  readonly sketchTokens: number[];
  readonly greedy: { readonly ids: number[]; readonly gaps: number[] };
}
interface EditCase {
  readonly scale: number;
  readonly moved: number[];
  readonly ids?: number[];
  readonly gaps?: number[];
}
interface Cases {
  readonly capital: { readonly id: number; readonly probability: number };
  readonly sketchedSites: string[];
  readonly editedSites: string[];
  readonly batch: { readonly rows: string[]; readonly lengths: number[] };
  readonly prompts: Record<string, PromptCase>;
  readonly edits: {
    readonly prefill: { ids: number[]; position: number; logitsAt: number[]; sites: Record<string, EditCase> };
    readonly decode: { ids: number[]; position: number; steps: number; sites: Record<string, EditCase> };
  };
}

const cases = JSON.parse(readFileSync(`${folder}cases.json`, "utf8")) as Cases;
const names = Object.keys(cases.prompts);

describe.skipIf(realModel === undefined)(`SmolLM2 (${needsRealModel})`, { timeout: 900_000 }, () => {
  let model: Model;
  let sketches: Record<string, Tensor>;

  beforeAll(async () => {
    model = await open(realModel as string);
    sketches = (await readSafetensors(`${folder}sketch.safetensors`)).tensors;
  });
  afterAll(() => model.close());

  /** The sketches of one prompt: [sites, tokens, 17]. */
  const sketchOf = (key: string, site: number, token: number): Float64Array => {
    const all = sketches[key] as Tensor;
    return toNumbers(row(row(all, site), token));
  };

  /** One token's whole row at a site: heads and channels, or heads and keys. */
  const tokenRow = (recording: Recording, site: string, rowIndex: number, position: number): Float64Array => {
    const whole = recordedRow(recording, site, rowIndex);
    if (!/\.(scores|pattern)$/.test(site)) return toNumbers(row(whole, position));
    const [heads, , keys] = whole.shape as [number, number, number];
    const numbers = toNumbers(whole);
    return Float64Array.from({ length: heads * keys }, (_, i) => {
      const [head, key] = [Math.floor(i / keys), i % keys];
      return numbers[(head * keys + position) * keys + key] as number;
    });
  };

  it("says Paris with the probability that the reference has", async () => {
    const { sites } = await model.record("The capital of France is", "logits[0, -1]");
    const logits = toNumbers(sites["logits[0, -1]"] as Tensor);
    const best = logits.indexOf(Math.max(...logits));
    const total = logits.reduce((sum, x) => sum + Math.exp(x - (logits[best] as number)), 0);
    expect(model.tokenizer.token(best).text).toBe(" Paris");
    expect(1 / total).toBeCloseTo(cases.capital.probability, 3);
  });

  it.each(names)("reads the prompt %s as the reference's tokens", (name) => {
    const { text, ids } = cases.prompts[name] as PromptCase;
    expect(model.tokens(text).map(({ id }) => id)).toEqual(ids);
  });

  it.each(names)("agrees at every site in the prompt %s", async (name) => {
    const { ids, sketchTokens } = cases.prompts[name] as PromptCase;
    const present = cases.sketchedSites.filter((_, s) => sketchOf(`sketch/${name}`, s, 0)[projections] !== 0);
    const worst: { site: string; token: number; error: number }[] = [];
    for (let at = 0; at < present.length; at += 60) {
      const sites = present.slice(at, at + 60); // in pieces: a long prompt's sites together would not fit
      const recording = await model.record(ids, sites);
      for (const site of sites) {
        sketchTokens.forEach((token, t) => {
          const wanted = sketchOf(`sketch/${name}`, cases.sketchedSites.indexOf(site), t);
          worst.push({ site, token, error: sketchError(sketch(tokenRow(recording, site, 0, token)), wanted) });
        });
      }
    }
    expect(worst.length).toBeGreaterThanOrEqual(cases.sketchedSites.length - 3 * 27);
    expect(worst.filter(({ error }) => !(error <= tolerance))).toEqual([]);
  });

  it("agrees at every site in a padded batch", async () => {
    const prompts = cases.batch.rows.map((name) => (cases.prompts[name] as PromptCase).ids);
    const recording = await model.record(prompts, cases.sketchedSites);
    const worst = cases.sketchedSites.flatMap((site, s) =>
      prompts.map((ids, r) => ({
        site,
        r,
        error: sketchError(sketch(tokenRow(recording, site, r, ids.length - 1)), sketchOf(`batch/${r}`, s, 0)),
      })),
    );
    expect(worst.filter(({ error }) => !(error <= tolerance))).toEqual([]);
  });

  it("continues every prompt by the reference's 64 greedy tokens", async () => {
    const short = names.filter((name) => (cases.prompts[name] as PromptCase).ids.length < 200);
    const results = new Map<string, readonly number[]>();
    const batch = await model.generateAll(
      short.map((name) => (cases.prompts[name] as PromptCase).ids),
      { maxTokens: 64, ignoreEnd: true },
    );
    for (const [r, name] of short.entries()) results.set(name, batch[r]?.ids ?? []);
    for (const name of names.filter((other) => !short.includes(other) || other === "capital")) {
      results.set(
        name,
        (await model.generate((cases.prompts[name] as PromptCase).ids, { maxTokens: 64, ignoreEnd: true })).ids,
      );
    }
    const differences = names.filter((name) => {
      const { ids, gaps } = (cases.prompts[name] as PromptCase).greedy;
      const firstTie = gaps.findIndex((gap) => gap < tie);
      const compared = firstTie < 0 ? ids.length : firstTie;
      return (results.get(name) ?? []).slice(0, compared).join() !== ids.slice(0, compared).join();
    });
    expect(differences).toEqual([]);
  });

  /** The seeded noise of the reference's edit, in the site's shape at one position. */
  const noiseAt = (site: string, scale: number, position: number): Tensor<"float32"> => {
    const { shape } = model.sites().find(({ name }) => name === site) as { shape: readonly (number | string)[] };
    const attention = /\.(scores|pattern)$/.test(site);
    const own = attention ? [shape[1] as number, position + 1] : (shape.slice(2) as number[]);
    const stream = cases.editedSites.indexOf(site);
    return tensor(
      "float32",
      own,
      normals(elementCount(own), 11, stream).map((x) => Math.fround(scale) * x),
    );
  };

  const noiseClamp = (site: string, scale: number, position: number) => {
    const attention = /\.(scores|pattern)$/.test(site);
    const part = attention ? `[:, :, ${position}, 0:${position + 1}]` : `[:, ${position}]`;
    return add(site + part, noiseAt(site, scale, position));
  };

  it.each(cases.editedSites)("clamps %s as the reference does", async (site) => {
    const { ids, position, logitsAt, sites } = cases.edits.prefill;
    const { scale, moved } = sites[site] as EditCase;
    const recording = await model.with(noiseClamp(site, scale, position)).record(ids, "logits");
    const index = Object.keys(sites).indexOf(site);
    logitsAt.forEach((at, i) => {
      const wanted = sketchOf("edits.prefill", index, i);
      expect(sketchError(sketch(toNumbers(row(recordedRow(recording, "logits"), at))), wanted)).toBeLessThan(tolerance);
    });
    expect(Math.max(...moved)).toBeGreaterThan(5 * tolerance);
  });

  it.each(Object.keys(cases.edits.decode.sites))("clamps %s in decode as the reference does", async (site) => {
    const { ids, position, steps, sites } = cases.edits.decode;
    const { scale, ids: wantedIds, gaps = [] } = sites[site] as EditCase;
    const result = await model
      .with(noiseClamp(site, scale, position))
      .generate(ids, { maxTokens: steps, logits: true });
    expect(Math.min(...gaps)).toBeGreaterThan(tie);
    expect(result.ids).toEqual(wantedIds);
    result.logits?.forEach((logits, step) => {
      const wanted = sketchOf("edits.decode", Object.keys(sites).indexOf(site), step);
      expect(sketchError(sketch(logits.data), wanted)).toBeLessThan(tolerance);
    });
  });
});
