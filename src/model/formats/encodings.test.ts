import { describe, expect, it } from "vitest";
import { type Encoding, ggmlEncoding, plainEncoding } from "./encodings.js";

/** The float32 values of `words`, decoded as whole blocks of an encoding. */
function decode(encoding: Encoding | undefined, words: ArrayBufferView, count: number): Float32Array {
  const target = new Float32Array(count);
  encoding?.decode?.(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), target);
  return target;
}

describe("half precision", () => {
  const halves = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
  const values = decode(plainEncoding("F16"), halves, halves.length);

  it("widens every number exactly", () => {
    // The definition: sign, exponent with bias 15, ten bits of fraction, subnormals below 2^-14.
    const wrong = [...halves].filter((half) => {
      const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
      const special = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
      const scale = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
      return !Object.is(values[half], exponent === 31 ? special : sign * scale);
    });
    expect(wrong).toEqual([]);
  });

  it("keeps the sign and payload of a NaN", () => {
    const bits = new Uint32Array(values.buffer);
    expect([bits[0x7e01], bits[0xfc01]]).toEqual([0x7fc02000, 0xff802000]);
  });
});

describe("bfloat16", () => {
  it("is the upper half of a float32, subnormals and NaN included", () => {
    const words = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
    const bits = new Uint32Array(decode(plainEncoding("BF16"), words, words.length).buffer);
    expect(bits.every((word, i) => word === i * 65536)).toBe(true);
  });
});

describe("plain types", () => {
  it.each([
    ["F64", new Float64Array([0.1, -2, 1e300]), [Math.fround(0.1), -2, Number.POSITIVE_INFINITY]],
    ["F32", new Float32Array([0.1, -0]), [Math.fround(0.1), -0]],
    ["I64", new BigInt64Array([-1n, 2n ** 53n]), [-1, 2 ** 53]],
    ["I32", new Int32Array([-(2 ** 31), 7]), [-(2 ** 31), 7]],
    ["I16", new Int16Array([-32768, 7]), [-32768, 7]],
    ["I8", new Int8Array([-128, 7]), [-128, 7]],
    ["U8", new Uint8Array([255, 7]), [255, 7]],
    ["BOOL", new Uint8Array([1, 0]), [1, 0]],
  ])("%s becomes float32", (name, words, expected) => {
    expect([...decode(plainEncoding(name), words, expected.length)]).toEqual(expected);
  });
});

describe("the table", () => {
  it("knows block types by number and keeps them out of safetensors", () => {
    expect(ggmlEncoding(8)).toMatchObject({ name: "Q8_0", values: 32, bytes: 34 });
    expect(ggmlEncoding(12)).toMatchObject({ name: "Q4_K", values: 256, bytes: 144 });
    expect([ggmlEncoding(4), plainEncoding("Q8_0"), plainEncoding("constructor")]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("decodes blocks by their definition", () => {
    // Scale 2 (0x4000), minimum -1 (0xbc00); the low half of byte i is value i, the high half value 16 + i.
    const pairs = Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4));
    const levels = [...pairs.map((pair) => pair & 15), ...pairs.map((pair) => pair >> 4)];
    const q4_0 = decode(ggmlEncoding(2), Uint8Array.from([0x00, 0x40, ...pairs]), 32);
    const q4_1 = decode(ggmlEncoding(3), Uint8Array.from([0x00, 0x40, 0x00, 0xbc, ...pairs]), 32);
    expect([...q4_0]).toEqual(levels.map((level) => 2 * (level - 8)));
    expect([...q4_1]).toEqual(levels.map((level) => 2 * level - 1));
    const signed = Int8Array.from({ length: 34 }, (_, i) => (i < 2 ? [0x00, 0x40][i] : i * 9 - 160) as number);
    expect([...decode(ggmlEncoding(8), signed, 32)]).toEqual([...signed.slice(2)].map((level) => 2 * level));
  });
});
