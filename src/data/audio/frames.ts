/** Windows, and signals cut into overlapping frames. */
import { usageError } from "../../errors.js";
import { formatShape } from "../../graph/index.js";
import type { Tensor } from "../../runtime/index.js";

/** Weights of a cosine series: w[n] = sum over j of (-1)^j a_j cos(2 pi j n / N). */
const series = {
  rectangular: [1],
  hann: [0.5, 0.5],
  hamming: [0.54, 0.46],
  blackman: [0.42, 0.5, 0.08],
} as const;

export type Window = keyof typeof series;

/** A window of `length` numbers, periodic (as spectra want it): w[0] would be w[length]. */
export function windowOf(name: Window, length: number): Float64Array {
  return Float64Array.from({ length }, (_, n) =>
    series[name].reduce((sum, a, j) => sum + (j % 2 === 0 ? a : -a) * Math.cos((2 * Math.PI * j * n) / length), 0),
  );
}

export interface FrameOptions {
  /** Samples to a frame. */
  readonly size: number;
  /** Samples from one frame's beginning to the next; a quarter of `size`, rounded down, unless given. */
  readonly hop?: number;
  /** Frames centred at 0, hop, 2 hop, ..., the signal mirrored about its ends; otherwise only whole frames. True unless given. */
  readonly centre?: boolean;
}

/** The frames of a signal: how many, and a function that writes one of them. */
export interface Frames {
  readonly count: number;
  readonly write: (frame: number, into: Float64Array) => void;
}

/** Cuts one channel into frames. Throws a usage error where it is too short, or the options make no sense. */
export function framesOf(signal: Float32Array, options: FrameOptions): Frames {
  const { size, centre = true } = options;
  const hop = options.hop ?? Math.max(1, size >> 2);
  if (!Number.isInteger(size) || !Number.isInteger(hop) || size < 1 || hop < 1)
    throw usageError(`frames need a size and a hop of at least 1 sample, not ${size} and ${hop}`);
  const half = centre ? size >> 1 : 0;
  if (centre ? signal.length <= half : signal.length < size)
    throw usageError(
      `${signal.length} samples are too few for frames of ${size}${centre ? ", mirrored at the ends" : ""}`,
    );
  const count = 1 + Math.floor((signal.length + 2 * half - size) / hop);
  const last = signal.length - 1;
  const write = (frame: number, into: Float64Array) => {
    for (let i = 0; i < size; i++) {
      const at = Math.abs(frame * hop - half + i);
      into[i] = signal[at > last ? 2 * last - at : at] as number;
    }
  };
  return { count, write };
}

/** The channels of signals [..., samples], and the leading sizes. Throws a usage error for a scalar. */
export function channelsOf(signals: Tensor<"float32">): { leading: readonly number[]; channels: Float32Array[] } {
  const samples = signals.shape.at(-1);
  if (samples === undefined || signals.data.length === 0)
    throw usageError(`signals are [..., samples] and not empty, not ${formatShape(signals.shape)}`);
  const channels = Array.from({ length: signals.data.length / samples }, (_, i) =>
    signals.data.subarray(i * samples, (i + 1) * samples),
  );
  return { leading: signals.shape.slice(0, -1), channels };
}
