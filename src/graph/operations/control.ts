/**
 * Control flow: one branch or another, a step repeated. Branches and steps are graphs of their own (closure.ts), so rewrites
 * of the graph around them need to know nothing of them. Scans and loops have files of their own.
 */
import { applyBody, traceBody } from "../closure.js";
import { type Dim, formatShape, sameShape } from "../dims.js";
import { mapBody, overBatch } from "../gradient/batch.js";
import { pullback } from "../gradient/pullback.js";
import { leavesLike, leavesOf, replaceLeaves, type Tree } from "../gradient/tree.js";
import { type Graph, topologicalOrder, type Value, type ValueType } from "../graph.js";
import { evaluateBody } from "../reference.js";
import { identity } from "./barriers.js";
import { loopOperation } from "./loop.js";
import { apply, type Operation } from "./operation.js";
import { zerosLike } from "./patterns.js";
import { repeated, scanOperation } from "./scan.js";

/** Inputs: the condition, `operands` that both branches take, what the first captured, what the second captured. */
type BranchAttributes = { first: Graph; second: Graph; operands: number };

/** The values that each branch takes. */
function branchInputs<V>(inputs: readonly V[], { first, operands }: BranchAttributes): readonly [V[], V[]] {
  const shared = inputs.slice(1, 1 + operands);
  const end = 1 + first.inputs.length;
  return [
    [...shared, ...inputs.slice(1 + operands, end)],
    [...shared, ...inputs.slice(end)],
  ];
}

const text = (types: readonly ValueType[]) => types.map(({ dtype, shape }) => dtype + formatShape(shape)).join(", ");

const sameTypes = (a: readonly ValueType[], b: readonly ValueType[]) =>
  a.length === b.length && a.every(({ dtype, shape }, i) => dtype === b[i]?.dtype && sameShape(shape, b[i].shape));

const ifElseOperation: Operation<BranchAttributes> = {
  name: "ifElse",
  infer(inputs, attributes) {
    const [condition] = inputs;
    if (condition?.dtype !== "bool" || condition.shape.length > 0) throw new Error("the condition must be one bool");
    const bodies = [attributes.first, attributes.second] as const;
    const outputs = bodies.map((body) => [...body.outputs.values()]) as [Value[], Value[]];
    if (!sameTypes(...outputs))
      throw new Error(`the branches return different types: ${text(outputs[0])} and ${text(outputs[1])}`);
    branchInputs(inputs, attributes).forEach((given, i) => {
      const wanted = (bodies[i] as Graph).inputs;
      if (!sameTypes(given, wanted)) throw new Error(`a branch takes ${text(wanted)} and is given ${text(given)}`);
    });
    return outputs[0].map(({ dtype, shape }) => ({ dtype, shape }));
  },
  emit(node, attributes, emitter) {
    const read = node.outputs.filter((value) => emitter.reads(value));
    const captured = branchInputs(
      node.inputs.map((value) => emitter.name(value)),
      attributes,
    );
    const branch = (body: Graph, i: 0 | 1) => {
      const outputs = [...body.outputs].filter((_, k) => emitter.reads(node.outputs[k] as Value));
      return { body: { ...body, outputs: new Map(outputs) }, captured: captured[i] };
    };
    emitter.node("If", [emitter.name(node.inputs[0] as Value)], {
      outputs: read.map((value) => emitter.name(value)),
      attributes: { then_branch: branch(attributes.first, 0), else_branch: branch(attributes.second, 1) },
    });
  },
  reference(inputs, attributes, sizes) {
    const [first, second] = branchInputs(inputs, attributes);
    return inputs[0]?.data[0] === 1
      ? evaluateBody(attributes.first, first, sizes)
      : evaluateBody(attributes.second, second, sizes);
  },
  gradient(node, gradients, wanted) {
    const attributes = node.attributes as BranchAttributes;
    const { first, second } = attributes;
    const at = [...node.inputs.keys()].filter((i) => wanted[i]);
    const given = [...gradients.keys()].filter((o) => gradients[o] !== undefined);
    const places = branchInputs([...node.inputs.keys()], attributes);
    const operands = [...node.inputs.slice(1), ...given.map((o) => gradients[o] as Value)];
    const pull = (body: Graph, own: readonly number[]) => (values: readonly Value[]) => {
      const inputs = own.map((i) => identity(values[i - 1] as Value));
      const outputs = applyBody(body, inputs).map(identity);
      const seeds = new Map(given.map((o, k) => [outputs[o] as Value, values[node.inputs.length - 1 + k] as Value]));
      const found = pullback(
        seeds,
        inputs.filter((_, k) => wanted[own[k] as number]),
        { recompute: false },
      );
      const places = own.filter((i) => wanted[i]);
      return at.map((i) => found[places.indexOf(i)] ?? zerosLike(node.inputs[i] as Value));
    };
    const results = choose(node.inputs[0] as Value, operands, pull(first, places[0]), pull(second, places[1]));
    return node.inputs.map((_, i) => results[at.indexOf(i)]);
  },
  batch(inputs, batched, node) {
    if (batched[0]) return overBatch(inputs, batched, node); // each example takes its own branch
    const attributes = node.attributes as BranchAttributes;
    const size = inputs[batched.indexOf(true)]?.shape[0] as Dim;
    const [places, others] = branchInputs([...inputs.keys()], attributes);
    const branch = (body: Graph, own: readonly number[]) => (values: readonly Value[]) =>
      mapBody(
        body,
        own.map((i) => values[i - 1] as Value),
        own.map((i) => batched[i] as boolean),
      ).map((made) => (made.batched ? made.value : repeated(made.value, size)));
    return choose(
      inputs[0] as Value,
      inputs.slice(1),
      branch(attributes.first, places),
      branch(attributes.second, others),
    );
  },
};

export const controlOperations = [ifElseOperation, scanOperation, loopOperation];

type Branch = (operands: readonly Value[]) => readonly Value[];

/** One of two branches of flat lists of values. Operands that neither branch reads are left out. */
function choose(condition: Value, operands: readonly Value[], first: Branch, second: Branch): Value[] {
  const bodies = [first, second].map((branch) => traceBody(branch, operands));
  const nodes = new Set(bodies.flatMap(({ graph }) => topologicalOrder(graph.outputs.values())));
  const reads = operands.map((_, i) => bodies.some(({ graph }) => nodes.has((graph.inputs[i] as Value).node)));
  const [one, other] = bodies.map(
    ({ graph }): Graph => ({ ...graph, inputs: graph.inputs.filter((_, i) => reads[i] ?? true) }),
  ) as [Graph, Graph];
  const used = operands.filter((_, i) => reads[i]);
  const captured = bodies.flatMap((body) => body.captured);
  return apply(ifElseOperation, [condition, ...used, ...captured], {
    first: one,
    second: other,
    operands: used.length,
  });
}

/**
 * `first(operands)` where the condition (a bool scalar) holds, else `second(operands)`; both must return a tree of the same
 * structure and types. Only the branch taken runs: what it computes from operands. (What a branch computes from nothing but
 * values around it is computed before the choice is made, so give as operands what shall be computed only where needed.)
 * ONNX's If; its gradient chooses in the same way, and computes the branch again.
 */
export function ifElse<X extends Tree, Y extends Tree>(
  condition: Value,
  operands: X,
  first: (operands: X) => Y,
  second: (operands: X) => Y,
): Y {
  let made: Y | undefined;
  const results = choose(
    condition,
    leavesOf(operands),
    (values) => {
      made = first(replaceLeaves(operands, values));
      return leavesOf(made);
    },
    (values) => leavesLike(made as Y, second(replaceLeaves(operands, values)), "what the second branch returns"),
  );
  return replaceLeaves(made as Y, results);
}
