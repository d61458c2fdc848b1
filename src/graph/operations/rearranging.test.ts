/** What is made of slices, reshapes and joins: held against NumPy's and ONNX's results written out. */
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  add,
  constant,
  type Dim,
  depthToSpace,
  evaluate,
  flip,
  grad,
  input,
  mul,
  pad,
  reduceSum,
  reverseSequence,
  roll,
  spaceToDepth,
  split,
  stack,
  stridedSlice,
  type Tensor,
  tensorOf,
  tile,
  toNumbers,
  trace,
  unstack,
  type Value,
  vmap,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const symbolic = (shape: readonly Dim[]) => input("x", "float32", shape);
const counted = (...shape: readonly number[]) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensorOf(
    "float64",
    shape,
    Array.from({ length: size }, (_, i) => i),
  );
};

/**
 * The result on a tensor whose sizes are symbols `n0`, `n1`, ... (or those given), and on one of known sizes, by the
 * reference and by the runtime: all must agree.
 */
async function run(
  build: (x: Value) => Value,
  x: Tensor,
  symbols: readonly Dim[] = x.shape.map((_, i) => `n${i}`),
): Promise<number[]> {
  const results = [symbols, x.shape].map(async (shape) => {
    const graph = trace(({ x }) => ({ y: build(x as Value) }), { x: { dtype: x.dtype, shape } });
    return [evaluate(graph, { x }).y, (await runtime.compile(graph).run({ x })).y];
  });
  const [first, ...others] = (await Promise.all(results)).flat().map((y) => [...toNumbers(y as Tensor)]);
  for (const other of others) expect(other).toEqual(first);
  return first as number[];
}

describe("stridedSlice", () => {
  it("counts the steps of known and symbolic sizes", async () => {
    expect(stridedSlice(symbolic([7]), 0, 1, 3).shape).toEqual([2]);
    expect(stridedSlice(symbolic(["2*n"]), 0, 0, 2).shape).toEqual(["n"]);
    expect(stridedSlice(symbolic(["2*n + 1"]), 0, 0, 2).shape).toEqual(["n + 1"]);
    expect(stridedSlice(symbolic(["n"]), 0, 5, -2).shape).toEqual([3]);
  });

  it.each<[string, () => unknown, string]>([
    ["an odd count", () => stridedSlice(symbolic(["n"]), 0, 0, 2), "how many steps of 2 there are in n is not known"],
    ["no step", () => stridedSlice(symbolic([4]), 0, 0, 0, 1), "the step must be a whole number other than 0"],
    ["beyond the end", () => stridedSlice(symbolic([4]), 0, 1, 2, 3), "3 elements from 1, 2 apart, do not lie within"],
    ["before the start", () => stridedSlice(symbolic([4]), 0, 1, -1, 3), "3 elements from 1, -1 apart"],
  ])("%s is an error", async (_, call, message) => {
    expect(call).toThrow(message);
  });

  it("has a gradient that puts elements back, where steps do not fill the axis too", async () => {
    const weights = constant(tensorOf("float64", [2], [5, 7]));
    const slope = (step: number, start: number) => (x: Value) =>
      grad((x: Value) => reduceSum(mul(stridedSlice(x, 0, start, step, 2), weights), 0))(x);
    expect(await run(slope(3, 1), counted(6))).toEqual([0, 5, 0, 0, 7, 0]);
    expect(await run(slope(3, 2), counted(6))).toEqual([0, 0, 5, 0, 0, 7]);
    expect(await run(slope(-2, 3), counted(4))).toEqual([0, 7, 0, 5]);
  });
});

describe("rolling, tiling, stacking, splitting", () => {
  it.each<[string, (x: Value) => Value, Tensor, number[]]>([
    ["flip", (x) => flip(x, -1), counted(2, 3), [2, 1, 0, 5, 4, 3]],
    ["roll", (x) => roll(x, 1, 1), counted(2, 3), [2, 0, 1, 5, 3, 4]],
    ["roll back", (x) => roll(x, -2, 0), counted(3), [2, 0, 1]],
    ["roll by nothing", (x) => roll(x, 0, 0), counted(3), [0, 1, 2]],
    ["tile", (x) => tile(x, [2, 1]), counted(2, 2), [0, 1, 2, 3, 0, 1, 2, 3]],
    ["tile inside", (x) => tile(x, [1, 2]), counted(2, 2), [0, 1, 0, 1, 2, 3, 2, 3]],
    ["stack", (x) => stack([x, add(x, 10)], 1), counted(2), [0, 10, 1, 11]],
    ["split", (x) => stack(split(x, 2, 1)), counted(2, 4), [0, 1, 4, 5, 2, 3, 6, 7]],
  ])("%s", async (name, build, x, wanted) => {
    expect(await run(build, x, name === "split" ? ["n0", 4] : undefined)).toEqual(wanted);
  });

  it("rolls further than an axis of known size is long", async () => {
    expect(await run((x) => roll(x, 7, 0), counted(3), [3])).toEqual([2, 0, 1]);
  });

  it("unstacks and splits by sizes", async () => {
    const rows = unstack(symbolic(["n", 3]), 1);
    expect(rows.map(({ shape }) => shape)).toEqual([["n"], ["n"], ["n"]]);
    expect(split(symbolic(["a + 2"]), ["a", 2]).map(({ shape }) => shape)).toEqual([["a"], [2]]);
    expect(split(symbolic(["4*a"]), 4).map(({ shape }) => shape)).toEqual([["a"], ["a"], ["a"], ["a"]]);
  });

  it.each<[string, () => unknown, string]>([
    ["tile", () => tile(symbolic([2]), [1, 1]), "one number of repeats for each axis"],
    ["unstack", () => unstack(symbolic(["n"])), 'the size of axis 0 must be a number, not "n"'],
    ["split", () => split(symbolic([5]), 2), "an axis of size 5 has no 2 equal parts"],
    ["split by sizes", () => split(symbolic([5]), [2, 2]), "parts of 2, 2 make 4, not the axis' 5"],
    ["stack", () => stack([]), "concat() needs at least one value"],
  ])("errors of %s", async (_, call, message) => {
    expect(call).toThrow(message);
  });
});

describe("padding with an axis' own values", () => {
  it.each<["reflect" | "edge" | "wrap", number[]]>([
    ["reflect", [2, 1, 0, 1, 2, 3, 2]],
    ["edge", [0, 0, 0, 1, 2, 3, 3]],
    ["wrap", [2, 3, 0, 1, 2, 3, 0]],
  ])("%s", async (mode, wanted) => {
    expect(await run((x) => pad(x, 0, 2, 1, { mode }), counted(4))).toEqual(wanted);
    expect(await run((x) => pad(x, -1, 0, 0, { mode }), counted(1, 2))).toEqual([0, 1]);
  });

  it("takes away where numbers are below 0", async () => {
    expect(await run((x) => pad(x, 0, -1, 2, { value: 9 }), counted(3))).toEqual([1, 2, 9, 9]);
    expect(await run((x) => pad(x, 0, -1, -1), counted(3))).toEqual([1]);
    expect(await run((x) => pad(x, 0, 2, -1, { mode: "reflect" }), counted(4))).toEqual([2, 1, 0, 1, 2]);
  });

  it("reflects no further than the axis is long", async () => {
    expect(() => pad(symbolic([2]), 0, 2, 0, { mode: "reflect" })).toThrow("2 elements from 2, -1 apart, do not lie");
    expect(() => pad(symbolic([2]), 0, 1, 0, { value: symbolic([1]) })).toThrow("must be a scalar of float32");
  });

  it("adds the gradients of what an element was copied to", async () => {
    const slope = (mode: "reflect" | "edge" | "wrap") => (x: Value) =>
      grad((x: Value) => reduceSum(pad(x, 0, 2, 2, { mode }), 0))(x);
    expect(await run(slope("reflect"), counted(4))).toEqual([1, 3, 3, 1]);
    expect(await run(slope("edge"), counted(4))).toEqual([3, 1, 1, 3]);
    expect(await run(slope("wrap"), counted(4))).toEqual([2, 2, 2, 2]);
  });
});

describe("depth and space", () => {
  // the examples of ONNX's own documentation
  it("moves blocks as ONNX does", async () => {
    const x = counted(1, 8, 1, 1);
    expect(await run((x) => depthToSpace(x, 2), x, ["n", 8, "h", "w"])).toEqual([0, 2, 4, 6, 1, 3, 5, 7]);
    expect(await run((x) => depthToSpace(x, 2, "CRD"), x, ["n", 8, "h", "w"])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it("and back", async () => {
    for (const order of ["DCR", "CRD"] as const) {
      const back = (x: Value) => spaceToDepth(depthToSpace(x, 2, order), 2, order);
      expect(await run(back, counted(2, 8, 2, 3), ["n", 8, "h", "w"])).toEqual([...toNumbers(counted(2, 8, 2, 3))]);
    }
  });

  it.each<[string, () => unknown]>([
    ["depthToSpace(float32[1, 3, 2, 2])", () => depthToSpace(symbolic([1, 3, 2, 2]), 2)],
    ["spaceToDepth(float32[1, 3, 2, 3])", () => spaceToDepth(symbolic([1, 3, 2, 3]), 2)],
    ["spaceToDepth(float32[4, 4])", () => spaceToDepth(symbolic([4, 4]), 2)],
  ])("%s is an error", async (name, call) => {
    expect(call).toThrow(`${name}: takes [batch, channels, height, width] in whole blocks`);
  });
});

describe("batches agree with one example at a time", () => {
  const x = counted(2, 3, 2);
  const lengths = (...numbers: readonly number[]) =>
    constant(tensorOf("int64", [numbers.length / 2, 2].slice(numbers.length > 2 ? 0 : 1), numbers));
  it.each<[string, (x: Value, other: Value) => Value, Value, boolean]>([
    ["rows by their own lengths", (x, l) => reverseSequence(x, l), lengths(3, 2, 1, 3), true],
    ["rows by the same lengths", (x, l) => reverseSequence(x, l), lengths(3, 2), false],
    [
      "along the second axis",
      (x, l) => reverseSequence(x, l, { timeAxis: 1 }),
      constant(tensorOf("int64", [2, 3], [2, 1, 2, 0, 2, 2])),
      true,
    ],
    [
      "padding with a value each",
      (x, value) => pad(x, 1, 1, 0, { value }),
      constant(tensorOf("float64", [2], [7, 8])),
      true,
    ],
    ["padding with one value", (x, value) => pad(x, 1, 1, 0, { value }), constant(tensorOf("float64", [], [7])), false],
  ])("%s", async (_, example, other, mapped) => {
    const options = { unmapped: mapped ? [] : [1] };
    const others = mapped ? unstack(other) : [other, other];
    const apart = (x: Value) => stack(unstack(x).map((own, i) => example(own, others[i] as Value)));
    expect(await run((x) => vmap(example, options)(x, other), x, x.shape)).toEqual(await run(apart, x, x.shape));
  });
});
