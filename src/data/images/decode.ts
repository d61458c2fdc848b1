/** PNG and JPEG files as pictures, known by their first bytes. Sizes are read and bounded before anything is decoded. */
import { inflateSync } from "node:zlib";
import jpeg from "jpeg-js";
import { PNG } from "pngjs";
import { failure, messageOf, PatchclampError } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";

/** No picture that is decoded has more pixels. */
const mostPixels = 50_000_000;
const mostMegabytes = 1024;

interface Pixels {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue and opacity of each pixel. */
  readonly data: Uint8Array;
}

/**
 * A PNG or JPEG file as a picture, float32 [3, height, width] from 0 to 1; what is transparent shows white.
 *
 * @param where the file, for messages
 * @throws a failure for anything else, what is damaged, and above 50 million pixels
 */
export function decodeImage(bytes: Uint8Array, where: string): Tensor<"float32"> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decode = buffer.subarray(0, 8).toString("latin1") === "\x89PNG\r\n\x1a\n" ? decodePng : decodeJpeg;
  if (decode === decodeJpeg && !(bytes[0] === 0xff && bytes[1] === 0xd8))
    throw failure(`${where} is neither a PNG nor a JPEG file`);
  let pixels: Pixels;
  try {
    pixels = decode(buffer, where);
  } catch (error) {
    // The decoders throw errors of every kind at damaged bytes.
    if (error instanceof PatchclampError) throw error;
    throw failure(`${where} can't be decoded: ${messageOf(error)}`, error);
  }
  return toPicture(pixels);
}

function decodePng(buffer: Buffer, where: string): Pixels {
  if (buffer.length < 29) throw failure(`${where} ends within its header`);
  const [width, height] = [buffer.readUInt32BE(16), buffer.readUInt32BE(20)];
  if (width * height > mostPixels)
    throw failure(`${where} declares ${width} x ${height} pixels; at most ${mostPixels} are decoded`);
  if (buffer[28] === 1) inflateSync(compressedData(buffer), { maxOutputLength: 8 * width * height + 2 * height + 8 });
  return PNG.sync.read(buffer);
}

/** What is compressed in a PNG file. The decoder bounds what it unpacks, except in interlaced files. */
function compressedData(buffer: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 8; at + 8 <= buffer.length; at += 12 + buffer.readUInt32BE(at))
    if (buffer.toString("latin1", at + 4, at + 8) === "IDAT")
      parts.push(buffer.subarray(at + 8, at + 8 + buffer.readUInt32BE(at)));
  return Buffer.concat(parts);
}

function decodeJpeg(buffer: Buffer): Pixels {
  return jpeg.decode(buffer, {
    useTArray: true,
    formatAsRGBA: true,
    tolerantDecoding: false,
    maxResolutionInMP: mostPixels / 1e6,
    maxMemoryUsageInMB: mostMegabytes,
  });
}

function toPicture({ width, height, data }: Pixels): Tensor<"float32"> {
  const plane = width * height;
  const numbers = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    const opacity = (data[4 * i + 3] as number) / 255;
    for (let c = 0; c < 3; c++) numbers[c * plane + i] = ((data[4 * i + c] as number) / 255) * opacity + 1 - opacity;
  }
  return tensor("float32", [3, height, width], numbers);
}
