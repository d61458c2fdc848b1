/**
 * WAV files (RIFF/WAVE): whole numbers of 8, 16, 24 and 32 bits and floats of 32 and 64, any number of channels, also in
 * the extensible form. Each length in a file is held against what is there before it is believed.
 */
import { failure, usageError } from "../../errors.js";
import { formatShape } from "../../graph/index.js";
import { type Tensor, tensor } from "../../runtime/index.js";

/** How a number is stored. */
export type WavFormat = "uint8" | "int16" | "int24" | "int32" | "float32" | "float64";

export interface Sound {
  /** float32 [channels, frames], from -1 to 1. */
  readonly samples: Tensor<"float32">;
  /** Frames a second. */
  readonly rate: number;
}

interface Coding {
  readonly bytes: number;
  /** 1: whole numbers, 3: floats. */
  readonly tag: 1 | 3;
  readonly read: (view: DataView, at: number) => number;
  readonly write: (view: DataView, at: number, value: number) => void;
}

/** A number from -1 to 1 as a whole one, of which the lowest has no positive twin. */
const whole = (value: number, scale: number): number =>
  Math.min(Math.max(Math.round(value * scale), -scale), scale - 1);

const codings: Readonly<Record<WavFormat, Coding>> = {
  uint8: {
    bytes: 1,
    tag: 1,
    read: (view, at) => (view.getUint8(at) - 128) / 128,
    write: (view, at, value) => view.setUint8(at, whole(value, 128) + 128),
  },
  int16: {
    bytes: 2,
    tag: 1,
    read: (view, at) => view.getInt16(at, true) / 2 ** 15,
    write: (view, at, value) => view.setInt16(at, whole(value, 2 ** 15), true),
  },
  int24: {
    bytes: 3,
    tag: 1,
    read: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
    write: (view, at, value) => {
      const number = whole(value, 2 ** 23);
      view.setUint16(at, number & 0xffff, true);
      view.setInt8(at + 2, number >> 16);
    },
  },
  int32: {
    bytes: 4,
    tag: 1,
    read: (view, at) => view.getInt32(at, true) / 2 ** 31,
    write: (view, at, value) => view.setInt32(at, whole(value, 2 ** 31), true),
  },
  float32: {
    bytes: 4,
    tag: 3,
    read: (view, at) => view.getFloat32(at, true),
    write: (view, at, value) => view.setFloat32(at, value, true),
  },
  float64: {
    bytes: 8,
    tag: 3,
    read: (view, at) => view.getFloat64(at, true),
    write: (view, at, value) => view.setFloat64(at, value, true),
  },
};

const extensibleTag = 0xfffe;
/** What follows the tag in the long name of a format in the extensible form. */
const extensibleTail = "000000001000800000aa00389b71";

interface Layout {
  readonly coding: Coding;
  readonly channels: number;
  readonly rate: number;
}

/**
 * The sound in a WAV file.
 *
 * @param where the file, for messages
 * @throws a failure for what is damaged, compressed, or without sound
 */
export function readWav(bytes: Uint8Array, where = "the WAV file"): Sound {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || text(bytes, 0) !== "RIFF" || text(bytes, 8) !== "WAVE")
    throw failure(`${where} is no WAV file: it must begin with RIFF, a length, and WAVE`);
  const chunks = chunksOf(bytes, view, where);
  const format = chunks.get("fmt ");
  const data = chunks.get("data");
  if (format === undefined || data === undefined)
    throw failure(`${where} has no "${format === undefined ? "fmt " : "data"}" chunk`);
  const { coding, channels, rate } = layoutOf(view, format, where);
  const frame = coding.bytes * channels;
  if (data.length === 0 || data.length % frame !== 0)
    throw failure(`${where}: the sound has ${data.length} bytes, not a whole number of frames of ${frame}`);
  const frames = data.length / frame;
  const samples = new Float32Array(channels * frames);
  for (let i = 0; i < frames; i++)
    for (let channel = 0; channel < channels; channel++)
      samples[channel * frames + i] = coding.read(view, data.start + i * frame + channel * coding.bytes);
  const odd = samples.findIndex((sample) => !Number.isFinite(sample));
  if (odd >= 0) throw failure(`${where}: frame ${odd % frames} of the sound is not a finite number`);
  return { samples: tensor("float32", [channels, frames], samples), rate };
}

interface Chunk {
  readonly start: number;
  readonly length: number;
}

/** The first chunk of each name. */
function chunksOf(bytes: Uint8Array, view: DataView, where: string): Map<string, Chunk> {
  const chunks = new Map<string, Chunk>();
  let at = 12;
  while (at + 8 <= bytes.length) {
    const [name, length] = [text(bytes, at), view.getUint32(at + 4, true)];
    const start = at + 8;
    if (length > bytes.length - start)
      throw failure(`${where}: the chunk at byte ${at} declares ${length} bytes; ${bytes.length - start} are left`);
    if (!chunks.has(name)) chunks.set(name, { start, length });
    at = start + length + (length % 2); // chunks begin at even places
  }
  return chunks;
}

function layoutOf(view: DataView, { start, length }: Chunk, where: string): Layout {
  if (length < 16) throw failure(`${where}: the "fmt " chunk has ${length} bytes; at least 16 are expected`);
  const word = (at: number) => view.getUint16(start + at, true);
  const extensible = word(0) === extensibleTag && length >= 40;
  const known = !extensible || hex(view, start + 26) === extensibleTail;
  const tag = extensible ? word(24) : word(0);
  const [channels, rate, bits] = [word(2), view.getUint32(start + 4, true), word(14)];
  const coding = Object.values(codings).find((one) => known && one.tag === tag && one.bytes * 8 === bits);
  if (coding === undefined)
    throw failure(
      `${where}: format ${tag} of ${bits} bits; whole numbers (1) of 8, 16, 24, 32 bits and floats (3) of 32, 64 are read`,
    );
  if (channels === 0 || rate === 0 || word(12) !== channels * coding.bytes)
    throw failure(`${where}: ${channels} channels, ${rate} frames a second and ${word(12)} bytes a frame don't fit`);
  return { coding, channels, rate };
}

const text = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));

const hex = (view: DataView, at: number): string =>
  Array.from({ length: 14 }, (_, i) =>
    view
      .getUint8(at + i)
      .toString(16)
      .padStart(2, "0"),
  ).join("");

/**
 * The bytes of a WAV file. Whole numbers are rounded, and cut off outside -1 to 1; above two channels the form is the
 * extensible one.
 *
 * @param format "int16" unless given
 */
export function writeWav({ samples, rate }: Sound, { format = "int16" }: { format?: WavFormat } = {}): Uint8Array {
  const [channels, frames] = samples.shape as readonly [number, number];
  if (samples.shape.length !== 2 || samples.data.length === 0 || channels > 0xffff)
    throw usageError(`a sound is [channels, frames] and not empty, not ${formatShape(samples.shape)}`);
  if (!Number.isInteger(rate) || rate < 1 || rate > 0xffffffff)
    throw usageError(`a WAV file holds a whole number of frames a second, not ${rate}`);
  const coding = codings[format];
  const head = channels > 2 ? 40 : 16;
  const length = samples.data.length * coding.bytes;
  if (length > 0xffffff00) throw usageError(`a WAV file holds at most 4 GB of sound, not ${length} bytes`);
  const bytes = new Uint8Array(20 + head + 8 + length + (length % 2));
  const view = new DataView(bytes.buffer);
  const put = (at: number, name: string) => bytes.set(Buffer.from(name, "latin1"), at);
  put(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, head, true);
  writeFormat(view, coding, channels, rate);
  put(20 + head, "data");
  view.setUint32(24 + head, length, true);
  for (let i = 0; i < samples.data.length; i++) {
    const place = (i % frames) * channels + Math.floor(i / frames);
    coding.write(view, 28 + head + place * coding.bytes, samples.data[i] as number);
  }
  return bytes;
}

/** The content of "fmt ", from byte 20 on. */
function writeFormat(view: DataView, { bytes, tag }: Coding, channels: number, rate: number): void {
  view.setUint16(20, channels > 2 ? extensibleTag : tag, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels * bytes, true);
  view.setUint16(32, channels * bytes, true);
  view.setUint16(34, bytes * 8, true);
  if (channels <= 2) return;
  view.setUint16(36, 22, true); // bytes that follow
  view.setUint16(38, bytes * 8, true);
  view.setUint16(44, tag, true);
  for (let i = 0; i < 14; i++) view.setUint8(46 + i, Number.parseInt(extensibleTail.slice(2 * i, 2 * i + 2), 16));
}
