/**
 * Rewrites: one pass over the graph in topological order that rebuilds what lies downstream of a change. Splicing a
 * function into a site, inlining a traced function, and replacing leaves are all this one pass.
 */
import { messageOf, usageError } from "../errors.js";
import { checkGraph } from "./check.js";
import { formatShape, sameShape } from "./dims.js";
import {
  type Graph,
  inputsOf,
  makeNode,
  type Node,
  onlyOutput,
  siteValue,
  topologicalOrder,
  type Value,
} from "./graph.js";

/** What a clamp does: takes the value that a site has, returns the one it is to have, of the same type and shape. */
export type SiteFunction = (value: Value) => Value;

/** A function to splice in at a site. */
export interface Edit {
  readonly site: string;
  readonly apply: SiteFunction;
}

/**
 * The graph in which everything that read the site's value reads `apply(value)` instead. The site names the new value;
 * `<site>@before` names the one that the function received.
 */
export function splice(graph: Graph, site: string, apply: SiteFunction): Graph {
  return spliceAll(graph, [{ site, apply }]);
}

/** As `splice`, for many edits in one pass. Several edits of one site apply in the order given. */
export function spliceAll(graph: Graph, edits: readonly Edit[]): Graph {
  const byValue = new Map<Value, Edit[]>();
  for (const edit of edits) {
    const value = siteValue(graph, edit.site);
    byValue.set(value, [...(byValue.get(value) ?? []), edit]);
  }
  const before = new Map<Value, Value>();
  const rebuilt = rebuild([...graph.outputs.values(), ...graph.sites.values()], (old, value) => {
    const here = byValue.get(old);
    if (here === undefined) return value;
    before.set(old, value);
    return here.reduce((current, edit) => applyEdit(edit, current), value);
  });
  const sites = new Map<string, Value>();
  for (const [name, old] of graph.sites) {
    sites.set(name, rebuilt(old));
    const original = before.get(old);
    if (original !== undefined && !name.endsWith("@before")) sites.set(`${name}@before`, original);
  }
  const outputs = new Map([...graph.outputs].map(([name, old]) => [name, rebuilt(old)]));
  const declared = [...new Set([...graph.inputs, ...inputsOf([...outputs.values(), ...sites.values()])])];
  const result = { inputs: declared, outputs, sites };
  checkGraph(result, `splice at ${edits.map((edit) => edit.site).join(", ")}`);
  return result;
}

/** The values with others put in place of those in `replacements`, wherever they are read. */
export function substitute(values: readonly Value[], replacements: ReadonlyMap<Value, Value>): Value[] {
  return values.map(rebuild(values, (old, value) => replacements.get(old) ?? value));
}

/** The outputs of `graph` with its inputs replaced by values of another graph, by name. */
export function inline(graph: Graph, replacements: ReadonlyMap<string, Value>): Map<string, Value> {
  const rebuilt = rebuild(graph.outputs.values(), (old, value) => {
    if (old.node.operation !== "input") return value;
    return replacements.get(old.node.attributes.name as string) ?? value;
  });
  return new Map([...graph.outputs].map(([name, old]) => [name, rebuilt(old)]));
}

/** Scalar constants that `value` depends on and `origin` does not: the numbers written in a traced function. */
export function scalarsBetween(value: Value, origin: Value): Value[] {
  const before = new Set(topologicalOrder([origin]));
  return topologicalOrder([value])
    .filter((node) => node.operation === "constant" && !before.has(node))
    .map(onlyOutput)
    .filter(({ shape }) => shape.length === 0);
}

function applyEdit(edit: Edit, value: Value): Value {
  let result: Value;
  try {
    result = edit.apply(value);
  } catch (error) {
    throw usageError(`at ${edit.site}: ${messageOf(error)}`, error);
  }
  if (result.dtype === value.dtype && sameShape(result.shape, value.shape)) return result;
  throw usageError(
    `the function clamped at ${edit.site} returned ${result.dtype}${formatShape(result.shape)}; ` +
      `it must return the site's own ${value.dtype}${formatShape(value.shape)}`,
  );
}

/**
 * Visits every value that `roots` depend on; `visit` gets the old value and its rebuilt twin and says what consumers
 * shall read. Nodes whose inputs did not change are shared. Returns the map from old values to new.
 */
function rebuild(roots: Iterable<Value>, visit: (old: Value, value: Value) => Value): (old: Value) => Value {
  const mapped = new Map<Value, Value>();
  const get = (old: Value): Value => mapped.get(old) as Value;
  for (const node of topologicalOrder(roots)) {
    const inputs = node.inputs.map(get);
    const same = inputs.every((value, i) => value === node.inputs[i]);
    const twin: Node = same ? node : makeNode(node.operation, inputs, node.attributes, node.outputs);
    for (const old of node.outputs) mapped.set(old, visit(old, twin.outputs[old.index] as Value));
  }
  return get;
}
