/**
 * Activation patching (Vig et al. 2020; Meng et al. 2022, "causal tracing"; Wang et al. 2022, the indirect object): run a
 * corrupted prompt with one activation taken from the clean run, and see how much of the clean answer comes back.
 */
import { usageError } from "../errors.js";
import { abs, reduceMax, slice, squeeze, sub, type Value } from "../graph/index.js";
import type { ComputeContext, Metric, Model, Prompt, Recording, SiteDescription, Token } from "../model/index.js";
import { stridesOf, type Tensor } from "../runtime/index.js";
import { requireAxis, resolvePosition, sizesOf, wholeSites } from "./sites.js";
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

export interface PatchingMap {
  readonly sites: string[];
  /** Positions patched: a column each, or all at once by head. */
  readonly positions: number[];
  /** By head: the head of each column. */
  readonly heads?: number[];
  /** The metric of the two prompts. */
  readonly metric: { clean: number; corrupt: number };
  /** [sites][positions or heads]: (metric - corrupt) / (clean - corrupt); 0 changes nothing, 1 restores the clean answer. */
  readonly recovered: number[][];
  readonly by: "position" | "head";
  /** Tokens of the clean prompt. */
  readonly tokens: readonly Token[];
}

export interface PatchingOptions extends SweepOptions {
  readonly clean: Prompt;
  /** A prompt of as many tokens, which gets another answer. */
  readonly corrupt: Prompt;
  readonly metric: Metric;
  /** Name or glob of whole sites; `layers.*.residPre` unless given, `layers.*.attn.z` by head. */
  readonly sites?: string;
  /** What a column is; `position` unless given. */
  readonly by?: "position" | "head";
  /** Positions to patch, negatives from the end; all unless given. */
  readonly positions?: readonly number[];
}

/** What both prompts gave before anything was patched. */
interface Baseline {
  readonly metric: { clean: number; corrupt: number };
  /** The clean activations. */
  readonly source: Recording;
  /** Whether patching a column of a site can change anything. */
  readonly differs: (site: string, column: number) => boolean;
}

/**
 * Patches every site at every position (or head) of a corrupted prompt, one at a time. Two graphs are compiled: one that
 * runs both prompts, and one for the whole sweep. Where clean and corrupted activations are equal, nothing is run: 0.
 * Throws where the prompts differ in length or the metric does not tell them apart.
 */
export async function activationPatching(model: Model, options: PatchingOptions): Promise<PatchingMap> {
  const { by = "position", metric } = options;
  const [tokens, corrupt] = alignedTokens(model, options);
  const sites = wholeSites(model, options.sites ?? (by === "head" ? "layers.*.attn.z" : "layers.*.residPre"));
  const { length } = tokens;
  const positions = (options.positions ?? tokens.map((_, p) => p)).map((p) => resolvePosition(p, length));
  if (positions.length === 0) throw usageError("no position was chosen");
  const columns = by === "head" ? headsOf(sites) : positions;
  for (const site of sites) requireAxis(site, "position");
  const baseline = await runBaseline(model, [idsOf(tokens), idsOf(corrupt)], { sites, metric, by });
  const marks = new Map(sites.map((site) => [site.name, markShape(site, length, by)]));
  const cells = sites.flatMap((site, i) =>
    columns.flatMap((column, j) => (baseline.differs(site.name, column) ? [{ site, column, i, j }] : [])),
  );
  const runs = cells.map(({ site, column }): SweepRun => {
    const places = by === "head" ? positions.map((position) => ({ position, head: column })) : [{ position: column }];
    return { site: site.name, mark: marker(site, marks.get(site.name) as number[], places) };
  });
  const measure = (context: ComputeContext) => ({ metric: perRow(metric, context) });
  const results = await sweep(model, { ids: idsOf(corrupt), source: baseline.source, marks, runs, measure }, options);
  const recovered = sites.map(() => columns.map(() => 0));
  const { clean: atClean, corrupt: atCorrupt } = baseline.metric;
  cells.forEach(({ i, j }, run) => {
    const value = Number(results[run]?.metric?.data[0]);
    (recovered[i] as number[])[j] = (value - atCorrupt) / (atClean - atCorrupt);
  });
  const heads = by === "head" ? { heads: columns } : {};
  return { sites: sites.map(({ name }) => name), positions, ...heads, metric: baseline.metric, recovered, by, tokens };
}

const idsOf = (tokens: readonly Token[]) => tokens.map(({ id }) => id);

/** The tokens of two prompts of one length. Throws where the lengths differ. */
export function alignedTokens(
  model: Model,
  { clean, corrupt }: Pick<PatchingOptions, "clean" | "corrupt">,
): [Token[], Token[]] {
  const both: [Token[], Token[]] = [model.tokens(clean), model.tokens(corrupt)];
  if (both[0].length === both[1].length) return both;
  const [first, second] = both.map((tokens) => `${tokens.length} (${JSON.stringify(tokens.map(({ text }) => text))})`);
  throw usageError(
    `clean and corrupt prompt must have as many tokens, so that positions match: clean has ${first}, corrupt has ${second}`,
  );
}

/** The heads that all sites have. */
function headsOf(sites: readonly SiteDescription[]): number[] {
  const counts = sites.map((site) => {
    requireAxis(site, "head");
    return site.shape[site.axes.indexOf("head")] as number;
  });
  const [count] = counts as [number];
  const other = counts.findIndex((own) => own !== count);
  if (other >= 0)
    throw usageError(
      `${sites[0]?.name} has ${count} heads and ${sites[other]?.name} ${counts[other]}: patch them apart`,
    );
  return Array.from({ length: count }, (_, head) => head);
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
  readonly by: "position" | "head";
}

async function runBaseline(
  model: Model,
  prompts: readonly number[][],
  { sites, metric, by }: BaselineRun,
): Promise<Baseline> {
  const outputs = await model.compute(prompts, (context) => {
    const { site } = context;
    const results: Record<string, Value> = { metric: perRow(metric, context) };
    for (const { name, axes } of sites) {
      const clean = slice(site(name), 0, 0, 1);
      const others = axes.flatMap((axis, d) => (axis === by ? [] : [d]));
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
    differs: (site, column) => outputs[`change ${site}`]?.data[column] !== 0,
  };
}

/** The recovered fraction divides by the difference: below 1e-4 of the metric's size that is rounding. */
export function apart(clean: number, corrupt: number): { clean: number; corrupt: number } {
  if (Math.abs(clean - corrupt) > 1e-4 * Math.max(1, Math.abs(clean), Math.abs(corrupt))) return { clean, corrupt };
  throw usageError(
    `the metric is ${clean.toPrecision(6)} for the clean prompt and ${corrupt.toPrecision(6)} for the corrupt one: nothing to recover; choose prompts or a metric that tell the answers apart`,
  );
}

/** A mark is a place in the dimensions that columns count; it covers the others whole. */
function markShape(site: SiteDescription, length: number, by: "position" | "head"): number[] {
  const sizes = sizesOf(site, length);
  return site.axes.map((axis, d) => (axis === "position" || axis === by ? (sizes[d] as number) : 1));
}

function marker(
  { axes }: SiteDescription,
  shape: readonly number[],
  places: readonly { position: number; head?: number }[],
): SweepRun["mark"] {
  const strides = stridesOf(shape);
  const offset = (place: Readonly<Record<string, number>>) =>
    axes.reduce((sum, axis, d) => sum + (place[axis] ?? 0) * (strides[d] as number), 0);
  return (weights) => {
    for (const place of places) weights[offset(place)] = 1;
  };
}
