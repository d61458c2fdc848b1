/** Reading at places: what is computed there alone, what stays whole because something else needs it, and gradients. */
import { describe, expect, it } from "vitest";
import {
  add,
  concat,
  constantLike,
  evaluate,
  expand,
  input,
  inputsOf,
  matmul,
  mul,
  pullback,
  reduceSum,
  reshape,
  rmsNorm,
  silu,
  type Tensor,
  tensorOf,
  toNumbers,
  topologicalOrder,
  transpose,
  type Value,
  weight,
} from "../graph/index.js";
import { readAt } from "./places.js";

const x = input("x", "float64", ["batch", "seq", 3]);
const places = input("places", "int64", ["n"]);
const w = weight("w", [3, 3], "float64");
const gain = weight("gain", [3], "float64");
const weights: Record<string, Tensor> = {
  w: tensorOf("float64", [3, 3], [1, -2, 0.5, 0.3, 0.7, -1, 2, 0.1, 0.4]),
  gain: tensorOf("float64", [3], [0.5, 2, -1]),
};
const feeds: Record<string, Tensor> = {
  x: tensorOf(
    "float64",
    [2, 4, 3],
    Array.from({ length: 24 }, (_, i) => Math.sin(3 * i + 1)),
  ),
  places: tensorOf("int64", [3], [3, 7, 0]),
};

function numbers(value: Value): number[] {
  const graph = { inputs: inputsOf([value]), outputs: new Map([["y", value]]), sites: new Map() };
  const names = graph.inputs.map(({ node }) => node.attributes.name as string);
  const own = Object.fromEntries(names.map((name) => [name, feeds[name] as Tensor]));
  return [...toNumbers(evaluate(graph, own, weights).y as Tensor)];
}

/** Operations that are still computed at every position. */
const wholeOperations = (value: Value) =>
  topologicalOrder([value])
    .filter(({ outputs, inputs }) => inputs.length > 0 && outputs[0]?.shape[1] === "seq")
    .map(({ operation }) => operation);

const mlp = (stream: Value) => matmul(silu(matmul(rmsNorm(stream, gain, 1e-5), w)), w);

function expectRead(value: Value, deep: boolean, whole: readonly string[]): void {
  const { value: read } = readAt(value, places, 2, deep ? "all" : "head");
  const width = numbers(value).length / 8;
  const wanted = [3, 7, 0].flatMap((place) => numbers(value).slice(place * width, (place + 1) * width));
  const found = numbers(read);
  expect(found).toHaveLength(wanted.length);
  for (const [i, want] of wanted.entries()) expect(found[i]).toBeCloseTo(want, 12); // the same sums in float64
  expect(wholeOperations(read)).toEqual(whole);
}

describe("what is computed at the places alone", () => {
  it("a layer's MLP, its residual and what it reads", () => expectRead(add(x, mlp(x)), true, []));
  it("a split into heads and back", () =>
    expectRead(reshape(mul(reshape(x, ["batch", "seq", 3, 1]), 2), ["batch", "seq", 3]), true, []));
  it("products and norms, where nothing more is asked", () =>
    expectRead(matmul(rmsNorm(silu(x), gain, 1e-5), w), false, ["silu"]));
  it("nothing, where nothing is asked", () => {
    const { value, twins } = readAt(mlp(x), places, 2, "none");
    expect(wholeOperations(value)).toEqual(["rmsNorm", "matmul", "silu", "matmul"]);
    expect(twins.size).toBe(0);
  });
  it("what broadcasts beside it stays as it is", () => expectRead(add(mul(x, gain), 1), true, []));
});

describe("what is computed whole", () => {
  it("what mixes positions, and all before it", () => {
    const turned = transpose(matmul(x, w), [0, 1, 2]);
    const mixed = matmul(transpose(turned, [0, 2, 1]), x); // over positions
    expectRead(
      add(x, reshape(expand(reduceSum(mixed, [1, 2], { keepDims: true }), ["batch", 1, 1]), ["batch", 1, 1])),
      true,
      ["matmul", "transpose", "add"],
    );
  });
  it("what something else needs whole", () => {
    const stream = silu(x);
    const joined = reduceSum(concat([stream, stream], 1), [1], { keepDims: true });
    expectRead(add(stream, joined), true, ["silu", "add"]);
  });
});

it("gradients at a value that was read at places are those of reading it whole", () => {
  const stream = add(x, mlp(x));
  const gradientAt = (site: Value, deep: boolean) => {
    const top = add(stream, mlp(stream));
    const { value, twins, spread } = readAt(top, places, 2, deep ? "all" : "head");
    const score = reduceSum(mul(value, value), [0, 1]);
    const twin = twins.get(site);
    const [whole, part] = pullback(
      new Map([[score, constantLike(score, 1)]]),
      twin === undefined ? [site] : [site, twin],
    );
    const terms = [whole, part && spread(site, part)].filter((term) => term !== undefined);
    return numbers(terms.reduce((a, b) => add(a, b)));
  };
  const wanted = gradientAt(stream, false);
  const found = gradientAt(stream, true);
  expect(wanted.filter((g) => g !== 0)).toHaveLength(9); // three places of three numbers
  for (const [i, want] of wanted.entries()) expect(found[i]).toBeCloseTo(want, 12);
});
