/** Sine gratings and Gabor patches: the stimuli of visual physiology, with their parameters as labels. */
import { usageError } from "../../errors.js";
import { random, type Tensor, tensor } from "../../runtime/index.js";
import { type LabelledImages, labelTensor, requireWhole } from "./labelled.js";

export interface GratingOptions {
  readonly count: number;
  /** The edge of a picture, in pixels; 32 unless given. */
  readonly size?: number;
  /** Directions, even over half a turn: the classes; 8 unless given. */
  readonly orientations?: number;
  /** The lowest and the highest frequency, in cycles to a picture, even in their logarithm; [2, 8] unless given. */
  readonly frequency?: readonly [number, number];
  /** The lowest and the highest contrast, from 0 to 1; [0.2, 1] unless given. */
  readonly contrast?: readonly [number, number];
  /** The standard deviation of a Gabor's envelope, as a part of the picture's edge; a grating, without one, unless given. */
  readonly envelope?: number;
  readonly seed?: number;
}

export type GratingImages = LabelledImages & {
  /** float32 [rows]: the direction in which the wave runs, clockwise from rightwards, in radians from 0 to pi. */
  readonly orientation: Tensor<"float32">;
  /** float32 [rows]: cycles to a picture. */
  readonly frequency: Tensor<"float32">;
  /** float32 [rows]: the wave's phase at the picture's centre, in radians from 0 to 2 pi. */
  readonly phase: Tensor<"float32">;
  /** float32 [rows]: (lightest - darkest) / (lightest + darkest). */
  readonly contrast: Tensor<"float32">;
};

/**
 * Gratings x float32 [count, 1, size, size]: 1/2 + contrast/2 cos(2 pi frequency r + phase), r the place along the
 * direction; a Gabor's wave fades to 1/2 away from the centre. The label is the number of the direction.
 */
export function gratings(options: GratingOptions): GratingImages {
  const { count, size = 32, orientations = 8, frequency = [2, 8], contrast = [0.2, 1], envelope, seed = 0 } = options;
  requireWhole("gratings", { count, size, orientations });
  requireRange("frequency", frequency, [0, size / 2]);
  requireRange("contrast", contrast, [0, 1]);
  if (envelope !== undefined && !(envelope > 0)) throw usageError(`gratings: envelope is above 0, not ${envelope}`);
  const x = new Float32Array(count * size * size);
  const numbers = { orientation: [], frequency: [], phase: [], contrast: [] } as Record<string, number[]>;
  const label = Array.from({ length: count }, (_, row) => {
    const draw = random(seed, row);
    const direction = draw.integer(orientations);
    const wave: Wave = {
      orientation: (direction * Math.PI) / orientations,
      frequency: frequency[0] * (frequency[1] / frequency[0]) ** draw.uniform(),
      phase: 2 * Math.PI * draw.uniform(),
      contrast: contrast[0] + (contrast[1] - contrast[0]) * draw.uniform(),
    };
    drawWave(x.subarray(row * size * size, (row + 1) * size * size), size, wave, envelope);
    for (const [name, number] of Object.entries(wave)) numbers[name]?.push(number);
    return direction;
  });
  const column = (name: keyof Wave) => tensor("float32", [count], Float32Array.from(numbers[name] as number[]));
  return {
    x: tensor("float32", [count, 1, size, size], x),
    label: labelTensor(label),
    orientation: column("orientation"),
    frequency: column("frequency"),
    phase: column("phase"),
    contrast: column("contrast"),
  };
}

interface Wave {
  readonly orientation: number;
  readonly frequency: number;
  readonly phase: number;
  readonly contrast: number;
}

function drawWave(picture: Float32Array, size: number, wave: Wave, envelope: number | undefined): void {
  const [cos, sin] = [Math.cos(wave.orientation), Math.sin(wave.orientation)];
  for (let i = 0; i < picture.length; i++) {
    const u = ((i % size) + 0.5) / size - 0.5;
    const v = (Math.floor(i / size) + 0.5) / size - 0.5;
    const fade = envelope === undefined ? 1 : Math.exp(-(u * u + v * v) / (2 * envelope * envelope));
    const angle = 2 * Math.PI * wave.frequency * (u * cos + v * sin) + wave.phase;
    picture[i] = 0.5 + 0.5 * wave.contrast * fade * Math.cos(angle);
  }
}

function requireRange(name: string, [low, high]: readonly [number, number], [least, most]: [number, number]): void {
  if (!(low > least && low <= high && high <= most))
    throw usageError(`gratings: ${name} is two rising numbers above ${least}, at most ${most}, not ${low} and ${high}`);
}
