/**
 * The discrete Fourier transform, X[k] = sum over n of x[n] exp(-2 pi i k n / N), in float64: radix 2 (Cooley and Tukey
 * 1965) for powers of two, Bluestein's convolution (1970) for every other length.
 */
import { usageError } from "../../errors.js";

/** Transforms N complex numbers in place. */
export type Fft = (real: Float64Array, imaginary: Float64Array) => void;

/** The transform of a length, with its tables made once. */
export function fft(length: number): Fft {
  if (!Number.isInteger(length) || length < 1)
    throw usageError(`a Fourier transform has a whole length of at least 1, not ${length}`);
  return Number.isInteger(Math.log2(length)) ? radix2(length) : bluestein(length);
}

function radix2(length: number): Fft {
  const bits = Math.log2(length);
  const cos = Float64Array.from({ length: length / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / length));
  const sin = Float64Array.from({ length: length / 2 }, (_, k) => Math.sin((2 * Math.PI * k) / length));
  const reversed = new Uint32Array(length);
  for (let i = 1; i < length; i++) reversed[i] = ((reversed[i >> 1] as number) >> 1) | ((i & 1) << (bits - 1));
  return (real, imaginary) => {
    for (let i = 0; i < length; i++) {
      const j = reversed[i] as number;
      if (j <= i) continue;
      [real[i], real[j]] = [real[j] as number, real[i] as number];
      [imaginary[i], imaginary[j]] = [imaginary[j] as number, imaginary[i] as number];
    }
    for (let half = 1; half < length; half *= 2) {
      const stride = length / (2 * half);
      for (let start = 0; start < length; start += 2 * half)
        for (let k = 0; k < half; k++) {
          const [a, b] = [start + k, start + k + half];
          const [c, s] = [cos[k * stride] as number, sin[k * stride] as number];
          const [x, y] = [real[b] as number, imaginary[b] as number];
          const turnedReal = x * c + y * s;
          const turnedImaginary = y * c - x * s;
          real[b] = (real[a] as number) - turnedReal;
          imaginary[b] = (imaginary[a] as number) - turnedImaginary;
          real[a] = (real[a] as number) + turnedReal;
          imaginary[a] = (imaginary[a] as number) + turnedImaginary;
        }
    }
  };
}

/** k n = (k^2 + n^2 - (k - n)^2) / 2 makes the transform a convolution with a chirp. */
function bluestein(length: number): Fft {
  const size = 2 ** Math.ceil(Math.log2(2 * length - 1));
  const transform = radix2(size);
  // n^2 is taken modulo 2N, where the chirp repeats, so that its angle stays exact.
  const angles = Array.from({ length }, (_, n) => (Math.PI * ((n * n) % (2 * length))) / length);
  const [cos, sin] = [Float64Array.from(angles, Math.cos), Float64Array.from(angles, Math.sin)];
  const [chirpReal, chirpImaginary] = [new Float64Array(size), new Float64Array(size)];
  for (let n = 0; n < length; n++)
    for (const at of [n, (size - n) % size]) {
      chirpReal[at] = cos[n] as number;
      chirpImaginary[at] = sin[n] as number;
    }
  transform(chirpReal, chirpImaginary);
  return (real, imaginary) => {
    const [a, b] = [new Float64Array(size), new Float64Array(size)];
    for (let n = 0; n < length; n++) {
      const [x, y, c, s] = [real[n], imaginary[n], cos[n], sin[n]] as [number, number, number, number];
      a[n] = x * c + y * s;
      b[n] = y * c - x * s;
    }
    transform(a, b);
    for (let k = 0; k < size; k++) {
      const [x, y, c, s] = [a[k], b[k], chirpReal[k], chirpImaginary[k]] as [number, number, number, number];
      a[k] = x * c - y * s;
      b[k] = -(x * s + y * c); // conjugated: the inverse transform is the transform of the conjugate
    }
    transform(a, b);
    for (let k = 0; k < length; k++) {
      const [x, y, c, s] = [a[k], -(b[k] as number), cos[k], sin[k]] as [number, number, number, number];
      real[k] = (x * c + y * s) / size;
      imaginary[k] = (y * c - x * s) / size;
    }
  };
}
