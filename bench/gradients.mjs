/** Gradients of a logit at every residual stream, against the forward pass written by hand. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { attributionPatching } from "../dist/explain/index.js";
import { constantLike, expand, inputsOf, nodeCount, pullback, simplify } from "../dist/graph/index.js";
import { interleave, median, ratio } from "./measure.mjs";

/** The gradient that is measured: of one logit at every residual stream. */
export const gradientOptions = { of: "logit(#7042)", at: "layers.*.residPost" };

/** Reports ratios of gradients; returns the times. */
export async function gradients({ model, byHand, prompt, rounds, report, show }) {
  const options = gradientOptions;
  const nodes = await countNodes(model);
  const start = performance.now();
  await model.gradient(prompt, options);
  const first = performance.now() - start;
  const results = await interleave({ byHand: byHand.run, gradient: () => model.gradient(prompt, options) }, rounds);
  const { byHand: hand, gradient } = results;
  const detail = `${show(gradient, hand)}; ${nodes.simplified} nodes (${nodes.written} before simplification), first call ${first.toFixed(0)} ms`;
  report(
    ratio("gradient of a logit at all residual streams / forward by hand", gradient.median / hand.median, {
      atMost: 2.3,
      detail,
    }),
  );
  await byHand.close();
  return { ...results, first, nodes };
}

/** Nodes of the gradient's graph, as the rules write it and simplified. */
async function countNodes(model) {
  const nodes = {};
  await model.compute([[1, 2]], (context) => {
    const value = context.metric(gradientOptions.of);
    const sites = Array.from({ length: model.config.layers }, (_, i) => context.site(`layers.${i}.residPost`));
    const seeds = new Map([[value, expand(constantLike(value, 1), value.shape)]]);
    const outputs = new Map(pullback(seeds, sites).map((gradient, i) => [`gradient ${i}`, gradient]));
    const graph = { inputs: inputsOf(outputs.values()), outputs, sites: new Map() };
    nodes.written = nodeCount(graph);
    nodes.simplified = nodeCount(simplify(graph));
    return { value };
  });
  return nodes;
}

/** Reports what attribution patching over every site costs beside one forward pass of one prompt. */
export async function attribution({ model, rounds, report, show }) {
  const clean = "When Mary and John went to the store, John gave a drink to";
  const corrupt = "When Mary and John went to the store, Mary gave a drink to";
  const metric = "logit( Mary)-logit( John)";
  const estimate = () => attributionPatching(model, { clean, corrupt, metric });
  const start = performance.now();
  const map = await estimate();
  const first = performance.now() - start;
  const results = await interleave({ forward: () => model.record(clean, "logits"), estimate }, rounds);
  report(
    ratio("attribution patching, all sites by position / forward", results.estimate.median / results.forward.median, {
      atMost: 3.5,
      detail: `${show(results.estimate, results.forward)}; ${map.sites.length} sites x ${map.positions.length} positions; first call ${first.toFixed(0)} ms`,
    }),
  );
  return { ...results, first };
}

const script = fileURLToPath(new URL("./checkpoint.mjs", import.meta.url));

/** Reports what checkpoints save and cost in the gradient of a 24-layer decoder at 512 tokens; returns the measurements. */
export function checkpoints({ report }) {
  const measure = (...flags) =>
    JSON.parse(spawnSync(process.execPath, [script, ...flags], { encoding: "utf8" }).stdout);
  const rounds = Array.from({ length: 3 }, () => ({ kept: measure(), recomputed: measure("--checkpoint") }));
  const of = (pick) => median(rounds.map(pick));
  const memory = of(({ kept, recomputed }) => kept.bytes / recomputed.bytes);
  const time = of(({ kept, recomputed }) => recomputed.milliseconds / kept.milliseconds);
  const [{ kept, recomputed }] = rounds;
  report(
    ratio("peak memory of a 24-layer gradient at 512 tokens / with checkpoints", memory, {
      atLeast: 3,
      detail: `${(kept.bytes / 1e6).toFixed(0)} / ${(recomputed.bytes / 1e6).toFixed(0)} MB; ${kept.nodes} / ${recomputed.nodes} nodes`,
    }),
  );
  report(
    ratio("its time with checkpoints / without", time, {
      atMost: 1.4,
      detail: `${recomputed.milliseconds.toFixed(0)} / ${kept.milliseconds.toFixed(0)} ms`,
    }),
  );
  return rounds;
}
