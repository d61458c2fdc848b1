/** NumPy's broadcasting: the common shape, the slow reference of an elementwise function, and the sum that undoes it. */
import { type Dim, formatShape, type Shape } from "../dims.js";
import type { Value } from "../graph.js";
import { type Dtype, elementCount, stridesOf } from "../tensor.js";
import { reshape } from "./movement.js";
import type { ReferenceTensor } from "./operation.js";
import { reduceSum } from "./reduction.js";

/** The shape that shapes broadcast to. Throws where two dimensions differ and neither is 1. */
export function broadcastShapes(...shapes: readonly Shape[]): Dim[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    let result: Dim = 1;
    for (const shape of shapes) {
      const dim = shape[shape.length - rank + i] ?? 1;
      if (dim === 1 || dim === result) continue;
      if (result !== 1)
        throw new Error(`shapes ${shapes.map(formatShape).join(" and ")} do not broadcast: ${result} against ${dim}`);
      result = dim;
    }
    return result;
  });
}

/** Applies `f` to broadcast elements of reference tensors. */
export function broadcastReference(
  inputs: readonly ReferenceTensor[],
  dtype: Dtype,
  f: (...values: number[]) => number,
): ReferenceTensor {
  const shape = broadcastShapes(...inputs.map((value) => value.shape)) as number[];
  const data = new Float64Array(elementCount(shape));
  const strides = inputs.map((value) => broadcastStrides(value.shape, shape));
  const outer = stridesOf(shape);
  const at = new Array<number>(inputs.length);
  for (let i = 0; i < data.length; i++) {
    for (let k = 0; k < inputs.length; k++) {
      let offset = 0;
      const own = strides[k] as number[];
      for (let d = 0; d < shape.length; d++) {
        offset += (Math.floor(i / (outer[d] as number)) % (shape[d] as number)) * (own[d] as number);
      }
      at[k] = (inputs[k] as ReferenceTensor).data[offset] as number;
    }
    data[i] = f(...at);
  }
  return { dtype, shape, data };
}

function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
  const own = stridesOf(shape);
  const lead = to.length - shape.length;
  return to.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : (own[i - lead] as number)));
}

/** The gradient of broadcasting to `x`'s shape: `x` summed over the dimensions along which `shape` was repeated. */
export function sumTo(x: Value, shape: Shape): Value {
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((dim, i) => (i < lead || (shape[i - lead] === 1 && dim !== 1) ? [i] : []));
  if (axes.length === 0) return x;
  return reshape(reduceSum(x, axes, { keepDims: true }), shape);
}
