/**
 * Values made of positions alone, and what is kept or set by them: ranges, identity matrices, triangles, one-hot rows.
 */
import { type Dim, evaluateDim } from "../dims.js";
import type { Value, ValueType } from "../graph.js";
import type { Dtype } from "../tensor.js";
import { add, cast, constantLike, equal, less, type Operand, where } from "./elementwise.js";
import { axisOf, dimension, expand, reshape, unsqueeze } from "./movement.js";
import { apply, applyOne, emitAs, flat, type Operation, type ReferenceTensor } from "./operation.js";

const rangeOperation: Operation<{ dims: readonly Dim[] }> = {
  name: "range",
  infer: (_, { dims }) => [{ dtype: "int64", shape: dims }],
  emit(node, { dims }, emitter) {
    const scalar = (name: string) => emitter.node("Squeeze", [name, emitter.int64([0])])[0] as string;
    const ends = [emitter.int64([0]), emitter.dims(dims), emitter.int64([1])].map(scalar);
    emitter.node("Range", ends, { outputs: [emitter.name(node.outputs[0] as Value)] });
  },
  reference: (_, { dims }, sizes) => {
    const size = evaluateDim(dims[0] as Dim, sizes);
    return [{ dtype: "int64", shape: [size], data: Float64Array.from({ length: size }, (_, i) => i) }];
  },
  gradient: flat,
};

type Triangle = { upper: boolean; k: Dim };

const triluOperation: Operation<Triangle> = {
  name: "trilu",
  infer([value]) {
    const { dtype, shape } = value as ValueType;
    if (shape.length < 2) throw new Error("needs at least two dimensions");
    return [{ dtype, shape }];
  },
  emit: (node, { upper, k }, emitter) => emitAs("Trilu", node, emitter, { upper: Number(upper) }, [emitter.dims([k])]),
  gradient: (node, [g]) => [g && applyOne(triluOperation, [g], node.attributes as Triangle)],
  batch: ([x], _, node) => apply(triluOperation, [x as Value], node.attributes as Triangle),
  reference([value], { upper, k }, sizes) {
    const { dtype, shape, data } = value as ReferenceTensor;
    const [rows, columns] = shape.slice(-2) as [number, number];
    const diagonal = evaluateDim(k, sizes);
    const kept = data.map((x, i) => {
      const offset = (i % columns) - (Math.floor(i / columns) % rows);
      return (upper ? offset >= diagonal : offset <= diagonal) ? x : 0;
    });
    return [{ dtype, shape, data: kept }];
  },
};

export const patternOperations = [rangeOperation, triluOperation];

/** The whole numbers from 0 to one less than a dimension: int64 [size]. */
export function range(size: Dim): Value {
  return applyOne(rangeOperation, [], { dims: [size] });
}

/**
 * The last two dimensions on and above diagonal `k` (0, the main one, unless given; above it counts up), zeros below.
 */
export function triu(x: Value, k: Dim = 0): Value {
  return applyOne(triluOperation, [x], { upper: true, k });
}

/**
 * The last two dimensions on and below diagonal `k` (0, the main one, unless given; above it counts up), zeros above.
 */
export function tril(x: Value, k: Dim = 0): Value {
  return applyOne(triluOperation, [x], { upper: false, k });
}

/**
 * Ones on diagonal `k` (0 unless given; above the main one counts up), zeros elsewhere: [rows, columns], square unless
 * given.
 */
export function eye(
  rows: Dim,
  { columns = rows, k = 0, dtype = "float32" }: { columns?: Dim; k?: number; dtype?: Dtype } = {},
): Value {
  return cast(equal(unsqueeze(add(range(rows), k), -1), range(columns)), dtype);
}

/**
 * `on` where the index along a new axis of `size` (the last unless given) is that of `indices` (int64; negative ones
 * count from the end), `off` elsewhere, and everywhere for an index out of range. 1 and 0 in float32 unless given; `on`
 * and `off` may be values that broadcast with the result, and then have gradients (ONNX's OneHot).
 */
export function oneHot(
  indices: Value,
  size: Dim,
  { axis = -1, on = 1, off = 0 }: { axis?: number; on?: Operand; off?: Operand } = {},
): Value {
  const at = axisOf("oneHot", indices, axis, 1);
  const wrapped = where(less(indices, 0), add(indices, dimension(size)), indices);
  const places = reshape(range(size), [size, ...indices.shape.slice(at).map(() => 1)]);
  return where(equal(unsqueeze(wrapped, at), places), on, off);
}

/** A value of zeros with the element type and shape of another. */
export function zerosLike(like: Value): Value {
  return expand(constantLike(like, 0), like.shape);
}
