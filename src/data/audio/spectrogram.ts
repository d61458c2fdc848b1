/** Short-time Fourier transforms and power spectrograms, in float64 until the result. Time comes before frequency. */
import { type Tensor, tensor } from "../../runtime/index.js";
import { fft } from "./fft.js";
import { channelsOf, type FrameOptions, framesOf, type Window, windowOf } from "./frames.js";

export interface SpectrogramOptions extends FrameOptions {
  /** "hann" unless given. */
  readonly window?: Window;
}

/** Complex numbers, both parts [..., frames, bins]. */
export interface ComplexTensor {
  readonly real: Tensor<"float32">;
  readonly imaginary: Tensor<"float32">;
}

/**
 * The spectrum of each frame of signals float32 [..., samples]: [..., frames, size / 2 + 1], bin k at k / size of the
 * rate. Nothing is scaled.
 */
export function stft(signals: Tensor<"float32">, options: SpectrogramOptions): ComplexTensor {
  const parts = spectra(signals, options, 2, (real, imaginary, into) => {
    into[0] = real;
    into[1] = imaginary;
  });
  return { real: parts[0] as Tensor<"float32">, imaginary: parts[1] as Tensor<"float32"> };
}

/** The squared magnitude of `stft`: [..., frames, size / 2 + 1]. */
export function powerSpectrogram(signals: Tensor<"float32">, options: SpectrogramOptions): Tensor<"float32"> {
  const [power] = spectra(signals, options, 1, (real, imaginary, into) => {
    into[0] = real * real + imaginary * imaginary;
  });
  return power as Tensor<"float32">;
}

/** `count` numbers made of each complex one, as so many tensors. */
function spectra(
  signals: Tensor<"float32">,
  options: SpectrogramOptions,
  count: number,
  made: (real: number, imaginary: number, into: Float64Array) => void,
): Tensor<"float32">[] {
  const { size, window = "hann" } = options;
  const { leading, channels } = channelsOf(signals);
  const cut = channels.map((channel) => framesOf(channel, options));
  const frames = cut[0]?.count ?? 0;
  const bins = (size >> 1) + 1;
  const transform = fft(size);
  const weights = windowOf(window, size);
  const [real, imaginary, numbers] = [new Float64Array(size), new Float64Array(size), new Float64Array(count)];
  const results = Array.from({ length: count }, () => new Float32Array(channels.length * frames * bins));
  for (const [channel, { write }] of cut.entries())
    for (let frame = 0; frame < frames; frame++) {
      write(frame, real);
      for (let i = 0; i < size; i++) real[i] = (real[i] as number) * (weights[i] as number);
      imaginary.fill(0);
      transform(real, imaginary);
      for (let bin = 0; bin < bins; bin++) {
        made(real[bin] as number, imaginary[bin] as number, numbers);
        for (const [i, result] of results.entries())
          result[(channel * frames + frame) * bins + bin] = numbers[i] as number;
      }
    }
  return results.map((result) => tensor("float32", [...leading, frames, bins], result));
}
