/** Attribution graphs against loops over recorded activations and single gradients; pruning and faithfulness. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { type Model, open } from "../model/index.js";
import { attributionGraph } from "./attributionGraph.js";
import { graphFaithfulness } from "./graphFaithfulness.js";
import { logitDifference } from "./patching.js";

it("tries", async () => {
  const model = await open(modelsFolder + "llama-gqa", { threads: 1 });
  const metric = logitDifference(3, 44);
  const graph = await attributionGraph(model, { clean, corrupt, metric, threshold: 0, steps: 1 });
  console.log(graph.nodes.length, graph.edges.length, graph.edges.slice(0, 5), graph.metric, graph.kept);
  console.log(await graphFaithfulness(model, graph, { clean, corrupt, metric }));
  console.log(await graphFaithfulness(model, { nodes: [] }, { clean, corrupt, metric }));
  await model.close();
});
