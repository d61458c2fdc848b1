/**
 * Sounds like speech with known causes: vowels as a buzz of harmonics, each as strong as three resonances of the mouth
 * let it be (formants: means of male speakers, Peterson and Barney 1952), and chirps.
 */
import { usageError } from "../../errors.js";
import { random, type Tensor, tensor } from "../../runtime/index.js";

/** The vowels, in the order of their labels, with their formants in Hz. */
export const vowelFormants = {
  i: [270, 2290, 3010],
  a: [730, 1090, 2440],
  u: [300, 870, 2240],
  ae: [660, 1720, 2410],
  er: [490, 1350, 1690],
} as const;

/** A type, not an interface, so that it is a batch of named tensors too. */
export type Vowels = {
  /** float32 [rows, 1, samples], from -1 to 1. */
  readonly x: Tensor<"float32">;
  /** int64 [rows]: the place in `vowelFormants`. */
  readonly label: Tensor<"int64">;
  /** float32 [rows]: the voice's pitch in Hz at the start. */
  readonly pitch: Tensor<"float32">;
};

export interface VowelOptions {
  readonly count: number;
  /** Samples a second; 8,000 unless given. */
  readonly rate?: number;
  /** The length of each; 0.25 unless given. */
  readonly seconds?: number;
  /** The standard deviation of normal noise; 0.01 unless given. */
  readonly noise?: number;
  readonly seed?: number;
}

const bandwidth = 90; // of a formant, in Hz

/** Vowels at a random pitch of 90 to 250 Hz that falls by a tenth, formants a few percent off, the loudest sample at 0.7. */
export function vowels({ count, rate = 8000, seconds = 0.25, noise = 0.01, seed = 0 }: VowelOptions): Vowels {
  const samples = Math.round(rate * seconds);
  if (!Number.isInteger(count) || count < 1 || !(samples >= 1) || !(noise >= 0))
    throw usageError(`vowels need at least 1 row and 1 sample and noise of at least 0: ${count}, ${samples}, ${noise}`);
  const x = new Float32Array(count * samples);
  const [label, pitch] = [new BigInt64Array(count), new Float32Array(count)];
  const kinds = Object.values(vowelFormants);
  for (let row = 0; row < count; row++) {
    const draw = random(seed, row);
    const kind = draw.integer(kinds.length);
    const start = 90 * (250 / 90) ** draw.uniform();
    const formants = (kinds[kind] as readonly number[]).map((hertz) => hertz * (1 + 0.03 * draw.normal()));
    const voice = voiced(formants, { start, rate, samples });
    const loudest = voice.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    for (const [i, sample] of voice.entries())
      x[row * samples + i] = Math.min(Math.max((0.7 * sample) / loudest + noise * draw.normal(), -1), 1);
    label[row] = BigInt(kind);
    pitch[row] = start;
  }
  return {
    x: tensor("float32", [count, 1, samples], x),
    label: tensor("int64", [count], label),
    pitch: tensor("float32", [count], pitch),
  };
}

function voiced(
  formants: readonly number[],
  { start, rate, samples }: { start: number; rate: number; samples: number },
): Float64Array {
  const sound = new Float64Array(samples);
  const harmonics = Math.floor(rate / 2 / start);
  for (let h = 1; h <= harmonics; h++) {
    const hertz = h * start;
    // A source that falls with the frequency, through resonances that lie beside each other.
    const strength = formants.reduce((sum, formant) => sum + 1 / (1 + ((hertz - formant) / bandwidth) ** 2), 0.01) / h;
    for (let i = 0; i < samples; i++) {
      const turns = (h * start * i * (1 - (0.05 * i) / samples)) / rate; // the pitch's integral: it falls to 0.9
      sound[i] = (sound[i] as number) + strength * Math.sin(2 * Math.PI * turns);
    }
  }
  return sound;
}

/** A tone whose frequency runs evenly from `from` to `to` Hz: float32 [1, samples], amplitude 1, phase 0 at the start. */
export function chirp(options: { from: number; to: number; rate: number; seconds: number }): Tensor<"float32"> {
  const { from, to, rate, seconds } = options;
  const samples = Math.round(rate * seconds);
  if (!(samples >= 1) || !(from >= 0 && from <= rate / 2 && to >= 0 && to <= rate / 2))
    throw usageError(`a chirp has at least 1 sample and lies from 0 to ${rate / 2} Hz: ${samples}, ${from} to ${to}`);
  const data = Float32Array.from({ length: samples }, (_, i) => {
    const time = i / rate;
    return Math.sin(2 * Math.PI * (from * time + ((to - from) * time * time) / (2 * seconds)));
  });
  return tensor("float32", [1, samples], data);
}
