/** Simplification: every rule fires where it may and not where it may not, and what is computed stays the same. */
import { describe, expect, it } from "vitest";
import {
  add,
  concat,
  constant,
  type Dim,
  evaluate,
  exp,
  expand,
  type Graph,
  grad,
  identity,
  mul,
  neg,
  nodeCount,
  pad,
  reduceSum,
  reshape,
  simplify,
  slice,
  sub,
  tanh,
  tensorOf,
  toNumbers,
  topologicalOrder,
  trace,
  transpose,
  type Value,
} from "./index.js";

const shape: readonly Dim[] = [2, "n"];
const build = (fn: (x: Value, y: Value) => Value): Graph =>
  trace(({ x, y }) => ({ out: fn(x as Value, y as Value) }), {
    x: { dtype: "float64", shape },
    y: { dtype: "float64", shape: [2, 1] },
  });
const x = tensorOf("float64", [2, 3], [1, -2, 3, 0.5, 7, -4]);
const y = tensorOf("float64", [2, 1], [0.25, -3]);

const operationsOf = (graph: Graph) =>
  topologicalOrder(graph.outputs.values())
    .filter(({ inputs }) => inputs.length > 0)
    .map(({ operation }) => operation);

/** Simplifies, checks that the numbers stay, and returns the operations that are left. */
function left(fn: (x: Value, y: Value) => Value): string[] {
  const before = build(fn);
  const after = simplify(before);
  const feeds = Object.fromEntries(
    before.inputs.map(({ node }) => [node.attributes.name, node.attributes.name === "x" ? x : y]),
  );
  const numbers = (graph: Graph) => [...toNumbers(evaluate(graph, feeds).out as never)];
  expect(numbers(after)).toEqual(numbers(before));
  expect(nodeCount(after)).toBeLessThanOrEqual(nodeCount(before));
  return operationsOf(after);
}

describe("what is dropped", () => {
  const cases: readonly [string, (x: Value, y: Value) => Value, string[]][] = [
    ["equal nodes are one", (x) => add(exp(x), exp(x)), ["exp", "add"]],
    ["an identity", (x) => exp(identity(x)), ["exp"]],
    ["two transposes that cancel", (x) => transpose(transpose(exp(x), [1, 0]), [1, 0]), ["exp"]],
    ["two reshapes", (x) => reshape(reshape(exp(x), ["2*n"]), ["n", 2]), ["exp", "reshape"]],
    ["a reshape to the same shape", (x) => reshape(exp(x), shape), ["exp"]],
    ["times one", (x) => mul(exp(x), 1), ["exp"]],
    ["plus zero", (x) => add(0, exp(x)), ["exp"]],
    ["plus zeros repeated", (x) => add(exp(x), expand(constant(tensorOf("float64", [], [0])), shape)), ["exp"]],
    ["two negations", (x) => neg(neg(exp(x))), ["exp"]],
    ["an expand under a sum", (x, y) => add(x, expand(y, shape)), ["add"]],
    ["adding a negative", (x, y) => add(x, neg(y)), ["sub"]],
    ["a sum of negatives", (x) => reduceSum(neg(exp(x)), [1]), ["exp", "reduceSum", "neg"]],
    [
      "pads that stand side by side",
      (x) => add(pad(slice(x, 1, 0, 1), 1, 0, "n - 1"), pad(slice(x, 1, 1), 1, 1, 0)),
      ["slice", "slice", "concat"],
    ],
  ];
  it.each(cases)("%s", (_, fn, expected) => {
    expect(left(fn)).toEqual(expected);
  });
});

describe("what stays", () => {
  const cases: readonly [string, (x: Value, y: Value) => Value, string[]][] = [
    [
      "plus zero that broadcasts",
      (_, y) => add(y, expand(constant(tensorOf("float64", [], [0])), shape)),
      ["expand", "add"],
    ],
    ["times two", (x) => mul(exp(x), 2), ["exp", "mul"]],
    ["a transpose that moves", (x) => transpose(exp(x), [1, 0]), ["exp", "transpose"]],
    ["an expand that is the result", (_, y) => expand(y, shape), ["expand"]],
    ["nodes with other attributes", (x) => sub(slice(x, 1, 0, 1), slice(x, 1, 1, 2)), ["slice", "slice", "sub"]],
    [
      "pads that overlap",
      (x) => add(pad(slice(x, 1, 0, 1), 1, 1, "n - 2"), pad(slice(x, 1, 1), 1, 1, 0)),
      ["slice", "pad", "slice", "pad", "add"],
    ],
  ];
  it.each(cases)("%s", (_, fn, expected) => {
    expect(left(fn)).toEqual(expected);
  });

  it("minus zero is not plus zero", () => {
    const zeros = tensorOf("float64", [1], [-0]);
    const graph = simplify(
      trace(({ x }) => ({ out: add(x as Value, constant(tensorOf("float64", [], [-0]))) }), {
        x: { dtype: "float64", shape: [1] },
      }),
    );
    expect(Object.is(toNumbers(evaluate(graph, { x: zeros }).out as never)[0], -0)).toBe(true);
  });
});

it("gradients become smaller and stay what they are", () => {
  const graph = build((x, y) => {
    const halves = concat([slice(x, 1, 1), slice(x, 1, 0, 1)], 1);
    return grad((z: Value) => reduceSum(mul(tanh(sub(z, y)), halves), [0, 1]))(x);
  });
  const simplified = simplify(graph);
  expect(nodeCount(simplified)).toBeLessThan(nodeCount(graph));
  const numbers = (of: Graph) => [...toNumbers(evaluate(of, { x, y }).out as never)];
  expect(numbers(simplified)).toEqual(numbers(graph));
});
