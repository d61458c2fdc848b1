/**
 * The legality check: what every graph must be, after every rewrite. An error names the pass that broke it, so that a
 * bad graph never reaches the runtime with a message that nobody can trace back.
 */
import { failure, messageOf } from "../errors.js";
import { formatShape, sameShape } from "./dims.js";
import {
  bodiesOf,
  describe,
  type Graph,
  leafName,
  leafOperations,
  type Node,
  topologicalOrder,
  type Value,
  type ValueType,
  weightsOf,
} from "./graph.js";
import { operationNamed } from "./operations/table.js";
import type { Tensor } from "./tensor.js";

/** Throws where the graph is not legal; `pass` names the rewrite that made it. */
export function checkGraph(graph: Graph, pass: string): void {
  const problem = findProblem(graph);
  if (problem !== undefined) throw failure(`after "${pass}" the graph is not legal: ${problem}`);
}

function findProblem(graph: Graph): string | undefined {
  try {
    const values = [...graph.outputs.values(), ...graph.sites.values(), ...graph.inputs];
    const order = topologicalOrder(values);
    return (
      duplicateName(order) ??
      takenName(graph, order) ??
      undeclaredInput(graph, order) ??
      danglingValue(values) ??
      firstBadNode(order)
    );
  } catch (error) {
    return messageOf(error); // a cycle, or an operation that the table lacks
  }
}

/** A value that its own node does not make, among those that a graph names. */
function danglingValue(values: readonly Value[]): string | undefined {
  const dangling = values.find((value) => value.node.outputs[value.index] !== value);
  return dangling && `it names output ${dangling.index} of ${dangling.node.operation}, which has none such`;
}

function duplicateName(order: readonly Node[]): string | undefined {
  const seen = new Map<string, Node>();
  for (const node of order) {
    if (!isNamed(node)) continue;
    const name = node.attributes.name as string;
    const other = seen.get(name);
    if (other !== undefined) return `two different leaves are called "${name}"`;
    seen.set(name, node);
  }
  return undefined;
}

/** An output that has the name of a leaf must be that leaf: inputs, weights and outputs share one space of names. */
function takenName({ outputs }: Graph, order: readonly Node[]): string | undefined {
  const taken = order.find((node) => {
    const leaf = node.outputs[0] as Value;
    return isNamed(node) && (outputs.get(leafName(leaf)) ?? leaf) !== leaf;
  });
  return taken && `an output has the name of the ${taken.operation} "${leafName(taken.outputs[0] as Value)}"`;
}

const isNamed = ({ operation }: Node) => operation === "input" || operation === "weight";

function undeclaredInput(graph: Graph, order: readonly Node[]): string | undefined {
  const stranger = graph.inputs.find(({ node }) => node.operation !== "input");
  if (stranger !== undefined) return `${describe(stranger)} is declared as an input and is none`;
  const declared = new Set(graph.inputs.map((value) => value.node));
  const missing = order.find((node) => node.operation === "input" && !declared.has(node));
  return missing && `input "${leafName(missing.outputs[0] as Value)}" is used and not declared`;
}

function firstBadNode(order: readonly Node[]): string | undefined {
  for (const node of order) {
    const problem = badNode(node);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function badNode(node: Node): string | undefined {
  const dangling = node.inputs.find((value) => value.node.outputs[value.index] !== value);
  if (dangling !== undefined)
    return `${node.operation} reads output ${dangling.index} of ${dangling.node.operation}, which has none such`;
  for (const body of bodiesOf(node)) {
    const problem = findProblem(body) ?? strangeLeaf(body);
    if (problem !== undefined) return `in a body of ${node.operation}: ${problem}`;
  }
  const types = typesOf(node);
  if (typeof types === "string") return types;
  const same = (type: ValueType, value: Value | undefined) =>
    value !== undefined && type.dtype === value.dtype && sameShape(type.shape, value.shape);
  if (types.length === node.outputs.length && types.every((type, i) => same(type, node.outputs[i]))) return undefined;
  const given = node.outputs.map(describe).join(", ");
  return `${given || node.operation} should be ${types.map((type) => type.dtype + formatShape(type.shape)).join(", ")}`;
}

/** A body is closed: weights come in by its inputs, like everything else from around it. */
function strangeLeaf(body: Graph): string | undefined {
  const [name] = weightsOf(body).keys();
  return name === undefined ? undefined : `it reads the weight "${name}" itself, instead of being given it`;
}

/** The types that a node's outputs must have, or why it can have none. */
function typesOf(node: Node): readonly ValueType[] | string {
  if (node.operation === "constant") return [node.attributes.tensor as Tensor];
  if ((leafOperations as readonly string[]).includes(node.operation)) return node.outputs.slice(0, 1);
  const operation = operationNamed(node.operation);
  try {
    return operation.infer(node.inputs, node.attributes);
  } catch (error) {
    return `${node.operation}(${node.inputs.map(describe).join(", ")}): ${messageOf(error)}`;
  }
}
