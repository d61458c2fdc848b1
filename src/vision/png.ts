/**
 * Pictures as a PNG file (ISO 15948): a sheet of them side by side, as large as wanted. Maps of numbers are drawn by the
 * heatmap figure instead: `{ kind: "heatmap", values: rows of a map, title }`.
 */
import { crc32, deflateSync } from "node:zlib";
import { usageError } from "../errors.js";
import { formatShape } from "../graph/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";

export interface PngOptions {
  /** The numbers that are black and full colour; [0, 1] unless given. What lies outside is drawn as the nearer end. */
  readonly range?: readonly [number, number];
  /** Pixels of the file to one of a picture, along each axis; 1 unless given. */
  readonly zoom?: number;
  /** Pictures to a row; as many as make the sheet about square unless given. */
  readonly columns?: number;
}

/** Bytes of colour [height, width, 3]. */
interface Sheet {
  readonly height: number;
  readonly width: number;
  readonly pixels: Uint8Array;
}

const mostPixels = 100_000_000;
const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const white = 255;

/**
 * The bytes of a PNG file with pictures on a white sheet, a pixel apart.
 *
 * @param images [channels, height, width] or [rows, channels, height, width]; one channel (grey) or three (red, green, blue)
 * @throws for other shapes, and above 100 million pixels
 */
export function picturesToPng(images: Tensor, options: PngOptions = {}): Uint8Array {
  const { height, width, pixels } = sheetOf(images, options);
  const lines = new Uint8Array(height * (1 + width * 3)); // each line starts with its filter, 0: none
  for (let y = 0; y < height; y++)
    lines.set(pixels.subarray(y * width * 3, (y + 1) * width * 3), y * (1 + width * 3) + 1);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8); // eight bits, red green blue
  const parts = [signature, chunk("IHDR", header), chunk("IDAT", deflateSync(lines)), chunk("IEND", Buffer.alloc(0))];
  return new Uint8Array(Buffer.concat(parts));
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

function sheetOf(images: Tensor, { range = [0, 1], zoom = 1, columns }: PngOptions): Sheet {
  const shape = images.shape.length === 3 ? [1, ...images.shape] : images.shape;
  const [count, channels, rows, places] = shape as readonly [number, number, number, number];
  if (shape.length !== 4 || (channels !== 1 && channels !== 3) || images.data.length === 0)
    throw usageError(
      `pictures are [rows, channels, height, width] with 1 or 3 channels, not ${formatShape(images.shape)}`,
    );
  const across = Math.min(count, columns ?? Math.ceil(Math.sqrt(count)));
  for (const [name, number] of Object.entries({ zoom, columns: across }))
    if (!Number.isInteger(number) || number < 1)
      throw usageError(`${name} must be a whole number of at least 1, not ${number}`);
  const down = Math.ceil(count / across);
  const [tall, wide] = [rows * zoom + 1, places * zoom + 1];
  const [height, width] = [down * tall - 1, across * wide - 1];
  if (height * width > mostPixels)
    throw usageError(
      `a sheet of ${width} x ${height} has over ${mostPixels} pixels: lower the zoom, or give fewer pictures`,
    );
  const pixels = new Uint8Array(height * width * 3).fill(white);
  const numbers = toNumbers(images);
  const plane = rows * places;
  for (let i = 0; i < count; i++) {
    const corner = Math.floor(i / across) * tall * width + (i % across) * wide;
    for (let y = 0; y < rows * zoom; y++) {
      for (let x = 0; x < places * zoom; x++) {
        const from = i * channels * plane + Math.floor(y / zoom) * places + Math.floor(x / zoom);
        for (let c = 0; c < 3; c++)
          pixels[(corner + y * width + x) * 3 + c] = byteOf(numbers[from + (c % channels) * plane] as number, range);
      }
    }
  }
  return { height, width, pixels };
}

const byteOf = (x: number, [low, high]: readonly [number, number]): number =>
  Math.round(Math.min(Math.max((x - low) / (high - low), 0), 1) * 255);
