/**
 * Path patching (Wang et al. 2022, the indirect object; Goldowsky-Dill et al. 2023, "Localizing model behavior with path
 * patching"): what a sender's clean activation does through its direct paths to some receivers, everything between them
 * held at what the corrupted run gave. In one graph: the receivers as the patched sender alone would make them, and the
 * corrupted run with those receivers.
 */
import {
  add,
  expand,
  identity,
  input,
  inputsOf,
  mul,
  pullback,
  type SiteFunction,
  spliceAll,
  stopGradient,
  sub,
  type Value,
  where,
} from "../graph/index.js";
import {
  type ComputeContext,
  type Model,
  type Recording,
  type SiteDescription,
  selectRecorded,
  type Token,
} from "../model/index.js";
import { elementCount, type Tensor, zeros } from "../runtime/index.js";
import {
  type Columns,
  columnsOf,
  defaultSites,
  markColumn,
  markShape,
  type PatchingUnit,
  patchableParts,
  patchableSites,
} from "./columns.js";
import {
  difference,
  type EstimateOptions,
  estimateEffects,
  holdSites,
  ones,
  type Terms,
  throughSites,
} from "./estimates.js";
import {
  alignedTokens,
  type Cell,
  changingCells,
  idsOf,
  mapOf,
  type PatchingMap,
  type PromptPair,
  perRow,
  runBaseline,
  share,
} from "./patching.js";
import { sizesOf } from "./sites.js";
import { inBatches, type SweepOptions } from "./sweep.js";

/** Which paths are patched. */
export interface PathOptions<By extends PatchingUnit = PatchingUnit> {
  /** Names or globs of whole sites, each column of which is a sender; `layers.*.attn.z` unless given. */
  readonly senders?: string | readonly string[];
  /** What a column is; `head` unless given. */
  readonly by?: By;
  /** Positions at which senders are patched, negatives from the end; all unless given. */
  readonly positions?: readonly number[];
  /**
   * Names, globs and parts of the sites that receive, all together: `layers.9.attn.q[head=3]`, or the last layer's
   * `residPost` for direct effects on the logits.
   */
  readonly receivers: string | readonly string[];
  /**
   * Whole sites that are held at what they were in the corrupted run, so that no path leads through them; all heads and
   * MLPs, `layers.*.attn.z` and `layers.*.mlp.out`, unless given. Wang et al. hold the heads alone.
   */
  readonly freeze?: string | readonly string[];
}

export interface PathPatchingOptions<By extends PatchingUnit = PatchingUnit>
  extends PathOptions<By>,
    PromptPair,
    SweepOptions {}

export interface PathAttributionOptions<By extends PatchingUnit = PatchingUnit>
  extends PathOptions<By>,
    EstimateOptions {}

/** A patching map whose sites are the senders. */
export interface PathMap<By extends PatchingUnit = PatchingUnit> extends PatchingMap<By> {
  /** The receivers, with the suffix where a part of one was named. */
  readonly receivers: string[];
}

/**
 * Patches the direct paths from every sender, one at a time, to the receivers: the receivers get what they would be if
 * the sender's column were clean and the frozen sites were as corrupted; what follows the receivers runs freely. 0, without
 * a run, where clean and corrupted senders are equal or a sender comes after all receivers. Three graphs are compiled: one
 * of both prompts, one of the corrupted run, one of the sweep.
 *
 * Throws where the prompts differ in length or the metric does not tell them apart.
 */
export async function pathPatching<By extends PatchingUnit = "head">(
  model: Model,
  options: PathPatchingOptions<By>,
): Promise<PathMap<By>> {
  const { tokens, corrupt, by, senders, columns, frozen, receivers } = readPaths(model, options);
  const view = holdSites(
    model,
    receivers.map(({ site }) => site),
    options.metric,
  );
  const baseline = await runBaseline(view, [idsOf(tokens), corrupt], {
    sites: senders,
    metric: options.metric,
    columns,
  });
  const start = firstStream(receivers, model.config.layers);
  const kept = [...new Set([...frozen.map(({ name }) => name), start])];
  const plan: PathSweep = {
    senders,
    columns,
    frozen,
    receivers,
    start,
    clean: baseline.source,
    corrupt: await view.record([corrupt], kept),
  };
  const order = model.sites().map(({ name }) => name);
  const last = Math.max(...receivers.map(({ site }) => order.indexOf(site.name)));
  const cells = changingCells(senders, columns, baseline).filter(({ site }) => order.indexOf(site.name) < last);
  const metric = throughSites(options.metric, columns.length);
  const results = await inBatches(cells, columns.length, options, (batch) =>
    view.compute(
      batch.map(() => corrupt),
      (context) => ({ metric: patchedMetric(context, plan, perRow(metric, context)) }),
      { inputs: pathInputs(plan, batch) },
    ),
  );
  const recovered = senders.map(() => columns.places.map(() => 0));
  cells.forEach(({ i, j }, run) => {
    (recovered[i] as number[])[j] = share(Number(results[run]?.metric?.data[0]), baseline.metric);
  });
  const labels = receivers.flatMap(({ labels }) => labels);
  return { ...mapOf(senders, columns, by, tokens), metric: baseline.metric, recovered, receivers: labels };
}

/**
 * The gradient form of `pathPatching`, to first order and for all senders at once: (clean - corrupt) of the sender, times
 * the derivative of the receivers along direct paths, times that of the metric along the receivers. With `steps` the
 * derivatives are averaged between the prompts (Hanna et al. 2024).
 */
export async function pathAttribution<By extends PatchingUnit = "head">(
  model: Model,
  options: PathAttributionOptions<By>,
): Promise<PathMap<By>> {
  const { tokens, by, senders, columns, frozen, receivers } = readPaths(model, options);
  const held = [...senders, ...receivers.map(({ site }) => site)];
  const view = holdSites(model, held, options.metric);
  const terms = directTerms(senders, frozen, receivers);
  const inputs = Object.fromEntries(receivers.map(({ site, mask }) => [maskName(site), mask]));
  const { metric, recovered } = await estimateEffects(view, { sites: senders, columns, terms, inputs }, options);
  const labels = receivers.flatMap(({ labels }) => labels);
  return { ...mapOf(senders, columns, by, tokens), metric, recovered, receivers: labels };
}

/** A site whose part receives. */
interface Receiver {
  readonly site: SiteDescription;
  /** As they were named. */
  readonly labels: string[];
  /** 1 at the parts that receive, in the shape of the site for one row. */
  readonly mask: Tensor<"bool">;
}

function readPaths<By extends PatchingUnit>(model: Model, options: PathOptions<By> & PromptPair) {
  const by = options.by ?? ("head" as By);
  const [tokens, corrupt] = alignedTokens(model, options);
  const senders = patchableSites(model, options.senders ?? defaultSites(by));
  const columns = columnsOf(senders, by, tokens.length, options.positions);
  const frozen = patchableSites(model, options.freeze ?? ["layers.*.attn.z", "layers.*.mlp.out"]);
  return {
    tokens,
    corrupt: idsOf(corrupt),
    by,
    senders,
    columns,
    frozen,
    receivers: readReceivers(model, options.receivers, tokens),
  };
}

/** The receivers, parts of one site joined. */
function readReceivers(model: Model, references: string | readonly string[], tokens: readonly Token[]): Receiver[] {
  const found = new Map<string, Receiver>();
  for (const { site, reference } of patchableParts(model, references)) {
    const shape = sizesOf(site, tokens.length);
    const { mask, labels } = found.get(site.name) ?? { mask: zeros("bool", shape), labels: [] };
    // The part is selected from a recording of the places' own numbers.
    const numbers: Tensor = {
      dtype: "int32",
      shape,
      data: Int32Array.from({ length: elementCount(shape) }, (_, i) => i),
    };
    const places = { sites: { [site.name]: numbers }, tokens: [tokens], model: model.identity };
    for (const place of selectRecorded(places, { ...reference, name: site.name }).data) mask.data[Number(place)] = 1;
    found.set(site.name, { site, mask, labels: [...labels, site.name + reference.suffix] });
  }
  return [...found.values()];
}

/** The residual stream before the first receiver: up to there the patched run is the corrupted one. */
function firstStream(receivers: readonly Receiver[], layers: number): string {
  const first = receivers.map(({ site }) => {
    const layer = /^layers\.(\d+)\./.exec(site.name)?.[1];
    if (layer !== undefined) return Number(layer);
    return site.name === "embed" ? 0 : layers - 1;
  });
  return `layers.${Math.min(...first)}.residPre`;
}

/** What the graph of a sweep is built from. */
interface PathSweep {
  readonly senders: readonly SiteDescription[];
  readonly columns: Columns;
  readonly frozen: readonly SiteDescription[];
  readonly receivers: readonly Receiver[];
  /** The stream before the first receiver. */
  readonly start: string;
  /** The senders' clean activations. */
  readonly clean: Recording;
  /** What the corrupted run gave at frozen sites and at the start. */
  readonly corrupt: Recording;
}

const markName = ({ name }: SiteDescription) => `mark of ${name}`;
const maskName = ({ name }: SiteDescription) => `mask of ${name}`;

function pathInputs(
  { senders, columns, receivers, clean, corrupt }: PathSweep,
  batch: readonly Cell[],
): Record<string, Tensor> {
  const inputs: Record<string, Tensor> = {};
  for (const site of senders) {
    const shape = markShape(site, columns);
    const size = elementCount(shape);
    const weights = zeros("float32", [batch.length, ...shape.slice(1)]);
    batch.forEach((cell, row) => {
      const own = weights.data.subarray(row * size, (row + 1) * size);
      if (cell.site === site) markColumn(own, site, columns, cell.place, 1);
    });
    inputs[markName(site)] = weights;
  }
  for (const { site, mask } of receivers) inputs[maskName(site)] = mask;
  for (const [name, value] of Object.entries(clean.sites)) inputs[`clean ${name}`] = value;
  for (const [name, value] of Object.entries(corrupt.sites)) inputs[`corrupt ${name}`] = value;
  return inputs;
}

/** The inputs of `pathInputs` as values, one-row ones [1, ...]. */
function fedValues({ site }: ComputeContext, { senders, columns, receivers, clean, corrupt }: PathSweep) {
  const values = new Map<string, Value>();
  const feed = (name: string, of: string, dtype: "float32" | "bool" = "float32") =>
    values.set(name, input(name, dtype, [1, ...site(of).shape.slice(1)]));
  for (const name of Object.keys(clean.sites)) feed(`clean ${name}`, name);
  for (const name of Object.keys(corrupt.sites)) feed(`corrupt ${name}`, name);
  for (const receiver of receivers) feed(maskName(receiver.site), receiver.site.name, "bool");
  for (const sender of senders) {
    const mark = markShape(sender, columns);
    const shape = site(sender.name).shape.map((dim, d) => (d > 0 && mark[d] === 1 ? 1 : dim));
    values.set(markName(sender), input(markName(sender), "float32", shape));
  }
  return (name: string) => values.get(name) as Value;
}

/** The metric of the corrupted run with receivers as each row's sender makes them through direct paths, [rows]. */
function patchedMetric(context: ComputeContext, plan: PathSweep, metric: Value): Value {
  const { senders, frozen, receivers, start } = plan;
  const fed = fedValues(context, plan);
  const hold = (name: string) => ({ site: name, apply: (x: Value) => expand(fed(`corrupt ${name}`), x.shape) });
  const patch = (site: SiteDescription) => ({
    site: site.name,
    apply: (x: Value) => {
      const mark = fed(markName(site));
      return add(mul(x, sub(1, mark)), mul(fed(`clean ${site.name}`), mark));
    },
  });
  const direct = spliced(valuesOf(context, [...senders, ...frozen, ...receivers.map(({ site }) => site)]), [
    ...frozen.map(({ name }) => hold(name)),
    ...senders.map(patch),
  ]);
  const values = new Map([
    ["metric", metric],
    [start, context.site(start)],
    ...valuesOf(
      context,
      receivers.map(({ site }) => site),
    ),
  ]);
  const receive = ({ site }: Receiver) => ({
    site: site.name,
    apply: (x: Value) => where(fed(maskName(site)), received(direct, site), x),
  });
  return spliced(values, [hold(start), ...receivers.map(receive)]).get("metric") as Value;
}

function valuesOf(context: ComputeContext, sites: readonly SiteDescription[]): Map<string, Value> {
  return new Map(sites.map(({ name }) => [name, context.site(name)]));
}

/** Values as they are with edits among them; the value that an edit received is named `@before`. */
function spliced(sites: ReadonlyMap<string, Value>, edits: readonly { site: string; apply: SiteFunction }[]) {
  return spliceAll({ inputs: inputsOf(sites.values()), outputs: new Map(), sites }, edits).sites;
}

/** What arrives at a receiver: its value before it is itself held or patched for what comes after. */
function received(values: ReadonlyMap<string, Value>, { name }: SiteDescription): Value {
  return (values.get(`${name}@before`) ?? values.get(name)) as Value;
}

/** The graph of `pathAttribution`: derivatives that stop at frozen sites, and at receivers that others overwrite. */
function directTerms(
  senders: readonly SiteDescription[],
  frozen: readonly SiteDescription[],
  receivers: readonly Receiver[],
): Terms {
  const sites = receivers.map(({ site }) => site);
  return (context, metric) => {
    const overwritten = new Map<string, Value>();
    const after = spliced(
      new Map([["metric", metric], ...valuesOf(context, sites)]),
      sites.map((site) => ({
        site: site.name,
        apply(x) {
          const given = identity(stopGradient(x));
          overwritten.set(site.name, given);
          return where(input(maskName(site), "bool", [1, ...x.shape.slice(1)]), given, x);
        },
      })),
    );
    const value = after.get("metric") as Value;
    const given = sites.map(({ name }) => overwritten.get(name) as Value);
    const gradients = pullback(new Map([[value, ones(value)]]), given);
    const sources = new Map<string, Value>();
    const direct = spliced(valuesOf(context, [...senders, ...frozen, ...sites]), [
      ...frozen.map(({ name }) => ({ site: name, apply: stopGradient })),
      ...senders.map(({ name }) => ({
        site: name,
        apply(x: Value) {
          const source = identity(x);
          sources.set(name, source);
          return source;
        },
      })),
    ]);
    const seeds = new Map<Value, Value>();
    sites.forEach((site, i) => {
      const [at, gradient] = [received(direct, site), gradients[i]];
      const known = seeds.get(at);
      if (gradient !== undefined) seeds.set(at, known === undefined ? gradient : add(known, gradient));
    });
    const found = pullback(
      seeds,
      senders.map(({ name }) => sources.get(name) as Value),
    );
    return senders.map(({ name, axes }, i) => {
      const gradient = found[i];
      return gradient && { value: mul(difference(context.site(name)), gradient), axes };
    });
  };
}
