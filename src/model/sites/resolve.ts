/** From what people write to canonical sites of one model: aliases, globs, and errors that help. */
import { nearestNames, usageError } from "../../errors.js";
import type { Graph, Shape, Value } from "../../graph/index.js";
import { type Axis, aliasesOf, canonicalName, differenceThere, layerOf, siteKind, siteKinds } from "./names.js";
import { globPattern, type Part, parseSite, partsFor, type SiteReference } from "./reference.js";

/** A site of a model: its name, shape, meaning, other names, and whether it can be clamped. */
export interface SiteDescription {
  readonly name: string;
  /** Sizes, with `batch` and `seq` for those that a prompt decides. */
  readonly shape: Shape;
  readonly axes: readonly Axis[];
  readonly aliases: readonly string[];
  readonly meaning: string;
  /** False where the site can only be recorded. */
  readonly clampable: boolean;
}

/** The canonical sites of a graph, or those that a name or glob stands for, in the order of computation. */
export function describeSites(graph: Graph, pattern = "**"): SiteDescription[] {
  const chosen = new Set(resolveSites(graph, pattern).map(({ site }) => site));
  const names = new Map<Value, string[]>();
  for (const [name, value] of graph.sites) names.set(value, [...(names.get(value) ?? []), name]);
  return [...graph.sites].flatMap(([name, value]) => {
    const kind = siteKind(name);
    if (kind === undefined || !chosen.has(name)) return [];
    // Canonical names of the same value: `layers.3.residPost` is `layers.4.residPre`.
    const same = (names.get(value) ?? []).filter((other) => other !== name);
    const aliases = [...aliasesOf(name), ...same];
    return [
      {
        name,
        shape: value.shape,
        axes: kind.axes,
        aliases,
        meaning: kind.meaning,
        clampable: kind.readOnly === undefined,
      },
    ];
  });
}

/** A site that a reference selected, and the parts of its dimensions. */
export interface ResolvedSite {
  readonly site: string;
  readonly parts: readonly Part[];
  readonly reference: SiteReference;
}

/** The sites that a reference selects, in the order of computation. Throws where there are none. */
export function resolveSites(graph: Graph, text: string | SiteReference): ResolvedSite[] {
  const reference = typeof text === "string" ? parseSite(text) : text;
  const before = reference.name.endsWith("@before");
  const name = canonicalName(before ? reference.name.slice(0, -"@before".length) : reference.name);
  const difference = differenceThere(name);
  if (difference !== undefined)
    throw usageError(`"${name}" (TransformerLens) has no site of the same value here: ${difference}`);
  const pattern = globPattern(name);
  const matches = [...graph.sites.keys()].filter((site) => pattern.test(site));
  if (matches.length === 0) throw unknownSite(graph, name);
  return matches.map((site) => {
    const parts = partsFor(reference, (siteKind(site) as { axes: readonly Axis[] }).axes, site);
    return { site: before ? `${site}@before` : site, parts, reference };
  });
}

/** As `resolveSites`, for sites that are to be clamped. */
export function resolveClampSites(graph: Graph, reference: SiteReference): ResolvedSite[] {
  if (reference.name.endsWith("@before"))
    throw usageError(`${reference.name} is what a clamp receives; clamp the site itself`);
  const found = resolveSites(graph, reference);
  const seen = new Set<unknown>();
  return found.filter(({ site }) => {
    const readOnly = siteKind(site)?.readOnly;
    if (readOnly !== undefined) throw usageError(`${site} can be recorded and not clamped: ${readOnly}`);
    const value = graph.sites.get(site);
    const fresh = !seen.has(value); // two names of one value are one site: clamp it once
    seen.add(value);
    return fresh;
  });
}

function unknownSite(graph: Graph, name: string) {
  const kind = siteKinds.find(({ pattern }) => pattern === name.replace(/^layers\.(\d+|\*)\./, "layers.i."));
  const layer = layerOf(name);
  const layers = [...graph.sites.keys()].filter((site) => site.endsWith(".residPost")).length;
  if (kind !== undefined && layer !== undefined && layer >= layers) {
    return usageError(`there is no site "${name}": the model has layers 0 to ${layers - 1}`);
  }
  if (kind !== undefined) return usageError(`this model has no site "${name}" (${kind.meaning})`);
  const nearest = nearestNames(name, graph.sites.keys()).join(", ");
  return usageError(`there is no site "${name}"; the nearest are ${nearest}`);
}
