/** Attribution graphs and relevance on the real model. Twins on tiny checkpoints are the other tests beside this one. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRealModel, realModel } from "../../test/support/realModel.js";
import { type Model, open } from "../model/index.js";
import { random } from "../runtime/index.js";
import { attributionGraph, pruneGraph } from "./attributionGraph.js";
import { graphFaithfulness } from "./graphFaithfulness.js";
import { relevance } from "./relevance.js";

const folder = new URL("../../test/fixtures/models/smollm2/", import.meta.url).pathname;

describe.skipIf(realModel === undefined)(`SmolLM2's graph (${needsRealModel})`, { timeout: 900_000 }, () => {
  const { prompts } = JSON.parse(readFileSync(`${folder}cases.json`, "utf8")) as {
    prompts: Record<string, { text: string }>;
  };
  const [clean, corrupt] = [prompts.clean?.text as string, prompts.corrupt?.text as string];
  const metric = "logit( Mary) - logit( John)";
  let model: Model;
  beforeAll(async () => {
    model = await open(realModel as string);
  });
  afterAll(() => model.close());

  it("finds a small part that carries the indirect object, and random parts of that size do not", async () => {
    const options = { clean, corrupt, metric };
    const whole = await attributionGraph(model, { ...options, threshold: 0 });
    const { layers, heads } = model.config;
    expect(whole.nodes).toHaveLength(2 + layers * (heads + 1));
    expect(whole.metric.clean).toBeGreaterThan(5);
    expect(whole.metric.corrupt).toBeLessThan(-5);
    const graph = pruneGraph(whole, { top: 1_000 });
    expect(graph.nodes.length).toBeLessThan(whole.nodes.length / 2);
    expect(Math.abs((await graphFaithfulness(model, graph, options)).faithfulness - 1)).toBeLessThan(0.1);
    const draws = random(1);
    const order = whole.nodes.map((node) => ({ node, key: draws.uniform() })).sort((a, b) => a.key - b.key);
    const nodes = order.slice(0, graph.nodes.length).map(({ node }) => node);
    const ends = whole.nodes.filter(({ kind }) => kind === "embed" || kind === "logits");
    const control = await graphFaithfulness(model, { nodes: [...nodes, ...ends] }, options);
    expect(control.faithfulness).toBeLessThan(0.5);
    // Both names are heard of at the last position through values that late heads move: those edges are among the first.
    expect(whole.edges.slice(0, 10).filter(({ to }) => to === "logits").length).toBeGreaterThan(2);
  });

  it("hands the answer back to the name, and all of it where attention is detached", async () => {
    for (const rule of ["attnLrp", "detached"] as const) {
      const { byToken, tokens, value, conservation } = await relevance(model, clean, { of: metric, rule });
      const most = byToken.indexOf(Math.max(...byToken));
      expect(tokens[0]?.[most]?.text).toBe(" Mary");
      const worst = Math.max(...conservation.map(({ error }) => Math.abs(error))) / value;
      if (rule === "detached")
        expect(worst).toBeLessThan(1e-4); // float32 through thirty layers
      else expect(worst).toBeGreaterThan(0.1);
    }
  });
});
