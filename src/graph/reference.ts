/**
 * The slow reference: runs a graph node by node in float64, with no runtime. It says what a graph means; the runtime is
 * held against it.
 */
import { failure, usageError } from "../errors.js";
import { bindDims, type Graph, leafName, type Node, onlyOutput, topologicalOrder, type Value } from "./graph.js";
import type { ReferenceTensor } from "./operations/operation.js";
import { operationNamed } from "./operations/table.js";
import { type Tensor, tensorOf, toNumbers } from "./tensor.js";

type Sizes = Readonly<Record<string, number>>;
type Results = Map<Value, ReferenceTensor>;

/**
 * The outputs of a graph, computed in float64 and rounded to each output's element type at the end.
 *
 * Half precision is refused: a tensor holds its bits.
 *
 * @param feeds a tensor for every input, by name
 * @param weights a tensor for every weight, by name
 */
export function evaluate(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  weights: Readonly<Record<string, Tensor>> = {},
): Record<string, Tensor> {
  const sizes = bindDims(graph.inputs, new Map(Object.entries(feeds).map(([name, value]) => [name, value.shape])));
  const results: Results = new Map();
  for (const node of topologicalOrder(graph.outputs.values())) {
    if (node.operation === "input") results.set(onlyOutput(node), given(node, feeds));
    if (node.operation === "weight") results.set(onlyOutput(node), given(node, weights));
  }
  run(graph, results, sizes);
  return Object.fromEntries(
    [...graph.outputs].map(([name, value]) => {
      const { dtype, shape, data } = results.get(value) as ReferenceTensor;
      if (dtype === "float16") throw usageError(`the output "${name}" is float16; cast it to float32 first`);
      return [name, tensorOf(dtype, shape, data)];
    }),
  );
}

/** The outputs of a body (a graph that an operation holds), in order, for its inputs in order. */
export function evaluateBody(body: Graph, inputs: readonly ReferenceTensor[], sizes: Sizes): ReferenceTensor[] {
  const results: Results = new Map(body.inputs.map((value, i) => [value, inputs[i] as ReferenceTensor]));
  run(body, results, sizes);
  return [...body.outputs.values()].map((value) => results.get(value) as ReferenceTensor);
}

/** Computes what a graph's outputs depend on, from the inputs and weights that `results` holds already. */
function run(graph: Graph, results: Results, sizes: Sizes): void {
  for (const node of topologicalOrder(graph.outputs.values())) {
    if (node.operation === "input" || node.operation === "weight") continue;
    const inputs = node.inputs.map((value) => results.get(value) as ReferenceTensor);
    const outputs =
      node.operation === "constant"
        ? [widen(node.attributes.tensor as Tensor)]
        : operationNamed(node.operation).reference(inputs, node.attributes, sizes);
    node.outputs.forEach((value, i) => {
      results.set(value, outputs[i] as ReferenceTensor);
    });
  }
}

function given(node: Node, tensors: Readonly<Record<string, Tensor>>): ReferenceTensor {
  const name = leafName(onlyOutput(node));
  const value = tensors[name];
  if (value === undefined) throw failure(`no values were given for ${node.operation} "${name}"`);
  return widen(value);
}

const widen = (value: Tensor): ReferenceTensor => ({
  dtype: value.dtype,
  shape: value.shape,
  data: toNumbers(value),
});
