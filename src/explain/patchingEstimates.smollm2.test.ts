/** Estimates of patching on the real model, against patching. Twins that never skip are the tests beside it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open } from "../model/index.js";
import {
  activationPatching,
  attributionPatching,
  compareMaps,
  type PatchingUnit,
  type PromptPair,
  pathAttribution,
  pathPatching,
} from "./index.js";

/** Minimal pairs: an indirect object, a fact, and a subject whose number the verb must follow. */
const pairs: Readonly<Record<string, PromptPair>> = {
  "indirect object": {
    clean: "When Mary and John went to the store, John gave a drink to",
    corrupt: "When Mary and John went to the store, Mary gave a drink to",
    metric: "logit( Mary) - logit( John)",
  },
  capital: {
    clean: "The capital of France is",
    corrupt: "The capital of Italy is",
    metric: "logit( Paris) - logit( Rome)",
  },
  "subject and verb": {
    clean: "The keys that the man near the door lost",
    corrupt: "The key that the man near the door lost",
    metric: "logit( were) - logit( was)",
  },
};

/** Some layers: patching, which estimates are held against, runs the model once a cell. */
const maps: readonly { readonly sites: string; readonly by: PatchingUnit }[] = [
  { sites: "layers.{4,14,22}.residPre", by: "position" },
  { sites: "layers.{4,14,22}.attn.z", by: "head" },
  { sites: "layers.{4,14,22}.mlp.out", by: "position" },
];

describe.skipIf(realModel === undefined)(
  `patching estimated in SmolLM2 (${needsRealModel})`,
  { timeout: 900_000 },
  () => {
    let model: Model;
    beforeAll(async () => {
      model = await open(realModel as string);
    });
    afterAll(() => model.close());

    it.each(Object.keys(pairs))("is the limit of small patches: %s", async (name) => {
      const pair = pairs[name] as PromptPair;
      for (const map of maps) {
        const estimate = await attributionPatching(model, { ...pair, ...map });
        const small = await activationPatching(model, { ...pair, ...map, scale: 0.01 });
        // Over all cells: those that a hundredth of a patch moves by less than rounding are small in both maps.
        expect(compareMaps(estimate, small).pearson).toBeGreaterThan(0.999);
        const upsideDown = { ...small, recovered: [...small.recovered].reverse() };
        expect(compareMaps(estimate, upsideDown).pearson).toBeLessThan(0.99);
      }
    });

    it("estimates whole patches better when it averages the gradient between the prompts", async () => {
      const options = { ...(pairs["indirect object"] as PromptPair), sites: "layers.{2,6}.residPre" };
      const whole = await activationPatching(model, options);
      const pearson = async (steps: number) =>
        compareMaps(await attributionPatching(model, { ...options, steps }), whole).pearson;
      expect(await pearson(8)).toBeGreaterThan(0.95);
      expect(await pearson(1)).toBeLessThan(await pearson(8));
    });

    it("finds the heads that write the indirect object straight into the logits", async () => {
      const options = {
        ...(pairs["indirect object"] as PromptPair),
        receivers: "layers.29.residPost",
        positions: [-1],
      };
      const before = model.statistics();
      const patched = await pathPatching(model, options);
      expect(model.statistics().sessionsOpened - before.sessionsOpened).toBe(3);
      expect(patched.recovered).toHaveLength(30);
      const estimate = await pathAttribution(model, options);
      expect(compareMaps(estimate, patched).pearson).toBeGreaterThan(0.99); // only the final norm is not linear between
      const { recovered } = await activationPatching(model, { ...options, by: "head" });
      expect(compareMaps(estimate, { ...patched, recovered }).pearson).toBeLessThan(0.99); // direct effects are not total ones
      const strongest = patched.recovered.flat().reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(strongest).toBeGreaterThan(0.05);
    });
  },
);
