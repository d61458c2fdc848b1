/** From activations to examples: which tokens of which prompts become rows, read from a recording or from a model. */
import { usageError } from "../../errors.js";
import {
  lengthsOf,
  type Model,
  meanOverTokens,
  type Prompt,
  type Recording,
  recorded,
  recordedRow,
  type Token,
} from "../../model/index.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { requireAxis, resolvePosition, wholeSites } from "../sites.js";

/**
 * Which tokens become examples: one position of every prompt (negatives from its end), a position for each prompt,
 * `all` tokens in order, prompt after prompt, or the `mean` over the tokens of each prompt.
 */
export type PositionChoice = number | readonly number[] | "all" | "mean";

/** A whole site of a recording, and which of its tokens are examples. */
export interface RecordedFeatures {
  readonly recording: Recording;
  readonly site: string;
  /** The last token of every prompt unless given. */
  readonly positions?: PositionChoice;
}

/** Features: rows of numbers as they are, [examples, features], or tokens of a recording. */
export type ProbeFeatures = Tensor | RecordedFeatures;

/** Rows of features, and the prompt that each came from. */
export interface Examples {
  readonly features: Tensor;
  /** Absent for a plain tensor. */
  readonly prompts?: Int32Array;
}

/** The examples that features stand for. */
export function examplesOf(features: ProbeFeatures): Examples {
  if ("dtype" in features) return { features };
  const { recording, site, positions = -1 } = features;
  meanOverTokens(recording, site); // throws where the site has no values of single tokens
  const places = placesOf(lengthsOf(recording), positions);
  return { features: gather(recording, site, places), prompts: ownersOf(places) };
}

const ownersOf = (places: readonly number[][][]) =>
  Int32Array.from(places.flatMap((list, prompt) => list.map(() => prompt)));

/** For each prompt, the tokens behind each of its examples. */
function placesOf(lengths: readonly number[], positions: PositionChoice): number[][][] {
  if (typeof positions === "object" && positions.length !== lengths.length)
    throw usageError(`there are ${positions.length} positions for ${lengths.length} prompts: give one for each`);
  return lengths.map((length, prompt) => {
    const all = Array.from({ length }, (_, p) => p);
    if (positions === "all") return all.map((p) => [p]);
    if (positions === "mean") return [all];
    const position = typeof positions === "number" ? positions : (positions[prompt] as number);
    return [[resolvePosition(position, length)]];
  });
}

/** The mean over the tokens of each example, [examples, features]. */
function gather(recording: Recording, site: string, places: readonly number[][][]): Tensor<"float32"> {
  const rows: Float32Array[] = [];
  places.forEach((list, prompt) => {
    const { shape, data } = recordedRow(recording, site, prompt);
    const width = data.length / (shape[0] as number);
    for (const tokens of list) {
      const value = (j: number) => tokens.reduce((sum, token) => sum + Number(data[token * width + j]), 0);
      rows.push(Float32Array.from({ length: width }, (_, j) => value(j) / tokens.length));
    }
  });
  return stacked(rows, rows.length);
}

export interface SiteExamplesOptions {
  /** Names or globs of sites with values of single tokens; every `residPost` unless given. */
  readonly sites?: string | readonly string[];
  /** The last token of every prompt unless given. */
  readonly positions?: PositionChoice;
  /** Most tokens in a batch, unless one prompt has more; 1024 unless given. */
  readonly batchTokens?: number;
  /** Stops between two steps. */
  readonly signal?: AbortSignal;
}

export interface SiteExamples {
  /** [examples, features] of each site: dimensions after the position are flattened. */
  readonly features: ReadonlyMap<string, Tensor<"float32">>;
  /** The prompt of each example. */
  readonly prompts: Int32Array;
  readonly tokens: readonly (readonly Token[])[];
}

/**
 * Records sites of many prompts, batch after batch, and keeps the chosen tokens alone. Throws where a site has no
 * values of single tokens, or a position is out of range of its prompt.
 */
export async function siteExamples(
  model: Model,
  prompts: readonly Prompt[],
  { sites = "layers.*.residPost", positions = -1, batchTokens = 1024, signal }: SiteExamplesOptions,
): Promise<SiteExamples> {
  const found = [sites].flat().flatMap((pattern) => wholeSites(model, pattern));
  const names = [...new Set(found.map(({ name }) => name))];
  if (names.length === 0) throw usageError("no site was given");
  for (const site of found) {
    requireAxis(site, "position");
    if (site.axes[1] !== "position") throw usageError(`${site.name} belongs to pairs of tokens: it has no examples`);
  }
  if (prompts.length === 0) throw usageError("no prompt was given");
  const tokens = model.tokensAll(prompts);
  const lengths = tokens.map((line) => line.length);
  const places = placesOf(lengths, positions);
  const suffix = typeof positions === "number" ? `[:, ${positions}]` : ""; // then only that position leaves the graph
  const parts = new Map<string, Float32Array[]>(names.map((name) => [name, []]));
  for (const { from, to } of batches(lengths, batchTokens)) {
    signal?.throwIfAborted();
    const ids = tokens.slice(from, to).map((line) => line.map(({ id }) => id));
    const recording = await model.record(
      ids,
      names.map((name) => name + suffix),
    );
    for (const [name, list] of parts) {
      const chosen =
        suffix === "" ? gather(recording, name, places.slice(from, to)) : recorded(recording, name + suffix);
      list.push(chosen.data as Float32Array);
    }
  }
  const prompted = ownersOf(places);
  const features = new Map([...parts].map(([name, list]) => [name, stacked(list, prompted.length)]));
  return { features, prompts: prompted, tokens };
}

/** Runs of prompts whose padded batch holds at most `most` tokens, or one prompt. */
function batches(lengths: readonly number[], most: number): { from: number; to: number }[] {
  if (!Number.isInteger(most) || most < 1)
    throw usageError(`batchTokens must be a whole number of at least 1, not ${most}`);
  const result: { from: number; to: number }[] = [];
  for (let from = 0; from < lengths.length; ) {
    let to = from + 1;
    let longest = lengths[from] as number;
    while (to < lengths.length && Math.max(longest, lengths[to] as number) * (to + 1 - from) <= most) {
      longest = Math.max(longest, lengths[to] as number);
      to += 1;
    }
    result.push({ from, to });
    from = to;
  }
  return result;
}

/** Pieces one below the other, as `rows` rows. */
function stacked(pieces: readonly Float32Array[], rows: number): Tensor<"float32"> {
  const data = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  return tensor("float32", [rows, data.length / rows], data);
}
