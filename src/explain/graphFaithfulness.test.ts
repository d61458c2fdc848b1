/** Faithfulness against a model with the same parts patched one clamp at a time. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { type Model, open, patch } from "../model/index.js";
import { type AttributionGraph, attributionGraph, pruneGraph } from "./attributionGraph.js";
import { graphFaithfulness } from "./graphFaithfulness.js";
import { logitDifference } from "./patching.js";

const [answer, wrong] = [3, 44];
const options = { clean, corrupt, metric: logitDifference(answer, wrong) };

describe.each(["llama-gqa", "gpt2"])("faithfulness in %s", (name) => {
  let model: Model;
  let whole: AttributionGraph;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    whole = await attributionGraph(model, { ...options, threshold: 0 });
  });
  afterAll(() => model.close());

  it("patches what the graph does not hold", async () => {
    const graph = pruneGraph(whole, { top: 12 });
    const kept = new Set(graph.nodes.map((node) => node.name));
    const sites = ["embed"];
    const { layers, heads } = model.config;
    for (let l = 0; l < layers; l++) {
      for (let h = 0; h < heads; h++)
        if (!kept.has(`layers.${l}.attn.h${h}`)) sites.push(`layers.${l}.attn.z[head=${h}]`);
      if (!kept.has(`layers.${l}.mlp`)) sites.push(`layers.${l}.mlp.out`);
    }
    expect(kept.has("embed")).toBe(true);
    const outside = sites.slice(1);
    expect(outside.length).toBeGreaterThan(2);
    const source = await model.record(corrupt, ["embed", "layers.*.attn.z", "layers.*.mlp.out"]);
    const difference = (logits: readonly number[]) => (logits[answer] as number) - (logits[wrong] as number);
    const wanted = difference(await lastLogits(model.with(...outside.map((site) => patch(site, source))), clean));
    const found = await graphFaithfulness(model, graph, options);
    // Logits of some units in float32, patched by numbers that went out and came back.
    expect(found.metric.graph).toBeCloseTo(wanted, 4);
    expect(found.metric.clean).toBeCloseTo(difference(await lastLogits(model, clean)), 4);
    expect(found.metric.corrupt).toBeCloseTo(difference(await lastLogits(model, corrupt)), 4);
    expect(Math.abs(wanted - found.metric.clean)).toBeGreaterThan(1e-2);
  });

  it("is 1 for the whole graph and 0 for none of it", async () => {
    expect((await graphFaithfulness(model, whole, options)).faithfulness).toBeCloseTo(1, 5);
    expect((await graphFaithfulness(model, { nodes: [] }, options)).faithfulness).toBeCloseTo(0, 5);
    const sublayers = await attributionGraph(model, { ...options, nodes: "sublayers", threshold: 0 });
    expect((await graphFaithfulness(model, sublayers, options)).faithfulness).toBeCloseTo(1, 5);
  });

  it("opens no session for another graph", async () => {
    await graphFaithfulness(model, whole, options);
    const before = model.statistics().sessionsOpened;
    await graphFaithfulness(model, pruneGraph(whole, { top: 5 }), options);
    expect(model.statistics().sessionsOpened).toBe(before);
  });

  it.each(["layers.9.mlp", "layers.0.attn.h9", "layers.0.residPre"])("refuses the node %s", async (node) => {
    const nodes = [{ name: node, kind: "mlp" as const }];
    await expect(graphFaithfulness(model, { nodes }, options)).rejects.toThrow(/the model has no node/);
  });
});
