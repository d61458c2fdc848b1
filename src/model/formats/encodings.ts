/**
 * How numbers are stored, as one table: plain element types and the block types of GGUF. A block holds `values` numbers
 * in `bytes` bytes. To read one more type, write its function and name it in its row. Like the formats, and every
 * machine that the runtime supports, this code is little-endian.
 */

/** Decodes whole blocks: `source` starts at a multiple of eight in its buffer and holds exactly `target`'s values. */
type Decode = (source: Uint8Array, target: Float32Array) => void;

export interface Encoding {
  readonly name: string;
  /** Numbers in a block; 1 for plain element types, which are also the ones that safetensors knows. */
  readonly values: number;
  /** Bytes in a block. */
  readonly bytes: number;
  /** The type's number in GGUF, if it has one. */
  readonly ggml?: number;
  /** Holds whole numbers, which are weights only with scales that a checkpoint would keep elsewhere. */
  readonly whole?: true;
  /** To float32. Types without it can be listed, not read. */
  readonly decode?: Decode;
}

const encodings: readonly Encoding[] = [
  { name: "F32", values: 1, bytes: 4, ggml: 0, decode: decodeF32 },
  { name: "F64", values: 1, bytes: 8, ggml: 28, decode: decodeF64 },
  { name: "F16", values: 1, bytes: 2, ggml: 1, decode: decodeF16 },
  { name: "BF16", values: 1, bytes: 2, ggml: 30, decode: decodeBF16 },
  { name: "I64", values: 1, whole: true, bytes: 8, ggml: 27, decode: decodeI64 },
  { name: "I32", values: 1, whole: true, bytes: 4, ggml: 26, decode: decodeI32 },
  { name: "I16", values: 1, whole: true, bytes: 2, ggml: 25, decode: decodeI16 },
  { name: "I8", values: 1, whole: true, bytes: 1, ggml: 24, decode: decodeI8 },
  { name: "U8", values: 1, whole: true, bytes: 1, decode: decodeU8 },
  { name: "BOOL", values: 1, whole: true, bytes: 1, decode: decodeU8 },
  { name: "U16", values: 1, bytes: 2 },
  { name: "U32", values: 1, bytes: 4 },
  { name: "U64", values: 1, bytes: 8 },
  { name: "F8_E4M3", values: 1, bytes: 1 },
  { name: "F8_E5M2", values: 1, bytes: 1 },
  { name: "F8_E8M0", values: 1, bytes: 1 },
  { name: "Q4_0", values: 32, bytes: 18, ggml: 2, decode: decodeQ4_0 },
  { name: "Q4_1", values: 32, bytes: 20, ggml: 3, decode: decodeQ4_1 },
  { name: "Q5_0", values: 32, bytes: 22, ggml: 6 },
  { name: "Q5_1", values: 32, bytes: 24, ggml: 7 },
  { name: "Q8_0", values: 32, bytes: 34, ggml: 8, decode: decodeQ8_0 },
  { name: "Q8_1", values: 32, bytes: 40, ggml: 9 },
  { name: "Q2_K", values: 256, bytes: 84, ggml: 10 },
  { name: "Q3_K", values: 256, bytes: 110, ggml: 11 },
  { name: "Q4_K", values: 256, bytes: 144, ggml: 12 },
  { name: "Q5_K", values: 256, bytes: 176, ggml: 13 },
  { name: "Q6_K", values: 256, bytes: 210, ggml: 14 },
  { name: "Q8_K", values: 256, bytes: 292, ggml: 15 },
  { name: "IQ2_XXS", values: 256, bytes: 66, ggml: 16 },
  { name: "IQ2_XS", values: 256, bytes: 74, ggml: 17 },
  { name: "IQ3_XXS", values: 256, bytes: 98, ggml: 18 },
  { name: "IQ1_S", values: 256, bytes: 50, ggml: 19 },
  { name: "IQ4_NL", values: 32, bytes: 18, ggml: 20 },
  { name: "IQ3_S", values: 256, bytes: 110, ggml: 21 },
  { name: "IQ2_S", values: 256, bytes: 82, ggml: 22 },
  { name: "IQ4_XS", values: 256, bytes: 136, ggml: 23 },
  { name: "IQ1_M", values: 256, bytes: 56, ggml: 29 },
  { name: "TQ1_0", values: 256, bytes: 54, ggml: 34 },
  { name: "TQ2_0", values: 256, bytes: 66, ggml: 35 },
  { name: "MXFP4", values: 32, bytes: 17, ggml: 39 },
];

const plainByName = new Map(encodings.filter(({ values }) => values === 1).map((entry) => [entry.name, entry]));
const byGgml = new Map(encodings.flatMap((entry) => (entry.ggml === undefined ? [] : [[entry.ggml, entry]])));

/** The encoding of a safetensors dtype, or undefined if the name is none that is known. */
export function plainEncoding(name: string): Encoding | undefined {
  return plainByName.get(name);
}

/** The encoding of a GGUF tensor type, or undefined if the number is none that is known. */
export function ggmlEncoding(type: number): Encoding | undefined {
  return byGgml.get(type);
}

const weightNames = encodings.filter(({ decode, whole }) => decode !== undefined && !whole).map(({ name }) => name);

/** Whether a type of this name can be read as weights. */
export function holdsWeights(name: string): boolean {
  return weightNames.includes(name);
}

/** The names of the types that can be read as weights, for messages. */
export function weightEncodings(): string {
  return weightNames.join(", ");
}

/** The names of the types that can be read as float32, for messages. */
export function readableEncodings(): string {
  return encodings.flatMap(({ name, decode }) => (decode ? [name] : [])).join(", ");
}

/** The float32 bits of each of the 65,536 half-precision numbers, NaN payloads included. */
const halfBits = Uint32Array.from({ length: 1 << 16 }, (_, half) => widenHalf(half));
const halfValues = new Float32Array(halfBits.buffer);

function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal half is fraction * 2^-24, a normal float32: move its leading one into the implicit place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

function decodeF32(source: Uint8Array, target: Float32Array): void {
  target.set(new Float32Array(source.buffer, source.byteOffset, target.length));
}

function decodeF64(source: Uint8Array, target: Float32Array): void {
  target.set(new Float64Array(source.buffer, source.byteOffset, target.length));
}

function decodeF16(source: Uint8Array, target: Float32Array): void {
  const halves = new Uint16Array(source.buffer, source.byteOffset, target.length);
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < bits.length; i++) bits[i] = halfBits[halves[i] as number] as number;
}

function decodeBF16(source: Uint8Array, target: Float32Array): void {
  const words = new Uint16Array(source.buffer, source.byteOffset, target.length);
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (words[i] as number) << 16;
}

function decodeI64(source: Uint8Array, target: Float32Array): void {
  const values = new BigInt64Array(source.buffer, source.byteOffset, target.length);
  for (let i = 0; i < target.length; i++) target[i] = Number(values[i]);
}

function decodeI32(source: Uint8Array, target: Float32Array): void {
  target.set(new Int32Array(source.buffer, source.byteOffset, target.length));
}

function decodeI16(source: Uint8Array, target: Float32Array): void {
  target.set(new Int16Array(source.buffer, source.byteOffset, target.length));
}

function decodeI8(source: Uint8Array, target: Float32Array): void {
  target.set(new Int8Array(source.buffer, source.byteOffset, target.length));
}

function decodeU8(source: Uint8Array, target: Float32Array): void {
  target.set(source);
}

// In the block types, scale times level is exact in float64, and so is the sum with Q4_1's minimum (45 bits at most):
// the one rounding is the store into float32, as it is for anyone who computes in float32 throughout.

function halfAt(source: Uint8Array, offset: number): number {
  return halfValues[(source[offset] as number) | ((source[offset + 1] as number) << 8)] as number;
}

/** A half scale, 32 signed bytes. */
function decodeQ8_0(source: Uint8Array, target: Float32Array): void {
  const levels = new Int8Array(source.buffer, source.byteOffset, source.length);
  for (let at = 0, out = 0; out < target.length; at += 34, out += 32) {
    const scale = halfAt(source, at);
    for (let i = 0; i < 32; i++) target[out + i] = scale * (levels[at + 2 + i] as number);
  }
}

/** A half scale, 16 bytes: the low halves are values 0-15, the high halves 16-31, both offset by 8. */
function decodeQ4_0(source: Uint8Array, target: Float32Array): void {
  for (let at = 0, out = 0; out < target.length; at += 18, out += 32) {
    const scale = halfAt(source, at);
    for (let i = 0; i < 16; i++) {
      const pair = source[at + 2 + i] as number;
      target[out + i] = scale * ((pair & 15) - 8);
      target[out + 16 + i] = scale * ((pair >> 4) - 8);
    }
  }
}

/** A half scale and a half minimum, 16 bytes in the order of Q4_0. */
function decodeQ4_1(source: Uint8Array, target: Float32Array): void {
  for (let at = 0, out = 0; out < target.length; at += 20, out += 32) {
    const scale = halfAt(source, at);
    const minimum = halfAt(source, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = source[at + 4 + i] as number;
      target[out + i] = scale * (pair & 15) + minimum;
      target[out + 16 + i] = scale * (pair >> 4) + minimum;
    }
  }
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The bits of the half-precision number nearest to x, ties to even; too large ones are infinite. */
export function narrowHalf(x: number): number {
  scratch[0] = x;
  const bits = scratchBits[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65,520 on
  if (magnitude < 0x38800000) {
    // Subnormal: how many times 2^-24 it is, rounded as Math.round does not: ties to even.
    const scaled = Math.abs(scratch[0]) * 2 ** 24;
    const below = Math.floor(scaled);
    const up = scaled - below > 0.5 || (scaled - below === 0.5 && below % 2 === 1);
    return sign | (below + (up ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}
