/**
 * What every view of one opened model shares: its configuration, tokenizer, weights' file, runtime, and the two graphs
 * (whole prompts, and continuing from a cache). A view adds clamps and edited weights; it costs nothing to make.
 */
import { failure } from "../errors.js";
import { type Graph, topologicalOrder, type Value } from "../graph/index.js";
import type { MappedWeights, Program, Runtime, Tensor, WeightMode } from "../runtime/index.js";
import type { Clamp } from "./clamps.js";
import type { DecoderConfig } from "./decoder/config.js";
import { decoderInputs, traceDecoder } from "./decoder/decoder.js";
import { type BoundClamp, type CallForm, type ExtraFeeds, prepareGraph } from "./edit.js";
import type { ModelIdentity } from "./recording.js";
import { resolveClampSites } from "./sites/resolve.js";
import { paddedIds, positions, type Rows } from "./sites/rows.js";
import type { Tokenizer } from "./tokenizer/index.js";

export interface ModelCore {
  readonly identity: ModelIdentity;
  readonly config: DecoderConfig;
  readonly tokenizer: Tokenizer;
  readonly file: MappedWeights;
  readonly runtime: Runtime;
  readonly weightMode: WeightMode;
  /** Whether sessions copy weights into the kernels' layout; the runtime's default for the mode unless given. */
  readonly prepack?: boolean;
  /** Values of all weights, where the mode is not `mapped`. */
  readonly values: ReadonlyMap<string, Tensor>;
  /** Reads a weight out of the file. */
  readonly readWeight: (name: string) => Promise<Float32Array>;
  /** The graph with all its sites and no outputs. */
  readonly graph: (form: "prompt" | "cached") => Graph;
}

/** A view: clamps in the order given, and weights that replace the model's own. */
export interface ViewState {
  readonly core: ModelCore;
  readonly clamps: readonly BoundClamp[];
  readonly weights: ReadonlyMap<string, Tensor>;
}

/** Traces each form of the graph once. */
export function tracedGraphs(config: DecoderConfig): ModelCore["graph"] {
  const traced = new Map<string, Graph>();
  return (form) => {
    const graph = traced.get(form) ?? traceDecoder(config, { cached: form === "cached" });
    traced.set(form, graph);
    return graph;
  };
}

/** A clamp at every site that its reference selects. */
export function bindClamp(core: ModelCore, clamp: Clamp): BoundClamp[] {
  return resolveClampSites(core.graph("prompt"), clamp.reference).map(({ site, parts }) => ({ clamp, site, parts }));
}

/** The weights of a graph by name, as the values that its nodes read. */
export function weightValues(graph: Graph): Map<string, Value> {
  const nodes = topologicalOrder(graph.sites.values()).filter((node) => node.operation === "weight");
  return new Map(nodes.map((node) => [node.attributes.name as string, node.outputs[0] as Value]));
}

/** A call compiled for a view: run it on any batch of the same form. */
export interface PreparedCall {
  readonly program: Program;
  readonly feeds: ExtraFeeds;
}

/** Calls prepared for a view, by what they want: a view asked twice for the same compiles once. */
const preparedCalls = new WeakMap<ViewState, Map<string, PreparedCall>>();
const preparedLimit = 32;

/** Compiles what a call wants of a view, or finds it compiled. `key`: what tells the call from others with these wants. */
export function prepareCall(
  view: ViewState,
  form: "prompt" | "cached",
  call: CallForm,
  key: readonly string[] = [],
): PreparedCall {
  const known = preparedCalls.get(view) ?? new Map<string, PreparedCall>();
  preparedCalls.set(view, known);
  const text = JSON.stringify([form, call.wants, ...key]);
  const prepared = known.get(text) ?? compileCall(view, form, call);
  known.delete(text);
  known.set(text, prepared); // last used, last in order
  const [oldest] = known.keys();
  if (known.size > preparedLimit && oldest !== undefined) known.delete(oldest);
  return prepared;
}

/** Compiles a call: sites that it wants, what it computes from sites, gradients. */
export function compileCall(view: ViewState, form: "prompt" | "cached", call: CallForm): PreparedCall {
  const { core, clamps, weights } = view;
  const { graph, feeds } = prepareGraph(core.graph(form), clamps, call);
  const values = new Map([...core.values, ...weights]);
  const program = core.runtime.compile(graph, {
    weights: core.weightMode,
    file: core.file,
    values,
    ...(core.prepack === undefined ? {} : { prepack: core.prepack }),
  });
  return { program, feeds };
}

/** Runs a prepared call on whole prompts. `open`: the rows will grow afterwards. */
export async function runPrompt(
  { program, feeds }: PreparedCall,
  ids: readonly (readonly number[])[],
  rows: Rows,
  { open = false, inputs = {} }: { open?: boolean; inputs?: Readonly<Record<string, Tensor>> } = {},
): Promise<Record<string, Tensor>> {
  const own = { [decoderInputs.ids]: paddedIds(ids, rows), [decoderInputs.positions]: positions(rows) };
  return checkFinite(await program.run({ ...own, ...feeds(rows, { open }), ...inputs }));
}

/** Outputs that hold NaN or infinity mean that weights or a clamp went wrong: say so at the first one. */
export function checkFinite(outputs: Record<string, Tensor>): Record<string, Tensor> {
  for (const [name, { dtype, data }] of Object.entries(outputs)) {
    if (dtype !== "float32" || isFiniteArray(data as Float32Array)) continue;
    const at = (data as Float32Array).findIndex((x) => !Number.isFinite(x));
    throw failure(`${name} holds ${data[at]} at element ${at}: a weight or a clamp is not finite, or too large`);
  }
  return outputs;
}

/**
 * x * 0 is 0 for a finite x and NaN for any other, so sums tell. Four of them, because one would wait for itself: this
 * runs over everything that is recorded.
 */
function isFiniteArray(data: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = data.length - (data.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += (data[i] as number) * 0;
    b += (data[i + 1] as number) * 0;
    c += (data[i + 2] as number) * 0;
    d += (data[i + 3] as number) * 0;
  }
  for (let i = whole; i < data.length; i++) a += (data[i] as number) * 0;
  return a + b + c + d === 0;
}
