/** Relevance on tiny checkpoints: what is conserved, what absorbs, and what plain gradients do instead. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { reduceSum, stopGradient } from "../graph/index.js";
import { clamp, type Model, open, recorded } from "../model/index.js";
import { toNumbers } from "../runtime/index.js";
import { type RelevanceOptions, relevance } from "./relevance.js";
import type { RelevanceRule } from "./relevanceRules.js";

const of = "logit(#3) - logit(#44)";
const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0);

/** Relevances of size 1 to 10 in float32, through three layers: of the metric. */
const tolerance = 1e-4;

describe("relevance in a model without biases", () => {
  let model: Model;
  beforeAll(async () => {
    model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
  });
  afterAll(() => model.close());

  it("is conserved at every layer when attention is detached", async () => {
    const found = await relevance(model, clean, { of, rule: "detached" });
    const logits = await lastLogits(model, clean);
    expect(found.value).toBeCloseTo((logits[3] as number) - (logits[44] as number), 5);
    expect(found.conservation.map(({ site }) => site)).toEqual([
      "embed",
      "layers.0.residPost",
      "layers.1.residPost",
      "layers.2.residPost",
    ]);
    for (const { sum: all, error } of found.conservation) {
      expect(error).toBe(all - found.value);
      expect(Math.abs(error)).toBeLessThan(tolerance * Math.abs(found.value));
    }
    expect(found.byToken).toHaveLength(clean.length);
    expect(Math.abs(sum(found.byToken) - found.value)).toBeLessThan(tolerance * Math.abs(found.value));
    expect(Math.max(...found.byToken.map(Math.abs))).toBeGreaterThan(100 * tolerance);
  });

  it("is not conserved by gradients: the control", async () => {
    const gradients = recorded(await model.gradient(clean, { of, at: "embed" }), "embed");
    const values = toNumbers(recorded(await model.record(clean, "embed"), "embed"));
    const product = sum(toNumbers(gradients).map((g, i) => g * (values[i] as number)));
    const { value } = await relevance(model, clean, { of });
    expect(Math.abs(product - value)).toBeGreaterThan(0.1 * Math.abs(value));
  });

  it("loses by AttnLRP what the softmaxes absorb, and nothing else", async () => {
    const found = await relevance(model, clean, { of, at: ["layers.*.attn.{z,pattern,scores,q,k,v}"] });
    const at = (site: string) => sum(toNumbers(recorded(found, site)));
    let absorbed = 0;
    for (let l = model.config.layers - 1; l >= 0; l--) {
      const layer = `layers.${l}.attn`;
      const close = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThan(tolerance * Math.abs(found.value));
      close(at(`${layer}.pattern`), at(`${layer}.z`) / 2);
      close(at(`${layer}.v`), at(`${layer}.z`) / 2);
      close(at(`${layer}.q`), at(`${layer}.scores`) / 2);
      close(at(`${layer}.k`), at(`${layer}.scores`) / 2);
      absorbed += at(`${layer}.pattern`) - at(`${layer}.scores`);
      const before = found.conservation[l]?.sum as number;
      close(before + absorbed, found.value);
    }
    expect(Math.abs(absorbed)).toBeGreaterThan(100 * tolerance);
  });

  it("is the same whatever else is asked for", async () => {
    const alone = await relevance(model, clean, { of, at: "layers.1.attn.v" });
    const together = await relevance(model, clean, { of, at: "layers.*.{attn.v,mlp.act,residPre}" });
    expect(recorded(alone, "layers.1.attn.v")).toEqual(recorded(together, "layers.1.attn.v"));
    expect(alone.byToken).toEqual(together.byToken);
    const neurons = recorded(together, "layers.1.mlp.act");
    expect(neurons.shape).toEqual([1, clean.length, model.config.mlpWidth]);
  });

  it("hands a stopped pattern on as a detached one", async () => {
    const scaled = model.with(clamp("layers.*.attn.pattern", stopGradient));
    const [plain, stopped] = [
      await relevance(model, clean, { of, rule: "detached" }),
      await relevance(scaled, clean, { of, rule: "detached" }),
    ];
    plain.byToken.forEach((own, i) => {
      expect(own).toBeCloseTo(stopped.byToken[i] as number, 5);
    });
  });

  it("of a token that the last position does not see is nothing", async () => {
    const { byToken } = await relevance(model, clean, { of: "logit(#3)[2]" });
    expect(byToken.slice(3).every((x) => x === 0)).toBe(true);
    expect(byToken.slice(0, 3).every((x) => x !== 0)).toBe(true);
  });

  it.each<[string, Partial<RelevanceOptions>, RegExp]>([
    ["another rule", { rule: "epsilon" as "detached" }, /attnLrp or detached, not "epsilon"/],
    ["a part of a site", { at: "embed[:, -1]" }, /whole sites are needed/],
    [
      "a site beside the path",
      { at: "layers.0.attn.result" },
      /nothing of the metric is handed back to layers\.0\.attn\.result/,
    ],
    ["what the rule holds constant", { at: "layers.0.attn.scores", rule: "detached" }, /the rule holds it constant/],
    ["one number of all rows", { of: ({ last }) => reduceSum(last("logits"), [0, 1]) }, /one number a row here/],
  ])("refuses %s", async (_, options, message) => {
    await expect(relevance(model, clean, { of, ...options })).rejects.toThrow(message);
  });
});

describe.each(["llama-tied", "gpt2", "gpt2-odd"])("relevance in %s, which has biases", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  it("is absorbed by them, and by nothing once they are zero", async () => {
    const biased = await relevance(model, clean, { of, rule: "detached" });
    const worst = ({ conservation, value }: typeof biased) =>
      Math.max(...conservation.map(({ error }) => Math.abs(error))) / Math.abs(value);
    expect(worst(biased)).toBeGreaterThan(100 * tolerance);
    const biases = [...model.weights.shapes].filter(([weight]) => weight.endsWith(".bias"));
    const none = Object.fromEntries(biases.map(([weight, shape]) => [weight, new Float32Array(shape[0] as number)]));
    expect(biases.length).toBeGreaterThan(0);
    expect(worst(await relevance(model.withWeights(none), clean, { of, rule: "detached" }))).toBeLessThan(tolerance);
  });
});

describe("relevance by the library of AttnLRP's authors", () => {
  const path = new URL("../../test/fixtures/explain/relevance/lxt.json", import.meta.url);
  const cases = JSON.parse(readFileSync(path, "utf8")) as {
    model: string;
    rule: RelevanceRule;
    byToken: number[];
  }[];

  it.each(cases)("is ours: $rule in $model", async ({ model: name, rule, byToken }) => {
    const model = await open(modelsFolder + name, { threads: 1 });
    try {
      const distance = async (other: RelevanceRule) => {
        const found = (await relevance(model, clean, { of, rule: other })).byToken;
        return Math.hypot(...found.map((x, i) => x - (byToken[i] as number))) / Math.hypot(...byToken);
      };
      expect(await distance(rule)).toBeLessThan(tolerance);
      expect(await distance(rule === "detached" ? "attnLrp" : "detached")).toBeGreaterThan(100 * tolerance);
    } finally {
      await model.close();
    }
  });
});
