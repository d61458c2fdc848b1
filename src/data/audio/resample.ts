/**
 * Another sampling rate by a factor up / down: zeros between the samples, one low-pass filter (a sinc under Kaiser's window,
 * centred, so that nothing is delayed), every `down`-th number kept. Only products that count are made (polyphase).
 */
import { usageError } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { channelsOf } from "./frames.js";

export interface ResampleOptions {
  /** Samples a second, now. */
  readonly from: number;
  /** Samples a second, wanted. */
  readonly to: number;
  /** Zero crossings of the sinc on each side; 10 unless given. More make the edge between pass and stop steeper. */
  readonly crossings?: number;
  /** The shape of Kaiser's window; 5 (some 60 dB) unless given. More damp better, and cut less steeply. */
  readonly beta?: number;
}

/** The longest factor and filter that are made. */
const mostTaps = 10_000_000;

/** Signals float32 [..., samples] at another rate: [..., ceil(samples to / from)]. Outside, the signal is taken as 0. */
export function resampleAudio(signals: Tensor<"float32">, options: ResampleOptions): Tensor<"float32"> {
  const { from, to, crossings = 10, beta = 5 } = options;
  for (const [name, number] of Object.entries({ from, to, crossings }))
    if (!Number.isInteger(number) || number < 1)
      throw usageError(`resampleAudio: ${name} must be a whole number of at least 1, not ${number}`);
  const common = greatestDivisor(from, to);
  const [up, down] = [to / common, from / common];
  if (2 * crossings * Math.max(up, down) > mostTaps)
    throw usageError(`resampleAudio: from ${from} to ${to} needs a filter of more than ${mostTaps} numbers`);
  const { leading, channels } = channelsOf(signals);
  if (up === down) return signals;
  const filter = lowPass(up, down, crossings, beta);
  const samples = signals.shape.at(-1) as number;
  const length = Math.ceil((samples * up) / down);
  const data = new Float32Array(channels.length * length);
  for (const [i, channel] of channels.entries())
    for (let n = 0; n < length; n++) data[i * length + n] = at(channel, n * down, up, filter);
  return tensor("float32", [...leading, length], data);
}

/** The filtered signal at one place of the denser grid. */
function at(channel: Float32Array, place: number, up: number, filter: Float64Array): number {
  const half = (filter.length - 1) / 2;
  const first = Math.max(0, Math.ceil((place - half) / up));
  const last = Math.min(channel.length - 1, Math.floor((place + half) / up));
  let sum = 0;
  for (let i = first; i <= last; i++) sum += (channel[i] as number) * (filter[place - i * up + half] as number);
  return sum;
}

/** A windowed sinc that passes what both rates can hold, its sum `up`. */
function lowPass(up: number, down: number, crossings: number, beta: number): Float64Array {
  const slowest = Math.max(up, down);
  const half = crossings * slowest;
  const filter = Float64Array.from({ length: 2 * half + 1 }, (_, i) => {
    const x = (i - half) / slowest;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return sinc * bessel(beta * Math.sqrt(1 - ((i - half) / half) ** 2));
  });
  const total = filter.reduce((a, b) => a + b, 0);
  return filter.map((weight) => (weight * up) / total);
}

/** The modified Bessel function of order 0, by its power series. */
function bessel(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));
