/** The kinds of element types that operations take, and ONNX's numbers for them. */
import type { ValueType } from "../graph.js";
import type { Dtype } from "../tensor.js";

export const floats: readonly Dtype[] = ["float32", "float64", "float16"];
export const integers: readonly Dtype[] = ["int64", "int32", "int16", "int8", "uint8"];
export const bools: readonly Dtype[] = ["bool"];

/** ONNX's numbers for element types, from its `TensorProto.DataType`. */
export const onnxDtype: { readonly [D in Dtype]: number } = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
};

/** The element type that all inputs have. Throws where they differ. */
export function requireSame(inputs: readonly ValueType[]): Dtype {
  const [first, ...others] = inputs.map((value) => value.dtype);
  if (others.some((dtype) => dtype !== first)) throw new Error("inputs must have one element type; cast first");
  return first as Dtype;
}

/** Throws where an input has none of the `allowed` element types. */
export function requireDtype(inputs: readonly ValueType[], allowed: readonly Dtype[]): void {
  const wrong = inputs.find((value) => !allowed.includes(value.dtype));
  if (wrong !== undefined) throw new Error(`takes ${allowed.join(" or ")}, not ${wrong.dtype}`);
}
