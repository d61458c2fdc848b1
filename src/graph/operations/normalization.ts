/**
 * Normalisations of rows: what stands along an axis is brought to one size. Normalisations by channel are in
 * `channelNorms.ts`.
 */
import type { Dim } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { padRank } from "./batching.js";
import { sumTo } from "./broadcast.js";
import { add, constantLike, div, equal, mul, sqrt, sub, where } from "./elementwise.js";
import { expand } from "./movement.js";
import { apply, applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import { countOf, reduceMean, reduceSumSquare } from "./reduction.js";
import { centre, norm, variance } from "./statistics.js";

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
const lastCentred = (x: Value) => centre(x, lastMean(x));

/** For n = x r, r = 1 / sqrt(mean(x^2) + epsilon): dx = r (g - n mean(g n)). */
function scaledSlope(g: Value, x: Value, epsilon: number): { x: Value; normalized: Value } {
  const squares = div(reduceSumSquare(x, -1, { keepDims: true }), countOf(x, [x.shape.length - 1]));
  const inverse = div(1, sqrt(add(squares, epsilon)));
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
    const found = scaledSlope(g, lastCentred(x), epsilon);
    return { x: lastCentred(found.x), normalized: found.normalized };
  },
);

export const normalizationOperations = [rmsNormOperation, layerNormOperation];

/** x / sqrt(mean(x^2) + epsilon) * scale over the last dimension (Zhang & Sennrich 2019). */
export function rmsNorm(x: Value, scale: Value, epsilon: number): Value {
  return applyOne(rmsNormOperation, [x, scale], { epsilon });
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias over the last dimension (Ba et al. 2016). */
export function layerNorm(x: Value, scale: Value, bias: Value, epsilon: number): Value {
  return applyOne(layerNormOperation, [x, scale, bias], { epsilon });
}

/**
 * `x` divided by its norm along an axis (the last unless given), of order 2 unless given; a vector of zeros stays as it
 * is. ONNX's LpNormalization.
 */
export function lpNormalization(x: Value, { axis = -1, order = 2 }: { axis?: number; order?: number } = {}): Value {
  const size = norm(x, axis, { order, keepDims: true });
  return div(x, where(equal(size, 0), 1, size));
}

/**
 * `x` less its mean, divided by its standard deviation, both over `axes`: all but the channels (axis 1) unless given.
 * ONNX's MeanVarianceNormalization, whose 1e-9 stands inside the root here, so that gradients stay finite.
 */
export function meanVarianceNormalization(
  x: Value,
  axes: readonly number[] = x.shape.map((_, axis) => axis).filter((axis) => axis !== 1),
): Value {
  const centred = centre(x, reduceMean(x, axes, { keepDims: true }));
  return div(centred, sqrt(add(variance(x, axes, { keepDims: true }), 1e-18)));
}
