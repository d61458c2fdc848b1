/** Small matrices on the host, as adapters have them. */
import { type Tensor, tensor } from "../../runtime/index.js";

/** The transpose of a matrix. */
export function transposed({ shape, data }: Tensor<"float32">): Tensor<"float32"> {
  const [rows, columns] = shape as readonly [number, number];
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c] as number;
  return tensor("float32", [columns, rows], result);
}

/** Sums of squares of the columns of a matrix, summed in float64. */
export function columnSquares({ shape, data }: Tensor<"float32">): Float32Array {
  const outputs = shape[1] as number;
  const sums = new Float64Array(outputs);
  for (let k = 0; k < data.length; k++) {
    const at = k % outputs;
    sums[at] = (sums[at] as number) + (data[k] as number) ** 2;
  }
  return Float32Array.from(sums);
}

/** A float16 number's value. */
export function widenHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
