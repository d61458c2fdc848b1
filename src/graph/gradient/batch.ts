/**
 * Functions of one example as functions of a batch: the traced graph is run through again, each node by its operation's
 * batch rule, which says how it works along a new leading axis. A node without a rule is looped over.
 */
import { failure, usageError } from "../../errors.js";
import { type Dim, formatShape, sameShape } from "../dims.js";
import { type Graph, input, makeNode, type Node, topologicalOrder, type Value } from "../graph.js";
import type { BatchRule } from "../operations/operation.js";
import { repeated, repeatOver } from "../operations/scan.js";
import { operationNamed } from "../operations/table.js";
import { substitute } from "../rewrite.js";
import { leavesOf, replaceLeaves, type Tree } from "./tree.js";

export interface VmapOptions {
  /** Positions of arguments that every example gets whole; none unless given. */
  readonly unmapped?: readonly number[];
}

/**
 * `fn`, a function of one example, as a function of many: arguments (values or trees of them) have a leading axis more, of
 * one size that may be symbolic, and so has everything in the result. `vmap(grad(f))` gives the gradient of each example.
 *
 * @throws where the leading sizes differ, or every argument is unmapped
 */
export function vmap<Args extends readonly Tree[], R extends Tree>(
  fn: (...args: Args) => R,
  { unmapped = [] }: VmapOptions = {},
): (...args: Args) => R {
  return (...args) => {
    const mapped = args.map((_, i) => !unmapped.includes(i));
    const leaves = args.flatMap((tree, i) => (mapped[i] ? leavesOf(tree) : []));
    const size = leadingSize(leaves);
    const examples = leaves.map(({ dtype, shape }, i) => input(`example${i}`, dtype, shape.slice(1)));
    let next = 0;
    const own = args.map((tree, i) => {
      if (!mapped[i]) return tree;
      const count = leavesOf(tree).length;
      next += count;
      return replaceLeaves(tree, examples.slice(next - count, next));
    });
    const result = fn(...(own as unknown as Args));
    const outputs = leavesOf(result);
    const found = mapValues(outputs, new Map(examples.map((value, i) => [value, leaves[i] as Value])));
    return replaceLeaves(
      result,
      outputs.map((value, i) => found[i] ?? repeated(value, size)),
    );
  };
}

function leadingSize(leaves: readonly Value[]): Dim {
  const sizes = leaves.map(({ shape }) => shape[0]);
  const [size] = sizes;
  if (size === undefined) throw usageError("vmap() needs a mapped argument with a leading axis");
  if (sizes.every((other) => other === size)) return size;
  throw usageError(
    `vmap() maps over one leading size; the arguments have ${leaves.map(({ shape }) => formatShape(shape)).join(", ")}: list those that every example shares in \`unmapped\``,
  );
}

/** The values with a leading axis, where `sources` (value to its twin with the axis) have one; undefined: it has none. */
function mapValues(values: readonly Value[], sources: ReadonlyMap<Value, Value>): (Value | undefined)[] {
  const twins = new Map(sources);
  for (const node of topologicalOrder(values)) {
    const batched = node.inputs.map((value) => twins.has(value));
    if (!batched.includes(true)) continue;
    const inputs = node.inputs.map((value) => twins.get(value) ?? value);
    const results = (operationNamed(node.operation).batch ?? overBatch)(inputs, batched, node);
    const size = inputs[batched.indexOf(true)]?.shape[0] as Dim;
    node.outputs.forEach((value, i) => {
      twins.set(value, checked(node, value, results[i], size));
    });
  }
  return values.map((value) => twins.get(value));
}

function checked(node: Node, value: Value, twin: Value | undefined, size: Dim): Value {
  const wanted = [size, ...value.shape];
  if (twin?.dtype === value.dtype && sameShape(twin.shape, wanted)) return twin;
  const given = twin === undefined ? "nothing" : twin.dtype + formatShape(twin.shape);
  throw failure(`the batch rule of ${node.operation} gave ${given} for ${value.dtype}${formatShape(wanted)}`);
}

/** The batch rule of what has none: a scan over the examples. */
export const overBatch: BatchRule = (inputs, batched, node) => {
  const sequences = inputs.filter((_, i) => batched[i]);
  const size = sequences[0]?.shape[0] as Dim;
  const { rows } = repeatOver([], sequences, size, false, (_, slices) => {
    let next = 0;
    const own = inputs.map((value, i) => (batched[i] ? (slices[next++] as Value) : value));
    return { carries: [], rows: makeNode(node.operation, own, node.attributes, node.outputs).outputs };
  });
  return rows;
};

/** The outputs of a body whose inputs are `values`, of which those that are `batched` have a leading axis. */
export function mapBody(
  body: Graph,
  values: readonly Value[],
  batched: readonly boolean[],
): { readonly value: Value; readonly batched: boolean }[] {
  const whole = body.inputs.flatMap((value, i) => (batched[i] ? [] : [[value, values[i] as Value] as const]));
  const sources = body.inputs.flatMap((value, i) => (batched[i] ? [[value, values[i] as Value] as const] : []));
  const outputs = substitute([...body.outputs.values()], new Map(whole));
  const found = mapValues(outputs, new Map(sources));
  return outputs.map((value, i) => ({ value: found[i] ?? value, batched: found[i] !== undefined }));
}
