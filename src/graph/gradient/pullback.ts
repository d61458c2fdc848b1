/**
 * Reverse mode: gradients flow from outputs back to any values, node by node, through the rules of the operations. The
 * result is more graph, so gradients are clamped, recorded, differentiated and compiled like everything else.
 */
import { failure, usageError } from "../../errors.js";
import { formatShape, sameShape } from "../dims.js";
import { describe, makeNode, type Node, topologicalOrder, type Value } from "../graph.js";
import { keptValue } from "../operations/barriers.js";
import { add } from "../operations/elementwise.js";
import { type GradientRule, isFloat } from "../operations/operation.js";
import { operationNamed } from "../operations/table.js";

export interface PullbackOptions {
  /** Compute what follows a checkpoint again; on unless given. */
  readonly recompute?: boolean;
  /** Rules that replace those of the table, by operation: explanations that propagate something else than derivatives. */
  readonly rules?: ReadonlyMap<string, GradientRule>;
}

/**
 * Gradients at the values `at` of the sum of `<value, gradient>` over `seeds` (value to the gradient that it is given).
 * Each is the whole derivative at that value, through everything downstream of it; undefined where nothing reaches it.
 * What lies downstream of a checkpoint is computed again for its rules, unless `recompute` is off.
 */
export function pullback(
  seeds: ReadonlyMap<Value, Value>,
  at: readonly Value[],
  { recompute = true, rules }: PullbackOptions = {},
): (Value | undefined)[] {
  for (const value of at) requireFloat(value);
  const order = topologicalOrder(seeds.keys());
  const { carriers, active } = dependents(order, at);
  const gradients = new Map<Value, Value>();
  const give = (value: Value, gradient: Value): void => {
    const known = gradients.get(value);
    gradients.set(value, known === undefined ? gradient : add(known, gradient));
  };
  for (const [value, gradient] of seeds) if (carriers.has(value)) give(value, gradient);
  const recomputed = recompute ? recomputation(order) : (node: Node) => node;
  for (const node of order.reverse()) {
    const outputs = node.outputs.map((value) => gradients.get(value));
    const first = outputs.find((gradient) => gradient !== undefined);
    if (!active.has(node) || first === undefined) continue;
    const wanted = node.inputs.map((value) => carriers.has(value));
    const rule = rules?.get(node.operation) ?? ruleOf(node);
    const results = rule(recomputed(node, first), outputs, wanted);
    node.inputs.forEach((value, i) => {
      const gradient = results[i];
      if (gradient === undefined || !carriers.has(value)) return;
      checkType(node, value, gradient);
      give(value, gradient);
    });
  }
  return at.map((value) => gradients.get(value));
}

function requireFloat(value: Value): void {
  if (isFloat(value.dtype)) return;
  throw usageError(
    `${describe(value)} holds no floating-point numbers, so nothing has a gradient there: take it at a float value computed from it (the embedding of token ids)`,
  );
}

/** The values that depend on those in `at`, through float values alone, and the nodes that lead from one to another. */
function dependents(order: readonly Node[], at: readonly Value[]): { carriers: Set<Value>; active: Set<Node> } {
  const carriers = new Set(at);
  const active = new Set<Node>();
  for (const node of order) {
    if (!node.inputs.some((value) => carriers.has(value))) continue;
    active.add(node);
    for (const value of node.outputs) if (isFloat(value.dtype)) carriers.add(value);
  }
  return { carriers, active };
}

function ruleOf(node: Node) {
  const rule = operationNamed(node.operation).gradient;
  if (rule !== undefined) return rule;
  throw usageError(
    `the operation "${node.operation}" has no gradient rule: put stopGradient() around what it computes, give it a rule with customGradient(), or take the gradient at a value downstream of it`,
  );
}

function checkType(node: Node, value: Value, gradient: Value): void {
  if (gradient.dtype === value.dtype && sameShape(gradient.shape, value.shape)) return;
  throw failure(
    `the gradient rule of ${node.operation} gave ${gradient.dtype}${formatShape(gradient.shape)} for ${describe(value)}`,
  );
}

/**
 * For rules that read a node's inputs and outputs: the node itself, or, downstream of a checkpoint, a twin computed again
 * from the checkpoint. The barrier in between keeps the twin from being computed before the gradient that needs it.
 */
function recomputation(order: readonly Node[]): (node: Node, after: Value) => Node {
  const below = new Set<Node>();
  for (const node of order) {
    if (node.operation === "checkpoint" || node.inputs.some((value) => below.has(value.node))) below.add(node);
  }
  const kept = new Map<Value, Value>();
  const twins = new Map<Node, Node>();
  const twinValue = (value: Value, after: Value): Value => {
    if (!below.has(value.node)) return value;
    if (value.node.operation !== "checkpoint") return twinNode(value.node, after).outputs[value.index] as Value;
    const known = kept.get(value) ?? keptValue(value.node, after);
    kept.set(value, known);
    return known;
  };
  const twinNode = (node: Node, after: Value): Node => {
    const known = twins.get(node);
    if (known !== undefined) return known;
    const inputs = node.inputs.map((value) => twinValue(value, after));
    const twin = makeNode(node.operation, inputs, node.attributes, node.outputs);
    twins.set(node, twin);
    return twin;
  };
  return (node, after) => (below.has(node) ? twinNode(node, after) : node);
}
