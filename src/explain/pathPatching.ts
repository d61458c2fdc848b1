/**
 * Path patching (Wang et al. 2022, the indirect object; Goldowsky-Dill et al. 2023, "Localizing model behavior with path
 * patching"): what a sender's clean activation does through its direct paths to some receivers, everything between them
 * held at what the corrupted run gave. In one graph: the receivers as the patched sender alone would make them, and the
 * corrupted run with those receivers.
 */
import { add, expand, input, mul, sub, type Value, where } from "../graph/index.js";
import type { ComputeContext, Model, Recording, SiteDescription } from "../model/index.js";
import { elementCount, type Tensor, zeros } from "../runtime/index.js";
import { markColumn, markShape, type PatchingUnit } from "./columns.js";
import { holdSites } from "./estimates.js";
import {
  maskName,
  type PatchedPaths,
  type PathMap,
  type Paths,
  pathMapOf,
  type Receiver,
  readPaths,
  received,
  sitesOf,
  spliced,
  valuesOf,
} from "./patchedPaths.js";
import { type Cell, changingCells, idsOf, type PromptPair, perRow, runBaseline, share } from "./patching.js";
import { inBatches, type SweepOptions } from "./sweep.js";

export interface PathPatchingOptions<By extends PatchingUnit = PatchingUnit>
  extends PatchedPaths<By>,
    PromptPair,
    SweepOptions {}

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
  const paths = readPaths(model, options);
  const { tokens, ids, senders, columns, receivers } = paths;
  const view = holdSites(model, sitesOf(receivers));
  const compared = { sites: senders, metric: options.metric, columns };
  const baseline = await runBaseline(view, [idsOf(tokens), ids], compared);
  const start = firstStream(receivers, model.config.layers);
  const kept = new Set([...paths.frozen.map(({ name }) => name), start]);
  const plan = { ...paths, start, clean: baseline.source, corrupt: await view.record([ids], [...kept]) };
  const order = model.sites().map(({ name }) => name);
  const last = Math.max(...sitesOf(receivers).map(({ name }) => order.indexOf(name)));
  const cells = changingCells(senders, columns, baseline).filter(({ site }) => order.indexOf(site.name) < last);
  const results = await inBatches(cells, columns.length, options, (batch) =>
    view.compute(
      batch.map(() => ids),
      (context) => ({ metric: patchedMetric(context, plan, perRow(options.metric, context)) }),
      { inputs: pathInputs(plan, batch) },
    ),
  );
  const recovered = senders.map(() => columns.places.map(() => 0));
  cells.forEach(({ i, j }, run) => {
    (recovered[i] as number[])[j] = share(Number(results[run]?.metric?.data[0]), baseline.metric);
  });
  return { ...pathMapOf(paths), metric: baseline.metric, recovered };
}

/** The residual stream before the first receiver: up to there the patched run is the corrupted one. */
function firstStream(receivers: readonly Receiver[], layers: number): string {
  const first = sitesOf(receivers).map(({ name }) => {
    const layer = /^layers\.(\d+)\./.exec(name)?.[1];
    if (layer !== undefined) return Number(layer);
    return name === "embed" ? 0 : layers - 1;
  });
  return `layers.${Math.min(...first)}.residPre`;
}

/** What the graph of a sweep is built from. */
interface PathSweep extends Paths<PatchingUnit> {
  /** The stream before the first receiver. */
  readonly start: string;
  /** The senders' clean activations. */
  readonly clean: Recording;
  /** What the corrupted run gave at frozen sites and at the start. */
  readonly corrupt: Recording;
}

const markName = ({ name }: SiteDescription) => `mark of ${name}`;

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
  const direct = spliced(valuesOf(context, [...senders, ...frozen, ...sitesOf(receivers)]), [
    ...frozen.map(({ name }) => hold(name)),
    ...senders.map(patch),
  ]);
  const values = new Map([["metric", metric], [start, context.site(start)], ...valuesOf(context, sitesOf(receivers))]);
  const receive = ({ site }: Receiver) => ({
    site: site.name,
    apply: (x: Value) => where(fed(maskName(site)), received(direct, site), x),
  });
  return spliced(values, [hold(start), ...receivers.map(receive)]).get("metric") as Value;
}
