/** Matrix products and the normalisations that surround them. */
import { type Dim, multiplyDims, sameShape } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { elementCount, stridesOf } from "../tensor.js";
import { padRank } from "./batching.js";
import { broadcastShapes, sumTo } from "./broadcast.js";
import { add, constantLike, div, mul, sqrt, sub } from "./elementwise.js";
import { expand, gatherReference, reshape } from "./movement.js";
import { apply, applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { reduceMean } from "./reduction.js";

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

/** Gradient of the normalised rows before scale and bias, from `g`, that of them. */
type NormSlope = (g: Value, x: Value, epsilon: number) => { x: Value; normalized: Value };

function normOperation(
  name: string,
  onnx: string,
  f: (row: Float64Array, epsilon: number) => Float64Array,
  slope: NormSlope,
): Operation<{ epsilon: number }> {
  return {
    name,
    gradient(node, [g]) {
      if (g === undefined) return node.inputs.map(() => undefined);
      const [x, scale, bias] = node.inputs as readonly [Value, Value, Value?];
      const found = slope(mul(g, scale), x, node.attributes.epsilon as number);
      const rest = [sumTo(mul(g, found.normalized), scale.shape)];
      return [found.x, ...rest, ...(bias === undefined ? [] : [sumTo(g, bias.shape)])];
    },
    batch(inputs, batched, node) {
      const [x, ...parameters] = inputs as readonly [Value, ...Value[]];
      if (batched.slice(1).some((yes) => yes)) return scaledApart(inputs, batched, node);
      return apply(operationOf(name), [x, ...parameters], node.attributes);
    },
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

const lastMean = (x: Value) => reduceMean(x, -1, { keepDims: true });
const centre = (x: Value) => sub(x, lastMean(x));

/** For n = x r, r = 1 / sqrt(mean(x^2) + epsilon): dx = r (g - n mean(g n)). */
function scaledSlope(g: Value, x: Value, epsilon: number): { x: Value; normalized: Value } {
  const inverse = div(1, sqrt(add(lastMean(mul(x, x)), epsilon)));
  const normalized = mul(x, inverse);
  return { x: mul(inverse, sub(g, mul(normalized, lastMean(mul(g, normalized))))), normalized };
}

/** A norm whose scale or bias differs by entry of the batch: normalised with ones, then scaled and shifted. */
function scaledApart(inputs: readonly Value[], batched: readonly boolean[], node: Node): Value[] {
  const [x, scale, bias] = node.inputs as readonly [Value, Value, Value?];
  const rank = x.shape.length;
  const [own, byScale, byBias] = inputs.map((value, i) => (batched[i] ? padRank(value, rank) : value)) as [
    Value,
    Value,
    Value?,
  ];
  const ones = expand(constantLike(scale, 1), scale.shape);
  const zeros = bias && expand(constantLike(bias, 0), bias.shape);
  const [plain] = apply(
    operationOf(node.operation),
    [own, ones, ...(zeros === undefined ? [] : [zeros])],
    node.attributes,
  );
  const scaled = mul(plain as Value, byScale);
  return [byBias === undefined ? scaled : add(scaled, byBias)];
}

const operationOf = (name: string) => (name === "rmsNorm" ? rmsNormOperation : layerNormOperation) as Operation;

const rmsNormOperation = normOperation(
  "rmsNorm",
  "RMSNormalization",
  (row, epsilon) => {
    const scale = 1 / Math.sqrt(meanSquare(row) + epsilon);
    return row.map((x) => x * scale);
  },
  (g, x, epsilon) => scaledSlope(g, x, epsilon),
);

const layerNormOperation = normOperation(
  "layerNorm",
  "LayerNormalization",
  (row, epsilon) => {
    const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
    const centred = row.map((x) => x - mean);
    const scale = 1 / Math.sqrt(meanSquare(centred) + epsilon);
    return centred.map((x) => x * scale);
  },
  (g, x, epsilon) => {
    const found = scaledSlope(g, centre(x), epsilon);
    return { x: centre(found.x), normalized: found.normalized };
  },
);

export const linearOperations = [matmulOperation, rmsNormOperation, layerNormOperation];

/** Matrix product of the last two dimensions, the others broadcast; either side read with its last two swapped. */
export function matmul(
  a: Value,
  b: Value,
  { transposeA = false, transposeB = false }: Partial<Transposes> = {},
): Value {
  return applyOne(matmulOperation, [a, b], { transposeA, transposeB });
}

/** x / sqrt(mean(x^2) + epsilon) * scale over the last dimension (Zhang & Sennrich 2019). */
export function rmsNorm(x: Value, scale: Value, epsilon: number): Value {
  return applyOne(rmsNormOperation, [x, scale], { epsilon });
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias over the last dimension (Ba et al. 2016). */
export function layerNorm(x: Value, scale: Value, bias: Value, epsilon: number): Value {
  return applyOne(layerNormOperation, [x, scale, bias], { epsilon });
}
