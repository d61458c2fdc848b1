/** Rewrites: what is downstream of a change is rebuilt, the rest is shared, and what comes out is legal. */
import { describe, expect, it } from "vitest";
import {
  add,
  constant,
  evaluate,
  exp,
  type Graph,
  inline,
  input,
  inputsOf,
  less,
  mul,
  neg,
  reduceSum,
  scalarsBetween,
  splice,
  spliceAll,
  sub,
  substitute,
  type Tensor,
  tensorOf,
  topK,
  trace,
  type Value,
  withOutputs,
} from "./index.js";

const x3 = { dtype: "float32", shape: ["batch", 3] } as const;

/** a = x + 1, b = 2 a (also called "twin"), c = b + x; the output is c. */
const base = trace(
  ({ x }, site) => {
    const a = site("a", add(x, 1));
    const b = site("b", mul(a, 2));
    site("twin", b);
    return { c: site("c", add(b, x)) };
  },
  { x: x3 },
);
const feeds = { x: tensorOf("float32", [1, 3], [1, 2, 3]) };
const run = (graph: Graph, extra: Record<string, Tensor> = {}) =>
  Array.from((evaluate(graph, { ...feeds, ...extra }).c as Tensor).data, Number);
const site = (graph: Graph, name: string) => graph.sites.get(name) as Value;
const valueAt = (graph: Graph, name: string) =>
  Array.from((evaluate(withOutputs(graph, new Map([["v", site(graph, name)]])), feeds).v as Tensor).data, Number);

describe("splice", () => {
  it("makes everything downstream read the new value", () => {
    expect(run(base)).toEqual([5, 8, 11]);
    expect(run(splice(base, "a", (a) => mul(a, 10)))).toEqual([41, 62, 83]);
  });

  it("names the new value by the site and the old one by @before, whatever the site is called", () => {
    const graph = splice(base, "b", neg);
    expect(valueAt(graph, "b")).toEqual([-4, -6, -8]);
    expect(valueAt(graph, "twin")).toEqual([-4, -6, -8]);
    expect(valueAt(graph, "b@before")).toEqual([4, 6, 8]);
    expect(valueAt(graph, "twin@before")).toEqual([4, 6, 8]);
    expect(graph.sites.has("a@before")).toBe(false);
    expect(graph.sites.has("c@before")).toBe(false);
  });

  it("leaves the graph that it was given as it was, and shares what is not downstream", () => {
    const graph = splice(base, "b", neg);
    expect(run(base)).toEqual([5, 8, 11]);
    expect([...base.sites.keys()]).toEqual(["a", "b", "twin", "c"]);
    expect(site(graph, "a")).toBe(site(base, "a"));
    expect(site(graph, "c")).not.toBe(site(base, "c"));
    expect(graph.inputs[0]).toBe(base.inputs[0]);
  });

  it("adds inputs that the function brought", () => {
    const graph = splice(base, "a", (a) => add(a, input("shift", "float32", [])));
    expect(graph.inputs.map(({ node }) => node.attributes.name)).toEqual(["x", "shift"]);
    expect(run(graph, { shift: tensorOf("float32", [], [100]) })).toEqual([205, 208, 211]);
  });

  it("keeps @before at the value before every edit when it is spliced again", () => {
    const twice = splice(splice(base, "a", neg), "a", (a) => add(a, 10));
    expect(valueAt(twice, "a")).toEqual([8, 7, 6]);
    expect(valueAt(twice, "a@before")).toEqual([2, 3, 4]);
  });

  it("refuses an edit that changes the shape or the type, naming the site", () => {
    expect(() => splice(base, "a", (a) => reduceSum(a, 1))).toThrow(
      "the function clamped at a returned float32[batch]; it must return the site's own float32[batch, 3]",
    );
    expect(() => splice(base, "a", (a) => less(a, 0))).toThrow(/clamped at a returned bool\[batch, 3\]/);
  });

  it("refuses a site that there isn't", () => {
    expect(() => splice(base, "d", neg)).toThrow('no site "d"');
  });

  it("is checked, and names itself where the function brought a second input of a known name", () => {
    expect(() => splice(base, "a", (a) => add(a, input("x", "float32", ["batch", 3])))).toThrow(
      'after "splice at a" the graph is not legal: two different leaves are called "x"',
    );
  });
});

describe("spliceAll", () => {
  const plus: (n: number) => (v: Value) => Value = (n) => (v) => add(v, n);
  const times: (n: number) => (v: Value) => Value = (n) => (v) => mul(v, n);

  it("applies edits of one site in the order given, by any of its names", () => {
    const first = spliceAll(base, [
      { site: "b", apply: plus(1) },
      { site: "twin", apply: times(10) },
    ]);
    const second = spliceAll(base, [
      { site: "twin", apply: times(10) },
      { site: "b", apply: plus(1) },
    ]);
    expect(valueAt(first, "b")).toEqual([50, 70, 90]);
    expect(valueAt(second, "b")).toEqual([41, 61, 81]);
  });

  it("applies edits of several sites in the order of computation, whatever the order given", () => {
    const edits = [
      { site: "b", apply: plus(1) },
      { site: "a", apply: times(10) },
    ];
    for (const order of [edits, [...edits].reverse()]) {
      const graph = spliceAll(base, order);
      expect(valueAt(graph, "b")).toEqual([41, 61, 81]);
      expect(valueAt(graph, "b@before")).toEqual([40, 60, 80]);
    }
  });

  it("does nothing for no edits", () => {
    const graph = spliceAll(base, []);
    expect(graph.outputs.get("c")).toBe(base.outputs.get("c"));
  });
});

describe("substitute", () => {
  it("replaces a value wherever it is read, and the value itself", () => {
    const x = input("x", "float32", [3]);
    const doubled = mul(x, 2);
    const [kept, sum] = substitute([doubled, add(doubled, x)], new Map([[doubled, neg(x)]])) as [Value, Value];
    expect(kept.node.operation).toBe("neg");
    expect(sum.node.inputs).toEqual([kept, x]);
  });

  it("shares what does not change, and keeps shared nodes shared", () => {
    const [x, y] = [input("x", "float32", [3]), input("y", "float32", [3])];
    const same = exp(y);
    const twice = exp(x);
    const [out] = substitute([add(mul(twice, twice), same)], new Map([[x, y]])) as [Value];
    const [product, right] = out.node.inputs as [Value, Value];
    expect(right).toBe(same);
    expect(product.node.inputs[0]).toBe(product.node.inputs[1]);
    expect(inputsOf([out])).toEqual([y]);
  });

  it("replaces one output of a node that has two", () => {
    const x = input("x", "float32", [3]);
    const { values, indices } = topK(x, 2);
    const other = constant(tensorOf("float32", [2], [7, 8]));
    const [sum, kept] = substitute([add(values, 1), indices], new Map([[values, other]])) as [Value, Value];
    expect(sum.node.inputs[0]).toBe(other);
    expect(kept).toBe(indices);
  });
});

describe("inline", () => {
  it("puts values of another graph in place of inputs by name", () => {
    const double = trace(({ v, w }) => ({ twice: mul(v, 2), both: add(v, w) }), { v: x3, w: x3 });
    const graph = trace(
      ({ x }) => {
        const made = inline(
          double,
          new Map([
            ["v", neg(x)],
            ["w", x],
          ]),
        );
        return { c: add(made.get("twice") as Value, made.get("both") as Value) };
      },
      { x: x3 },
    );
    expect(run(graph)).toEqual([-2, -4, -6]);
    expect(graph.inputs).toHaveLength(1);
  });

  it("leaves inputs that are not named", () => {
    const double = trace(({ v, w }) => ({ both: add(v, w) }), { v: x3, w: x3 });
    const made = inline(double, new Map([["v", input("x", "float32", ["batch", 3])]]));
    expect(inputsOf(made.values()).map(({ node }) => node.attributes.name)).toEqual(["x", "w"]);
  });
});

describe("scalarsBetween", () => {
  const x = input("x", "float32", ["batch", 3]);
  const numbers = (values: readonly Value[]) =>
    values.map(({ dtype, node }) => [dtype, Number((node.attributes.tensor as Tensor).data[0])]);

  it("finds the numbers that a function wrote, of every element type, each once", () => {
    const positions = input("positions", "int64", ["batch", 3]);
    const three = constant(tensorOf("float32", [], [3]));
    const value = sub(mul(add(x, 1.5), three), mul(three, neg(x)));
    expect(numbers(scalarsBetween(value, x))).toEqual([
      ["float32", 1.5],
      ["float32", 3],
    ]);
    expect(numbers(scalarsBetween(less(positions, 4), x))).toEqual([["int64", 4]]);
  });

  it("leaves out what the site's own value depends on, and constants that are not scalars", () => {
    const own = mul(x, 2);
    const vector = constant(tensorOf("float32", [3], [1, 2, 3]));
    expect(scalarsBetween(add(own, vector), own)).toEqual([]);
  });
});
