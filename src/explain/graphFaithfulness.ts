/**
 * Faithfulness of an attribution graph (Wang et al. 2022; Hanna et al. 2024), by nodes: how much of the metric is left
 * when every head and MLP outside the graph computes what it computed for the corrupt prompt.
 */
import { usageError } from "../errors.js";
import { blend, type Model } from "../model/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import type { AttributionNode } from "./attributionGraph.js";
import { alignedTokens, apart, type PromptPair, perRow } from "./patching.js";

export interface GraphFaithfulness {
  /** The metric of the clean prompt, the corrupt prompt, and the clean prompt with only the graph's nodes its own. */
  readonly metric: { readonly clean: number; readonly corrupt: number; readonly graph: number };
  /** (graph - corrupt) / (clean - corrupt): 1 keeps the whole difference, 0 none of it. */
  readonly faithfulness: number;
}

/**
 * Runs the clean prompt with the embedding, heads and MLPs that are not among the graph's nodes patched from the corrupt
 * prompt, beside both prompts unpatched: three rows of one compiled graph, which serves every graph of nodes. An empty
 * graph keeps 0. Edges between kept nodes are all there: a graph that is unfaithful here is so edge by edge too.
 *
 * Throws where the prompts differ in length, the metric does not tell them apart, or a node is not one of the model.
 */
export async function graphFaithfulness(
  model: Model,
  { nodes }: { readonly nodes: readonly AttributionNode[] },
  { clean, corrupt, metric }: PromptPair,
): Promise<GraphFaithfulness> {
  const [tokens, others] = alignedTokens(model, { clean, corrupt }).map((line) => line.map(({ id }) => id)) as [
    number[],
    number[],
  ];
  const { layers } = model.config;
  checkNodes(model, nodes);
  const names = new Set(nodes.map(({ name }) => name));
  const source = await model.record(others, ["embed", "layers.*.attn.z", "layers.*.mlp.out"]);
  const patched = (site: string, parts: readonly string[], shape: readonly number[]) =>
    blend(site, source, tensorOf("float32", shape, patchedRows(parts.map((part) => names.has(part)))));
  const clamps = Array.from({ length: layers }, (_, layer) => [
    patched(`layers.${layer}.attn.z`, headParts(model, layer, names), [3, 1, model.config.heads, 1]),
    patched(`layers.${layer}.mlp.out`, [`layers.${layer}.mlp`], [3, 1, 1]),
  ]).flat();
  const { metric: found } = await model
    .with(patched("embed", ["embed"], [3, 1, 1]), ...clamps)
    .compute([tokens, tokens, tokens], (context) => ({ metric: perRow(metric, context) }));
  const [atClean, atCorrupt, atGraph] = (found as Tensor).data as Float32Array;
  const ends = apart(atClean as number, atCorrupt as number);
  const graph = atGraph as number;
  return { metric: { ...ends, graph }, faithfulness: (graph - ends.corrupt) / (ends.clean - ends.corrupt) };
}

/** What each row patches of some parts: nothing, all, and what the graph does not hold. */
function patchedRows(kept: readonly boolean[]): number[] {
  return [...kept.map(() => 0), ...kept.map(() => 1), ...kept.map((yes) => (yes ? 0 : 1))];
}

/** The names under which a graph may hold the heads of a layer: each by itself, or all as one node. */
function headParts({ config }: Model, layer: number, names: ReadonlySet<string>): string[] {
  const attention = `layers.${layer}.attn`;
  return Array.from({ length: config.heads }, (_, head) =>
    names.has(attention) ? attention : `${attention}.h${head}`,
  );
}

function checkNodes({ config }: Model, nodes: readonly AttributionNode[]): void {
  const { layers, heads } = config;
  const wrong = nodes.find(({ name }) => {
    const found = /^layers\.(\d+)\.(?:mlp|attn(?:\.h(\d+))?)$/.exec(name);
    if (found === null) return name !== "embed" && name !== "logits";
    return Number(found[1]) >= layers || Number(found[2] ?? 0) >= heads;
  });
  if (wrong === undefined) return;
  throw usageError(
    `the model has no node "${wrong.name}": its nodes are embed, layers.0.attn.h0 to layers.${layers - 1}.attn.h${heads - 1}, layers.0.mlp to layers.${layers - 1}.mlp, and logits`,
  );
}
