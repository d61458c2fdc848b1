/**
 * Tracing: a TypeScript function of values is run once on symbolic inputs, and what it did is the graph.
 */
import { checkGraph } from "./check.js";
import { type Graph, input, usedInputs, type Value, type ValueType } from "./graph.js";

/** Names a value as a site, and returns it. */
export type MarkSite = (name: string, value: Value) => Value;

/**
 * The graph of `fn`. `fn` receives one value for each entry of `inputs` (name to element type and shape) and returns its
 * outputs by name; its second argument marks sites. Inputs that no output depends on are left out.
 *
 * @example trace(({ x }) => ({ y: mul(x, 2) }), { x: { dtype: "float32", shape: ["batch", 3] } })
 */
export function trace<Names extends string>(
  fn: (inputs: Record<Names, Value>, site: MarkSite) => Record<string, Value>,
  inputs: Readonly<Record<Names, ValueType>>,
): Graph {
  const values = Object.fromEntries(
    Object.entries<ValueType>(inputs).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  ) as Record<Names, Value>;
  const sites = new Map<string, Value>();
  const outputs = new Map(
    Object.entries(
      fn(values, (name, value) => {
        sites.set(name, value);
        return value;
      }),
    ),
  );
  const declared = Object.values<Value>(values);
  const graph = { inputs: usedInputs([...outputs.values(), ...sites.values()], declared), outputs, sites };
  checkGraph(graph, "trace");
  return graph;
}
