/** Tensors are plain data; the functions around them check lengths and share memory where they say so. */
import { expect, it } from "vitest";
import { elementCount, reshaped, row, stridesOf, tensor, tensorOf, toNumbers, zeros } from "./tensor.js";

it("holds exactly as many elements as its shape", () => {
  expect(tensor("float32", [2, 1], Float32Array.of(1, 2)).shape).toEqual([2, 1]);
  expect(() => tensor("float32", [2, 2], new Float32Array(3))).toThrow(
    "a float32 tensor of shape [2, 2] holds 4 elements, not 3",
  );
  expect(() => tensorOf("int64", [2], [1])).toThrow("a tensor of shape [2] holds 2 elements, not 1");
  expect(zeros("bool", [0, 3]).data).toHaveLength(0);
  expect(elementCount([])).toBe(1);
});

it("makes numbers of its element type, and numbers again", () => {
  expect(tensorOf("int64", [2], [2 ** 52, -1]).data).toEqual(BigInt64Array.of(2n ** 52n, -1n));
  expect(tensorOf("float32", [], [0.1]).data[0]).toBe(Math.fround(0.1));
  expect(toNumbers(tensorOf("int64", [2], [7, -8]))).toEqual(Float64Array.of(7, -8));
  expect(() => toNumbers(zeros("float16", [1]))).toThrow("widen it to float32 first");
});

it("knows row-major strides", () => {
  expect(stridesOf([2, 3, 4])).toEqual([12, 4, 1]);
  expect(stridesOf([])).toEqual([]);
});

it("views rows and other shapes of the same memory", () => {
  const value = tensorOf("float32", [2, 3], [1, 2, 3, 4, 5, 6]);
  const last = row(value, -1);
  expect(last).toEqual(tensorOf("float32", [3], [4, 5, 6]));
  value.data[3] = 40;
  expect(last.data[0]).toBe(40);
  expect(reshaped(value, [3, 2]).data).toBe(value.data);
  expect(() => reshaped(value, [4])).toThrow("holds 4 elements, not 6");
  expect(() => row(value, 2)).toThrow("row 2 is out of range for a tensor of shape [2, 3]");
  expect(() => row(value, -3)).toThrow("row -3 is out of range");
  expect(() => row(value, 0.5)).toThrow("row 0.5 is out of range");
});
