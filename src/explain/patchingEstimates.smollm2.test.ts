/** Estimates of patching on the real model, against patching. Twins that never skip are the tests beside it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open } from "../model/index.js";
import {
  activationPatching,
  attributionPatching,
  compareMaps,
  type MapComparison,
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

const maps: readonly { readonly sites: string; readonly by: PatchingUnit }[] = [
  { sites: "layers.*.residPre", by: "position" },
  { sites: "layers.*.attn.z", by: "head" },
  { sites: "layers.*.mlp.out", by: "position" },
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

    it.each(Object.keys(pairs))("estimates what patching finds: %s", async (name) => {
      const pair = pairs[name] as PromptPair;
      const found: Record<string, { whole: MapComparison; small: MapComparison; steps: MapComparison }> = {};
      for (const map of maps) {
        const estimate = await attributionPatching(model, { ...pair, ...map });
        const averaged = await attributionPatching(model, { ...pair, ...map, steps: 8 });
        const whole = await activationPatching(model, { ...pair, ...map });
        const small = await activationPatching(model, { ...pair, ...map, scale: 0.01 });
        found[`${map.sites} by ${map.by}`] = {
          whole: compareMaps(estimate, whole),
          small: compareMaps(estimate, small),
          steps: compareMaps(averaged, whole),
        };
      }
      console.log(
        name,
        JSON.stringify(found, (_, x) => (typeof x === "number" ? Number(x.toFixed(5)) : x), 1),
      );
    });
  },
);
