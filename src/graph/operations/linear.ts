/** Matrix products, and those with vectors, which are matrices of one row or column. */
import { type Dim, multiplyDims, sameShape } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { padRank } from "./batching.js";
import { broadcastShapes, sumTo } from "./broadcast.js";
import { mul } from "./elementwise.js";
import { gatherReference, reshape, squeeze, unsqueeze } from "./movement.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { reduceSum } from "./reduction.js";

interface Transposes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

type ProductAttributes = Transposes & Record<string, boolean>;

const swapped = <D>(shape: readonly D[], swap: boolean): D[] => {
  const [rows, columns] = shape.slice(-2) as [D, D];
  return swap ? [...shape.slice(0, -2), columns, rows] : [...shape];
};

const matmulOperation: Operation<ProductAttributes> = {
  name: "matmul",
  infer(inputs, { transposeA, transposeB }) {
    const [left, right] = inputs as readonly [ValueType, ValueType];
    if (left.dtype !== right.dtype) throw new Error("inputs must have one element type");
    if (left.shape.length < 2 || right.shape.length < 2) throw new Error("inputs must have at least two dimensions");
    const a = { ...left, shape: swapped(left.shape, transposeA) };
    const b = { ...right, shape: swapped(right.shape, transposeB) };
    const inner = [a.shape[a.shape.length - 1], b.shape[b.shape.length - 2]];
    if (inner[0] !== inner[1]) throw new Error(`inner dimensions differ: ${inner[0]} against ${inner[1]}`);
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [
      { dtype: a.dtype, shape: [...batch, a.shape[a.shape.length - 2] as Dim, b.shape[b.shape.length - 1] as Dim] },
    ];
  },
  emit(node, { transposeA, transposeB }, emitter) {
    if (!transposeA && !transposeB) return emitAs("MatMul", node, emitter);
    // ONNX's own form would be a Transpose, which the runtime folds into a second copy of a weight.
    const attributes = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 };
    emitAs("com.microsoft.FusedMatMul", node, emitter, attributes);
  },
  gradient(node, [g]) {
    const [a, b] = node.inputs as readonly [Value, Value];
    const { transposeA, transposeB } = node.attributes as unknown as Transposes;
    if (g === undefined) return [undefined, undefined];
    const toA = transposeA ? product(b, g, transposeB, true) : product(g, b, false, !transposeB);
    const toB = transposeB ? sharedProduct(g, a, true, transposeA, b) : sharedProduct(a, g, !transposeA, false, b);
    return [sumTo(toA, a.shape), sumTo(toB, b.shape)];
  },
  batch(inputs, batched, node) {
    const rank = Math.max(...node.inputs.map(({ shape }) => shape.length));
    const [a, b] = inputs.map((x, i) => (batched[i] ? padRank(x, rank) : x)) as [Value, Value];
    return [matmul(a, b, node.attributes as unknown as Transposes)];
  },
  reference(inputs, { transposeA, transposeB }) {
    const [a, b] = [transposeA, transposeB].map((swap, i) => swapReference(inputs[i] as ReferenceTensor, swap)) as [
      ReferenceTensor,
      ReferenceTensor,
    ];
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

const product = (a: Value, b: Value, transposeA: boolean, transposeB: boolean) =>
  matmul(a, b, { transposeA, transposeB });

/** A product whose result is summed to a matrix `like`: over rows of all batches at once where that is one product. */
function sharedProduct(a: Value, b: Value, transposeA: boolean, transposeB: boolean, like: Value): Value {
  const joinable =
    like.shape.length === 2 && transposeA && !transposeB && sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  if (!joinable || a.shape.length === 2) return product(a, b, transposeA, transposeB);
  const rows = (x: Value) => reshape(x, [multiplyDims(...x.shape.slice(0, -1)), x.shape[x.shape.length - 1] as Dim]);
  return product(rows(a), rows(b), true, false);
}

function swapReference(x: ReferenceTensor, swap: boolean): ReferenceTensor {
  if (!swap) return x;
  const shape = swapped(x.shape, true);
  const [rows, columns] = shape.slice(-2) as [number, number];
  return gatherReference(x.dtype, shape, x.data, (index) => {
    const [i, j] = index.slice(-2) as [number, number];
    const batch = index.slice(0, -2).reduce((sum, at, d) => sum * (shape[d] as number) + at, 0);
    return batch * rows * columns + j * rows + i;
  });
}

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

export const linearOperations = [matmulOperation];

/** Matrix product of the last two dimensions, the others broadcast; either side read with its last two swapped. */
export function matmul(
  a: Value,
  b: Value,
  { transposeA = false, transposeB = false }: Partial<Transposes> = {},
): Value {
  return applyOne(matmulOperation, [a, b], { transposeA, transposeB });
}

/** The inner product of the last axes, the others broadcast: a number for two vectors. */
export function dot(a: Value, b: Value): Value {
  return reduceSum(mul(a, b), -1);
}

/** Products of every element of `a` [..., n] with every element of `b` [..., m]: [..., n, m]. */
export function outer(a: Value, b: Value): Value {
  return mul(unsqueeze(a, -1), unsqueeze(b, -2));
}

/** The matrix `a` [..., n, k] applied to the vector `x` [..., k]: [..., n]. */
export function matvec(a: Value, x: Value): Value {
  return squeeze(matmul(a, unsqueeze(x, -1)), -1);
}
