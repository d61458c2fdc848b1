/**
 * Any network written with the operations of the graph: an image classifier, a recurrent net, an autoencoder. It is opened
 * from a traced function and its weights, and offers what a model offers, without tokens: record, clamp, compute, gradient.
 */
import { nearestNames, usageError } from "../errors.js";
import {
  checkpoint,
  constantLike,
  expand,
  type Graph,
  input,
  inputsOf,
  type MarkSite,
  nodeCount,
  pullback,
  type SiteFunction,
  simplify,
  spliceAll,
  trace,
  type Value,
  type ValueType,
  weight,
  withOutputs,
} from "../graph/index.js";
import { createRuntime, type Runtime, type Tensor } from "../runtime/index.js";
import { globPattern } from "./sites/reference.js";

/** What a network's function is given: its inputs by name, and how it reads weights and names sites. */
export interface NetworkContext {
  readonly inputs: Readonly<Record<string, Value>>;
  /** A weight by its name among those given. */
  weight(name: string): Value;
  /** Names a value as a site, and returns it. */
  site(name: string, value: Value): Value;
}

export interface NetworkDefinition {
  /** Types of the inputs by name; sizes may be symbolic (`batch`). */
  readonly inputs: Readonly<Record<string, ValueType>>;
  readonly weights?: Readonly<Record<string, Tensor>>;
  /** Outputs by name. They are sites too, and so are the inputs. */
  readonly build: (context: NetworkContext) => Record<string, Value>;
}

/** What a function traced on top of a network can read. */
export interface NetworkCall {
  /** The value of a site, an input or an output, edits included. */
  site(name: string): Value;
  /** A further input of the call. */
  input(name: string): Value;
}

/** A function traced on top of a network. */
export type NetworkFunction = (call: NetworkCall) => Record<string, Value>;

/** A compiled function of a network: tensors of the network's inputs, and of further ones, to outputs by name. */
export type NetworkProgram = {
  (feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** Operations in the compiled graph. */
  readonly nodes: number;
};

export interface NetworkGradientOptions {
  /** One number a row, or one in all: what is differentiated. */
  readonly of: (call: NetworkCall) => Value;
  /** Names or globs of sites (inputs among them). */
  readonly at: string | readonly string[];
  /** Sites that are kept; what follows them is computed again. */
  readonly checkpoint?: string | readonly string[];
}

/** A value at a site as `apply` makes it of the one that it would have. */
export interface NetworkEdit {
  readonly site: string;
  readonly apply: SiteFunction;
}

export interface Network {
  readonly graph: Graph;
  /** Names of sites that a name or glob stands for, in the order of computation; `@before` ones where it ends so. */
  sites(pattern?: string): string[];
  /** Values of sites. */
  record(feeds: Readonly<Record<string, Tensor>>, sites: string | readonly string[]): Promise<Record<string, Tensor>>;
  /** Compiles a function of sites, for use many times. `inputs`: types of the further inputs that it reads. */
  compile(fn: NetworkFunction, inputs?: Readonly<Record<string, ValueType>>): NetworkProgram;
  /** Gradients at sites by name, and the differentiated number as `value`. */
  gradient(
    feeds: Readonly<Record<string, Tensor>>,
    options: NetworkGradientOptions,
  ): Promise<{ readonly value: Tensor; readonly sites: Record<string, Tensor> }>;
  /**
   * A view in which sites have other values. Edits apply in the order given; globs select many sites. `site@before` is the
   * value before them.
   */
  with(...edits: readonly NetworkEdit[]): Network;
  /** A view with other weights, of the same shapes. */
  withWeights(weights: Readonly<Record<string, Tensor>>): Network;
  /** Closes the runtime, if the network made it. */
  close(): Promise<void>;
}

/**
 * A network of a traced function. Weights are fed, so that views with other weights share what is compiled.
 *
 * @param options.runtime where it runs; one of its own unless given, closed with the network
 * @throws where `build` reads a weight that is not given, or gives two values one name
 */
export function createNetwork(
  { inputs, weights = {}, build }: NetworkDefinition,
  { runtime }: { readonly runtime?: Runtime } = {},
): Network {
  const known = new Map<string, Value>();
  const weightNamed = (name: string): Value => {
    const tensor = weights[name];
    if (tensor === undefined)
      throw usageError(
        `the network has no weight "${name}"; the nearest are ${nearestText(name, Object.keys(weights))}`,
      );
    const value = known.get(name) ?? weight(name, tensor.shape, tensor.dtype);
    known.set(name, value);
    return value;
  };
  const graph = trace((values, mark) => {
    const site = markOnce(mark);
    for (const [name, value] of Object.entries(values)) site(name, value);
    const outputs = build({ inputs: values, weight: weightNamed, site });
    for (const [name, value] of Object.entries(outputs)) site(name, value);
    return {};
  }, inputs);
  const own = runtime ?? createRuntime();
  const close = runtime === undefined ? () => own.close() : async () => {};
  return viewOf({ graph, weights: new Map(Object.entries(weights)), runtime: own, close });
}

/** Marks sites, and refuses a second value under a name: it would hide the first. */
function markOnce(mark: MarkSite): MarkSite {
  const marked = new Map<string, Value>();
  return (name, value) => {
    if ((marked.get(name) ?? value) !== value)
      throw usageError(`two values of the network are named "${name}" (inputs, sites, outputs): rename one`);
    marked.set(name, value);
    return mark(name, value);
  };
}

interface View {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly runtime: Runtime;
  readonly close: () => Promise<void>;
}

function viewOf(view: View): Network {
  const { graph, close } = view;
  const compile: Network["compile"] = (fn, inputs = {}) => compileFunction(view, graph, fn, inputs);
  return {
    graph,
    sites: (pattern = "**") => siteNames(graph, pattern),
    async record(feeds, sites) {
      const names = namesOf(graph, sites);
      const outputs = await compile(({ site }) => prefixed(names, site))(feeds);
      return unprefixed(names, outputs);
    },
    compile,
    async gradient(feeds, { of, at, checkpoint: kept = [] }) {
      const names = namesOf(graph, at);
      const checkpoints = namesOf(graph, kept, { none: true });
      const edited = withEdits(
        graph,
        checkpoints.map((site) => ({ site, apply: checkpoint })),
      );
      const program = compileFunction(view, edited, (call) => gradientOutputs(call, of, names), {});
      const { value, ...outputs } = await program(feeds);
      return { value: value as Tensor, sites: unprefixed(names, outputs) };
    },
    with: (...edits) => viewOf({ ...view, graph: withEdits(graph, expandEdits(graph, edits)) }),
    withWeights: (weights) => viewOf({ ...view, weights: replaced(view.weights, weights) }),
    close,
  };
}

function nearestText(name: string, names: Iterable<string>): string {
  return nearestNames(name, names).join(", ") || "none";
}

/** Values before edits are sites too, but a glob that means the sites does not mean them. */
function siteNames(graph: Graph, pattern: string): string[] {
  const matches = globPattern(pattern);
  const before = pattern.endsWith("@before");
  const names = [...graph.sites.keys()].filter((name) => matches.test(name) && name.endsWith("@before") === before);
  if (names.length > 0) return names;
  throw usageError(`there is no site "${pattern}"; the nearest are ${nearestText(pattern, graph.sites.keys())}`);
}

function oneSite(graph: Graph, name: string): Value {
  const [only, ...others] = graph.sites.has(name) ? [name] : siteNames(graph, name);
  if (others.length > 0) throw usageError(`"${name}" stands for ${others.length + 1} sites; one is read here`);
  return graph.sites.get(only as string) as Value;
}

function namesOf(graph: Graph, sites: string | readonly string[], { none = false } = {}): string[] {
  const names = [...new Set([sites].flat().flatMap((pattern) => siteNames(graph, pattern)))];
  if (names.length === 0 && !none) throw usageError("no site was asked for");
  return names;
}

/** Outputs need names that no input has, and inputs are sites. */
const outputName = (site: string) => `site ${site}`;
const prefixed = (names: readonly string[], read: (name: string) => Value) =>
  Object.fromEntries(names.map((name) => [outputName(name), read(name)]));
const unprefixed = (names: readonly string[], outputs: Readonly<Record<string, Tensor>>) =>
  Object.fromEntries(names.map((name) => [name, outputs[outputName(name)] as Tensor]));

function compileFunction(
  { runtime, weights }: View,
  graph: Graph,
  fn: NetworkFunction,
  types: Readonly<Record<string, ValueType>>,
): NetworkProgram {
  const taken = graph.inputs.find(({ node }) => Object.hasOwn(types, node.attributes.name as string));
  if (taken !== undefined)
    throw usageError(`the network has an input "${taken.node.attributes.name}": call the further one something else`);
  const further = new Map(Object.entries(types).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]));
  const outputs = new Map(
    Object.entries(
      fn({
        site: (name) => oneSite(graph, name),
        input(name) {
          const value = further.get(name);
          if (value === undefined) throw usageError(`the call has no input "${name}"`);
          return value;
        },
      }),
    ),
  );
  const declared = [...new Set([...graph.inputs, ...further.values(), ...inputsOf(outputs.values())])];
  const simplified = simplify(withOutputs({ inputs: declared, outputs, sites: new Map() }, outputs));
  const program = runtime.compile(simplified, { weights: "fed", values: weights });
  const run = (feeds: Readonly<Record<string, Tensor>>) => program.run(feeds);
  return Object.assign(run, { nodes: nodeCount(simplified) });
}

function gradientOutputs(
  call: NetworkCall,
  of: NetworkGradientOptions["of"],
  names: readonly string[],
): Record<string, Value> {
  const value = of(call);
  if (value.shape.length > 1)
    throw usageError(
      `a gradient is taken of one number, or of one a row; this has shape [${value.shape.join(", ")}]: reduce it first`,
    );
  const sites = names.map(call.site);
  const found = pullback(new Map([[value, expand(constantLike(value, 1), value.shape)]]), sites);
  return {
    value,
    ...Object.fromEntries(
      names.map((name, i) => {
        const gradient = found[i];
        if (gradient !== undefined) return [outputName(name), gradient];
        throw usageError(
          `what is differentiated does not depend on ${name}, so it has no gradient there: name an earlier site`,
        );
      }),
    ),
  };
}

function expandEdits(graph: Graph, edits: readonly NetworkEdit[]): NetworkEdit[] {
  return edits.flatMap(({ site, apply }) => siteNames(graph, site).map((name) => ({ site: name, apply })));
}

/** Inputs are leaves that a splice can replace like any other site. */
const withEdits = (graph: Graph, edits: readonly NetworkEdit[]) =>
  edits.length === 0 ? graph : spliceAll(graph, edits);

function replaced(
  old: ReadonlyMap<string, Tensor>,
  given: Readonly<Record<string, Tensor>>,
): ReadonlyMap<string, Tensor> {
  for (const [name, { shape, dtype }] of Object.entries(given)) {
    const own = old.get(name);
    if (own === undefined)
      throw usageError(`the network has no weight "${name}"; the nearest are ${nearestText(name, old.keys())}`);
    if (own.shape.join() === shape.join() && own.dtype === dtype) continue;
    throw usageError(
      `the weight "${name}" is ${own.dtype}[${own.shape.join(", ")}]; the values given are ${dtype}[${shape.join(", ")}]`,
    );
  }
  return new Map([...old, ...Object.entries(given)]);
}
