/**
 * Attribution graphs by edge attribution patching (Syed et al. 2023; with integrated gradients, Hanna et al. 2024): the
 * residual stream is a sum, so what a part reads is what all parts before it wrote. The score of an edge (u, v) is
 * (what u writes in the clean run - in the corrupt run) . gradient of the metric at v's input, through v alone.
 */
import { usageError } from "../errors.js";
import {
  concat,
  constant,
  constantLike,
  expand,
  matmul,
  mul,
  pullback,
  reduceMean,
  reduceSum,
  reshape,
  slice,
  squeeze,
  stack,
  sub,
  tensorOf,
  transpose,
  unsqueeze,
  type Value,
  vmap,
} from "../graph/index.js";
import { blend, type ComputeContext, type DecoderConfig, type Metric, type Model, type Token } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import { alignedTokens, apart, type PromptPair, perRow } from "./patching.js";

/** A part of the model: what writes to the residual stream and reads from it. */
export interface AttributionNode {
  /** "embed", "layers.3.attn.h5", "layers.3.attn" (all heads of a layer as one node), "layers.3.mlp", "logits" */
  readonly name: string;
  readonly kind: "embed" | "head" | "attention" | "mlp" | "logits";
  readonly layer?: number;
  readonly head?: number;
}

export interface AttributionEdge {
  readonly from: string;
  readonly to: string;
  /** Where it enters a head: what the head looks for, what it offers to be found by, or what it moves. */
  readonly input?: HeadInput;
  /** Estimated change of the metric when this edge alone carries the clean run's value instead of the corrupt one's. */
  readonly score: number;
  /** The share of every position of the stream; they add up to the score. By position only. */
  readonly positions?: readonly number[];
}

export type HeadInput = "q" | "k" | "v";

export interface AttributionGraph {
  /** Nodes on a path from `embed` to `logits`, in the order of computation. */
  readonly nodes: AttributionNode[];
  /** Edges on such a path, those of the largest size first. */
  readonly edges: AttributionEdge[];
  /** How many edges were scored, and the sum of the sizes of their scores. */
  readonly scored: { readonly edges: number; readonly size: number };
  /** The share of that sum that the edges of this graph hold, from 0 to 1. */
  readonly kept: number;
  /** The metric of the two prompts. */
  readonly metric: { readonly clean: number; readonly corrupt: number };
  /** Tokens of the clean prompt. */
  readonly tokens: readonly Token[];
}

/** Which edges a graph keeps: the `top` of the largest size (200 unless given), or all of at least a size. */
export type Pruning = { readonly top?: number } | { readonly threshold: number };

/** `metric`: a function of the logits, one number a row. */
export type AttributionGraphOptions = PromptPair &
  Pruning & {
    /** `components`: every head by itself (the default). `sublayers`: the attention of a layer as one node. */
    readonly nodes?: "components" | "sublayers";
    /** Points between the prompts at which gradients are averaged, the clean one the last; 5 unless given. 1: EAP. */
    readonly steps?: number;
    /** Also split every score by position. */
    readonly byPosition?: boolean;
  };

/**
 * The edges between the embedding, heads, MLPs and logits that carry the difference of two prompts, scored in one run of
 * one compiled graph (a row for each step and prompt; a small graph before it embeds the corrupt prompt), then pruned.
 * The gradient at the input of v is the mean over `steps` points of the line from the corrupt to the clean embedding:
 * score(u, v) = sum over positions of (u clean - u corrupt) . 1/m sum_k dM(corrupt + k/m (clean - corrupt)) / d input of v.
 * Heads that share keys and values still have inputs of their own. What a clamp of the view does to the stream itself
 * belongs to no edge.
 *
 * Throws where the prompts differ in length, or the metric does not tell them apart or does not depend on the logits.
 */
export async function attributionGraph(model: Model, options: AttributionGraphOptions): Promise<AttributionGraph> {
  const { metric, nodes = "components", steps = 5, byPosition = false } = options;
  const pruning = checkPruning(options);
  if (!Number.isInteger(steps) || steps < 1)
    throw usageError(`steps must be a whole number of at least 1, not ${steps}`);
  if (!["components", "sublayers"].includes(nodes))
    throw usageError(`the nodes of a graph are components or sublayers, not "${nodes}"`);
  const [clean, corrupt] = alignedTokens(model, options);
  const rows = pathRows(steps);
  const target = await model.record(
    corrupt.map(({ id }) => id),
    "embed",
  );
  const ids = clean.map(({ id }) => id);
  const plan = planOf(model.config, nodes === "components");
  const outputs = await model.with(blend("embed", target, tensorOf("float32", [rows.length, 1, 1], rows))).compute(
    rows.map(() => ids),
    (context) => traceScores(context, metric, plan, byPosition),
  );
  const [atCorrupt, atClean] = (outputs.metric as Tensor).data as Float32Array;
  const edges = readEdges(plan, outputs, byPosition ? ids.length : undefined);
  const size = sizeOf(edges);
  const whole: AttributionGraph = {
    nodes: [...plan.writers.flatMap(({ parts }) => parts), logitsNode],
    edges,
    scored: { edges: edges.length, size },
    kept: 1,
    metric: apart(atClean as number, atCorrupt as number),
    tokens: clean,
  };
  return pruneGraph(whole, pruning);
}

/** How far each row is moved from the clean to the corrupt embedding: corrupt, clean, and the points in between. */
function pathRows(steps: number): number[] {
  return [1, 0, ...Array.from({ length: steps - 1 }, (_, k) => 1 - (k + 1) / steps)];
}

/** Something that writes to the stream: its parts in order. */
interface Writer {
  readonly parts: readonly AttributionNode[];
  /** What the parts wrote, [batch, seq, parts, width]. */
  readonly outputs: (site: ComputeContext["site"]) => Value;
}

/** Something that reads the stream, after the first `before` writers. */
interface Reader {
  readonly before: number;
  readonly inputs: readonly { readonly to: string; readonly input?: HeadInput }[];
  /** The site at which the metric's gradient is taken, and what it is pulled back to: [inputs, batch, seq, width]. */
  readonly site: string;
  readonly pulled: (site: ComputeContext["site"], gradient: Value) => Value;
}

interface Plan {
  readonly writers: readonly Writer[];
  readonly readers: readonly Reader[];
}

const logitsNode: AttributionNode = { name: "logits", kind: "logits" };
const headInputs = ["q", "k", "v"] as const;

/** Everything that writes and reads, in the order of computation. */
function planOf({ layers, heads }: DecoderConfig, byHead: boolean): Plan {
  const single = (part: AttributionNode, site: string): Writer => ({
    parts: [part],
    outputs: (read) => unsqueeze(read(site), 2),
  });
  const writers: Writer[] = [single({ name: "embed", kind: "embed" }, "embed")];
  const readers: Reader[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const attention = `layers.${layer}.attn`;
    const mlp = `layers.${layer}.mlp`;
    if (byHead) {
      readers.push(headReader(attention, writers.length, heads, `layers.${layer}.residPre`));
      writers.push(headWriter(attention, layer, heads));
    } else {
      readers.push(wholeReader(attention, writers.length, `${attention}.out`, `layers.${layer}.residPre`));
      writers.push(single({ name: attention, kind: "attention", layer }, `${attention}.out`));
    }
    readers.push(wholeReader(mlp, writers.length, `${mlp}.out`, `layers.${layer}.residMid`));
    writers.push(single({ name: mlp, kind: "mlp", layer }, `${mlp}.out`));
  }
  const final = `layers.${layers - 1}.residPost`;
  readers.push({
    before: writers.length,
    inputs: [{ to: logitsNode.name }],
    site: final,
    pulled: (_, gradient) => unsqueeze(gradient, 0),
  });
  return { writers, readers };
}

const headName = (attention: string, head: number) => `${attention}.h${head}`;

function headWriter(attention: string, layer: number, heads: number): Writer {
  return {
    parts: Array.from({ length: heads }, (_, head) => ({ name: headName(attention, head), kind: "head", layer, head })),
    outputs: (site) => site(`${attention}.result`),
  };
}

/** A sublayer with one input: the gradient at its output, pulled back through it to the stream. */
function wholeReader(to: string, before: number, out: string, stream: string): Reader {
  return {
    before,
    inputs: [{ to }],
    site: out,
    pulled: (site, gradient) => unsqueeze(through(site(out), gradient, [site(stream)])[0] as Value, 0),
  };
}

/**
 * The heads of a layer, each through its queries, keys and values apart. The gradient at `z` is kept for one head at a
 * time, so that heads which share keys and values are told apart there too.
 */
function headReader(attention: string, before: number, heads: number, stream: string): Reader {
  return {
    before,
    inputs: Array.from({ length: heads }, (_, head) =>
      headInputs.map((input) => ({ to: headName(attention, head), input })),
    ).flat(),
    site: `${attention}.z`,
    pulled(site, gradient) {
      const sources = headInputs.map((input) => site(`${attention}.${input}`));
      const ofHead = vmap((mask: Value) => {
        const own = through(site(`${attention}.z`), mul(gradient, mask), sources);
        return stack(sources.map((source, i) => through(source, own[i] as Value, [site(stream)])[0] as Value));
      });
      const each = ofHead(constant(oneHot(heads))); // [heads, q k v, batch, seq, width]
      return reshape(each, [heads * headInputs.length, ...each.shape.slice(2)]);
    },
  };
}

/** One head of each entry: [heads, 1, 1, heads, 1]. */
function oneHot(heads: number): Tensor<"float32"> {
  const eye = Array.from({ length: heads * heads }, (_, i) => (i % (heads + 1) === 0 ? 1 : 0));
  return tensorOf("float32", [heads, 1, 1, heads, 1], eye);
}

/** The gradient at values before `value`, through what lies between alone. */
const through = (value: Value, gradient: Value, at: readonly Value[]) => pullback(new Map([[value, gradient]]), at);

/** The graph: `metric` [rows], and of each reader the scores [writers before, inputs], with [seq] in front by position. */
function traceScores(
  context: ComputeContext,
  metric: Metric,
  { writers, readers }: Plan,
  byPosition: boolean,
): Record<string, Value> {
  const { site } = context;
  const value = perRow(metric, context);
  const at = readers.map((reader) => site(reader.site));
  const gradients = through(value, expand(constantLike(value, 1), value.shape), at);
  const written = writers.map(({ outputs }) => cleanLessCorrupt(outputs(site))); // each [seq, parts, width]
  const counts = writers.map(({ parts }) => parts.length);
  const all = concat(written, 1);
  const scores = readers.map((reader, i) => {
    const gradient = gradients[i];
    if (gradient === undefined)
      throw usageError(`the metric does not depend on ${reader.site}: choose one of the logits`);
    const before = counts.slice(0, reader.before).reduce((sum, count) => sum + count, 0);
    const score = matmul(slice(all, 1, 0, before), alongPath(reader.pulled(site, gradient)));
    return [scoresName(i), byPosition ? score : reduceSum(score, 0)] as const;
  });
  return { metric: value, ...Object.fromEntries(scores) };
}

const scoresName = (reader: number) => `scores ${reader}`;

/** Of rows [corrupt, clean, ...]: the difference of the first two. */
function cleanLessCorrupt(x: Value): Value {
  return squeeze(sub(slice(x, 0, 1, 2), slice(x, 0, 0, 1)), 0);
}

/** Gradients [inputs, batch, seq, width] averaged over all rows but the corrupt one: [seq, width, inputs]. */
function alongPath(gradients: Value): Value {
  return transpose(reduceMean(slice(gradients, 1, 1), 1), [1, 2, 0]);
}

function readEdges(plan: Plan, outputs: Readonly<Record<string, Tensor>>, length: number | undefined) {
  return plan.readers.flatMap(({ before, inputs }, i) => {
    const { data } = outputs[scoresName(i)] as Tensor<"float32">;
    const parts = plan.writers.slice(0, before).flatMap((writer) => writer.parts);
    const block = parts.length * inputs.length;
    return parts.flatMap(({ name }, u) =>
      inputs.map((input, v): AttributionEdge => {
        const at = u * inputs.length + v;
        if (length === undefined) return { from: name, ...input, score: data[at] as number };
        const positions = Array.from({ length }, (_, p) => data[p * block + at] as number);
        return { from: name, ...input, score: positions.reduce((sum, x) => sum + x, 0), positions };
      }),
    );
  });
}

const sizeOf = (edges: readonly AttributionEdge[]) => edges.reduce((sum, { score }) => sum + Math.abs(score), 0);

function checkPruning(pruning: Pruning): Pruning {
  if ("threshold" in pruning) {
    if ("top" in pruning) throw usageError("a graph keeps its top edges or those above a threshold: give one of them");
    if (pruning.threshold >= 0) return { threshold: pruning.threshold };
    throw usageError(`threshold must be a number of at least 0, not ${pruning.threshold}`);
  }
  const { top = 200 } = pruning;
  if (Number.isInteger(top) && top >= 1) return { top };
  throw usageError(`top must be a whole number of at least 1, not ${top}`);
}

/**
 * The graph with fewer edges: the `top` of the largest size (200 unless given) or those of at least `threshold`, and of
 * them those on a path from `embed` to `logits`. No path left: no nodes and no edges.
 */
export function pruneGraph(graph: AttributionGraph, pruning: Pruning): AttributionGraph {
  const choice = checkPruning(pruning);
  const bySize = [...graph.edges].sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const chosen =
    "threshold" in choice
      ? bySize.filter(({ score }) => Math.abs(score) >= choice.threshold)
      : bySize.slice(0, choice.top);
  const fed = reachable("embed", chosen, "from", "to");
  const read = reachable(logitsNode.name, chosen, "to", "from");
  const edges = chosen.filter(({ from, to }) => fed.has(from) && read.has(to));
  const ends = new Set(edges.flatMap(({ from, to }) => [from, to]));
  return {
    ...graph,
    nodes: graph.nodes.filter(({ name }) => ends.has(name)),
    edges,
    kept: graph.scored.size === 0 ? 0 : sizeOf(edges) / graph.scored.size,
  };
}

/** Names that edges lead to from one, followed from the end `near` to the end `far`. */
function reachable(start: string, edges: readonly AttributionEdge[], near: "from" | "to", far: "from" | "to") {
  const next = new Map<string, string[]>();
  for (const edge of edges) {
    const known = next.get(edge[near]);
    if (known === undefined) next.set(edge[near], [edge[far]]);
    else known.push(edge[far]);
  }
  const seen = new Set([start]);
  for (const name of seen) for (const other of next.get(name) ?? []) seen.add(other); // a set grows under its iterator
  return seen;
}
