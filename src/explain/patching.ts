/**
 * Activation patching (Vig et al. 2020; Meng et al. 2022, "causal tracing"; Wang et al. 2022, the indirect object): run a
 * corrupted prompt with one activation taken from the clean run, and see how much of the clean answer comes back.
 */
import { usageError } from "../errors.js";
import { abs, reduceMax, slice, squeeze, sub, type Value } from "../graph/index.js";
import type { Axis, ComputeContext, Metric, Model, Prompt, Recording, SiteDescription, Token } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import {
  type Columns,
  cellOf,
  columnsOf,
  defaultSites,
  markColumn,
  markShape,
  type PatchingUnit,
  type Place,
} from "./columns.js";
import { wholeSites } from "./sites.js";
import { type SweepOptions, type SweepRun, sweep } from "./sweep.js";
import { checkToken } from "./tokens.js";

/** How far the logit of `answer` lies above that of `wrong` (token ids) at the last position. */
export function logitDifference(answer: number, wrong: number): Metric {
  return ({ last }) => {
    const logits = last("logits");
    const vocabulary = logits.shape[1] as number;
    const logit = (id: number, what: string) => {
      checkToken(id, vocabulary, what);
      return squeeze(slice(logits, 1, id, id + 1), 1);
    };
    return sub(logit(answer, "the answer"), logit(wrong, "the wrong answer"));
  };
}

export interface PatchingMap<By extends PatchingUnit = "position" | "head"> {
  readonly sites: string[];
  /** Positions patched: counted by columns, or all at once. */
  readonly positions: number[];
  /** The heads or neurons that columns count, where they do. By position x head, a position's heads are neighbours. */
  readonly heads?: number[];
  readonly neurons?: number[];
  /** The metric of the two prompts. */
  readonly metric: { clean: number; corrupt: number };
  /** [sites][columns]: (metric - corrupt) / (clean - corrupt), by scale; 0 changes nothing, 1 restores the clean answer. */
  readonly recovered: number[][];
  readonly by: By;
  /** Tokens of the clean prompt. */
  readonly tokens: readonly Token[];
}

/** Two prompts, and what tells them apart. */
export interface PromptPair {
  readonly clean: Prompt;
  /** A prompt of as many tokens, which gets another answer. */
  readonly corrupt: Prompt;
  readonly metric: Metric;
}

export interface PatchingOptions<By extends PatchingUnit = "position" | "head"> extends PromptPair, SweepOptions {
  /** Name or glob of whole sites; `layers.*.residPre` unless given, `attn.z` by head, `mlp.act` by neuron. */
  readonly sites?: string;
  /** What a column is; `position` unless given. */
  readonly by?: By;
  /** Positions to patch, negatives from the end; all unless given. */
  readonly positions?: readonly number[];
  /**
   * How far the patch goes from the corrupted activation (0) to the clean one; 1 unless given. What is recovered is
   * divided by it, so that maps of any scale compare: near 0 the map is the metric's derivative along the patch.
   */
  readonly scale?: number;
}

/** What both prompts gave before anything was patched. */
export interface Baseline {
  readonly metric: { clean: number; corrupt: number };
  /** The clean activations. */
  readonly source: Recording;
  /** Whether patching a column of a site can change anything. */
  readonly differs: (site: SiteDescription, place: Place) => boolean;
}

/**
 * Patches every site at every position (or head) of a corrupted prompt, one at a time. Two graphs are compiled: one that
 * runs both prompts, and one for the whole sweep. Where clean and corrupted activations are equal, nothing is run: 0.
 * Throws where the prompts differ in length or the metric does not tell them apart.
 */
export async function activationPatching<By extends PatchingUnit = "position">(
  model: Model,
  options: PatchingOptions<By>,
): Promise<PatchingMap<By>> {
  const { by = "position" as By, metric, scale = 1 } = options;
  if (!Number.isFinite(scale) || scale === 0) throw usageError(`scale must be a number other than 0, not ${scale}`);
  const [tokens, corrupt] = alignedTokens(model, options);
  const sites = wholeSites(model, options.sites ?? defaultSites(by));
  const columns = columnsOf(sites, by, tokens.length, options.positions);
  const baseline = await runBaseline(model, [idsOf(tokens), idsOf(corrupt)], { sites, metric, columns });
  const marks = new Map(sites.map((site) => [site.name, markShape(site, columns)]));
  const cells = changingCells(sites, columns, baseline);
  const runs = cells.map(
    ({ site, place }): SweepRun => ({
      site: site.name,
      mark: (weights) => markColumn(weights, site, columns, place, scale),
    }),
  );
  const measure = (context: ComputeContext) => ({ metric: perRow(metric, context) });
  const results = await sweep(model, { ids: idsOf(corrupt), source: baseline.source, marks, runs, measure }, options);
  const recovered = sites.map(() => columns.places.map(() => 0));
  cells.forEach(({ i, j }, run) => {
    const value = Number(results[run]?.metric?.data[0]);
    (recovered[i] as number[])[j] = share(value, baseline.metric) / scale;
  });
  return { ...mapOf(sites, columns, by, tokens), metric: baseline.metric, recovered };
}

/** Everything in a map but its numbers. */
export function mapOf<By extends PatchingUnit>(
  sites: readonly SiteDescription[],
  { positions, indices }: Columns,
  by: By,
  tokens: readonly Token[],
): Omit<PatchingMap<By>, "metric" | "recovered"> {
  return { sites: sites.map(({ name }) => name), positions, ...indices, by, tokens };
}

/** The recovered fraction of a metric. */
export function share(value: number, { clean, corrupt }: Baseline["metric"]): number {
  return (value - corrupt) / (clean - corrupt);
}

/** A cell of a map. */
export interface Cell {
  readonly site: SiteDescription;
  readonly place: Place;
  /** Its row and column. */
  readonly i: number;
  readonly j: number;
}

/** The cells whose activations differ between the prompts: the others change nothing. */
export function changingCells(sites: readonly SiteDescription[], { places }: Columns, { differs }: Baseline): Cell[] {
  return sites.flatMap((site, i) =>
    places.flatMap((place, j) => (differs(site, place) ? [{ site, place, i, j }] : [])),
  );
}

export const idsOf = (tokens: readonly Token[]) => tokens.map(({ id }) => id);

/** The tokens of two prompts of one length. Throws where the lengths differ. */
export function alignedTokens(
  model: Model,
  { clean, corrupt }: Pick<PromptPair, "clean" | "corrupt">,
): [Token[], Token[]] {
  const both: [Token[], Token[]] = [model.tokens(clean), model.tokens(corrupt)];
  if (both[0].length === both[1].length) return both;
  const [first, second] = both.map((tokens) => `${tokens.length} (${JSON.stringify(tokens.map(({ text }) => text))})`);
  throw usageError(
    `clean and corrupt prompt must have as many tokens, so that positions match: clean has ${first}, corrupt has ${second}`,
  );
}

/** The metric [batch]. Throws where it is one number of the whole batch: rows are different runs here. */
export function perRow(metric: Metric, context: ComputeContext): Value {
  const value = context.metric(metric);
  if (value.shape.length === 1) return value;
  throw usageError("the metric must be one number a row here, shape [batch], not one of all rows");
}

interface BaselineRun {
  readonly sites: readonly SiteDescription[];
  readonly metric: Metric;
  readonly columns: Columns;
}

/** Runs both prompts, clean and corrupt, in one batch. Throws where the metric does not tell them apart. */
export async function runBaseline(
  model: Model,
  prompts: readonly number[][],
  { sites, metric, columns }: BaselineRun,
): Promise<Baseline> {
  const isCounted = (axis: Axis) => columns.counted.includes(axis);
  const outputs = await model.compute(prompts, (context) => {
    const { site } = context;
    const results: Record<string, Value> = { metric: perRow(metric, context) };
    for (const { name, axes } of sites) {
      const clean = slice(site(name), 0, 0, 1);
      const others = axes.flatMap((axis, d) => (isCounted(axis) ? [] : [d]));
      results[`clean ${name}`] = clean;
      results[`change ${name}`] = reduceMax(abs(sub(clean, slice(site(name), 0, 1, 2))), others);
    }
    return results;
  });
  const [clean, corrupt] = (outputs.metric as Tensor).data as Float32Array;
  return {
    metric: apart(clean as number, corrupt as number),
    source: {
      sites: Object.fromEntries(sites.map(({ name }) => [name, outputs[`clean ${name}`] as Tensor])),
      tokens: [model.tokens(prompts[0] as number[])],
      model: model.identity,
    },
    differs: (site, place) =>
      outputs[`change ${site.name}`]?.data[cellOf(site, site.axes.filter(isCounted), columns, place)] !== 0,
  };
}

/** The recovered fraction divides by the difference: below 1e-4 of the metric's size that is rounding. */
export function apart(clean: number, corrupt: number): { clean: number; corrupt: number } {
  if (Math.abs(clean - corrupt) > 1e-4 * Math.max(1, Math.abs(clean), Math.abs(corrupt))) return { clean, corrupt };
  throw usageError(
    `the metric is ${clean.toPrecision(6)} for the clean prompt and ${corrupt.toPrecision(6)} for the corrupt one: nothing to recover; choose prompts or a metric that tell the answers apart`,
  );
}
