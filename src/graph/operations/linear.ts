/** Matrix products, gathering rows by index, and the normalisations that surround them. */
import { type Dim, formatShape } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { broadcastShapes } from "./elementwise.js";
import { axisOf, gatherReference } from "./movement.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";

const matmulOperation: Operation<Record<string, never>> = {
  name: "matmul",
  infer(inputs) {
    const [a, b] = inputs as readonly [ValueType, ValueType];
    if (a.dtype !== b.dtype) throw new Error("inputs must have one element type");
    if (a.shape.length < 2 || b.shape.length < 2) throw new Error("inputs must have at least two dimensions");
    const inner = [a.shape[a.shape.length - 1], b.shape[b.shape.length - 2]];
    if (inner[0] !== inner[1]) throw new Error(`inner dimensions differ: ${inner[0]} against ${inner[1]}`);
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [
      { dtype: a.dtype, shape: [...batch, a.shape[a.shape.length - 2] as Dim, b.shape[b.shape.length - 1] as Dim] },
    ];
  },
  emit: (node, _, emitter) => emitAs("MatMul", node, emitter),
  reference(inputs) {
    const [a, b] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const [rows, inner] = a.shape.slice(-2) as [number, number];
    const columns = b.shape[b.shape.length - 1] as number;
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)) as number[];
    const data = new Float64Array(elementCount(batch) * rows * columns);
    const left = batchOffsets(a.shape, batch);
    const right = batchOffsets(b.shape, batch);
    left.forEach((offset, n) => {
      for (let i = 0; i < rows; i++) {
        for (let k = 0; k < inner; k++) {
          const x = a.data[offset + i * inner + k] as number;
          const from = (right[n] as number) + k * columns;
          const to = (n * rows + i) * columns;
          for (let j = 0; j < columns; j++) data[to + j] = (data[to + j] as number) + x * (b.data[from + j] as number);
        }
      }
    });
    return [{ dtype: a.dtype, shape: [...batch, rows, columns], data }];
  },
};

/** Offsets of each matrix of a batched operand, repeated as broadcasting over `batch` asks. */
function batchOffsets(shape: readonly number[], batch: readonly number[]): number[] {
  const own = shape.slice(0, -2);
  const size = elementCount(shape.slice(-2));
  const offsets = {
    dtype: "float64" as const,
    shape: own,
    data: Float64Array.from({ length: elementCount(own) }, (_, i) => i * size),
  };
  const strides = stridesOf(own);
  const lead = batch.length - own.length;
  const picked = gatherReference("float64", batch, offsets.data, (index) =>
    own.reduce((sum, dim, d) => sum + (dim === 1 ? 0 : (index[lead + d] as number)) * (strides[d] as number), 0),
  );
  return [...picked.data];
}

const gatherOperation: Operation<{ axis: number }> = {
  name: "gather",
  infer(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ValueType, ValueType];
    if (indices.dtype !== "int64") throw new Error("indices must be int64");
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
  },
  emit: (node, { axis }, emitter) => emitAs("Gather", node, emitter, { axis }),
  reference(inputs, { axis }) {
    const [x, indices] = inputs as readonly [ReferenceTensor, ReferenceTensor];
    const size = x.shape[axis] as number;
    const inner = elementCount(x.shape.slice(axis + 1));
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    const count = indices.data.length;
    const data = new Float64Array(elementCount(shape));
    for (let outer = 0; outer < elementCount(x.shape.slice(0, axis)); outer++) {
      indices.data.forEach((index, i) => {
        const at = index < 0 ? index + size : index;
        if (at < 0 || at >= size) throw new Error(`gather: index ${index} is out of range for ${formatShape(x.shape)}`);
        const from = (outer * size + at) * inner;
        data.set(x.data.subarray(from, from + inner), (outer * count + i) * inner);
      });
    }
    return [{ dtype: x.dtype, shape, data }];
  },
};

function normOperation(
  name: string,
  onnx: string,
  f: (row: Float64Array, epsilon: number) => Float64Array,
): Operation<{ epsilon: number }> {
  return {
    name,
    infer([x, ...parameters]) {
      const { dtype, shape } = x as ValueType;
      const width = shape[shape.length - 1] as Dim;
      const wrong = parameters.find((p) => p.dtype !== dtype || p.shape.length !== 1 || p.shape[0] !== width);
      if (wrong !== undefined) throw new Error(`parameters must be ${dtype}[${width}]`);
      return [{ dtype, shape }];
    },
    emit: (node, { epsilon }, emitter) => emitAs(onnx, node, emitter, { axis: -1, epsilon: { float: epsilon } }),
    reference([x, scale, bias], { epsilon }) {
      const { dtype, shape, data } = x as ReferenceTensor;
      const width = shape[shape.length - 1] as number;
      const result = new Float64Array(data.length);
      for (let start = 0; start < data.length; start += width) {
        f(data.subarray(start, start + width), epsilon).forEach((value, i) => {
          result[start + i] = value * (scale?.data[i] as number) + (bias?.data[i] ?? 0);
        });
      }
      return [{ dtype, shape, data: result }];
    },
  };
}

const meanSquare = (row: Float64Array) => row.reduce((sum, x) => sum + x * x, 0) / row.length;

const rmsNormOperation = normOperation("rmsNorm", "RMSNormalization", (row, epsilon) => {
  const scale = 1 / Math.sqrt(meanSquare(row) + epsilon);
  return row.map((x) => x * scale);
});

const layerNormOperation = normOperation("layerNorm", "LayerNormalization", (row, epsilon) => {
  const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
  const centred = row.map((x) => x - mean);
  const scale = 1 / Math.sqrt(meanSquare(centred) + epsilon);
  return centred.map((x) => x * scale);
});

export const linearOperations = [matmulOperation, gatherOperation, rmsNormOperation, layerNormOperation];

/** Matrix product of the last two dimensions, the others broadcast. */
export function matmul(a: Value, b: Value): Value {
  return applyOne(matmulOperation, [a, b], {});
}

/** Slices of `x` along an axis (the first unless given) at int64 indices; the indices' shape replaces the axis. */
export function gather(x: Value, indices: Value, axis = 0): Value {
  return applyOne(gatherOperation, [x, indices], { axis: axisOf("gather", x, axis) });
}

/** x / sqrt(mean(x^2) + epsilon) * scale over the last dimension (Zhang & Sennrich 2019). */
export function rmsNorm(x: Value, scale: Value, epsilon: number): Value {
  return applyOne(rmsNormOperation, [x, scale], { epsilon });
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias over the last dimension (Ba et al. 2016). */
export function layerNorm(x: Value, scale: Value, bias: Value, epsilon: number): Value {
  return applyOne(layerNormOperation, [x, scale, bias], { epsilon });
}
