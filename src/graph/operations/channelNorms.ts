/**
 * Normalisations by channel, for values [batch, channels, ...places]: batch, instance and group normalisation, and the
 * local one. The runtime's kernels read the value once where the same steps one by one read it six times, and are ten times
 * faster on a large one; so even group normalisation is written with them.
 */
import { usageError } from "../../errors.js";
import { addDims, type Dim, divideDims, multiplyDims } from "../dims.js";
import type { Node, Value, ValueType } from "../graph.js";
import { elementCount } from "../tensor.js";
import { allBatched, onlyFirst } from "./batching.js";
import { add, constantLike, div, mul, neg, pow, sqrt, sub } from "./elementwise.js";
import { expand, pad, reshape, slice, transpose } from "./movement.js";
import { applyOne, emitAs, type GradientRule, type Operation, type ReferenceTensor } from "./operation.js";
import { countOf, reduceMean, reduceSum, reduceSumSquare } from "./reduction.js";
import { centre, variance } from "./statistics.js";

/** Numbers of one channel in one entry of the batch, normalised by `parameters`, those of the channel. */
type NormalizePlaces = (places: Float64Array, parameters: readonly number[], epsilon: number) => Float64Array;

function channelNorm(
  name: string,
  onnx: string,
  minimalRank: 2 | 3,
  f: NormalizePlaces,
  gradient: GradientRule,
): Operation<{ epsilon: number }> {
  const operation: Operation<{ epsilon: number }> = {
    name,
    gradient,
    batch: (inputs, batched, node) => [
      onlyFirst(batched)
        ? inLargerBatch(operation, inputs, node)
        : withMoreChannels(operation, allBatched(inputs, batched), node),
    ],
    infer([x, ...parameters]) {
      const { dtype, shape } = x as ValueType;
      if (shape.length < minimalRank)
        throw new Error(`takes [batch, channels${minimalRank === 3 ? ", ...places" : ""}], not ${shape.length} axes`);
      const wrong = parameters.some((p) => p.dtype !== dtype || p.shape.length !== 1 || p.shape[0] !== shape[1]);
      if (wrong) throw new Error(`parameters must be ${dtype}[${shape[1]}], one number for each channel`);
      return [{ dtype, shape }];
    },
    emit: (node, { epsilon }, emitter) => emitAs(onnx, node, emitter, { epsilon: { float: epsilon } }),
    reference([x, ...parameters], { epsilon }) {
      const { dtype, shape, data } = x as ReferenceTensor;
      const size = elementCount(shape.slice(2));
      const result = new Float64Array(data.length);
      for (let start = 0, row = 0; start < data.length; start += size, row++) {
        const own = parameters.map((p) => p.data[row % (shape[1] as number)] as number);
        result.set(f(data.subarray(start, start + size), own, epsilon), start);
      }
      return [{ dtype, shape, data: result }];
    },
  };
  return operation;
}

type ChannelOperation = Operation<{ epsilon: number }>;

/** Entries of the new axis and of the batch are one batch, where the channels' parameters are the same for all. */
function inLargerBatch(operation: ChannelOperation, [x, ...parameters]: readonly Value[], node: Node): Value {
  const [count = 1, batch = 1, ...rest] = (x as Value).shape;
  const joined = reshape(x as Value, [multiplyDims(count, batch), ...rest]);
  return reshape(applyOne(operation, [joined, ...parameters], { epsilon: epsilonOf(node) }), (x as Value).shape);
}

/** Entries of the new axis become channels, each with parameters of its own. */
function withMoreChannels(operation: ChannelOperation, [x, ...parameters]: readonly Value[], node: Node): Value {
  const exchange = [1, 0, ...(x as Value).shape.slice(2).map((_, i) => i + 2)];
  const moved = transpose(x as Value, exchange);
  const [batch = 1, count = 1, channels = 1, ...places] = moved.shape;
  const all = multiplyDims(count, channels);
  const flat = parameters.map((p) => reshape(p, [all]));
  const y = applyOne(operation, [reshape(moved, [batch, all, ...places]), ...flat], { epsilon: epsilonOf(node) });
  return transpose(reshape(y, moved.shape), exchange);
}

const epsilonOf = (node: Node) => node.attributes.epsilon as number;

/** Parameters [channels] as they broadcast against `x`. */
const perChannel = (parameter: Value, x: Value) => reshape(parameter, [x.shape[1] as Dim, ...placesOf(x).map(() => 1)]);
const placesOf = (x: Value): readonly number[] => x.shape.slice(2).map((_, i) => i + 2);
const allButChannels = (x: Value): readonly number[] => [0, ...placesOf(x)];

const inverseDeviation = (squares: Value, epsilon: number) => div(1, sqrt(add(squares, epsilon)));

/** For y = (x - mean) r scale + bias with r = 1 / sqrt(variance + epsilon): all but the first are sums by channel. */
const batchNormGradient: GradientRule = (node, [g]) => {
  if (g === undefined) return node.inputs.map(() => undefined);
  const [x, scale, , mean, squares] = node.inputs as readonly [Value, Value, Value, Value, Value];
  const inverse = inverseDeviation(squares, epsilonOf(node));
  const slope = mul(scale, inverse);
  const total = reduceSum(g, allButChannels(x));
  const byScale = mul(reduceSum(mul(g, centre(x, perChannel(mean, x))), allButChannels(x)), inverse);
  const byVariance = mul(mul(byScale, slope), mul(inverse, -0.5));
  return [mul(g, perChannel(slope, x)), byScale, total, neg(mul(slope, total)), byVariance];
};

const batchNormOperation = channelNorm(
  "batchNorm",
  "BatchNormalization",
  2,
  (places, [scale, bias, mean, squares], epsilon) => {
    const deviation = Math.sqrt((squares as number) + epsilon);
    return places.map((x) => ((x - (mean as number)) / deviation) * (scale as number) + (bias as number));
  },
  batchNormGradient,
);

/** With n the normalised value and g' = scale g: dx = r (g' - mean(g') - n mean(g' n)), means over places. */
const instanceNormGradient: GradientRule = (node, [g]) => {
  if (g === undefined) return node.inputs.map(() => undefined);
  const [x, scale] = node.inputs as readonly [Value, Value, Value];
  const sum = (value: Value) => reduceSum(value, placesOf(x), { keepDims: true });
  const count = countOf(x, placesOf(x));
  const inverse = inverseDeviation(variance(x, placesOf(x), { keepDims: true }), epsilonOf(node));
  const normalized = plainNorm(x, epsilonOf(node)); // where the node has no scale and bias itself, that is the node
  const total = sum(g);
  const along = sum(mul(g, normalized));
  const rest = sub(centre(g, div(total, count)), mul(normalized, div(along, count)));
  const toX = mul(mul(inverse, perChannel(scale, x)), rest);
  return [toX, reduceSum(along, allButChannels(x)), reduceSum(total, allButChannels(x))];
};

const instanceNormOperation = channelNorm(
  "instanceNorm",
  "InstanceNormalization",
  3,
  (places, [scale, bias], epsilon) => {
    const mean = places.reduce((sum, x) => sum + x, 0) / places.length;
    const squares = places.reduce((sum, x) => sum + (x - mean) ** 2, 0) / places.length;
    return places.map((x) => ((x - mean) / Math.sqrt(squares + epsilon)) * (scale as number) + (bias as number));
  },
  instanceNormGradient,
);

/** `instanceNorm` without scale and bias. */
function plainNorm(x: Value, epsilon: number): Value {
  return instanceNorm(x, { scale: filled(x, 1), bias: filled(x, 0) }, epsilon);
}

/** One number for every channel of `x`. */
const filled = (x: Value, value: number) => expand(constantLike(x, value), [x.shape[1] as Dim]);

export const channelNormOperations = [batchNormOperation, instanceNormOperation];

/** Scale and bias of each channel: [channels]. */
interface Affine {
  readonly scale: Value;
  readonly bias: Value;
}

/**
 * (x - mean) / sqrt(variance + epsilon) * scale + bias by channel (Ioffe & Szegedy 2015) with statistics that are given:
 * batch normalisation as it runs after training. Everything but `x` is [channels]; `epsilon` is 1e-5 unless given.
 */
export function batchNorm(
  x: Value,
  { scale, bias, mean, variance: squares }: Affine & { readonly mean: Value; readonly variance: Value },
  epsilon = 1e-5,
): Value {
  return applyOne(batchNormOperation, [x, scale, bias, mean, squares], { epsilon });
}

/**
 * `batchNorm` by the statistics of the batch itself, as in training. They are returned, [channels] each, for the running
 * averages that the caller keeps; the variance is divided by the number of elements, as in ONNX (PyTorch's running one by
 * one less). Gradients go through the statistics too.
 */
export function batchNormTraining(
  x: Value,
  { scale, bias }: Affine,
  epsilon = 1e-5,
): { readonly output: Value; readonly mean: Value; readonly variance: Value } {
  const axes = allButChannels(x);
  const mean = reduceMean(x, axes, { keepDims: true });
  const squares = reduceSumSquare(centre(x, mean), axes);
  const statistics = { mean: reshape(mean, squares.shape), variance: div(squares, countOf(x, axes)) };
  return { output: batchNorm(x, { scale, bias, ...statistics }, epsilon), ...statistics };
}

/**
 * Every channel of every entry brought to mean 0 and variance 1 over its places, then scaled and shifted (Ulyanov et al.
 * 2016). Scale and bias are [channels]; `epsilon` is 1e-5 unless given.
 */
export function instanceNorm(x: Value, { scale, bias }: Affine, epsilon = 1e-5): Value {
  return applyOne(instanceNormOperation, [x, scale, bias], { epsilon });
}

/**
 * As `instanceNorm`, with the statistics of `groups` neighbouring channels together (Wu & He 2018), which must divide the
 * channels. Scale and bias are [channels].
 */
export function groupNorm(x: Value, groups: number, { scale, bias }: Affine, epsilon = 1e-5): Value {
  const [batch = 1, channels = 1, ...places] = x.shape;
  const size = Number.isInteger(groups) && groups > 0 ? divideDims(channels, groups) : undefined;
  if (size === undefined) throw usageError(`groupNorm: ${groups} groups do not divide ${channels} channels`);
  const grouped = reshape(x, [batch, groups, multiplyDims(size, ...places)]);
  const normalized = reshape(plainNorm(grouped, epsilon), x.shape);
  // Scaled and shifted in one step: a batch normalisation by mean 0 and variance 1.
  return batchNorm(normalized, { scale, bias, mean: filled(x, 0), variance: filled(x, 1) }, 0);
}

interface LocalResponse {
  /** How many neighbouring channels: as many before as after, and one more after where that is even. */
  readonly size: number;
  readonly alpha?: number;
  readonly beta?: number;
  readonly bias?: number;
}

/**
 * x / (bias + alpha / size * sum of x^2 over neighbouring channels)^beta (Krizhevsky et al. 2012); alpha 1e-4, beta 0.75,
 * bias 1 unless given. ONNX's LRN, whose kernel in the runtime takes odd sizes alone.
 */
export function localResponseNorm(x: Value, { size, alpha = 1e-4, beta = 0.75, bias = 1 }: LocalResponse): Value {
  if (!Number.isInteger(size) || size < 1)
    throw usageError(`localResponseNorm: size must be a whole number of at least 1, not ${size}`);
  const before = Math.floor((size - 1) / 2);
  const padded = pad(mul(x, x), 1, before, size - 1 - before);
  const shifts = Array.from({ length: size }, (_, i) => slice(padded, 1, i, addDims(i, x.shape[1] as Dim)));
  const squares = shifts.reduce((sum, shifted) => add(sum, shifted));
  return mul(x, pow(add(mul(squares, alpha / size), bias), -beta));
}
