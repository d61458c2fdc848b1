/** Tracing: a function run once on symbols is the graph of what it did. */
import { expect, it } from "vitest";
import { add, bindDims, evaluate, mul, reshape, type Tensor, tensorOf, trace, type Value } from "./index.js";

const x = { dtype: "float32", shape: ["batch", 2] } as const;

it("runs the function once, on values of the types asked for", () => {
  const seen: Value[] = [];
  const graph = trace(
    (values) => {
      seen.push(values.x);
      return { y: mul(values.x, 2) };
    },
    { x },
  );
  expect(seen).toHaveLength(1);
  expect(seen[0]).toMatchObject(x);
  expect(graph.inputs).toEqual(seen);
  const feeds = { x: tensorOf("float32", [1, 2], [3, 4]) };
  expect((evaluate(graph, feeds).y as Tensor).data).toEqual(Float32Array.of(6, 8));
});

it("marks sites and returns the value marked", () => {
  const graph = trace((values, site) => ({ y: add(site("double", mul(values.x, 2)), values.x) }), { x });
  const site = graph.sites.get("double") as Value;
  expect(site.node.operation).toBe("mul");
  expect(graph.outputs.get("y")?.node.inputs[0]).toBe(site);
});

it("leaves out inputs that neither outputs nor sites read, and keeps the order of the others", () => {
  const graph = trace(
    ({ c, a }, site) => {
      site("seen", mul(c, 2));
      return { y: mul(a, 2) };
    },
    { a: x, b: x, c: x },
  );
  expect(graph.inputs.map(({ node }) => node.attributes.name)).toEqual(["a", "c"]);
});

it("keeps outputs in the order returned, an input among them", () => {
  const graph = trace((values) => ({ second: mul(values.x, 2), x: values.x }), { x });
  expect([...graph.outputs.keys()]).toEqual(["second", "x"]);
  expect(graph.outputs.get("x")).toBe(graph.inputs[0]);
});

it("refuses an output that has the name of another input", () => {
  expect(() => trace((values) => ({ x: mul(values.x, 2) }), { x })).toThrow(
    'after "trace" the graph is not legal: an output has the name of the input "x"',
  );
});

it("makes a graph of plain data: a copy of it means the same", () => {
  const graph = trace((values, site) => ({ y: site("y", reshape(mul(values.x, 3), ["2*batch"])) }), { x });
  const copy = structuredClone(graph);
  expect(evaluate(copy, { x: tensorOf("float32", [2, 2], [1, 2, 3, 4]) }).y?.data).toEqual(
    Float32Array.of(3, 6, 9, 12),
  );
  expect(bindDims(copy.inputs, new Map([["x", [2, 2]]]))).toEqual({ batch: 2 });
});
