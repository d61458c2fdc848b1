/**
 * A tensor is plain data: an element type, a shape, and a typed array in row-major order. It has no methods, so it
 * crosses to workers and files as it is. Functions here make tensors and views; none of them changes its input.
 */
import { usageError } from "../errors.js";

/** Element types that a tensor can hold. Half-precision values are kept as their bits in 16-bit words. */
export type Dtype = "float32" | "float64" | "float16" | "int64" | "int32" | "int16" | "int8" | "uint8" | "bool";

/** The typed array behind each element type. */
export interface TypedArrayOf {
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int16: Int16Array;
  int8: Int8Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}

export type TensorData = TypedArrayOf[Dtype];

export interface Tensor<D extends Dtype = Dtype> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: TypedArrayOf[D];
}

const constructors: { readonly [D in Dtype]: new (length: number) => TypedArrayOf[D] } = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** The number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A tensor over `data` as it is (not copied). Throws where the shape does not hold exactly that many elements. */
export function tensor<D extends Dtype>(dtype: D, shape: readonly number[], data: TypedArrayOf[D]): Tensor<D> {
  if (elementCount(shape) !== data.length) {
    throw usageError(
      `a ${dtype} tensor of shape [${shape.join(", ")}] holds ${elementCount(shape)} elements, not ${data.length}`,
    );
  }
  return { dtype, shape, data };
}

/** A tensor of zeros. */
export function zeros<D extends Dtype>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape, data: new constructors[dtype](elementCount(shape)) };
}

/** A tensor of the given numbers in row-major order; integers become exact 64-bit ones where the type asks for it. */
export function tensorOf<D extends Dtype>(dtype: D, shape: readonly number[], values: ArrayLike<number>): Tensor<D> {
  const result = zeros(dtype, shape);
  if (values.length !== result.data.length) {
    throw usageError(
      `a tensor of shape [${shape.join(", ")}] holds ${result.data.length} elements, not ${values.length}`,
    );
  }
  const data: TensorData = result.data;
  if (data instanceof BigInt64Array) for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i] as number);
  else data.set(values);
  return result;
}

/** Every element as a JavaScript number. Half-precision tensors are refused: widen them first. */
export function toNumbers(value: Tensor): Float64Array {
  if (value.dtype === "float16") throw usageError("a float16 tensor holds bits; widen it to float32 first");
  return Float64Array.from(value.data as Iterable<number | bigint>, Number);
}

/** The row-major strides of a shape, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = (strides[i + 1] as number) * (shape[i + 1] as number);
  return strides;
}

/** The part of `value` at `index` of its first dimension, as a view of the same memory. */
export function row<D extends Dtype>(value: Tensor<D>, index: number): Tensor<D> {
  const [count = 0, ...shape] = value.shape;
  const at = index < 0 ? index + count : index;
  if (!Number.isInteger(at) || at < 0 || at >= count) {
    throw usageError(`row ${index} is out of range for a tensor of shape [${value.shape.join(", ")}]`);
  }
  const size = elementCount(shape);
  return { dtype: value.dtype, shape, data: value.data.subarray(at * size, (at + 1) * size) as TypedArrayOf[D] };
}

/** The same elements under another shape, as a view of the same memory. */
export function reshaped<D extends Dtype>(value: Tensor<D>, shape: readonly number[]): Tensor<D> {
  return tensor(value.dtype, shape, value.data);
}
