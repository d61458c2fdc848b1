/** Gathers and scatters beyond the shared suites: errors, gradients where updates meet, zeros and ties, and batches. */
import { describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  constant,
  type Dtype,
  evaluate,
  gather,
  gatherElements,
  gatherND,
  grad,
  input,
  mul,
  reduceSum,
  type ScatterReduction,
  scatterElements,
  scatterND,
  select,
  stack,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  unstack,
  type Value,
  vmap,
} from "../index.js";

const value = (shape: readonly (number | string)[], dtype: Dtype = "float32") => input("x", dtype, shape);
const float = (shape: readonly number[], numbers: readonly number[]) => tensorOf("float64", shape, numbers);
const whole = (shape: readonly number[], numbers: readonly number[]) => tensorOf("int64", shape, numbers);

function run(build: (values: readonly Value[]) => Value, tensors: readonly Tensor[]): number[] {
  const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]));
  const graph = trace((values) => ({ y: build(tensors.map((_, i) => values[`x${i}`] as Value)) }), feeds);
  return [...toNumbers(evaluate(graph, feeds).y as Tensor)];
}

describe("errors", () => {
  const x = value([2, 3]);
  const at = (shape: readonly number[]) => value(shape, "int64");
  it.each<[string, () => unknown, string]>([
    [
      "float indices",
      () => gatherElements(x, x, 0),
      "gatherElements(float32[2, 3], float32[2, 3]): indices must be int64",
    ],
    ["too many rows", () => gatherElements(x, at([3, 1]), 1), "indices [3, 1] do not lie within [2, 3] beside axis 1"],
    ["another rank", () => scatterElements(x, at([2]), x, 0), "indices [2] do not lie within [2, 3] beside axis 0"],
    ["updates", () => scatterElements(x, at([1, 3]), x, 0), "updates must be [1, 3], not [2, 3]"],
    ["updates' type", () => scatterND(x, at([1, 1]), at([1, 3])), "the updates must have the element type of the data"],
    ["an unknown depth", () => gatherND(x, value(["n"], "int64")), "a number of at least 1, not n"],
    ["too deep", () => gatherND(x, at([3])), "indices of 3 numbers after 0 dimensions do not fit [2, 3]"],
    ["batches differ", () => gatherND(x, at([3, 1]), 1), "the first 1 dimensions of both inputs must be the same"],
    ["an axis", () => select(x, 2, 0), "select(float32[2, 3]): axis 2 is out of range"],
    ["a number", () => select(x, 1, 3), "slice(float32[2, 3]): 3:4 does not lie within axis 1 of size 3"],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
  });

  it("an index out of range is one when it is read", () => {
    const read = () => run(([x, i]) => gatherND(x as Value, i as Value), [float([2], [1, 2]), whole([1, 1], [2])]);
    expect(read).toThrow("gatherND: index 2 is out of range for [2]");
  });
});

describe("select", () => {
  it("takes numbers from either end, and values", () => {
    const x = float([2, 3], [1, 2, 3, 4, 5, 6]);
    expect(run(([x]) => select(x as Value, 1, 0), [x])).toEqual([1, 4]);
    expect(run(([x]) => select(x as Value, -1, -1), [x])).toEqual([3, 6]);
    expect(run(([x, i]) => select(x as Value, 0, i as Value), [x, whole([], [-1])])).toEqual([4, 5, 6]);
  });

  it("counts from the end of a symbolic axis", () => {
    const x = value(["batch", "seq"]);
    expect(select(x, 1, -1).shape).toEqual(["batch"]);
  });
});

describe("gradients of scatters where updates meet", () => {
  const indices = constant(whole([4], [0, 0, 0, 1]));
  const gradientsOf = (reduction: ScatterReduction, data: readonly number[], updates: readonly number[]) => {
    const sum = ([x, u]: readonly Value[]) =>
      reduceSum(mul(scatterElements(x as Value, indices, u as Value, 0, reduction), constant(float([2], [10, 1]))), 0);
    const at = (i: number) => (values: readonly Value[]) => grad((xs: Value[]) => sum(xs))([...values])[i] as Value;
    const tensors = [float([2], data), float([4], updates)];
    return [run(at(0), tensors), run(at(1), tensors)];
  };

  it.each<[string, ScatterReduction, number[], number[], number[], number[]]>([
    ["add", "add", [1, 2], [3, 4, 5, 6], [10, 1], [10, 10, 10, 1]],
    ["mul", "mul", [2, 3], [3, 4, 5, 6], [600, 6], [400, 300, 240, 3]],
    ["mul with one zero", "mul", [2, 3], [3, 0, 5, 6], [0, 6], [0, 300, 0, 3]],
    ["mul with two zeros", "mul", [2, 3], [0, 0, 5, 6], [0, 6], [0, 0, 0, 3]],
    ["mul into a zero", "mul", [0, 3], [3, 4, 5, 6], [600, 6], [0, 0, 0, 3]],
    ["max, shared by those that attain it", "max", [5, 9], [3, 5, 1, 6], [5, 1], [0, 5, 0, 0]],
    ["min", "min", [5, 9], [3, 1, 1, 6], [0, 0], [0, 5, 5, 1]],
  ])("%s", (_, reduction, data, updates, ofData, ofUpdates) => {
    expect(gradientsOf(reduction, data, updates)).toEqual([ofData, ofUpdates]);
  });
});

describe("updates that meet", () => {
  it("are all counted, whatever the number of threads", async () => {
    const runtime = createRuntime({ threads: 2 });
    const [count, width] = [20_000, 64];
    const data = tensorOf("float32", [8, width], new Array<number>(8 * width).fill(0));
    const indices = whole(
      [count, 1],
      Array.from({ length: count }, (_, i) => i % 8),
    );
    const updates = tensorOf("float32", [count, width], new Array<number>(count * width).fill(1));
    const feeds = { data, indices, updates };
    const graph = trace(
      ({ data, indices, updates }) => ({ y: scatterND(data as Value, indices as Value, updates as Value, "add") }),
      feeds,
    );
    const compiled = runtime.compile(graph);
    for (let attempt = 0; attempt < 4; attempt++) {
      const { y } = await compiled.run(feeds);
      expect(new Set(toNumbers(y as Tensor))).toEqual(new Set([count / 8]));
    }
    await runtime.close();
  });
});

describe("batches agree with one example at a time", () => {
  const x = float([2, 3, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const rows = whole([2, 2], [0, 2, -1, 1]);
  type Example = (...values: readonly Value[]) => Value;
  it.each<[string, Example, readonly Tensor[], readonly number[]]>([
    ["gather from a batch", (x, i) => gather(x as Value, i as Value, 1), [x, whole([3], [1, 0, 1])], [1]],
    ["gather at a batch", (x, i) => gather(x as Value, i as Value, 1), [x, rows], [0]],
    ["gather from a batch at a batch", (x, i) => gather(x as Value, i as Value, 0), [x, rows], []],
    ["and along the second axis", (x, i) => gather(x as Value, i as Value, 1), [x, whole([2, 1], [0, 1])], []],
    ["gatherND", (x, i) => gatherND(x as Value, i as Value), [x, whole([2, 1, 2], [2, 1, -1, 0])], []],
    ["gatherND from one", (x, i) => gatherND(x as Value, i as Value), [x, whole([2, 1, 2], [1, 1, -1, 0])], [0]],
    [
      "gatherND with batches of its own",
      (x, i) => gatherND(x as Value, i as Value, 1),
      [x, whole([3, 1], [1, 0, 1])],
      [1],
    ],
    [
      "scatterND",
      (x, i, u) => scatterND(x as Value, i as Value, u as Value, "add"),
      [x, whole([2, 2, 1], [0, 0, 2, 1]), float([2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8])],
      [],
    ],
    [
      "scatterND into one",
      (x, i, u) => scatterND(x as Value, i as Value, u as Value),
      [float([3], [1, 2, 3]), whole([2, 1, 1], [0, 2]), float([2, 1], [8, 9])],
      [0],
    ],
    [
      "scatterElements",
      (x, i, u) => scatterElements(x as Value, i as Value, u as Value, -1),
      [x, whole([3, 1], [1, 0, 1]), float([2, 3, 1], [10, 20, 30, 40, 50, 60])],
      [1],
    ],
  ])("%s", (_, example, tensors, unmapped) => {
    const together = run((values) => vmap(example, { unmapped })(...values), tensors);
    const apart = run((values) => {
      const lists = values.map((value, i) => (unmapped.includes(i) ? [value, value] : unstack(value)));
      return stack([0, 1].map((k) => example(...lists.map((list) => list[k] as Value))));
    }, tensors);
    expect(together).toEqual(apart);
  });
});
