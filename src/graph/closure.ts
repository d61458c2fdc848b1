/**
 * Functions inside a graph: the body of a loop, a branch, a gradient that a user wrote. A body is a graph of its own; what
 * it reads from around it becomes inputs, so that rewrites of the outer graph reach everything.
 */
import { type Graph, input, topologicalOrder, type Value, type ValueType } from "./graph.js";
import { substitute } from "./rewrite.js";

/** A body: its graph has the inputs `in0`, `in1`, ... and then `captured0`, ...; its outputs are `out0`, `out1`, ... */
export interface Body {
  readonly graph: Graph;
  /** The outer values behind the captured inputs. */
  readonly captured: readonly Value[];
}

/** Traces a body. What does not depend on its inputs is computed once, outside, and captured. */
export function traceBody(fn: (inputs: readonly Value[]) => readonly Value[], types: readonly ValueType[]): Body {
  const inputs = types.map(({ dtype, shape }, i) => input(`in${i}`, dtype, shape));
  const outputs = fn(inputs);
  const captured = capturedBy(outputs, inputs);
  const stand = captured.map(({ dtype, shape }, i) => input(`captured${i}`, dtype, shape));
  const closed = substitute(outputs, new Map(captured.map((value, i) => [value, stand[i] as Value])));
  return {
    graph: {
      inputs: [...inputs, ...stand],
      outputs: new Map(closed.map((value, i) => [`out${i}`, value])),
      sites: new Map(),
    },
    captured,
  };
}

/** The outermost values that `outputs` read and that do not depend on `inputs`; constants stay where they are. */
function capturedBy(outputs: readonly Value[], inputs: readonly Value[]): Value[] {
  const own = new Set(inputs.map(({ node }) => node));
  const order = topologicalOrder(outputs);
  for (const node of order) if (node.inputs.some((value) => own.has(value.node))) own.add(node);
  const read = [...order.filter((node) => own.has(node)).flatMap((node) => node.inputs), ...outputs];
  return [...new Set(read)].filter(({ node }) => !own.has(node) && node.operation !== "constant");
}

/** The outputs of a body applied to values: those of its inputs, then the captured ones. */
export function applyBody(graph: Graph, values: readonly Value[]): Value[] {
  const replacements = new Map(graph.inputs.map((value, i) => [value, values[i] as Value]));
  return substitute([...graph.outputs.values()], replacements);
}
