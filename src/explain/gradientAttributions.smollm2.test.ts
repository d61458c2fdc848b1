/** Gradient attributions on the real model; twins on tiny checkpoints are in the tests of each method. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open } from "../model/index.js";
import { meanEmbedding, promptBaseline } from "./baselines.js";
import { layerConductance } from "./conductance.js";
import type { DifferentiableFunction } from "./differentiable.js";
import { integratedGradients } from "./integrated.js";
import { modelFunction } from "./modelFunction.js";

describe.skipIf(realModel === undefined)(`SmolLM2's attributions (${needsRealModel})`, { timeout: 900_000 }, () => {
  const prompt = "The capital of France is";
  let model: Model;
  let f: DifferentiableFunction;
  beforeAll(async () => {
    model = await open(realModel as string);
    f = await modelFunction(model, prompt, { of: "logit( Paris) - logit( London)" });
  });
  afterAll(() => model.close());

  it("lays the change from England to France on the country", async () => {
    const baseline = await promptBaseline(model, "The capital of England is");
    const found = await integratedGradients(f, { baseline, steps: 8 });
    expect(found.tokens?.map(({ text }) => text)).toEqual(["The", " capital", " of", " France", " is"]);
    expect(found.completeness.error).toBeLessThan(0.01);
    expect(found.baselineValue).toBeLessThan(0); // London is likelier there
    expect([...found.sums.data].map((x) => x === 0)).toEqual([true, true, true, false, true]);
    const stream = await layerConductance(f, { hidden: "layers.10.residPost", baseline, steps: 8 });
    expect(stream.separates).toBe(true);
    expect(stream.completeness.error).toBeLessThan(0.01);
    expect(stream.sums.data[3]).toBeGreaterThan(0.9 * stream.completeness.difference); // still at the country's position
    const late = await layerConductance(f, { hidden: "layers.28.residPost", baseline, steps: 8 });
    expect(late.sums.data[4]).toBeGreaterThan(0.9 * late.completeness.difference); // moved to the last
  });

  it("is complete from the mean embedding, where evenly placed points are far from it", async () => {
    const baseline = await meanEmbedding(model, prompt);
    const found = await integratedGradients(f, { baseline });
    expect(found.completeness.error).toBeLessThan(0.01);
    const even = await integratedGradients(f, { baseline, rule: "trapezoid", steps: 64, maxSteps: 64 });
    expect(even.completeness.error).toBeGreaterThan(0.1);
    expect(even.warning).toBeDefined();
  });
});
