/**
 * Agreement of gradients: as of values (support/agreement.ts), but a row may be far smaller than what was summed into it.
 * The gradient at a score whose query sees one key is p (g - p g) with p = 1: zero in the books, a rounding of g in practice.
 */
import { type Tensor, toNumbers } from "../../src/runtime/index.js";
import type { Worst } from "../support/agreement.js";

/**
 * Rows smaller than this share of the site's largest row are held to that share of it. With a tolerance of 1e-4 that is
 * 1e-6 of the largest, eight roundings of float32. (PyTorch's own float32 is off its float64 by up to 2.4e-4 of rows that are
 * a thousandth of the largest.)
 */
const floor = 1e-2;

/** The worst relative error over vectors along the last dimension, relative to at least `floor` of the largest one's norm. */
export function worstGradient(actual: Tensor, reference: Tensor): Worst {
  if (actual.shape.join() !== reference.shape.join()) {
    throw new Error(`shape [${actual.shape.join()}] against the reference's [${reference.shape.join()}]`);
  }
  const [given, wanted] = [toNumbers(actual), toNumbers(reference)];
  const size = reference.shape.at(-1) ?? 1;
  const rows = Array.from({ length: wanted.length / size }, (_, r) => {
    const part = wanted.subarray(r * size, (r + 1) * size);
    return {
      norm: Math.hypot(...part),
      difference: Math.hypot(...part.map((x, i) => x - (given[r * size + i] as number))),
    };
  });
  const least = floor * rows.reduce((most, { norm }) => Math.max(most, norm), 0);
  return rows.reduce<Worst>(
    (worst, { norm, difference }, r) => {
      const error = difference === 0 ? 0 : difference / Math.max(norm, least);
      return error <= worst.error ? worst : { error, row: r };
    },
    { error: 0, row: -1 },
  );
}
