/** Transforms, spectrograms, mel features and resampling against NumPy, SciPy and transformers. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { tensor } from "../../runtime/index.js";
import {
  chirp,
  fft,
  type LogMelOptions,
  logMel,
  melFilters,
  mfcc,
  powerSpectrogram,
  resampleAudio,
  type SpectrogramOptions,
  stft,
  vowels,
  windowOf,
} from "./index.js";

interface Fixture {
  readonly signal: readonly number[];
  readonly fft: readonly (readonly (readonly number[])[])[];
  readonly stft: readonly { options: SpectrogramOptions; real: number[]; imaginary: number[] }[];
  readonly mel: readonly { options: LogMelOptions; filters: number[]; logMel: number[]; mfcc: number[] }[];
  readonly resample: readonly { from: number; to: number; expected: number[] }[];
}

const fixture = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/audio/audio.json", import.meta.url), "utf8"),
) as Fixture;
const signal = tensor("float32", [fixture.signal.length], Float32Array.from(fixture.signal));

/** The largest difference, as a part of the reference's root mean square; infinite where lengths differ. */
function error(actual: ArrayLike<number>, expected: readonly number[]): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  const scale = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0) / expected.length);
  return Math.max(...expected.map((value, i) => Math.abs(value - (actual[i] as number)))) / scale;
}

describe("fft", () => {
  it.each(fixture.fft.map((parts) => [parts[0]?.length ?? 0, parts] as const))(
    "is NumPy's for %i numbers",
    (n, parts) => {
      const [real = [], imaginary = [], expectedReal = [], expectedImaginary = []] = parts;
      const [a, b] = [Float64Array.from(real), Float64Array.from(imaginary)];
      fft(n)(a, b);
      // The fixture keeps eight digits.
      expect(error([...a, ...b], [...expectedReal, ...expectedImaginary])).toBeLessThan(1e-7);
    },
  );

  it("gives a long odd length back after two transforms, reversed", () => {
    const length = 1003;
    const real = Float64Array.from({ length }, (_, i) => Math.sin(i * i));
    const [a, b] = [real.slice(), new Float64Array(length)];
    fft(length)(a, b);
    fft(length)(a, b);
    const back = [...real.keys()].map((i) => (a[(length - i) % length] as number) / length);
    expect(error(back, [...real])).toBeLessThan(1e-13); // float64 through Bluestein's three transforms
    expect(() => fft(0)).toThrow(/at least 1/);
  });
});

describe("stft", () => {
  it.each(fixture.stft.map((one) => [JSON.stringify(one.options), one] as const))("is NumPy's with %s", (_, one) => {
    const { real, imaginary } = stft(signal, one.options);
    expect(real.shape.slice(1)).toEqual([(one.options.size >> 1) + 1]);
    // float32 in and out, eight digits in the fixture
    expect(error([...real.data, ...imaginary.data], [...one.real, ...one.imaginary])).toBeLessThan(1e-6);
    const power = powerSpectrogram(signal, one.options);
    const expected = one.real.map((value, i) => value ** 2 + (one.imaginary[i] as number) ** 2);
    expect(error(power.data, expected)).toBeLessThan(2e-6);
  });

  it("keeps leading axes, and refuses what is too short", () => {
    const two = tensor("float32", [2, 1, 400], Float32Array.from([...signal.data, ...signal.data.map((x) => -x)]));
    const { real } = stft(two, { size: 64, hop: 16 });
    expect(real.shape).toEqual([2, 1, 26, 33]);
    expect(real.data[33 * 26 + 40]).toBe(-(real.data[40] as number));
    expect(() => stft(signal, { size: 1000 })).toThrow(/400 samples are too few for frames of 1000, mirrored/);
    expect(() => stft(signal, { size: 64, hop: 0 })).toThrow(/a hop of at least 1 sample, not 64 and 0/);
    expect(() => stft(tensor("float32", [0], new Float32Array()), { size: 4 })).toThrow(/not empty/);
  });

  it("windows are periodic", () => {
    expect([...windowOf("hann", 4)]).toEqual([0, 0.5, 1, 0.5].map((x) => expect.closeTo(x, 14)));
    expect([...windowOf("rectangular", 3)]).toEqual([1, 1, 1]);
  });
});

describe("mel features", () => {
  it.each(fixture.mel.map((one) => [one.options.scale, one] as const))(
    "are transformers' on the scale of %s",
    (_, one) => {
      const options = { ...one.options, size: 128, hop: 32 };
      expect(error(melFilters(128, options).data, one.filters)).toBeLessThan(1e-6); // float32
      expect(error(logMel(signal, options).data, one.logMel)).toBeLessThan(1e-5); // a logarithm of float32 energies
      const cepstra = mfcc(signal, { ...options, coefficients: 5 });
      expect(cepstra.shape).toEqual([13, 5]);
      expect(error(cepstra.data, one.mfcc)).toBeLessThan(1e-5);
    },
  );

  it("silence has the floor's energy, and bad ranges are refused", () => {
    const silence = tensor("float32", [200], new Float32Array(200));
    expect(logMel(silence, { size: 64, rate: 8000, mels: 4, floor: 1e-5 }).data[3]).toBeCloseTo(Math.log(1e-5), 5);
    expect(() => melFilters(64, { rate: 8000, high: 5000 })).toThrow(/high <= 4000 Hz/);
    expect(() => mfcc(signal, { size: 64, rate: 8000, mels: 4 })).toThrow(/1 to 4 coefficients/);
  });
});

describe("resampleAudio", () => {
  it.each(fixture.resample.map((one) => [one.from, one.to, one.expected] as const))(
    "is SciPy's from %i to %i",
    (from, to, expected) => {
      expect(error(resampleAudio(signal, { from, to }).data, expected)).toBeLessThan(1e-6); // float32
    },
  );

  it("keeps a slow tone, and refuses rates that need an endless filter", () => {
    const tone = chirp({ from: 200, to: 200, rate: 8000, seconds: 0.1 });
    const faster = resampleAudio(tone, { from: 8000, to: 12000 });
    expect(faster.shape).toEqual([1, 1200]);
    const expected = [...chirp({ from: 200, to: 200, rate: 12000, seconds: 0.1 }).data];
    // Away from the ends, beyond which the signal is taken as silent; Kaiser's window of 5 ripples by about 0.1%.
    expect(error(faster.data.subarray(100, 1100), expected.slice(100, 1100))).toBeLessThan(5e-3);
    expect(() => resampleAudio(tone, { from: 1_000_003, to: 999_983 })).toThrow(/more than 10000000 numbers/);
    expect(() => resampleAudio(tone, { from: 8000, to: 0 })).toThrow(/to must be a whole number/);
  });
});

describe("vowels and chirps", () => {
  it("a row depends on the seed and its number alone", () => {
    const [few, many] = [vowels({ count: 3, seed: 5 }), vowels({ count: 6, seed: 5 })];
    expect(many.x.shape).toEqual([6, 1, 2000]);
    expect([...many.x.data.subarray(0, 6000)]).toEqual([...few.x.data]);
    expect([...vowels({ count: 3, seed: 6 }).x.data]).not.toEqual([...few.x.data]);
    expect(Math.max(...many.x.data.map(Math.abs))).toBeLessThanOrEqual(1);
  });

  it("vowels are told apart by the band in which their second formant lies", () => {
    const { x, label } = vowels({ count: 40, seed: 1, noise: 0 });
    const power = powerSpectrogram(x, { size: 400, hop: 400, centre: false }); // bins of 20 Hz
    for (const [row, kind] of label.data.entries()) {
      if (kind > 1n) continue;
      const bins = power.data.subarray(row * 5 * 201, row * 5 * 201 + 201);
      const band = (from: number, to: number) => bins.subarray(from / 20, to / 20).reduce((a, b) => a + b, 0);
      // "i" has its second formant at 2,290 Hz and nothing near 1,000; "a" has two formants about 900.
      expect(band(600, 1300) > band(1900, 2700), `row ${row}`).toBe(kind === 1n);
    }
  });

  it("a chirp's frequency rises evenly", () => {
    const rising = chirp({ from: 500, to: 1500, rate: 8000, seconds: 1 });
    const power = powerSpectrogram(rising, { size: 400, hop: 4000, centre: false });
    const peak = (frame: number) => {
      const bins = [...power.data.subarray(frame * 201, (frame + 1) * 201)];
      return bins.indexOf(Math.max(...bins)) * 20;
    };
    // Frames of 0.05 s begin at 0 and 0.5 s: their middles are at 525 and 1,025 Hz, give or take a bin.
    expect(Math.abs(peak(0) - 525)).toBeLessThanOrEqual(20);
    expect(Math.abs(peak(1) - 1025)).toBeLessThanOrEqual(20);
    expect(() => chirp({ from: 1, to: 9000, rate: 8000, seconds: 1 })).toThrow(/lies from 0 to 4000 Hz/);
    expect(() => vowels({ count: 0 })).toThrow(/at least 1 row/);
  });
});
