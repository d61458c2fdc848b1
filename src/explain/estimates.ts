/**
 * First-order estimates of patching: the metric's gradient times how far the clean activation lies from the corrupted one.
 * One batch holds everything: a clean row, a corrupted row, and rows between them (their embeddings mixed) where the
 * gradient is averaged along the path. So a whole map leaves one compiled graph as a number a column.
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import { constantLike, expand, gather, inputsOf, reduceSum, simplify, slice, sub, type Value } from "../graph/index.js";
import {
  type Axis,
  blend,
  type ComputeContext,
  clamp,
  type Metric,
  type Model,
  type Recording,
  type SiteDescription,
} from "../model/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import { type Columns, cellOf } from "./columns.js";
import { alignedTokens, apart, type Baseline, idsOf, type PromptPair, perRow } from "./patching.js";
import { rowsPerBatch, type SweepOptions } from "./sweep.js";

export interface EstimateOptions extends PromptPair, SweepOptions {
  /**
   * Steps between the corrupted and the clean embedding over which the gradient is averaged, by the trapezoid rule; 1
   * unless given: the gradient of the corrupted run alone.
   */
  readonly steps?: number;
}

/** Estimated effects before they are summed over what a column covers: [rows or 1, ...], with the meaning of each axis. */
export interface Term {
  readonly value: Value;
  readonly axes: readonly Axis[];
}

/**
 * What is estimated, in the order of sites; undefined where the metric does not depend on one. `chosen`: the positions
 * that are patched, int64 [count].
 */
export type Terms = (context: ComputeContext, metric: Value, chosen: Value) => (Term | undefined)[];

/** Recovered fractions [sites][columns], and the metric of both prompts. */
interface Estimates {
  readonly metric: Baseline["metric"];
  readonly recovered: number[][];
}

/** What is estimated, and where. */
interface EstimatePlan {
  readonly sites: readonly SiteDescription[];
  readonly columns: Columns;
  readonly terms: Terms;
  /** What the terms depend on besides sites, columns and the metric, if they may be traced once for several calls. */
  readonly key?: string;
  /** Further inputs that the terms read. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
}

/** The estimates of every column of every site. Throws where the metric does not tell the prompts apart. */
export async function estimateEffects(model: Model, plan: EstimatePlan, options: EstimateOptions): Promise<Estimates> {
  const { steps = 1, signal, onProgress } = options;
  const [clean, corrupt] = alignedTokens(model, options).map(idsOf) as [number[], number[]];
  const batches = pathBatches(steps, rowsPerBatch(clean.length, options));
  const source = steps === 1 ? undefined : await model.record([clean], "embed");
  const positions = [...new Set(plan.columns.positions)];
  const recovered = plan.sites.map(() => plan.columns.places.map(() => 0));
  let metric: Baseline["metric"] = { clean: 0, corrupt: 0 };
  for (const [done, points] of batches.entries()) {
    signal?.throwIfAborted();
    const outputs = await mixed(model, source, points).compute(
      points.map((_, row) => (row === 0 ? clean : corrupt)),
      (context, { chosen }) => effectOutputs(context, plan, options.metric, chosen as Value),
      {
        inputs: { ...plan.inputs, chosen: tensorOf("int64", [positions.length], positions) },
        ...tracedOnce(plan, options.metric, clean.length),
      },
    );
    const [atClean, atCorrupt] = (outputs.metric as Tensor).data as Float32Array;
    metric = apart(atClean as number, atCorrupt as number);
    addShares(recovered, outputs, plan, points, metric.clean - metric.corrupt);
    onProgress?.(done + 1, batches.length);
    await setImmediate(); // the runtime blocks while it runs: let progress show and Ctrl-C arrive
  }
  return { metric, recovered };
}

/** The name of a traced estimate: everything that its graph depends on. A metric that is a function has no name. */
function tracedOnce({ key, sites, columns }: EstimatePlan, metric: Metric, length: number): { key?: string } {
  if (key === undefined || typeof metric !== "string") return {};
  return { key: JSON.stringify([key, metric, length, columns.counted, columns.length, sites.map(({ name }) => name)]) };
}

/** A row of a batch: the share of the clean embedding in it, and its weight in the average. */
interface PathPoint {
  readonly share: number;
  readonly weight: number;
}

/** The points of the path in batches of at most `rows`, each with the clean and the corrupted row in front. */
function pathBatches(steps: number, rows: number): PathPoint[][] {
  if (!Number.isInteger(steps) || steps < 1)
    throw usageError(`steps must be a whole number of at least 1, not ${steps}`);
  const [atClean, atCorrupt] = steps === 1 ? [0, 1] : [0.5 / steps, 0.5 / steps];
  const ends = (counts: boolean): PathPoint[] => [
    { share: 1, weight: counts ? atClean : 0 },
    { share: 0, weight: counts ? atCorrupt : 0 },
  ];
  const between = Array.from({ length: steps - 1 }, (_, k) => ({ share: (k + 1) / steps, weight: 1 / steps }));
  const size = Math.max(1, rows - 2);
  const count = Math.max(1, Math.ceil(between.length / size));
  return Array.from({ length: count }, (_, b) => [...ends(b === 0), ...between.slice(b * size, (b + 1) * size)]);
}

/** The view in which each row's embedding has its share of the clean one. */
function mixed(model: Model, source: Recording | undefined, points: readonly PathPoint[]): Model {
  if (source === undefined) return model; // the two ends are the prompts themselves
  const shares = points.map(({ share }) => share);
  return model.with(blend("embed", source, tensorOf("float32", [points.length, 1, 1], shares)));
}

/** The graph: every row's metric and estimates, a number a column. */
function effectOutputs(
  context: ComputeContext,
  { sites, columns, terms }: EstimatePlan,
  metric: Metric,
  chosen: Value,
): Record<string, Value> {
  const value = perRow(metric, context);
  const outputs = new Map([["metric", value]]);
  terms(context, value, chosen).forEach((term, i) => {
    if (term !== undefined) outputs.set(`effect ${sites[i]?.name}`, summed(term, columns, chosen));
  });
  const graph = simplify({ inputs: inputsOf(outputs.values()), outputs, sites: new Map() });
  return Object.fromEntries(graph.outputs);
}

function summed({ value, axes }: Term, { counted, positions, length }: Columns, chosen: Value): Value {
  const tokens = axes.indexOf("position");
  const some = !counted.includes("position") && tokens >= 0 && new Set(positions).size < length;
  const others = axes.flatMap((axis, d) => (axis === "row" || counted.includes(axis) ? [] : [d]));
  const taken = some ? gather(value, chosen, tokens) : value;
  return others.length === 0 ? taken : reduceSum(taken, others);
}

/** Adds the rows of a batch by their weights, as shares of what there is to recover. */
function addShares(
  recovered: readonly number[][],
  outputs: Readonly<Record<string, Tensor>>,
  { sites, columns }: EstimatePlan,
  points: readonly PathPoint[],
  whole: number,
): void {
  sites.forEach((site, i) => {
    const output = outputs[`effect ${site.name}`];
    if (output === undefined) return; // the metric does not depend on the site
    const size = output.data.length / points.length;
    const axes = site.axes.filter((axis) => columns.counted.includes(axis));
    const line = recovered[i] as number[];
    columns.places.forEach((place, j) => {
      const cell = cellOf(site, axes, columns, place);
      points.forEach(({ weight }, row) => {
        line[j] = (line[j] as number) + (weight * Number(output.data[row * size + cell])) / whole;
      });
    });
  });
}

/** How far a site's clean activation lies from the corrupted one, [1, ...]. */
export function difference(value: Value): Value {
  return sub(slice(value, 0, 0, 1), slice(value, 0, 1, 2));
}

/** A gradient of ones: where differentiation starts. */
export function ones(value: Value): Value {
  return expand(constantLike(value, 1), value.shape);
}

/**
 * The view in which a metric reads these sites and not past them: one position of the logits is computed from one position
 * of the last residual stream, below the final norm. A clamp that changes nothing stops that.
 */
export function holdSites(model: Model, sites: readonly SiteDescription[]): Model {
  const held = sites.filter(({ name }) => name === "finalNorm" || name === "logits");
  return held.length === 0 ? model : model.with(...held.map(({ name }) => clamp(name, (x) => x)));
}
