/** Drawn textures of four kinds, which differ in structure and not in their mean or range. */
import { type Random, random, tensor } from "../../runtime/index.js";
import { type LabelledImages, labelTensor, requireWhole } from "./labelled.js";
import { smooth } from "./smooth.js";

/** The kinds, in the order of their labels. */
export const textureKinds = ["noise", "stripes", "checkers", "blobs"] as const;

type Painter = (draw: Random, size: number) => Float64Array;

const painters: Readonly<Record<(typeof textureKinds)[number], Painter>> = { noise, stripes, checkers, blobs };

/**
 * Textures x float32 [count, 1, size, size], each stretched from 0 to 1, and black and white exchanged in every second
 * one by chance. The label is the kind; a row depends on the seed and its number alone.
 */
export function textures(options: { count: number; size?: number; seed?: number }): LabelledImages {
  const { count, size = 32, seed = 0 } = options;
  requireWhole("textures", { count });
  requireWhole("textures", { size }, 8);
  const x = new Float32Array(count * size * size);
  const label = Array.from({ length: count }, (_, row) => {
    const draw = random(seed, row);
    const kind = draw.integer(textureKinds.length);
    const painted = painters[textureKinds[kind] as (typeof textureKinds)[number]](draw, size);
    x.set(stretched(painted, draw.uniform() < 0.5), row * size * size);
    return kind;
  });
  return { x: tensor("float32", [count, 1, size, size], x), label: labelTensor(label) };
}

function stretched(values: Float64Array, inverted: boolean): Float64Array {
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  return values.map((value) => (inverted ? high - value : value - low) / (high - low));
}

/** White noise, smoothed. */
function noise(draw: Random, size: number): Float64Array {
  const white = Float64Array.from({ length: size * size }, () => draw.normal());
  return smooth(white, [size, size], 0.5 + draw.uniform());
}

/** Waves with steep flanks, 3 to 8 to a picture, in any direction. */
function stripes(draw: Random, size: number): Float64Array {
  const wave = turnedWaves(draw, size);
  return wave((along) => Math.tanh(4 * Math.sin(along)));
}

/** Two such waves crossed. */
function checkers(draw: Random, size: number): Float64Array {
  const wave = turnedWaves(draw, size);
  return wave((along, across) => Math.tanh(4 * Math.sin(along)) * Math.tanh(4 * Math.sin(across)));
}

/** Smoothed noise with steep flanks: islands. */
function blobs(draw: Random, size: number): Float64Array {
  const white = Float64Array.from({ length: size * size }, () => draw.normal());
  const soft = smooth(white, [size, size], size * (0.06 + 0.04 * draw.uniform()));
  const deviation = Math.sqrt(soft.reduce((sum, value) => sum + value * value, 0) / soft.length);
  return soft.map((value) => Math.tanh((4 * value) / deviation));
}

function turnedWaves(draw: Random, size: number) {
  const angle = Math.PI * draw.uniform();
  const scale = (2 * Math.PI * (3 + 5 * draw.uniform())) / size;
  const [phaseA, phaseB] = [2 * Math.PI * draw.uniform(), 2 * Math.PI * draw.uniform()];
  const [cos, sin] = [scale * Math.cos(angle), scale * Math.sin(angle)];
  return (value: (along: number, across: number) => number) =>
    Float64Array.from({ length: size * size }, (_, i) => {
      const [u, v] = [i % size, Math.floor(i / size)];
      return value(u * cos + v * sin + phaseA, v * cos - u * sin + phaseB);
    });
}
