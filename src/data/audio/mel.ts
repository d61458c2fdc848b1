/**
 * The mel scale: filter banks, log-mel spectrograms and mel-frequency cepstral coefficients (Davis and Mermelstein 1980),
 * with the two scales in use, of HTK (O'Shaughnessy 1987) and of Slaney's Auditory Toolbox (1998).
 */
import { usageError } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { powerSpectrogram, type SpectrogramOptions } from "./spectrogram.js";

interface Scale {
  readonly toMel: (hertz: number) => number;
  readonly toHertz: (mel: number) => number;
}

/** Slaney's scale is linear up to 1,000 Hz, which are 15 mel, and a logarithm above: 27 mel for a factor of 6.4. */
const knee = { hertz: 1000, mel: 15, step: Math.log(6.4) / 27 };

const scales: Readonly<Record<"htk" | "slaney", Scale>> = {
  htk: {
    toMel: (hertz) => 2595 * Math.log10(1 + hertz / 700),
    toHertz: (mel) => 700 * (10 ** (mel / 2595) - 1),
  },
  slaney: {
    toMel: (hertz) =>
      hertz < knee.hertz ? (hertz * knee.mel) / knee.hertz : knee.mel + Math.log(hertz / knee.hertz) / knee.step,
    toHertz: (mel) =>
      mel < knee.mel ? (mel * knee.hertz) / knee.mel : knee.hertz * Math.exp((mel - knee.mel) * knee.step),
  },
};

export interface MelOptions {
  /** Samples a second. */
  readonly rate: number;
  /** Filters; 80 unless given. */
  readonly mels?: number;
  /** The lower end of the lowest filter, in Hz; 0 unless given. */
  readonly low?: number;
  /** The upper end of the highest filter, in Hz; half the rate unless given. */
  readonly high?: number;
  /** "slaney" unless given. */
  readonly scale?: "htk" | "slaney";
  /** Triangles of equal area (2 / width in Hz) or of height 1; "area" unless given. */
  readonly normalise?: "area" | "height";
}

/**
 * Triangular filters, evenly spaced in mel: float32 [size / 2 + 1, mels], to be multiplied from the right to a power
 * spectrogram of frames of `size` samples.
 */
export function melFilters(size: number, options: MelOptions): Tensor<"float32"> {
  const { rate, mels = 80, low = 0, high = rate / 2, scale = "slaney", normalise = "area" } = options;
  if (!(low >= 0 && low < high && high <= rate / 2) || !Number.isInteger(mels) || mels < 1)
    throw usageError(
      `mel filters need 0 <= low < high <= ${rate / 2} Hz and at least 1 filter, not ${low}, ${high} and ${mels}`,
    );
  const { toMel, toHertz } = scales[scale];
  const [from, to] = [toMel(low), toMel(high)];
  const edges = Array.from({ length: mels + 2 }, (_, i) => toHertz(from + ((to - from) * i) / (mels + 1)));
  const bins = (size >> 1) + 1;
  const data = new Float32Array(bins * mels);
  for (let bin = 0; bin < bins; bin++) {
    const hertz = (bin * rate) / size;
    for (let mel = 0; mel < mels; mel++) {
      const [left, middle, right] = edges.slice(mel, mel + 3) as [number, number, number];
      const height = Math.min((hertz - left) / (middle - left), (right - hertz) / (right - middle));
      data[bin * mels + mel] = Math.max(0, height) * (normalise === "area" ? 2 / (right - left) : 1);
    }
  }
  return tensor("float32", [bins, mels], data);
}

export interface LogMelOptions extends SpectrogramOptions, MelOptions {
  /** Energies below it count as it; 1e-10 unless given. */
  readonly floor?: number;
}

/** The natural logarithm of the energies in mel filters, of signals float32 [..., samples]: [..., frames, mels]. */
export function logMel(signals: Tensor<"float32">, options: LogMelOptions): Tensor<"float32"> {
  const power = powerSpectrogram(signals, options);
  const energies = times(power, melFilters(options.size, options));
  const { floor = 1e-10 } = options;
  return { ...energies, data: energies.data.map((energy) => Math.log(Math.max(energy, floor))) };
}

/**
 * Cepstral coefficients: the first `coefficients` of the orthonormal cosine transform (type II) of `logMel`, [..., frames,
 * coefficients]. 13 unless given.
 */
export function mfcc(
  signals: Tensor<"float32">,
  { coefficients = 13, ...options }: LogMelOptions & { readonly coefficients?: number },
): Tensor<"float32"> {
  const mel = logMel(signals, options);
  const mels = mel.shape.at(-1) as number;
  if (!Number.isInteger(coefficients) || coefficients < 1 || coefficients > mels)
    throw usageError(`mfcc gives 1 to ${mels} coefficients of ${mels} filters, not ${coefficients}`);
  const cosines = Float32Array.from({ length: mels * coefficients }, (_, i) => {
    const [n, k] = [Math.floor(i / coefficients), i % coefficients];
    return Math.sqrt((k === 0 ? 1 : 2) / mels) * Math.cos((Math.PI * k * (2 * n + 1)) / (2 * mels));
  });
  return times(mel, tensor("float32", [mels, coefficients], cosines));
}

/** Rows [..., inner] times a matrix [inner, outer], summed in float64. The matrix is mostly zeros, which are skipped. */
function times(rows: Tensor<"float32">, matrix: Tensor<"float32">): Tensor<"float32"> {
  const [inner, outer] = matrix.shape as readonly [number, number];
  const count = rows.data.length / inner;
  const data = new Float32Array(count * outer);
  const present = [...matrix.data.keys()].filter((i) => matrix.data[i] !== 0);
  const sums = new Float64Array(outer);
  for (let row = 0; row < count; row++) {
    sums.fill(0);
    for (const i of present) {
      const factor = rows.data[row * inner + Math.floor(i / outer)] as number;
      sums[i % outer] = (sums[i % outer] as number) + factor * (matrix.data[i] as number);
    }
    data.set(sums, row * outer);
  }
  return tensor("float32", [...rows.shape.slice(0, -1), outer], data);
}
