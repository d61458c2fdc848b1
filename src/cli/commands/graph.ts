/** `patchclamp graph`: which heads and MLPs carry an answer, and through which connections (edge attribution patching). */
import { type Command, Option } from "commander";
import { usageError } from "../../errors.js";
import type { AttributionEdge, AttributionGraph, AttributionNode, GraphFaithfulness } from "../../explain/index.js";
import type { GraphEdge, GraphFigure, GraphNode } from "../../figures/index.js";
import type { Context } from "../context.js";
import { addExample, addPictureOption, addRunOptions } from "../options.js";
import { addPairOptions, type PairOptions, type PairRun, runPairs } from "../pairs.js";
import { terminalFigure } from "../pictures.js";
import { tokensJson } from "../run.js";
import type { GraphResult } from "../schemas.js";
import { formatProbability } from "../terminal.js";
import { sizeNumber, wholeNumber } from "../values.js";

interface Options extends PairOptions {
  readonly steps: number;
  readonly top?: number;
  readonly threshold?: number;
  readonly nodes: "components" | "sublayers";
}

export function define(command: Command, context: Context): void {
  addPairOptions(command);
  command
    .option("--steps <count>", "points between the prompts at which gradients are averaged", wholeNumber(1), 5)
    .addOption(
      new Option("--top <count>", "keep so many edges, those of the largest scores (default: 200)")
        .argParser(wholeNumber(1))
        .conflicts("threshold"),
    )
    .option("--threshold <size>", "keep the edges whose scores are of at least this size", sizeNumber)
    .addOption(
      new Option("--nodes <parts>", "every head by itself, or the attention of a layer as one")
        .choices(["components", "sublayers"])
        .default("components"),
    );
  addPictureOption(command);
  const clamps = addRunOptions(command);
  addExample(
    command,
    'patchclamp graph --clean "When Mary and John went out, John gave a drink to" \\',
    '  --corrupt "When Mary and John went out, Mary gave a drink to" --answer " Mary" --wrong " John" --out graph.svg',
  );
  command.action((options: Options) =>
    runPairs(context, { options, clamps: clamps() }, (run) => graphOf(run, options, context)),
  );
}

async function graphOf(run: PairRun, { steps, top, threshold, nodes }: Options, { progress, stdout }: Context) {
  const { attributionGraph, graphFaithfulness } = await import("../../explain/index.js");
  const { model, clean, corrupt, metric } = run;
  const pair = { clean, corrupt, metric };
  const pruning = threshold === undefined ? (top === undefined ? {} : { top }) : { threshold };
  progress.step("scoring edges", 0, 2, "runs");
  const graph = await attributionGraph(model, { ...pair, steps, nodes, ...pruning });
  if (graph.edges.length === 0)
    throw usageError(
      `none of the edges that are kept lie on a path from embed to logits: raise --top or lower --threshold (${graph.scored.edges} edges were scored, the sizes of their scores add up to ${graph.scored.size.toPrecision(3)})`,
    );
  progress.step("running the graph's nodes alone", 1, 2, "runs");
  const faithfulness = await graphFaithfulness(model, graph, pair);
  const result = graphJson(graph, faithfulness, run);
  const figure = figureOf(graph, faithfulness, run);
  const text = async () => `${await terminalFigure(figure, stdout)}${summaryOf(result)}\n`;
  return { result, text, figures: [figure] };
}

function graphJson(graph: AttributionGraph, found: GraphFaithfulness, { metric, answers }: PairRun): GraphResult {
  const { tokens, nodes, edges, scored, kept } = graph;
  return {
    tokens: tokensJson(tokens),
    ...answers,
    metric: { text: metric, ...found.metric },
    faithfulness: found.faithfulness,
    nodes,
    edges: edges.map(({ from, to, input, score }) => ({ from, to, ...(input === undefined ? {} : { input }), score })),
    scored,
    kept,
  };
}

function summaryOf({ metric, faithfulness, edges, scored, kept }: GraphResult): string {
  const [clean, corrupt, graph] = [metric.clean, metric.corrupt, metric.graph].map((value) => value.toFixed(3));
  return `${edges.length} of ${scored.edges} edges, with ${formatProbability(kept)} of the scores
metric: ${clean} clean, ${corrupt} corrupt, ${graph} (${formatProbability(faithfulness)} of the difference) with the graph's nodes alone`;
}

function figureOf(
  graph: AttributionGraph,
  { faithfulness }: GraphFaithfulness,
  { question, label }: PairRun,
): GraphFigure {
  return {
    kind: "graph",
    title: `Attribution graph: ${question}`,
    subtitle: `${label}; these nodes alone keep ${formatProbability(faithfulness)} of the metric's difference`,
    ...placed(graph.nodes),
    edges: joined(graph.edges),
    layerAxis: { label: "layer" },
    valueAxis: { label: "estimated change of the metric" },
  };
}

/** A row for the embedding, one for each layer that has nodes, and one for the logits; a column for each head. */
function placed(nodes: readonly AttributionNode[]): Pick<GraphFigure, "nodes" | "layers"> {
  const layers = [...new Set(nodes.map(rowOf))];
  const heads = [...new Set(nodes.flatMap(({ head }) => head ?? []))].sort((a, b) => a - b);
  const columnOf = ({ kind, head = 0 }: AttributionNode) => {
    if (kind === "head") return heads.indexOf(head);
    if (kind === "attention") return 0;
    return kind === "mlp" ? Math.max(1, heads.length) : Math.floor(heads.length / 2);
  };
  return {
    layers,
    nodes: nodes.map(
      (node): GraphNode => ({
        name: node.name,
        label: node.name.replace(/^layers\./, "").replace(".attn.h", ".h"),
        layer: layers.indexOf(rowOf(node)),
        column: columnOf(node),
      }),
    ),
  };
}

const rowOf = ({ kind, layer }: AttributionNode) => (layer === undefined ? kind : `${layer}`);

/** A head reads through queries, keys and values: one line for all, their scores added up and noted. */
function joined(edges: readonly AttributionEdge[]): GraphEdge[] {
  const groups = new Map<string, AttributionEdge[]>();
  for (const edge of edges) {
    const ends = `${edge.from} ${edge.to}`;
    groups.set(ends, [...(groups.get(ends) ?? []), edge]);
  }
  return [...groups.values()].map((group) => {
    const [{ from, to, input }] = group as [AttributionEdge];
    const note = group.length === 1 ? input : group.map((edge) => `${edge.input} ${edge.score.toFixed(3)}`).join(", ");
    const weight = group.reduce((sum, { score }) => sum + score, 0);
    return { from, to, weight, ...(note === undefined ? {} : { note }) };
  });
}
