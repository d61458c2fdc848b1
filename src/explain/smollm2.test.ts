/**
 * The methods on the real model: the logit lens and the indirect object's patching maps against what PyTorch computed,
 * and what every method must satisfy there. Twins on tiny checkpoints, which never skip, are the other tests beside it.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open, readSafetensors, scale } from "../model/index.js";
import { row, type Tensor, toNumbers } from "../runtime/index.js";
import {
  ablate,
  activationPatching,
  attentionPatterns,
  clampEffect,
  directLogitAttribution,
  logitDifference,
  logitLens,
} from "./index.js";

const folder = new URL("../../test/fixtures/models/smollm2/", import.meta.url).pathname;

interface Cases {
  readonly capital: { readonly id: number; readonly probability: number };
  readonly lens: { readonly sites: string[] };
  readonly prompts: Record<string, { readonly text: string; readonly ids: number[] }>;
  readonly indirectObject: {
    readonly answers: { readonly Mary: number; readonly John: number };
    readonly metric: { readonly clean: number; readonly corrupt: number };
  };
}

/** Thirty layers in float32 against another library's float32: of a map's range, a KL's size, or a probability. */
const tolerance = 1e-3;

describe.skipIf(realModel === undefined)(`SmolLM2 explained (${needsRealModel})`, { timeout: 900_000 }, () => {
  const cases = JSON.parse(readFileSync(`${folder}cases.json`, "utf8")) as Cases;
  const capital = cases.prompts.capital?.text as string;
  let model: Model;
  let reference: Record<string, Tensor>;

  beforeAll(async () => {
    model = await open(realModel as string);
    reference = (await readSafetensors(`${folder}sketch.safetensors`)).tensors;
  });
  afterAll(() => model.close());

  const numbersAt = (name: string, index: number) => [...toNumbers(row(reference[name] as Tensor, index))];

  it("sees through the logit lens what PyTorch sees", async () => {
    const lens = await logitLens(model, capital, { target: cases.capital.id });
    expect(lens.tokens.map(({ id }) => id)).toEqual(cases.prompts.capital?.ids);
    expect(lens.layers.map(({ site }) => site)).toEqual(cases.lens.sites);
    let worst = { kl: 0, probability: 0 };
    lens.layers.forEach(({ positions }, layer) => {
      expect(positions.map(({ top }) => top[0]?.id)).toEqual(numbersAt("lens/ids", layer));
      const [kl, probabilities] = [numbersAt("lens/kl", layer), numbersAt("lens/probabilities", layer)];
      positions.forEach((found, p) => {
        const wanted = kl[p] as number;
        worst = {
          kl: Math.max(worst.kl, Math.abs(found.kl - wanted) / Math.max(1, wanted)),
          probability: Math.max(
            worst.probability,
            Math.abs((found.top[0]?.probability as number) - (probabilities[p] as number)),
          ),
        };
      });
    });
    expect(worst.kl).toBeLessThan(tolerance);
    expect(worst.probability).toBeLessThan(tolerance);
    const last = lens.layers[30]?.positions[4];
    expect(last?.target?.rank).toBe(1);
    expect(Math.abs((last?.target?.probability as number) - cases.capital.probability)).toBeLessThan(tolerance);
  });

  it.each(["position", "head"] as const)("recovers the indirect object by %s as PyTorch does", async (by) => {
    const { answers, metric } = cases.indirectObject;
    const before = model.statistics();
    const map = await activationPatching(model, {
      clean: cases.prompts.clean?.text as string,
      corrupt: cases.prompts.corrupt?.text as string,
      metric: logitDifference(answers.Mary, answers.John),
      by,
    });
    expect(model.statistics().sessionsOpened - before.sessionsOpened).toBe(2);
    expect(Math.abs(map.metric.clean - metric.clean)).toBeLessThan(tolerance);
    expect(Math.abs(map.metric.corrupt - metric.corrupt)).toBeLessThan(tolerance);
    const wanted = map.sites.map((_, layer) =>
      numbersAt(by === "head" ? "indirectObject/z" : "indirectObject/residPre", layer),
    );
    const range = Math.max(...wanted.flat()) - Math.min(...wanted.flat());
    const worst = (other: readonly (readonly number[])[]) =>
      Math.max(...map.recovered.flatMap((line, i) => line.map((x, j) => Math.abs(x - (other[i]?.[j] as number))))) /
      range;
    expect(worst(wanted)).toBeLessThan(tolerance);
    expect(worst([...wanted].reverse())).toBeGreaterThan(100 * tolerance); // the map upside down is another map
  });

  it("attributes a logit difference to parts that add up to it", async () => {
    const { Mary, John } = cases.indirectObject.answers;
    const clean = cases.prompts.clean?.text as string;
    const { total, terms } = await directLogitAttribution(model, clean, { target: Mary, versus: John });
    const sum = terms.reduce((whole, { value }) => whole + value, 0);
    expect(Math.abs(total - cases.indirectObject.metric.clean)).toBeLessThan(tolerance);
    expect(Math.abs(sum - total)).toBeLessThan(1e-4 * Math.abs(total)); // the float32 stream is rounded at each of 60 sums
    expect(terms).toHaveLength(1 + 30 * (9 + 1));
  });

  it("ablates every head by itself, and shows every head's pattern", async () => {
    const heads = Array.from({ length: 9 }, (_, head) => `layers.*.attn.z[head=${head}]`);
    const { sites } = await ablate(model, capital, { sites: heads, how: "mean" });
    expect(sites).toHaveLength(270);
    expect(sites.every(({ kl, before }) => kl >= 0 && before.id === cases.capital.id)).toBe(true);
    const strongest = sites.reduce((most, site) => (site.kl > most.kl ? site : most));
    expect(strongest.kl).toBeGreaterThan(100 * tolerance);
    const { heads: patterns } = await attentionPatterns(model, capital);
    expect(patterns).toHaveLength(270);
    for (const { pattern } of patterns) {
      const lastQuery = toNumbers(row(pattern, -1));
      expect(lastQuery.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
    }
  });

  it("finds no effect of a clamp that does nothing, and one of a clamp that does much", async () => {
    const nothing = await clampEffect(model, model.with(scale("layers.20.mlp.out", 1)), capital);
    expect(nothing.kl).toBe(0);
    const much = await clampEffect(model, model.with(scale("layers.28.mlp.out", 0)), capital);
    expect(much.kl).toBeGreaterThan(10 * tolerance);
    expect(much.movers.map(({ id }) => id)).toContain(cases.capital.id);
  });
});
