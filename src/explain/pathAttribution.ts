/**
 * Path attribution: path patching to first order, all senders at once (edge attribution in the sense of Syed et al. 2023,
 * with several receivers together). Derivatives flow through direct paths alone: they stop at what is held.
 */
import { add, identity, input, mul, pullback, stopGradient, type Value, where } from "../graph/index.js";
import type { ComputeContext, Model, SiteDescription } from "../model/index.js";
import type { PatchingUnit } from "./columns.js";
import { difference, type EstimateOptions, estimateEffects, holdSites, ones, type Terms } from "./estimates.js";
import {
  maskName,
  type PatchedPaths,
  type PathMap,
  type Paths,
  pathMapOf,
  readPaths,
  received,
  sitesOf,
  spliced,
  valuesOf,
} from "./patchedPaths.js";

export interface PathAttributionOptions<By extends PatchingUnit = PatchingUnit>
  extends PatchedPaths<By>,
    EstimateOptions {}

/**
 * The gradient form of `pathPatching`, to first order and for all senders at once: (clean - corrupt) of the sender, times
 * the derivative of the receivers along direct paths, times that of the metric along the receivers. With `steps` the
 * derivatives are averaged between the prompts (Hanna et al. 2024).
 */
export async function pathAttribution<By extends PatchingUnit = "head">(
  model: Model,
  options: PathAttributionOptions<By>,
): Promise<PathMap<By>> {
  const paths = readPaths(model, options);
  const { senders, columns, receivers } = paths;
  const view = holdSites(model, [...senders, ...sitesOf(receivers)]);
  const inputs = Object.fromEntries(receivers.map(({ site, mask }) => [maskName(site), mask]));
  const estimates = await estimateEffects(
    view,
    { sites: senders, columns, terms: directTerms(paths), inputs },
    options,
  );
  return { ...pathMapOf(paths), ...estimates };
}

/** (clean - corrupt) of every sender x the metric's derivative along its direct paths. */
function directTerms({
  senders,
  frozen,
  receivers,
}: Pick<Paths<PatchingUnit>, "senders" | "frozen" | "receivers">): Terms {
  return (context, metric) => {
    const gradients = gradientsOfReceivers(context, metric, sitesOf(receivers));
    const { sources, direct } = directGraph(context, { senders, frozen, receivers: sitesOf(receivers) });
    const seeds = new Map<Value, Value>();
    sitesOf(receivers).forEach((site, i) => {
      const [at, gradient] = [received(direct, site), gradients[i]];
      const known = seeds.get(at);
      if (gradient !== undefined) seeds.set(at, known === undefined ? gradient : add(known, gradient));
    });
    return pullback(seeds, sources).map((gradient, i) => {
      const { name, axes } = senders[i] as SiteDescription;
      return gradient && { value: mul(difference(context.site(name)), gradient), axes };
    });
  };
}

/** Gradients at what receivers are given: 0 outside their parts. A later receiver's part hides what an earlier one does to it. */
function gradientsOfReceivers(context: ComputeContext, metric: Value, sites: readonly SiteDescription[]) {
  const given = new Map<string, Value>();
  const receive = (site: SiteDescription) => ({
    site: site.name,
    apply(x: Value) {
      const value = identity(stopGradient(x));
      given.set(site.name, value);
      return where(input(maskName(site), "bool", [1, ...x.shape.slice(1)]), value, x);
    },
  });
  const value = spliced(new Map([["metric", metric], ...valuesOf(context, sites)]), sites.map(receive)).get(
    "metric",
  ) as Value;
  return pullback(
    new Map([[value, ones(value)]]),
    sites.map(({ name }) => given.get(name) as Value),
  );
}

/** The run with derivatives stopped at frozen sites, and the values at which each sender's paths start. */
function directGraph(
  context: ComputeContext,
  { senders, frozen, receivers }: Readonly<Record<"senders" | "frozen" | "receivers", readonly SiteDescription[]>>,
) {
  const starts = new Map<string, Value>();
  const start = ({ name }: SiteDescription) => ({
    site: name,
    apply(x: Value) {
      const value = identity(x);
      starts.set(name, value);
      return value;
    },
  });
  const direct = spliced(valuesOf(context, [...senders, ...frozen, ...receivers]), [
    ...frozen.map(({ name }) => ({ site: name, apply: stopGradient })),
    ...senders.map(start),
  ]);
  return { direct, sources: senders.map(({ name }) => starts.get(name) as Value) };
}
