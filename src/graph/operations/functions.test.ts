/** Operations as functions of values: how axes, numbers and shapes are read, and what errors say. */
import { describe, expect, it } from "vitest";
import { PatchclampError } from "../../errors.js";
import {
  add,
  and,
  cast,
  concat,
  type Dim,
  type Dtype,
  div,
  evaluate,
  expand,
  gather,
  gelu,
  input,
  layerNorm,
  matmul,
  mul,
  pad,
  reduceMax,
  reduceSum,
  reshape,
  rmsNorm,
  slice,
  softmax,
  squeeze,
  sub,
  type Tensor,
  tensorOf,
  topK,
  trace,
  transpose,
  unsqueeze,
  type Value,
  where,
} from "../index.js";
import { operationNamed } from "./table.js";

const value = (shape: readonly Dim[], dtype: Dtype = "float32") => input("x", dtype, shape);
const a23 = value([2, 3]);
const b4 = value(["batch", 4]);

describe("errors name the operation and the shapes", () => {
  it.each<[string, () => unknown, string]>([
    ["add", () => add(a23, b4), "add(float32[2, 3], float32[batch, 4]): shapes [2, 3] and [batch, 4] do not broadcast"],
    ["symbols", () => add(value(["seq"]), value(["past"])), "add(float32[seq], float32[past]): shapes"],
    ["types", () => mul(a23, value([3], "int64")), "mul(float32[2, 3], int64[3]): inputs must have one element type"],
    [
      "div",
      () => div(value([3], "int64"), 2),
      "div(int64[3], int64[]): takes float32 or float64 or float16, not int64",
    ],
    ["and", () => and(a23, a23), "and(float32[2, 3], float32[2, 3]): takes bool, not float32"],
    ["where", () => where(a23, 1, a23), "where(float32[2, 3], float32[], float32[2, 3]): the condition must be bool"],
    ["gelu", () => gelu(value([3], "int32")), "gelu(int32[3]): takes float32"],
    [
      "matmul",
      () => matmul(a23, b4),
      "matmul(float32[2, 3], float32[batch, 4]): inner dimensions differ: 3 against batch",
    ],
    [
      "matmul of a vector",
      () => matmul(a23, value([3])),
      "matmul(float32[2, 3], float32[3]): inputs must have at least two",
    ],
    ["gather", () => gather(a23, value([1])), "gather(float32[2, 3], float32[1]): indices must be int64"],
    ["gather's axis", () => gather(a23, value([1], "int64"), 2), "gather(float32[2, 3]): axis 2 is out of range"],
    [
      "rmsNorm",
      () => rmsNorm(a23, value([2]), 1e-5),
      "rmsNorm(float32[2, 3], float32[2]): parameters must be float32[3]",
    ],
    [
      "layerNorm",
      () => layerNorm(a23, value([3]), value([3], "float64"), 1e-5),
      "layerNorm(float32[2, 3], float32[3], float64[3]): parameters must be float32[3]",
    ],
    ["reshape", () => reshape(b4, ["batch", 3]), "reshape(float32[batch, 4]): cannot become [batch, 3]"],
    ["transpose", () => transpose(a23, [0, 0]), "transpose(float32[2, 3]): [0, 0] is not a permutation of 2 axes"],
    ["concat", () => concat([a23, b4], 1), "concat(float32[2, 3], float32[batch, 4]): inputs differ outside axis 1"],
    ["concat of nothing", () => concat([], 0), "concat() needs at least one value"],
    ["slice", () => slice(a23, 1, 1, 4), "slice(float32[2, 3]): 1:4 does not lie within axis 1 of size 3"],
    ["slice backwards", () => slice(a23, 1, 2, 1), "slice(float32[2, 3]): 2:1 does not lie within axis 1"],
    ["pad", () => pad(a23, -3, 1, 1), "pad(float32[2, 3]): axis -3 is out of range; axes go from -2 to 1"],
    ["expand", () => expand(a23, [4, 3]), "expand(float32[2, 3]): shapes [2, 3] and [4, 3] do not broadcast"],
    ["squeeze", () => squeeze(a23, 0), "reshape(float32[2, 3]): cannot become [3]"],
    ["unsqueeze", () => unsqueeze(a23, 3), "unsqueeze(float32[2, 3]): axis 3 is out of range; axes go from -3 to 2"],
    ["softmax", () => softmax(a23, 2), "softmax(float32[2, 3]): axis 2 is out of range; axes go from -2 to 1"],
    ["reduceSum", () => reduceSum(a23, [0, 5]), "reduceSum(float32[2, 3]): axis 5 is out of range"],
    ["reduceMax", () => reduceMax(a23, [1, -1]), "reduceMax(float32[2, 3]): axes 1, 1 name one axis twice"],
    ["topK", () => topK(a23, 4), "topK(float32[2, 3]): k = 4 is more than the 3 values along axis 1"],
    ["topK of none", () => topK(a23, 0), "topK(float32[2, 3]): k must be a whole number of at least 1, not 0"],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
    expect(call).toThrow(PatchclampError);
  });

  it("an unknown operation, with the nearest names", () => {
    expect(() => operationNamed("softmux")).toThrow('there is no operation "softmux"; the nearest are softmax');
  });

  it("an index that the reference finds out of range", () => {
    const graph = trace(({ x, i }) => ({ y: gather(x, i) }), {
      x: { dtype: "float32", shape: [2] },
      i: { dtype: "int64", shape: [1] },
    });
    expect(() => evaluate(graph, { x: tensorOf("float32", [2], [1, 2]), i: tensorOf("int64", [1], [2]) })).toThrow(
      "gather: index 2 is out of range for [2]",
    );
  });
});

describe("shapes", () => {
  it.each<[string, Value, readonly Dim[]]>([
    ["unsqueeze in front", unsqueeze(b4, 0), [1, "batch", 4]],
    ["unsqueeze behind", unsqueeze(b4, -1), ["batch", 4, 1]],
    ["unsqueeze in several places", unsqueeze(b4, 3, 1), ["batch", 1, 4, 1]],
    ["squeeze", squeeze(value([2, 1, 3]), -2), [2, 3]],
    ["slice by symbols", slice(value(["past + seq"]), 0, "past"), ["seq"]],
    ["slice up to a symbol", slice(value(["past + seq"]), 0, 0, "past"), ["past"]],
    ["pad by symbols", pad(value(["seq"]), 0, "past", 1), ["past + seq + 1"]],
    ["concat of symbols", concat([value(["seq", 2]), value(["past", 2])], 0), ["past + seq", 2]],
    ["matmul of batches", matmul(value(["batch", 1, 2, 3]), value([5, 3, "n"])), ["batch", 5, 2, "n"]],
    ["gather", gather(value([7, "width"]), value(["batch", "seq"], "int64")), ["batch", "seq", "width"]],
    ["expand", expand(value(["batch", 1]), [3, 1, 4]), [3, "batch", 4]],
    ["a reduction of everything", reduceSum(value(["batch", 2]), [0, 1]), []],
  ])("of %s", (_, { shape }, wanted) => {
    expect(shape).toEqual(wanted);
  });
});

describe("numbers", () => {
  const constantOf = (operand: Value | undefined) => operand?.node.attributes.tensor as Tensor;

  it("take the element type of the other operand, on either side", () => {
    const ids = value([3], "int64");
    expect(constantOf(add(ids, 2).node.inputs[1])).toEqual(tensorOf("int64", [], [2]));
    expect(constantOf(sub(2, ids).node.inputs[0])).toEqual(tensorOf("int64", [], [2]));
    expect(constantOf(where(value([1], "bool"), 5, ids).node.inputs[1])).toEqual(tensorOf("int64", [], [5]));
    expect(add(1, 2).dtype).toBe("float32");
  });

  it("need no cast to their own type", () => {
    expect(cast(a23, "float32")).toBe(a23);
    expect(cast(a23, "int64").dtype).toBe("int64");
  });
});
