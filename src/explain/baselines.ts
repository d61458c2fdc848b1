/** Baselines: what a tensor is compared with, where nothing of what is explained is there. */
import { usageError } from "../errors.js";
import { expand, reduceMean, substitute, type Value } from "../graph/index.js";
import type { Model, Prompt } from "../model/index.js";
import { elementCount, row, stridesOf, type Tensor, toNumbers } from "../runtime/index.js";
import { readSite, valueAt } from "./modelFunction.js";

/** Zeros, or a tensor aligned to the explained one as NumPy aligns shapes. */
export type Baseline = "zero" | Tensor;

/** The value of a site (or a part of one) in a run of another prompt: a baseline [position, ...] for as many tokens. */
export async function promptBaseline(model: Model, prompt: Prompt, at = "embed"): Promise<Tensor> {
  readSite(model, at);
  return valueAt(model, prompt, at);
}

/**
 * The mean embedding of the vocabulary at each position of a prompt, [position, channel]: the `embed` site as it would be if
 * the embedding's rows were all their mean. Learned positions stay.
 */
export async function meanEmbedding(model: Model, prompt: Prompt): Promise<Tensor> {
  const { embed } = await model.compute([prompt], ({ site, weight }) => {
    const table = weight("embed.weight");
    const mean = expand(reduceMean(table, 0, { keepDims: true }), table.shape);
    return { embed: substitute([site("embed")], new Map([[table, mean]]))[0] as Value };
  });
  return row(embed as Tensor, 0);
}

/** A baseline's numbers in the shape [...] of the explained tensor. Throws where it does not fit or is not finite. */
export function baselineNumbers(baseline: Baseline, shape: readonly number[]): Float64Array {
  const size = elementCount(shape);
  if (baseline === "zero") return new Float64Array(size);
  const given = toNumbers(baseline);
  const bad = given.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw usageError(`the baseline is ${given[bad]} at element ${bad}; it must be finite`);
  const surplus = baseline.shape.length - shape.length;
  const own = shape.map((_, d) => baseline.shape[d + surplus] ?? 1);
  const fits = own.every((count, d) => count === 1 || count === shape[d]);
  if (!fits || baseline.shape.slice(0, Math.max(0, surplus)).some((count) => count !== 1))
    throw usageError(
      `the baseline has shape [${baseline.shape.join(", ")}] and does not fit the explained [${shape.join(", ")}]: as a baseline, a prompt must have as many tokens`,
    );
  const [from, to] = [stridesOf(own), stridesOf(shape)];
  return Float64Array.from({ length: size }, (_, i) => {
    const place = (d: number) => Math.floor(i / (to[d] as number)) % (shape[d] as number);
    return given[own.reduce((at, count, d) => (count === 1 ? at : at + place(d) * (from[d] as number)), 0)] as number;
  });
}
