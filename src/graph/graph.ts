/**
 * The graph: values made by nodes, linked by reference, nothing else. A rewrite never changes a node; it makes new ones
 * downstream of the change and shares the rest. Everything here is plain data, so a graph crosses to a worker as it is.
 */
import { failure, usageError } from "../errors.js";
import { type Dim, evaluateDim, formatShape, type Shape, symbolsOf } from "./dims.js";
import type { Dtype, Tensor } from "./tensor.js";

/** What is known of a value without running: its element type and shape. */
export interface ValueType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** A tensor that a node makes: output `index` of `node`. */
export interface Value extends ValueType {
  readonly node: Node;
  readonly index: number;
}

/** Parameters of an operation: plain data, small tensors, and graphs (the bodies of control flow). */
export type Attribute = number | string | boolean | Shape | Tensor | Graph | undefined;
export type Attributes = Readonly<Record<string, Attribute>>;

/** One application of an operation. Leaves have no inputs: `input`, `weight`, `constant`. */
export interface Node {
  readonly operation: string;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  readonly outputs: readonly Value[];
}

/** A graph: its inputs in order, its outputs by name, and its sites (named values that can be recorded and clamped). */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly outputs: ReadonlyMap<string, Value>;
  readonly sites: ReadonlyMap<string, Value>;
}

/** Makes a node and its output values. Operations call this through their table entry, which infers `types`. */
export function makeNode(
  operation: string,
  inputs: readonly Value[],
  attributes: Attributes,
  types: readonly ValueType[],
): Node {
  const outputs: Value[] = [];
  const node: Node = { operation, inputs, attributes, outputs };
  types.forEach(({ dtype, shape }, index) => {
    outputs.push({ dtype, shape, node, index });
  });
  return node;
}

/** Nodes whose values come from outside the graph or from its text. */
export const leafOperations = ["input", "weight", "constant"] as const;

/** A named input, fed at every run. */
export function input(name: string, dtype: Dtype, shape: Shape): Value {
  return onlyOutput(makeNode("input", [], { name }, [{ dtype, shape }]));
}

/** A named weight; how its values reach the runtime is chosen when the graph is compiled. */
export function weight(name: string, shape: readonly number[], dtype: Dtype = "float32"): Value {
  return onlyOutput(makeNode("weight", [], { name }, [{ dtype, shape }]));
}

/** A tensor that is part of the graph itself. Keep these small: they are encoded into the graph's file. */
export function constant(tensor: Tensor): Value {
  return onlyOutput(makeNode("constant", [], { tensor }, [{ dtype: tensor.dtype, shape: tensor.shape }]));
}

/** The name that an input or weight node carries. */
export function leafName(value: Value): string {
  return value.node.attributes.name as string;
}

/** The first output of a node. */
export function onlyOutput(node: Node): Value {
  return node.outputs[0] as Value;
}

/** How a value is called in messages: its operation and shape. */
export function describe(value: Value): string {
  const name = value.node.attributes.name;
  return `${value.node.operation}${name === undefined ? "" : ` "${String(name)}"`} ${value.dtype}${formatShape(value.shape)}`;
}

/** Every node that `values` depend on, each after the nodes it depends on. */
export function topologicalOrder(values: Iterable<Value>): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  const stack: { node: Node; next: number }[] = [];
  const enter = (node: Node) => {
    if (state.get(node) === "open") throw failure(`the graph has a cycle through ${node.operation}`);
    if (state.has(node)) return;
    state.set(node, "open");
    stack.push({ node, next: 0 });
  };
  for (const { node: root } of values) {
    enter(root);
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as { node: Node; next: number };
      const dependency = top.node.inputs[top.next++]?.node;
      if (dependency !== undefined) {
        enter(dependency);
      } else {
        stack.pop();
        state.set(top.node, "done");
        order.push(top.node);
      }
    }
  }
  return order;
}

/** The graphs that a node holds: branches, the step of a loop, a gradient that a user wrote. */
export function bodiesOf(node: Node): Graph[] {
  const isGraph = (value: Attribute): value is Graph => typeof value === "object" && "outputs" in value;
  return Object.values(node.attributes).filter(isGraph);
}

/** Nodes, and those of the graphs that they hold. */
function withBodies(nodes: readonly Node[]): Node[] {
  return nodes.flatMap((node) => [
    node,
    ...bodiesOf(node).flatMap(({ outputs }) => withBodies(topologicalOrder(outputs.values()))),
  ]);
}

/** The inputs that `values` depend on, in the order in which they are met. */
export function inputsOf(values: Iterable<Value>): Value[] {
  return topologicalOrder(values)
    .filter((node) => node.operation === "input")
    .map(onlyOutput);
}

/**
 * The inputs among the dependencies of `values`, in the order of `declared`; and, where a size in a shape can't be read
 * off those, the first declared input that has it.
 */
export function usedInputs(values: Iterable<Value>, declared: readonly Value[]): Value[] {
  const order = topologicalOrder(values);
  const used = new Set(order.filter(({ operation }) => operation === "input").map(onlyOutput));
  const known = new Set([...used].flatMap(({ shape }) => shape));
  const shapes = withBodies(order).flatMap(({ outputs, attributes }) => [
    ...outputs.map(({ shape }) => shape),
    ...Object.values(attributes).filter((value) => Array.isArray(value)),
  ]);
  const needed = new Set(shapes.flatMap((shape: Shape) => shape.flatMap(symbolsOf)));
  for (const symbol of needed) {
    const source = known.has(symbol) ? undefined : declared.find(({ shape }) => shape.includes(symbol));
    if (source !== undefined) used.add(source);
    for (const dim of source?.shape ?? []) known.add(dim);
  }
  return declared.filter((value) => used.has(value));
}

/** The weights that a graph's outputs depend on, by name. */
export function weightsOf(graph: Graph): Map<string, Value> {
  const nodes = topologicalOrder(graph.outputs.values()).filter((node) => node.operation === "weight");
  return new Map(nodes.map((node) => [node.attributes.name as string, onlyOutput(node)]));
}

/**
 * The same graph with other outputs; inputs and nodes that nothing depends on any more are gone. Sites stay listed, so
 * that outputs can be added later.
 */
export function withOutputs(graph: Graph, outputs: ReadonlyMap<string, Value>): Graph {
  return { ...graph, inputs: usedInputs(outputs.values(), graph.inputs), outputs };
}

/** The value of a site, or an error that lists the nearest names. */
export function siteValue(graph: Graph, site: string): Value {
  const value = graph.sites.get(site);
  if (value === undefined) throw usageError(`the graph has no site "${site}"`);
  return value;
}

/** Sizes of every symbolic dimension, read off the shapes of the fed tensors. Throws where they contradict. */
export function bindDims(
  inputs: readonly Value[],
  shapes: ReadonlyMap<string, readonly number[]>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const fits of [bind, matches]) {
    for (const value of inputs) {
      const shape = shapes.get(leafName(value));
      if (shape === undefined) throw usageError(`input "${leafName(value)}" ${formatShape(value.shape)} was not given`);
      if (shape.length === value.shape.length && value.shape.every((dim, i) => fits(dim, shape[i] as number, sizes)))
        continue;
      throw usageError(
        `input "${leafName(value)}" has shape ${formatShape(shape)}; expected ${formatShape(value.shape)}` +
          (Object.keys(sizes).length > 0 ? ` with ${formatSizes(sizes)}` : ""),
      );
    }
  }
  return sizes;
}

const isComposite = (dim: Dim) => typeof dim === "string" && !/^\w+$/.test(dim);

/** Whether a size fits a number or a name, which it binds. Composites such as "past + seq" wait until names are bound. */
function bind(dim: Dim, size: number, sizes: Record<string, number>): boolean {
  if (isComposite(dim)) return true;
  if (typeof dim === "number") return dim === size;
  sizes[dim] ??= size;
  return sizes[dim] === size;
}

/** Whether a size is what a composite comes to, where all its names are bound. */
function matches(dim: Dim, size: number, sizes: Record<string, number>): boolean {
  if (!isComposite(dim) || symbolsOf(dim).some((symbol) => sizes[symbol] === undefined)) return true;
  return evaluateDim(dim, sizes) === size;
}

function formatSizes(sizes: Readonly<Record<string, number>>): string {
  return Object.entries(sizes)
    .map(([name, size]) => `${name} = ${size}`)
    .join(", ");
}
