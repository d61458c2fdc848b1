/**
 * Ten thousand handwritten digits from a registry's package: the images of MNIST (LeCun, Cortes and Burges 1998), as text.
 * The package rounds to three decimals, from which each pixel's byte is known again.
 */
import { readFile } from "node:fs/promises";
import { failure, messageOf } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { resolveFiles, type SourceOptions } from "../../sources/index.js";
import { datasetOf } from "./catalogue.js";
import { type ImageParts, labelTensor, trainAndTest } from "./labelled.js";

const side = 28;
const splitSeed = 0;

/**
 * The 10,000 digits, parted by a fixed seed without regard to the class: `train` of 8,000 and `test` of 2,000, x float32
 * [rows, 1, 28, 28], label 0 to 9.
 *
 * @throws where the package can't be fetched, or is not the one that this version knows
 */
export async function digits(options: SourceOptions = {}): Promise<ImageParts> {
  const { reference, hash: known } = datasetOf("digits");
  const { files, hash, source } = await resolveFiles(reference as string, options);
  if (hash !== known) throw failure(`${source} holds other digits: its hash is ${hash}, not ${known}`);
  const classes = await Promise.all(
    Array.from({ length: 10 }, async (_, digit) => {
      const name = `${digit}.json`;
      return readDigitFile(await readFile(files.get(name) as string, "utf8"), `${source}: ${name}`);
    }),
  );
  return trainAndTest(joined(classes), { test: 2000, seed: splitSeed });
}

/** The images of one class, `{"data": [numbers from 0 to 1]}`, as exact 255ths: float32 [rows, 1, 28, 28]. */
export function readDigitFile(text: string, where: string): Tensor<"float32"> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw failure(`${where} is not JSON: ${messageOf(error)}`, error);
  }
  const data: unknown = typeof value === "object" && value !== null && "data" in value ? value.data : undefined;
  if (!Array.isArray(data) || data.length === 0 || data.length % (side * side) !== 0)
    throw failure(`${where} has no "data" of whole images of ${side} x ${side} numbers`);
  const pixels = new Float32Array(data.length);
  for (const [i, pixel] of data.entries()) {
    if (typeof pixel !== "number" || !(pixel >= 0 && pixel <= 1))
      throw failure(`${where}: number ${i} of "data" does not lie from 0 to 1`);
    pixels[i] = Math.round(pixel * 255) / 255;
  }
  return tensor("float32", [data.length / (side * side), 1, side, side], pixels);
}

function joined(classes: readonly Tensor<"float32">[]) {
  const counts = classes.map(({ shape }) => shape[0] as number);
  const total = counts.reduce((a, b) => a + b, 0);
  const pixels = new Float32Array(total * side * side);
  let at = 0;
  for (const { data } of classes) {
    pixels.set(data, at);
    at += data.length;
  }
  const label = labelTensor(counts.flatMap((count, digit) => new Array<number>(count).fill(digit)));
  return { x: tensor("float32", [total, 1, side, side], pixels), label };
}
