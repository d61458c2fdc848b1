/**
 * The legality check: what every graph must be, after every rewrite. An error names the pass that broke it, so that a
 * bad graph never reaches the runtime with a message that nobody can trace back.
 */
import { failure } from "../errors.js";
import { formatShape, sameShape } from "./dims.js";
import { describe, type Graph, leafName, leafOperations, type Node, topologicalOrder, type Value } from "./graph.js";
import { operationNamed } from "./operations/table.js";

/** Throws where the graph is not legal; `pass` names the rewrite that made it. */
export function checkGraph(graph: Graph, pass: string): void {
  const problem = findProblem(graph);
  if (problem !== undefined) throw failure(`after "${pass}" the graph is not legal: ${problem}`);
}

function findProblem(graph: Graph): string | undefined {
  const values = [...graph.outputs.values(), ...graph.sites.values()];
  const order = topologicalOrder(values);
  return duplicateName(order) ?? undeclaredInput(graph, order) ?? firstBadNode(order);
}

function duplicateName(order: readonly Node[]): string | undefined {
  const seen = new Map<string, Node>();
  for (const node of order) {
    if (node.operation !== "input" && node.operation !== "weight") continue;
    const name = node.attributes.name as string;
    const other = seen.get(name);
    if (other !== undefined) return `two different leaves are called "${name}"`;
    seen.set(name, node);
  }
  return undefined;
}

function undeclaredInput(graph: Graph, order: readonly Node[]): string | undefined {
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
  if ((leafOperations as readonly string[]).includes(node.operation)) return undefined;
  const types = operationNamed(node.operation).infer(node.inputs, node.attributes);
  const wrong = node.outputs.find((value, i) => {
    const type = types[i];
    return type === undefined || type.dtype !== value.dtype || !sameShape(type.shape, value.shape);
  });
  if (wrong === undefined) return undefined;
  return `${describe(wrong)} should be ${types.map((type) => type.dtype + formatShape(type.shape)).join(", ")}`;
}
