/**
 * The slow reference: runs a graph node by node in float64, with no runtime. It says what a graph means; the runtime is
 * held against it.
 */
import { failure, usageError } from "../errors.js";
import { bindDims, type Graph, leafName, type Node, topologicalOrder, type Value } from "./graph.js";
import type { ReferenceTensor } from "./operations/operation.js";
import { operationNamed } from "./operations/table.js";
import { type Tensor, tensorOf, toNumbers } from "./tensor.js";

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
  const results = new Map<Value, ReferenceTensor>();
  for (const node of topologicalOrder(graph.outputs.values())) {
    const outputs = evaluateNode(node, results, feeds, weights, sizes);
    node.outputs.forEach((value, i) => {
      results.set(value, outputs[i] as ReferenceTensor);
    });
  }
  return Object.fromEntries(
    [...graph.outputs].map(([name, value]) => {
      const { dtype, shape, data } = results.get(value) as ReferenceTensor;
      if (dtype === "float16") throw usageError(`the output "${name}" is float16; cast it to float32 first`);
      return [name, tensorOf(dtype, shape, data)];
    }),
  );
}

function evaluateNode(
  node: Node,
  results: ReadonlyMap<Value, ReferenceTensor>,
  feeds: Readonly<Record<string, Tensor>>,
  weights: Readonly<Record<string, Tensor>>,
  sizes: Readonly<Record<string, number>>,
): ReferenceTensor[] {
  switch (node.operation) {
    case "input":
      return [widen(feeds[node.attributes.name as string], node)];
    case "weight":
      return [widen(weights[node.attributes.name as string], node)];
    case "constant":
      return [widen(node.attributes.tensor as Tensor, node)];
    default: {
      const inputs = node.inputs.map((value) => results.get(value) as ReferenceTensor);
      return operationNamed(node.operation).reference(inputs, node.attributes, sizes);
    }
  }
}

function widen(value: Tensor | undefined, node: Node): ReferenceTensor {
  if (value === undefined)
    throw failure(`no values were given for ${node.operation} "${leafName(node.outputs[0] as Value)}"`);
  return { dtype: value.dtype, shape: value.shape, data: toNumbers(value) };
}
