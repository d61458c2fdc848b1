/**
 * Reading a value at some places of its leading dimensions, and computing it nowhere else. Most of a network works token
 * by token (products with weights, norms, functions of one number), so the gather sinks below all that: the last
 * position's logits need no other position's, nor does the last layer's MLP.
 */
import {
  apply,
  type Dim,
  gather,
  matmul,
  multiplyDims,
  type Node,
  operationNamed,
  pullback,
  reshape,
  sameShape,
  topologicalOrder,
  type Value,
} from "../graph/index.js";

/** A value read at places, with the twins of what the gather sank below: the same values at these places. */
export interface Reading {
  readonly value: Value;
  readonly twins: ReadonlyMap<Value, Value>;
  /** The gradient of a twin spread to the whole value, zero elsewhere. */
  spread(whole: Value, gradient: Value): Value;
}

/** How far a gather sinks: not at all, below the products and norms right under it, or below all that works token by token. */
export type Depth = "none" | "head" | "all";

/**
 * Entries of the leading `count` dimensions of a value, flattened to one, at int64 `indices`. A gradient finds the sites
 * that the gather sank below among the twins.
 */
export function readAt(value: Value, indices: Value, count: number, depth: Depth): Reading {
  const lead = value.shape.slice(0, count);
  const flat = (x: Value) => reshape(x, [multiplyDims(...lead), ...x.shape.slice(count)]);
  const sunk = count === 2 && depth !== "none" ? sunkNodes(value, lead, depth === "all") : new Set<Node>();
  const known = new Map<Value, Value>();
  const twins = new Map<Value, Value>(); // a gathered value is none: what depends on it depends on the whole
  const read = (x: Value): Value => {
    const own = known.get(x) ?? (sunk.has(x.node) ? recomputed(x, read) : gather(flat(x), indices));
    known.set(x, own);
    if (sunk.has(x.node)) twins.set(x, own);
    return own;
  };
  return {
    value: read(value),
    twins,
    spread: (whole, gradient) => pullback(new Map([[gather(flat(whole), indices), gradient]]), [whole])[0] as Value,
  };
}

/** The nodes to compute at the places alone: they work place by place, and nothing else needs them whole. */
function sunkNodes(root: Value, lead: readonly Dim[], deep: boolean): Set<Node> {
  const placed = new Set([root]); // values that are read at the places
  const whole = new Set<Value>();
  const sunk = new Set<Node>();
  for (const node of topologicalOrder([root]).reverse()) {
    const [x] = node.outputs as readonly [Value];
    const inputs = placed.has(x) && !whole.has(x) ? placedInputs(x, lead, deep) : undefined;
    if (inputs !== undefined) sunk.add(node);
    for (const input of node.inputs) (inputs?.includes(input) === true ? placed : whole).add(input);
  }
  return sunk;
}

const isNorm = (operation: string) => operation === "rmsNorm" || operation === "layerNorm";

/** The inputs of a value that are to be read at the places, where it is made place by place; else undefined. */
function placedInputs(x: Value, lead: readonly Dim[], deep: boolean): Value[] | undefined {
  const [first, second] = x.node.inputs;
  const { operation, attributes, outputs } = x.node;
  if (first === undefined || outputs.length !== 1 || x.shape.length < 3) return undefined;
  const atFirst = sameShape(first.shape.slice(0, 2), lead) ? [first] : undefined;
  if (operation === "matmul") {
    const byMatrix = x.shape.length === 3 && second?.shape.length === 2 && !attributes.transposeA;
    return byMatrix ? atFirst : undefined;
  }
  if (isNorm(operation)) return x.shape.length === 3 ? atFirst : undefined;
  if (!deep) return undefined;
  if (operation === "reshape") return atFirst;
  if (operationNamed(operation).pointwise !== true) return undefined;
  const broadcasts = x.node.inputs.every(
    (input) => hasLead(x, input, lead) || leadOf(x, input).every((dim) => dim === 1),
  );
  return broadcasts ? x.node.inputs.filter((input) => hasLead(x, input, lead)) : undefined;
}

/** Those of an input's dimensions that stand where the leading ones of `x` do. */
const leadOf = (x: Value, input: Value): readonly Dim[] =>
  input.shape.slice(0, Math.max(0, 2 - (x.shape.length - input.shape.length)));

const hasLead = (x: Value, input: Value, lead: readonly Dim[]): boolean => sameShape(leadOf(x, input), lead);

/** A sunk value at the places, from its inputs there. */
function recomputed(x: Value, read: (x: Value) => Value): Value {
  const [first, ...others] = x.node.inputs as readonly [Value, ...Value[]];
  const { operation, attributes } = x.node;
  if (operation === "matmul") return product(read(first), others[0] as Value, attributes.transposeB === true);
  if (isNorm(operation)) return apply(operationNamed(operation), [read(first), ...others], attributes)[0] as Value;
  if (operation === "reshape") {
    const rows = read(first);
    const kept = rows.shape.length - (first.shape.length - 2);
    return reshape(rows, [...rows.shape.slice(0, kept), ...x.shape.slice(2)]);
  }
  const inputs = x.node.inputs.map((input) => {
    const own = leadOf(x, input);
    return own.some((dim) => dim !== 1) ? read(input) : reshape(input, input.shape.slice(own.length));
  });
  return apply(operationNamed(operation), inputs, attributes)[0] as Value;
}

/** A product with a matrix, for a left side of any rank. */
function product(x: Value, matrix: Value, transposeB: boolean): Value {
  if (x.shape.length >= 2) return matmul(x, matrix, { transposeB });
  const width = matrix.shape[transposeB ? 0 : 1] as Dim;
  return reshape(matmul(reshape(x, [1, ...x.shape]), matrix, { transposeB }), [width]);
}
