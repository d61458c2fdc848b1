/**
 * Initialisers: how parameters start. Each is a function of a random stream and a shape, so a seed gives the same numbers
 * everywhere; those that keep the variance of a signal through a layer know how many inputs and outputs meet in one unit.
 */
import { usageError } from "../errors.js";
import { elementCount, type Random, type Tensor, tensor } from "../runtime/index.js";

/** How many numbers one output is made of, and how many outputs one input goes to. */
export interface Fans {
  readonly inputs: number;
  readonly outputs: number;
}

/** Fresh numbers of a shape. `fans` are those of `fansOf(shape)` unless given. */
export type Initialiser = (random: Random, shape: readonly number[], fans?: Fans) => Tensor<"float32">;

/**
 * The fans of a matrix [inputs, outputs], of a kernel [outputs, inputs / groups, ...taps], or of a vector (its length for
 * both).
 */
export function fansOf(shape: readonly number[]): Fans {
  const [first = 1, second = first, ...taps] = shape;
  if (taps.length === 0) return { inputs: first, outputs: second };
  return { inputs: second * elementCount(taps), outputs: first * elementCount(taps) };
}

const drawn = (shape: readonly number[], draw: () => number): Tensor<"float32"> =>
  tensor("float32", shape, Float32Array.from({ length: elementCount(shape) }, draw));

/** Standard normal numbers within two deviations, by rejection. */
function truncated(random: Random): number {
  for (;;) {
    const x = random.normal();
    if (Math.abs(x) <= 2) return x;
  }
}

/** The standard deviation of a standard normal number that lies within two deviations: sqrt(1 - 4 phi(2) / P(|x| < 2)). */
const truncatedDeviation = 0.8796256610342398;

/** Distributions of variance 1. */
const unit = {
  normal: (random: Random) => random.normal(),
  truncatedNormal: (random: Random) => truncated(random) / truncatedDeviation,
  uniform: (random: Random) => (2 * random.uniform() - 1) * Math.sqrt(3),
};

interface VarianceScaling {
  /** The variance times the fan: 1 keeps that of a linear layer, 2 that of rectified units. 1 unless given. */
  readonly scale?: number;
  /** Which fan. The inputs' unless given. */
  readonly fan?: "inputs" | "outputs" | "average";
  /** Normal unless given. */
  readonly distribution?: keyof typeof unit;
}

/** Mean 0 and variance scale / fan. */
function varianceScaling({ scale = 1, fan = "inputs", distribution = "normal" }: VarianceScaling = {}): Initialiser {
  return (random, shape, fans = fansOf(shape)) => {
    const count = fan === "average" ? (fans.inputs + fans.outputs) / 2 : fans[fan];
    const deviation = Math.sqrt(scale / count);
    return drawn(shape, () => deviation * unit[distribution](random));
  };
}

/**
 * A random matrix whose rows or columns (whichever are fewer) are orthogonal and of length `gain`, uniformly distributed
 * (Saxe et al. 2014). Of a kernel, the first axis against all others.
 */
function orthogonal(gain = 1): Initialiser {
  return (random, shape) => {
    if (shape.length < 2)
      throw usageError(`an orthogonal matrix has at least two axes, and the shape is [${shape.join(", ")}]`);
    const rows = shape[0] as number;
    const columns = elementCount(shape.slice(1));
    const wide = rows <= columns;
    const [count, length] = wide ? [rows, columns] : [columns, rows];
    const vectors = orthonormal(random, count, length);
    const at = (i: number, j: number) => ((wide ? vectors[i]?.[j] : vectors[j]?.[i]) as number) * gain;
    const data = Float32Array.from({ length: rows * columns }, (_, k) => at(Math.floor(k / columns), k % columns));
    return tensor("float32", shape, data);
  };
}

/** Gram-Schmidt on normal vectors, twice over, which is as exact as a QR factorisation (Giraud et al. 2005). */
function orthonormal(random: Random, count: number, length: number): Float64Array[] {
  const found: Float64Array[] = [];
  for (let i = 0; i < count; i++) {
    const vector = Float64Array.from({ length }, () => random.normal());
    for (const other of [...found, ...found]) {
      const along = dot(vector, other);
      for (let k = 0; k < length; k++) vector[k] = (vector[k] as number) - along * (other[k] as number);
    }
    const norm = Math.sqrt(dot(vector, vector));
    found.push(vector.map((x) => x / norm));
  }
  return found;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number);
  return sum;
}

const filled =
  (value: number): Initialiser =>
  (_, shape) =>
    drawn(shape, () => value);

/** Every initialiser by name. */
export const initialisers = {
  zeros: () => filled(0),
  ones: () => filled(1),
  /** One number everywhere. */
  constant: filled,
  /** Uniform between two numbers. */
  uniform:
    (low: number, high: number): Initialiser =>
    (random, shape) =>
      drawn(shape, () => low + (high - low) * random.uniform()),
  /** Normal, of a mean (0 unless given). */
  normal:
    (deviation: number, mean = 0): Initialiser =>
    (random, shape) =>
      drawn(shape, () => mean + deviation * random.normal()),
  /** Mean 0, a normal number of this deviation where it lies within two of them: 0.88 times the deviation is left. */
  truncatedNormal:
    (deviation: number): Initialiser =>
    (random, shape) =>
      drawn(shape, () => deviation * truncated(random)),
  varianceScaling,
  /** Variance 2 / (inputs + outputs) (Glorot & Bengio 2010; Xavier). */
  glorotNormal: () => varianceScaling({ fan: "average" }),
  glorotUniform: () => varianceScaling({ fan: "average", distribution: "uniform" }),
  /** Variance 2 / inputs, for rectified units (He et al. 2015; Kaiming). */
  heNormal: () => varianceScaling({ scale: 2 }),
  heUniform: () => varianceScaling({ scale: 2, distribution: "uniform" }),
  /** Variance 1 / inputs (LeCun et al. 1998). */
  lecunNormal: () => varianceScaling(),
  lecunUniform: () => varianceScaling({ distribution: "uniform" }),
  orthogonal,
};
