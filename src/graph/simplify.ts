/**
 * Simplification: one pass in topological order that makes equal nodes one, undoes what cancels, and drops what changes
 * nothing. Gradients need it, since rules are written one by one; it makes graphs smaller and sessions faster to open, and
 * never changes what is computed beyond the order of a sum.
 */
import { checkGraph } from "./check.js";
import { type Shape, sameShape } from "./dims.js";
import { type Attribute, type Graph, inputsOf, makeNode, type Node, topologicalOrder, type Value } from "./graph.js";
import { add, div, mul, neg, sub } from "./operations/elementwise.js";
import { concat, reshape, transpose } from "./operations/movement.js";
import { reduceSum } from "./operations/reduction.js";
import type { Tensor } from "./tensor.js";

/** The same graph with fewer nodes: no equal ones, no pairs that cancel, no steps without effect. */
export function simplify(graph: Graph): Graph {
  const roots = [...graph.outputs.values(), ...graph.sites.values()];
  const mapped = new Map<Value, Value>();
  const get = (old: Value): Value => mapped.get(old) as Value;
  const intern = interner();
  for (const node of topologicalOrder(roots)) {
    const inputs = node.inputs.map(get);
    const twin = intern(remake(node, inputs));
    for (const old of node.outputs) mapped.set(old, reduce(twin.outputs[old.index] as Value, intern));
  }
  const outputs = new Map([...graph.outputs].map(([name, value]) => [name, get(value)]));
  const sites = new Map([...graph.sites].map(([name, value]) => [name, get(value)]));
  const inputs = [...new Set([...graph.inputs, ...inputsOf([...outputs.values(), ...sites.values()])])];
  const result = { inputs, outputs, sites };
  checkGraph(result, "simplify");
  return result;
}

/** How many nodes a graph's outputs need, leaves excluded. */
export function nodeCount(graph: Graph): number {
  return topologicalOrder(graph.outputs.values()).filter(({ inputs }) => inputs.length > 0).length;
}

type Intern = (node: Node) => Node;

function remake(node: Node, inputs: readonly Value[]): Node {
  const attributes = withSimpleBodies(node.attributes);
  if (attributes === node.attributes && inputs.every((value, i) => value === node.inputs[i])) return node;
  return makeNode(node.operation, inputs, attributes, node.outputs);
}

/** Bodies of loops and branches, simplified. Their inputs and outputs keep their order and number. */
function withSimpleBodies(attributes: Node["attributes"]): Node["attributes"] {
  const bodies = Object.entries(attributes).filter((entry): entry is [string, Graph] => isBody(entry[1]));
  if (bodies.length === 0) return attributes;
  return { ...attributes, ...Object.fromEntries(bodies.map(([name, body]) => [name, simplify(body)])) };
}

const isBody = (value: Attribute): value is Graph => typeof value === "object" && "outputs" in value;

/** Finds the first node with the same operation, attributes and inputs. */
function interner(): Intern {
  const known = new Map<string, Node>();
  const numbers = new Map<Node, number>();
  const tensors = new Map<Tensor, number>();
  return (node) => {
    if (numbers.has(node)) return node;
    const inputs = node.inputs.map((value) => `${numbers.get(value.node)}.${value.index}`);
    const key = [node.operation, ...inputs, attributesKey(node.attributes, tensors)].join(" ");
    const first = known.get(key) ?? node;
    known.set(key, first);
    if (!numbers.has(first)) numbers.set(first, numbers.size);
    return first;
  };
}

/** Attributes as text. Small tensors by their numbers, graphs and others by identity. */
function attributesKey(attributes: Readonly<Record<string, Attribute>>, identities: Map<object, number>): string {
  return Object.entries(attributes)
    .map(([name, value]) => `${name}=${attributeKey(value, identities)}`)
    .join(" ");
}

const smallTensor = 64;

function attributeKey(value: Attribute, identities: Map<object, number>): string {
  if (typeof value !== "object") return `${typeof value} ${String(value)}`;
  if (Array.isArray(value)) return `[${value.map((entry) => `${typeof entry} ${entry}`).join()}]`;
  if ("data" in value && value.data.length <= smallTensor)
    return `${value.dtype} [${value.shape.join()}] ${Array.from(value.data as ArrayLike<number | bigint>, exactText).join()}`;
  const identity = identities.get(value) ?? identities.size;
  identities.set(value, identity);
  return `object ${identity}`;
}

const exactText = (x: number | bigint) => (Object.is(x, -0) ? "-0" : String(x));

/** What a value comes to by the rules below, applied until none fits. */
function reduce(value: Value, intern: Intern): Value {
  const rule = rules[value.node.operation];
  const better = rule?.(value);
  if (better === undefined || better === value) return value;
  return reduce(intern(better.node).outputs[better.index] as Value, intern);
}

/** By operation: a value that is the same and costs less, or undefined. */
const rules: Readonly<Record<string, (value: Value) => Value | undefined>> = {
  identity: ({ node }) => node.inputs[0],
  transpose: ({ node }) => simplerTranspose(node),
  reshape: (value) => simplerReshape(value),
  expand: (value) => unchanged(value),
  neg: ({ node }) => (node.inputs[0]?.node.operation === "neg" ? node.inputs[0].node.inputs[0] : undefined),
  mul: (value) => withoutNeutral(value, 1) ?? withoutExpand(value, mul),
  add: (value) => withoutNeutral(value, 0) ?? joinedPads(value) ?? withoutExpand(value, add) ?? difference(value),
  reduceSum: (value) => negatedSum(value),
  sub: (value) => withoutExpand(value, sub),
  div: (value) => withoutExpand(value, div),
};

/** x + expand(y) is x + y where the other side has the whole shape: broadcasting repeats without a copy. */
function withoutExpand({ node, shape }: Value, operation: (a: Value, b: Value) => Value): Value | undefined {
  const [a, b] = node.inputs as readonly [Value, Value];
  const bare = (x: Value) => (x.node.operation === "expand" ? (x.node.inputs[0] as Value) : undefined);
  const [left, right] = [bare(a), bare(b)];
  if (left !== undefined && sameShape(b.shape, shape)) return operation(left, b);
  return right !== undefined && sameShape(a.shape, shape) ? operation(a, right) : undefined;
}

function unchanged({ node, shape }: Value): Value | undefined {
  const [x] = node.inputs as readonly [Value];
  return sameShape(x.shape, shape) ? x : undefined;
}

function simplerTranspose(node: Node): Value | undefined {
  const [x] = node.inputs as readonly [Value];
  const permutation = node.attributes.permutation as readonly number[];
  if (permutation.every((axis, i) => axis === i)) return x;
  if (x.node.operation !== "transpose") return undefined;
  const inner = x.node.attributes.permutation as readonly number[];
  return transpose(
    x.node.inputs[0] as Value,
    permutation.map((axis) => inner[axis] as number),
  );
}

function simplerReshape(value: Value): Value | undefined {
  const [x] = value.node.inputs as readonly [Value];
  if (sameShape(x.shape, value.shape)) return x;
  return x.node.operation === "reshape" ? reshape(x.node.inputs[0] as Value, value.shape) : undefined;
}

/** x * 1, x + 0, where the constant does not broadcast x to another shape. */
function withoutNeutral({ node, shape }: Value, neutral: number): Value | undefined {
  const [a, b] = node.inputs as readonly [Value, Value];
  const isNeutral = (x: Value) => constantNumber(x) === neutral;
  if (isNeutral(b) && sameShape(a.shape, shape)) return a;
  return isNeutral(a) && sameShape(b.shape, shape) ? b : undefined;
}

/** The number that a constant, repeated or not, consists of. */
function constantNumber({ node }: Value): number | undefined {
  if (node.operation === "expand" || node.operation === "reshape") return constantNumber(node.inputs[0] as Value);
  if (node.operation !== "constant") return undefined;
  const { data } = node.attributes.tensor as Tensor;
  const [first] = data;
  return data.length === 1 && !Object.is(first, -0) ? Number(first) : undefined;
}

/** The sum of two values padded with zeros that stand side by side is their concatenation. */
function joinedPads({ node }: Value): Value | undefined {
  const [a, b] = node.inputs as readonly [Value, Value];
  if (a.node.operation !== "pad" || b.node.operation !== "pad") return undefined;
  const [left, right] = [padOf(a), padOf(b)];
  if (left.axis !== right.axis) return undefined;
  const [first, second] = left.before === 0 ? [left, right] : [right, left];
  const meets = second.before === first.size && first.after === second.size;
  if (first.before !== 0 || second.after !== 0 || !meets) return undefined;
  return concat([first.x, second.x], first.axis);
}

/** a + (-b) is a - b. */
function difference({ node }: Value): Value | undefined {
  const [a, b] = node.inputs as readonly [Value, Value];
  if (b.node.operation === "neg") return sub(a, b.node.inputs[0] as Value);
  return a.node.operation === "neg" ? sub(b, a.node.inputs[0] as Value) : undefined;
}

/** The sum of negated numbers is the negated sum: fewer of them. */
function negatedSum({ node }: Value): Value | undefined {
  const [x] = node.inputs as readonly [Value];
  if (x.node.operation !== "neg") return undefined;
  const { axes, keepDims } = node.attributes as { axes: readonly number[]; keepDims: boolean };
  return neg(reduceSum(x.node.inputs[0] as Value, axes, { keepDims }));
}

function padOf({ node }: Value) {
  const [x] = node.inputs as readonly [Value];
  const { axis, before, after } = node.attributes as { axis: number; before: Shape[number]; after: Shape[number] };
  return { x, axis, before, after, size: x.shape[axis] as Shape[number] };
}
