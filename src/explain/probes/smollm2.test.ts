/**
 * Probes and similarity on the real model: at the word after a noun, what the noun means is not in the embedding and
 * can be read after a few layers; and layers are more alike the nearer they lie. Twins on tiny checkpoints lie beside
 * this.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../../test/support/realModel.js";
import { type Model, open } from "../../model/index.js";
import type { Tensor } from "../../runtime/index.js";
import { rsaSites } from "../similarity/index.js";
import { probeSites, selectivity, siteExamples } from "./index.js";

const nouns = {
  animal:
    "dog cat horse cow sheep goat lion tiger bear wolf fox rabbit mouse elephant monkey snake frog duck chicken eagle whale shark deer camel",
  thing:
    "hammer chair table lamp spoon knife bottle window door bucket ladder pencil bicycle mirror carpet clock basket blanket needle shovel kettle wheel candle rope",
};
const words = Object.entries(nouns).flatMap(([label, list]) => list.split(" ").map((word) => ({ word, label })));
const prompts = words.map(({ word }) => `The ${word} is`);
const labels = words.map(({ label }) => label);

describe.skipIf(realModel === undefined)(`SmolLM2 probed (${needsRealModel})`, { timeout: 900_000 }, () => {
  let model: Model;
  beforeAll(async () => {
    model = await open(realModel as string);
  });
  afterAll(() => model.close());

  it("says what a noun means one word later, but for its embedding", async () => {
    const found = await probeSites(model, prompts, labels, {
      sites: ["embed", "layers.*.residPost"],
      probe: { kind: "logistic", penalty: 100 },
    });
    expect(found.sites).toHaveLength(31);
    expect(found.scores[0]).toBeLessThanOrEqual(0.5); // every prompt ends in the same token: nothing to read
    expect(found.low[found.sites.indexOf(found.best)]).toBeGreaterThan(0.85);
    const [first, ...later] = found.scores.slice(1) as [number, ...number[]];
    expect(Math.min(...later.slice(3))).toBeGreaterThan(0.9);
    expect(first).toBeLessThan(Math.min(...later.slice(3))); // one layer of attention brings a part of it
  });

  it("is selective there: random labels of the nouns can't be read", async () => {
    const site = "layers.14.residPost";
    const { features } = await siteExamples(model, prompts, { sites: site });
    const found = await selectivity(features.get(site) as Tensor, labels, {
      probe: { kind: "logistic", penalty: 100 },
      permutations: 19,
    });
    expect(found.shuffled.p).toBe(1 / 20);
    expect(found.selectivity).toBeGreaterThan(0.25);
  });

  it("has layers that are the more alike the nearer they lie", async () => {
    const { values } = await rsaSites(model, model, prompts, { sites: "layers.*.residPost" });
    const meanAt = (distance: number) => {
      const found = values.flatMap((line, i) => line.slice(i + distance, i + distance + 1));
      return found.reduce((a, b) => a + b) / found.length;
    };
    const [same, next, tenth] = [meanAt(0), meanAt(1), meanAt(10)];
    expect(same).toBeCloseTo(1, 9);
    expect(next).toBeLessThan(same);
    expect(next).toBeGreaterThan(0.9);
    expect(tenth).toBeLessThan(next - 0.05);
  });
});
