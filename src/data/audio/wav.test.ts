/** WAV files as SciPy and Python's wave module write them, round trips, and damaged files. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PatchclampError } from "../../errors.js";
import { tensor } from "../../runtime/index.js";
import { readWav, type WavFormat, writeWav } from "./index.js";

const { wav } = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/audio/audio.json", import.meta.url), "utf8"),
) as { wav: { samples: number[]; files: Record<string, string> } };
const bytesOf = (name: string) => new Uint8Array(Buffer.from(wav.files[name] as string, "base64"));
const formats: readonly (readonly [WavFormat, number])[] = [
  ["uint8", 1 / 128],
  ["int16", 2 ** -15],
  ["int24", 2 ** -23],
  ["int32", 2 ** -24],
  ["float32", 2 ** -24],
  ["float64", 2 ** -24],
];

describe("readWav", () => {
  it.each(formats)("reads %s as others write it", (format, step) => {
    const { samples, rate } = readWav(bytesOf(format));
    expect(rate).toBe(8000);
    expect(samples.shape).toEqual([2, 3]);
    for (const [i, expected] of wav.samples.entries())
      expect(Math.abs((samples.data[i] as number) - expected), `sample ${i}`).toBeLessThanOrEqual(step); // one step of the format, at most float32's
  });

  it("reads the extensible form, and skips chunks that it does not know", () => {
    const bytes = bytesOf("extensible");
    expect(readWav(bytes).samples).toEqual(
      tensor(
        "float32",
        [3, 2],
        Float32Array.from([1, -4, -2, 5, 3, -6], (x) => (x * 1000) / 2 ** 15),
      ),
    );
    const odd = Buffer.concat([
      bytes.subarray(0, 12),
      Buffer.from("LIST\x03\0\0\0abc\0", "latin1"),
      bytes.subarray(12),
    ]);
    expect(readWav(odd)).toEqual(readWav(bytes));
  });

  it("says what is wrong", () => {
    const bytes = bytesOf("int16");
    const with_ = (at: number, ...values: number[]) => {
      const copy = bytes.slice();
      copy.set(values, at);
      return copy;
    };
    expect(() => readWav(new Uint8Array(3), "a.wav")).toThrow(/a\.wav is no WAV file/);
    expect(() => readWav(bytes.subarray(0, 36))).toThrow(/has no "data" chunk/);
    expect(() => readWav(with_(40, 255, 255, 255, 255))).toThrow(
      /chunk at byte 36 declares 4294967295 bytes; 12 are left/,
    );
    expect(() => readWav(with_(20, 2, 0))).toThrow(/format 2 of 16 bits/);
    expect(() => readWav(with_(22, 0, 0))).toThrow(/0 channels/);
    expect(() => readWav(with_(32, 3, 0))).toThrow(/3 bytes a frame don't fit/);
    expect(() => readWav(with_(40, 10))).toThrow(/10 bytes, not a whole number of frames of 4/);
    const float = bytesOf("float32");
    float.set([0, 0, 192, 127], float.length - 8);
    expect(() => readWav(float)).toThrow(/frame 2 of the sound is not a finite number/);
  });

  it("ends damaged files with one clear error", () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(wav.files)), changes, fc.nat(80), (name, edits, cut) => {
        const bytes = bytesOf(name);
        for (const [at, value] of edits) bytes[at % Math.min(bytes.length, 70)] = value;
        try {
          const { samples } = readWav(bytes.subarray(0, bytes.length - (cut % 2 === 0 ? 0 : cut)));
          return samples.data.length > 0 && samples.data.every(Number.isFinite);
        } catch (error) {
          return error instanceof PatchclampError && error.kind === "failure";
        }
      }),
      { numRuns: 2000, seed: 1 },
    );
  });
});

describe("writeWav", () => {
  it("writes the same bytes as others for whole numbers", () => {
    for (const format of ["uint8", "int16", "int24"] as const)
      expect(writeWav(readWav(bytesOf(format)), { format }), format).toEqual(bytesOf(format));
    expect(writeWav(readWav(bytesOf("extensible")))).toEqual(bytesOf("extensible"));
  });

  it.each(formats)("%s comes back, cut off outside -1 to 1 where it is whole", (format, step) => {
    const data = Float32Array.from({ length: 3 * 101 }, (_, i) => Math.sin(i));
    data[7] = 1.5;
    const { samples, rate } = readWav(
      writeWav({ samples: tensor("float32", [3, 101], data), rate: 44100 }, { format }),
    );
    expect([rate, samples.shape]).toEqual([44100, [3, 101]]);
    expect(samples.data[7]).toBeCloseTo(format.startsWith("float") ? 1.5 : 1, 1);
    data[7] = samples.data[7] as number;
    const worst = Math.max(...data.map((value, i) => Math.abs(value - (samples.data[i] as number))));
    // Rounding: half a step, and a whole one at +1, which has no number of its own.
    expect(worst).toBeLessThanOrEqual(step);
  });

  it("refuses what is no sound", () => {
    const samples = tensor("float32", [0, 4], new Float32Array());
    expect(() => writeWav({ samples, rate: 8000 })).toThrow(/\[channels, frames\] and not empty/);
    expect(() => writeWav({ samples: tensor("float32", [1, 1], new Float32Array(1)), rate: 0.5 })).toThrow(/not 0\.5/);
  });
});
