/** The slow reference as a whole: leaves, types, sizes, and what it refuses. (Each operation has its own suite.) */
import { expect, it } from "vitest";
import { PatchclampError } from "../errors.js";
import {
  add,
  cast,
  constant,
  div,
  evaluate,
  input,
  matmul,
  mul,
  reduceSum,
  reshape,
  tensorOf,
  topK,
  trace,
  weight,
} from "./index.js";

const x = { dtype: "float32", shape: ["batch", 2] } as const;
const ones = tensorOf("float32", [1, 2], [1, 1]);

it("computes from inputs, weights and constants", () => {
  const graph = trace(
    (values) => ({ y: add(matmul(values.x, weight("w", [2, 3])), constant(tensorOf("float32", [3], [10, 20, 30]))) }),
    { x },
  );
  const w = tensorOf("float32", [2, 3], [1, 2, 3, 4, 5, 6]);
  expect(evaluate(graph, { x: ones }, { w }).y).toEqual(tensorOf("float32", [1, 3], [15, 27, 39]));
});

it("keeps float64 inside and rounds to each output's type at the end", () => {
  const graph = trace(
    (values) => ({ sum: reduceSum(div(values.x, 3), [0, 1]), whole: cast(mul(values.x, 2.5), "int64") }),
    {
      x,
    },
  );
  const result = evaluate(graph, { x: ones });
  expect(result.sum?.data[0]).toBe(Math.fround(2 / 3));
  expect(result.whole).toEqual(tensorOf("int64", [1, 2], [2, 2]));
});

it("gives symbolic sizes their values", () => {
  const graph = trace((values) => ({ y: reshape(values.x, ["2*batch"]) }), { x });
  expect(evaluate(graph, { x: tensorOf("float32", [3, 2], [1, 2, 3, 4, 5, 6]) }).y?.shape).toEqual([6]);
});

it("returns every output of an operation under its own name", () => {
  const graph = trace(
    (values) => {
      const { values: best, indices } = topK(values.x, 1);
      return { indices, best };
    },
    { x },
  );
  const result = evaluate(graph, { x: tensorOf("float32", [1, 2], [5, 9]) });
  expect(Object.keys(result)).toEqual(["indices", "best"]);
  expect([result.indices?.data, result.best?.data]).toEqual([BigInt64Array.of(1n), Float32Array.of(9)]);
});

it("says which weight has no values", () => {
  const graph = trace((values) => ({ y: mul(values.x, weight("layers.0.w", [2])) }), { x });
  expect(() => evaluate(graph, { x: ones })).toThrow('no values were given for weight "layers.0.w"');
});

it("says which input was not given", () => {
  const graph = trace((values) => ({ y: mul(values.x, 2) }), { x });
  expect(() => evaluate(graph, {})).toThrow('input "x" [batch, 2] was not given');
});

it("refuses half precision, whose words are not its values", () => {
  const half = { dtype: "float16", shape: [1], data: Uint16Array.of(0x3c00) } as const;
  const value = input("h", "float16", [1]);
  const taken = { inputs: [value], outputs: new Map([["y", value]]), sites: new Map() };
  expect(() => evaluate(taken, { h: half })).toThrow(PatchclampError);
  const given = trace((values) => ({ y: cast(values.x, "float16") }), { x });
  expect(() => evaluate(given, { x: ones })).toThrow('the output "y" is float16; cast it to float32 first');
});
