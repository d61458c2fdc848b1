/**
 * Ablation: take a part of the network away and see what its prediction loses. A part can be set to zero, to its mean, or
 * to what it was for another token (resampling; Chan et al. 2022, "Causal scrubbing"), which keeps it in distribution.
 */
import { usageError } from "../errors.js";
import type { Value } from "../graph/index.js";
import {
  lengthsOf,
  type Model,
  meanOverTokens,
  type Prompt,
  parseSite,
  type Recording,
  recorded,
  type SiteDescription,
  type SiteReference,
  selectRecorded,
  type Token,
} from "../model/index.js";
import { elementCount, random, type Tensor, tensorOf, zeros } from "../runtime/index.js";
import { divergence, likeliest, logProbabilities, probabilityOf } from "./distribution.js";
import { predictNext } from "./prediction.js";
import { clampedSites, sizesOf } from "./sites.js";
import { type SweepOptions, type SweepRun, sweep } from "./sweep.js";
import { checkCount, readTokens, type TokenProbability, type TopTensors } from "./tokens.js";

export type AblationKind = "zero" | "mean" | "resample";

/** What the prediction at the last position loses without one part. */
export interface AblatedSite {
  /** The site, with its suffix where a part of it was ablated. */
  readonly site: string;
  /** KL(original || ablated) in nats. */
  readonly kl: number;
  /** The likeliest token of the original prediction. */
  readonly before: TokenProbability;
  /** Its probability afterwards. */
  readonly after: number;
  /** The likeliest tokens afterwards. */
  readonly top: TokenProbability[];
}

export interface Ablation {
  readonly tokens: readonly Token[];
  readonly how: AblationKind;
  readonly sites: AblatedSite[];
}

export interface AblationOptions extends SweepOptions {
  /** Names, globs and parts (`layers.*.attn.z[head=3]`); each matched site is ablated on its own. */
  readonly sites: string | readonly string[];
  readonly how: AblationKind;
  /** Prompts whose tokens the mean is taken over, or resampled from; the prompt's own tokens unless given. */
  readonly reference?: readonly Prompt[];
  /** Seed of the draws; 0 unless given. */
  readonly seed?: number;
  /** Likeliest tokens reported; 5 unless given. */
  readonly top?: number;
}

/** A site, or a part of one, to ablate. */
interface Target {
  readonly label: string;
  readonly site: SiteDescription;
  readonly reference: SiteReference;
}

/**
 * Ablates every matched site on its own and compares the prediction at the last position. `mean` sets a part to its mean
 * over all reference tokens; `resample` gives each position what the part was for another token: the prompt's own in
 * another order, or drawn from all reference tokens. Every site sees the same draws, so sites can be compared.
 * Throws where a site does not exist, can't be clamped, or has no values of single tokens to average or draw.
 */
export async function ablate(model: Model, prompt: Prompt, options: AblationOptions): Promise<Ablation> {
  const { how, top = 5 } = options;
  if (!["zero", "mean", "resample"].includes(how))
    throw usageError(`a part can be ablated by zero, mean or resample, not "${how}"`);
  checkCount(top, model.config.vocabulary);
  const tokens = model.tokens(prompt);
  const ids = tokens.map(({ id }) => id);
  const targets = findTargets(model, options.sites);
  const source = await replacements(model, targets, tokens, options);
  const original = await predictNext(model, ids, 1);
  const before = original.top[0] as TokenProbability;
  const marks = new Map(targets.map(({ site }) => [site.name, markShape(site, targets, tokens.length)]));
  const results = await sweep(
    model,
    {
      ids,
      source,
      marks,
      runs: targets.map((target) => markedRun(target, marks.get(target.site.name) as number[], source)),
      measure: ({ last }, inputs) => compare(last("logits"), inputs, top),
      inputs: { original: original.logP, likeliest: tensorOf("int64", [1], [before.id]) },
    },
    options,
  );
  const sites = targets.map(({ label }, i): AblatedSite => {
    const result = results[i] as TopTensors & Record<"kl" | "after", Tensor>;
    const number = (name: "kl" | "after") => Number(result[name].data[0]);
    return { site: label, kl: number("kl"), before, after: number("after"), top: readTokens(model.tokenizer, result) };
  });
  return { tokens, how, sites };
}

/** The graph: what is reported of logits [batch, vocabulary] after the ablation. */
function compare(logits: Value, inputs: Readonly<Record<string, Value>>, top: number): Record<string, Value> {
  const logP = logProbabilities(logits);
  return {
    kl: divergence(inputs.original as Value, logP),
    after: probabilityOf(logP, inputs.likeliest as Value),
    ...likeliest(logP, top),
  };
}

function findTargets(model: Model, sites: string | readonly string[]): Target[] {
  const targets = new Map<string, Target>();
  for (const text of typeof sites === "string" ? [sites] : sites) {
    const reference = parseSite(text);
    for (const site of clampedSites(model, reference.name)) {
      const label = site.name + reference.suffix;
      targets.set(label, { label, site, reference: { ...reference, name: site.name } });
    }
  }
  if (targets.size === 0) throw usageError("no site was given to ablate");
  return [...targets.values()];
}

/** One row with the values that ablated parts take. */
async function replacements(
  model: Model,
  targets: readonly Target[],
  tokens: readonly Token[],
  options: AblationOptions,
): Promise<Recording> {
  const sites = [...new Map(targets.map(({ site }) => [site.name, site])).values()];
  const fill = await replacementOf(model, sites, tokens, options);
  const values = Object.fromEntries(sites.map((site) => [site.name, fill(site)]));
  return { sites: values, tokens: [tokens], model: model.identity };
}

async function replacementOf(
  model: Model,
  sites: readonly SiteDescription[],
  tokens: readonly Token[],
  { how, reference, seed = 0 }: AblationOptions,
): Promise<(site: SiteDescription) => Tensor> {
  const { length } = tokens;
  if (how === "zero") return (site) => zeros("float32", sizesOf(site, length));
  const between = sites.find(({ axes }) => axes[1] !== "position");
  if (between !== undefined)
    throw usageError(`${between.name} belongs to pairs of tokens: it can be ablated by zero, not by ${how}`);
  const own = [tokens.map(({ id }) => id)];
  const recording = await model.record(
    reference ?? own,
    sites.map(({ name }) => name),
  );
  if (how === "mean") {
    const everywhere = new Array<number>(length).fill(0);
    return ({ name }) => pickTokens(meanOverTokens(recording, name), everywhere);
  }
  const places = reference === undefined ? cyclicOrder(length, seed) : drawPlaces(recording, length, seed);
  return ({ name }) => pickTokens(recorded(recording, name), places);
}

/** The values [1, places, ...] of a site [rows, columns, ...] at places counted over rows and columns together. */
function pickTokens({ shape, data }: Tensor, places: readonly number[]): Tensor<"float32"> {
  const rest = shape.slice(2);
  const size = elementCount(rest);
  const result = zeros("float32", [1, places.length, ...rest]);
  places.forEach((place, i) => {
    result.data.set((data as Float32Array).subarray(place * size, (place + 1) * size), i * size);
  });
  return result;
}

/** A random order in which no token stays at its place (Sattolo 1986). */
function cyclicOrder(length: number, seed: number): number[] {
  if (length < 2) throw usageError("a prompt of one token has no other to resample from: give reference prompts");
  const draws = random(seed);
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = draws.integer(i);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** Places of real tokens of a recording, drawn with replacement. */
function drawPlaces(recording: Recording, count: number, seed: number): number[] {
  const lengths = lengthsOf(recording);
  const columns = Math.max(...lengths);
  const places = lengths.flatMap((length, r) => Array.from({ length }, (_, i) => (r + 1) * columns - length + i));
  const draws = random(seed);
  return Array.from({ length: count }, () => places[draws.integer(places.length)] as number);
}

/** The shape of what the targets of a site mark: whole where tokens are counted or some target selects, else 1. */
function markShape(site: SiteDescription, targets: readonly Target[], length: number): number[] {
  const sizes = sizesOf(site, length);
  const own = targets.filter((target) => target.site.name === site.name);
  return site.axes.map((axis, d) => {
    const selected = own.some(({ reference }) => {
      const part = reference.parts[d] ?? reference.named[axis];
      return part !== undefined && part.kind !== "all";
    });
    return selected || axis === "position" || axis === "key" ? (sizes[d] as number) : 1;
  });
}

/** A run that marks what the target selects: the selection is made on a recording of the places' own numbers. */
function markedRun({ site, reference }: Target, shape: readonly number[], like: Recording): SweepRun {
  const numbers: Tensor = {
    dtype: "int32",
    shape,
    data: Int32Array.from({ length: elementCount(shape) }, (_, i) => i),
  };
  const places = selectRecorded({ ...like, sites: { [site.name]: numbers } }, reference).data as Int32Array;
  return {
    site: site.name,
    mark(weights) {
      for (const place of places) weights[place] = 1;
    },
  };
}
