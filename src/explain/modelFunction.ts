/** A metric of a language model as a differentiable function of one of its sites: the site is clamped to each point. */
import { usageError } from "../errors.js";
import { gather, type Value } from "../graph/index.js";
import {
  type ComputeContext,
  clamp,
  type Metric,
  type Model,
  type Prompt,
  type PromptOptions,
  parseSite,
  type SiteDescription,
  set,
} from "../model/index.js";
import { row, type Tensor, toNumbers } from "../runtime/index.js";
import { type DifferentiableFunction, traceFlows } from "./differentiable.js";
import { clampedSites } from "./sites.js";

export interface ModelFunctionOptions extends PromptOptions {
  /** What is explained: one number of the run. */
  readonly of: Metric;
  /** The site whose value is explained, or a part of one (`layers.3.mlp.act[:, -1]`); `embed` unless given. */
  readonly at?: string;
  /** Most tokens in a batch, unless the prompt has more; 256 unless given. */
  readonly batchTokens?: number;
}

/**
 * The metric of one prompt as a function of the value of a site, clamps of the view included: [position, channel] for most
 * sites. All that is not a position (or a key) belongs to one token.
 *
 * Throws where the site is unknown, several, or can't be clamped; evaluating throws where the metric does not depend on it.
 */
export async function modelFunction(
  model: Model,
  prompt: Prompt,
  { of, at = "embed", batchTokens = 256, ...options }: ModelFunctionOptions,
): Promise<DifferentiableFunction> {
  if (!Number.isInteger(batchTokens) || batchTokens < 1)
    throw usageError(`batchTokens must be a whole number of at least 1, not ${batchTokens}`);
  const { site, features } = readSite(model, at);
  const [tokens] = model.tokensAll([prompt], options) as [ReturnType<Model["tokens"]>];
  const ids = tokens.map(({ id }) => id);
  const rowsOf = (points: Tensor) => Array.from({ length: points.shape[0] as number }, () => ids);
  const clamped = (points: Tensor) => model.with(set(at, points));
  return {
    at: await valueAt(model, ids, at),
    features,
    rows: Math.max(1, Math.floor(batchTokens / ids.length)),
    tokens,
    async values(points) {
      const { values } = await clamped(points).compute(rowsOf(points), (context) => ({
        values: rowNumbers(context, of),
      }));
      return toNumbers(values as Tensor);
    },
    async evaluate(points) {
      const { values, sites } = await clamped(points).gradient(rowsOf(points), { of, at });
      if (values.length !== points.shape[0]) throw notPerRow();
      return { values: Float64Array.from(values), gradients: Object.values(sites)[0] as Tensor };
    },
    async flows(points, direction, hidden) {
      if (parseSite(at).suffix !== "" || site.axes[1] !== "position")
        throw usageError(
          `what flows through a hidden site is followed from a whole site of single tokens, not "${at}"`,
        );
      const through = readSite(model, hidden);
      // A clamp that changes nothing: what the metric reads at one position must be read through this value.
      const view = clamped(points).with(clamp(hidden, (x) => x));
      let separates = false;
      const { flows } = await view.compute(
        rowsOf(points),
        (context, { direction: along }) => {
          const value = rowNumbers(context, of);
          const [x, y] = [context.site(site.name), context.site(hidden)];
          // Every row is the prompt, so positions pick the direction's rows in the graph's own sizes.
          const everywhere = gather(along as Value, context.positions);
          const traced = traceFlows(value, x, y, everywhere, { at, hidden });
          separates = traced.separates;
          return { flows: traced.flows };
        },
        { inputs: { direction } },
      );
      return { flows: flows as Tensor, features: through.features, separates };
    },
  };
}

/** The value of a site (or a part of one) in a run of one prompt, without its row. */
export async function valueAt(model: Model, prompt: Prompt, at: string): Promise<Tensor> {
  const { sites } = await model.record(prompt, at);
  return row(Object.values(sites)[0] as Tensor, 0);
}

/** The one site that a reference names, and the dimensions of the selected part, rows aside, that belong to one token. */
export function readSite(model: Model, text: string): { site: SiteDescription; features: number[] } {
  const { name, parts, named } = parseSite(text);
  const found = clampedSites(model, name);
  const [site] = found as [SiteDescription];
  if (found.length > 1)
    throw usageError(`"${text}" stands for ${found.length} sites; one is needed here, such as ${site.name}`);
  if (!site.clampable) throw usageError(`${site.name} can be recorded and not clamped: choose another site`);
  const part = (d: number) => parts[d] ?? named[site.axes[d] as string] ?? { kind: "all" };
  if (part(0).kind !== "all") throw usageError(`"${text}" selects rows; there is one prompt here: leave them out`);
  const kept = site.axes.filter((_, d) => d > 0 && part(d).kind !== "index");
  const features = kept.flatMap((axis, d) => (axis === "position" || axis === "key" ? [] : [d]));
  return { site, features };
}

/** The metric, [batch]. Throws where it is one number of the whole batch: rows are different points here. */
function rowNumbers(context: ComputeContext, of: Metric): Value {
  const value = context.metric(of);
  if (value.shape.length === 1) return value;
  throw notPerRow();
}

const notPerRow = () => usageError("the metric must be one number a row here, shape [batch], not one of all rows");
