/** Pictures made brighter, of more or less contrast, noisy, or mixed with others; always kept from 0 to 1. */
import { usageError } from "../../../errors.js";
import { type Random, type Tensor, tensor } from "../../../runtime/index.js";
import type { Augmentation } from "../../batches.js";
import { between, type ColumnOption, eachPicture, picturesOf, requireAmounts, rowStreams } from "./compose.js";

const unit = (number: number): number => Math.min(Math.max(number, 0), 1);

export interface LightOptions extends ColumnOption {
  /** The largest number added or taken away; 0 unless given. */
  readonly brightness?: number;
  /** Contrast changes by a factor from 1 - this to 1 + this, about the picture's mean; 0 unless given, at most 1. */
  readonly contrast?: number;
}

/** Pictures of another contrast and brightness, drawn evenly. */
export function light({ brightness = 0, contrast = 0, column = "x" }: LightOptions = {}): Augmentation {
  requireAmounts("light", { brightness, contrast });
  if (contrast > 1) throw usageError(`light: contrast is at most 1, not ${contrast}`);
  return eachPicture(column, (picture, draw) => {
    const factor = between(draw, 1 - contrast, 1 + contrast);
    const added = between(draw, -brightness, brightness);
    const mean = picture.reduce((a, b) => a + b, 0) / picture.length;
    for (let i = 0; i < picture.length; i++) picture[i] = unit(((picture[i] as number) - mean) * factor + mean + added);
  });
}

export interface NoiseOptions extends ColumnOption {
  /** The standard deviation of what is added to each number. */
  readonly deviation: number;
}

/** Pictures with normal noise. */
export function noise({ deviation, column = "x" }: NoiseOptions): Augmentation {
  requireAmounts("noise", { deviation });
  return eachPicture(column, (picture, draw) => {
    for (let i = 0; i < picture.length; i++) picture[i] = unit((picture[i] as number) + deviation * draw.normal());
  });
}

export interface MixupOptions extends ColumnOption {
  readonly classes: number;
  /** Of the Beta(alpha, alpha) that shares are drawn from; 0.2 unless given. */
  readonly alpha?: number;
  /** The column of labels; "label" unless given. */
  readonly label?: string;
}

/**
 * Each picture and its label mixed with those of another row (Zhang et al. 2018). Labels, int64 [rows], become
 * probabilities, float32 [rows, classes], which the cross-entropy takes.
 */
export function mixup({ classes, alpha = 0.2, column = "x", label = "label" }: MixupOptions): Augmentation {
  if (!(alpha > 0 && alpha < Number.POSITIVE_INFINITY)) throw usageError(`mixup needs an alpha above 0, not ${alpha}`);
  return (batch, draw) => {
    const images = picturesOf(batch, column);
    const count = images.shape[0] as number;
    const labels = classesOf(batch[label], { label, count, classes });
    const each = images.data.length / count;
    const [mixed, shares] = [new Float32Array(images.data.length), new Float32Array(count * classes)];
    for (const [row, stream] of rowStreams(draw, count).entries()) {
      const other = stream.integer(count);
      const share = beta(stream, alpha);
      for (let i = 0; i < each; i++)
        mixed[row * each + i] =
          share * (images.data[row * each + i] as number) + (1 - share) * (images.data[other * each + i] as number);
      for (const [who, part] of [[row, share] as const, [other, 1 - share] as const]) {
        const at = row * classes + (labels[who] as number);
        shares[at] = (shares[at] as number) + part;
      }
    }
    return { ...batch, [column]: { ...images, data: mixed }, [label]: tensor("float32", [count, classes], shares) };
  };
}

function classesOf(
  labels: Tensor | undefined,
  { label, count, classes }: { label: string; count: number; classes: number },
): number[] {
  if (labels?.dtype !== "int64" || labels.data.length !== count)
    throw usageError(`mixup needs a column "${label}" of labels, int64 [${count}]`);
  return Array.from(labels.data as BigInt64Array, (one) => {
    if (one < 0 || one >= classes) throw usageError(`mixup: the label ${one} is none of ${classes} classes`);
    return Number(one);
  });
}

function beta(draw: Random, alpha: number): number {
  const [a, b] = [gamma(draw, alpha), gamma(draw, alpha)];
  return a + b === 0 ? Number(draw.uniform() < 0.5) : a / (a + b); // both vanish only for a tiny alpha, which is a coin
}

/** A number of the gamma distribution (Marsaglia and Tsang 2000). */
function gamma(draw: Random, shape: number): number {
  if (shape < 1) return gamma(draw, shape + 1) * draw.uniform() ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const x = draw.normal();
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(draw.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}
