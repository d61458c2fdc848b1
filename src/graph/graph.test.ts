/** The graph itself: order, cycles, pruning, and sizes bound from what is fed. */
import { describe, expect, it } from "vitest";
import {
  describe as describeValue,
  type Graph,
  input,
  inputsOf,
  makeNode,
  type Node,
  siteValue,
  topologicalOrder,
  type Value,
  weight,
  weightsOf,
  withOutputs,
} from "./graph.js";
import { add, bindDims, constant, exp, expand, mul, reshape, slice, sub, tensorOf, topK, trace } from "./index.js";

const x = input("x", "float32", ["batch", 3]);
const y = input("y", "float32", ["batch", 3]);
const graphOf = (outputs: Record<string, Value>, inputs: Value[] = [x, y]): Graph => ({
  inputs,
  outputs: new Map(Object.entries(outputs)),
  sites: new Map(),
});

describe("topologicalOrder", () => {
  it("puts every node once, after what it reads", () => {
    const sum = add(x, y);
    const square = mul(sum, sum);
    const order = topologicalOrder([add(square, sum), square, sum]);
    expect(new Set(order).size).toBe(order.length);
    expect(order).toHaveLength(5);
    for (const node of order)
      for (const { node: read } of node.inputs) expect(order.indexOf(read)).toBeLessThan(order.indexOf(node));
  });

  it("walks a graph deeper than the call stack", () => {
    let value = x;
    for (let i = 0; i < 50_000; i++) value = exp(value);
    expect(topologicalOrder([value])).toHaveLength(50_001);
  });

  it("finds a cycle and names an operation on it", () => {
    const inputs: Value[] = [x];
    const node = makeNode("exp", inputs, {}, [x]);
    inputs[0] = exp(node.outputs[0] as Value);
    expect(() => topologicalOrder(node.outputs)).toThrow("the graph has a cycle through exp");
  });

  it("finds a node that reads itself", () => {
    const inputs: Value[] = [];
    const node: Node = makeNode("neg", inputs, {}, [x]);
    inputs.push(node.outputs[0] as Value);
    expect(() => topologicalOrder(node.outputs)).toThrow("the graph has a cycle through neg");
  });

  it("takes a node of several outputs once", () => {
    const { values, indices } = topK(x, 2);
    expect(topologicalOrder([values, indices]).map(({ operation }) => operation)).toEqual(["input", "topK"]);
  });
});

it("finds the inputs and weights that values depend on", () => {
  const w = weight("w", [3]);
  const unused = weight("unused", [3]);
  expect(inputsOf([sub(y, x)])).toEqual([y, x]);
  expect([...weightsOf(graphOf({ out: mul(x, w), other: mul(w, w) })).entries()]).toEqual([["w", w]]);
  expect(weightsOf(graphOf({ out: exp(x) })).size).toBe(0);
  expect(unused.shape).toEqual([3]);
});

describe("withOutputs", () => {
  const graph = trace(
    (values, site) => {
      const sum = site("sum", add(values.x, values.y));
      return { sum, both: mul(sum, values.x) };
    },
    { x: { dtype: "float32", shape: ["batch", 3] }, y: { dtype: "float32", shape: ["batch", 3] } },
  );

  it("drops inputs that nothing reads, and keeps the order of the others", () => {
    const own = graph.inputs[0] as Value;
    const pruned = withOutputs(graph, new Map([["own", exp(own)]]));
    expect(pruned.inputs).toEqual([own]);
    expect([...pruned.outputs.keys()]).toEqual(["own"]);
    expect(graph.inputs).toHaveLength(2);
    const sum = siteValue(graph, "sum");
    expect(withOutputs(graph, new Map([["sum", sum]])).inputs).toEqual(graph.inputs);
  });

  it("keeps sites, so that they can become outputs later", () => {
    expect([...withOutputs(graph, new Map()).sites.keys()]).toEqual(["sum"]);
  });

  it("keeps an input whose values nothing reads where a size is read off it", () => {
    const ones = expand(constant(tensorOf("float32", [], [1])), ["batch", 2]);
    const sized = withOutputs(graphOf({}), new Map([["ones", ones]]));
    expect(sized.inputs).toEqual([x]);
    const past = input("past", "int64", ["batch", "past"]);
    const both = expand(constant(tensorOf("float32", [], [1])), ["past", "batch"]);
    expect(withOutputs(graphOf({}, [x, past]), new Map([["both", both]])).inputs).toContain(past);
    expect(withOutputs(graphOf({}), new Map([["plain", exp(y)]])).inputs).toEqual([y]);
  });
});

describe("siteValue", () => {
  it("names the site that there isn't", () => {
    expect(() => siteValue(graphOf({}), "layers.9")).toThrow('no site "layers.9"');
  });
});

describe("bindDims", () => {
  const ids = input("ids", "int64", ["batch", "seq"]);
  const mask = input("mask", "float32", ["batch", 1, "past + seq"]);
  const past = input("past", "int64", ["batch", "past"]);
  const bind = (shapes: Record<string, number[]>, inputs = [ids, mask, past]) =>
    bindDims(inputs, new Map(Object.entries(shapes)));

  it("reads every size off the shapes", () => {
    expect(bind({ ids: [2, 3], mask: [2, 1, 7], past: [2, 4] })).toEqual({ batch: 2, seq: 3, past: 4 });
  });

  it("names a missing input and its shape", () => {
    expect(() => bind({ ids: [2, 3] })).toThrow('input "mask" [batch, 1, past + seq] was not given');
  });

  it("shows a contradiction with the sizes known so far", () => {
    expect(() => bind({ ids: [2, 3], mask: [2, 1, 7], past: [9, 4] })).toThrow(
      'input "past" has shape [9, 4]; expected [batch, past] with batch = 2, seq = 3',
    );
  });

  it.each([
    ["another rank", { ids: [2, 3, 1], mask: [2, 1, 7], past: [2, 4] }, 'input "ids" has shape [2, 3, 1]'],
    ["another number", { ids: [2, 3], mask: [2, 2, 7], past: [2, 4] }, 'input "mask" has shape [2, 2, 7]'],
    ["another sum", { ids: [2, 3], mask: [2, 1, 8], past: [2, 4] }, 'input "mask" has shape [2, 1, 8]'],
  ])("refuses %s", (_, shapes, message) => {
    expect(() => bind(shapes)).toThrow(message);
  });

  it("leaves a sum alone whose parts no input has", () => {
    expect(bind({ mask: [2, 1, 8] }, [mask])).toEqual({ batch: 2 });
  });
});

it("describes values for messages", () => {
  expect(describeValue(x)).toBe('input "x" float32[batch, 3]');
  expect(describeValue(slice(reshape(x, ["3*batch"]), 0, 1, 2))).toBe("slice float32[1]");
});
