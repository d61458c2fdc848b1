/**
 * What a column of a patching map is: a position, a head, both, a neuron, or a whole site. A column is a place along the
 * dimensions that columns count. It covers the others whole, and all chosen positions where it counts none.
 */
import { usageError } from "../errors.js";
import { type Axis, type Model, parseSite, type SiteDescription } from "../model/index.js";
import { stridesOf } from "../runtime/index.js";
import { clampedSites, requireAxis, resolvePosition, sizesOf, wholeSites } from "./sites.js";

/** What one run of a sweep patches, and one column of its map. */
export type PatchingUnit = "position" | "head" | "position x head" | "neuron" | "site";

/** By unit, the dimensions that columns count, the outer first, and the sites that are patched unless others are given. */
const units: Readonly<Record<PatchingUnit, { readonly counted: readonly CountedAxis[]; readonly sites: string }>> = {
  position: { counted: ["position"], sites: "layers.*.residPre" },
  head: { counted: ["head"], sites: "layers.*.attn.z" },
  "position x head": { counted: ["position", "head"], sites: "layers.*.attn.z" },
  neuron: { counted: ["neuron"], sites: "layers.*.mlp.act" },
  site: { counted: [], sites: "layers.*.mlp.out" },
};

type CountedAxis = "position" | "head" | "neuron";

/** Indices along the dimensions that columns count. */
export type Place = Readonly<Partial<Record<Axis, number>>>;

/** The columns that all sites of a map share. */
export interface Columns {
  readonly counted: readonly Axis[];
  /** Tokens of the prompt. */
  readonly length: number;
  /** The positions patched: counted by columns, or together. */
  readonly positions: number[];
  /** The heads and neurons that columns count, where they do. */
  readonly indices: { readonly heads?: number[]; readonly neurons?: number[] };
  readonly places: readonly Place[];
}

/** The sites that are patched by this unit unless others are given. Throws for a unit that does not exist. */
export function defaultSites(by: PatchingUnit): string {
  return unitOf(by).sites;
}

function unitOf(by: PatchingUnit) {
  if (Object.hasOwn(units, by)) return units[by];
  throw usageError(`a column can be a ${Object.keys(units).join(", a ")}, not "${by}"`);
}

/**
 * The columns of sites, positions outside heads. Throws where a site lacks a dimension that columns count, or has another
 * number of heads or neurons than the rest.
 */
export function columnsOf(
  sites: readonly SiteDescription[],
  by: PatchingUnit,
  length: number,
  chosen: readonly number[] | undefined,
): Columns {
  const { counted } = unitOf(by);
  if (sites.length === 0) throw usageError("no site was named to patch");
  for (const site of sites) for (const axis of ["position" as const, ...counted]) requireAxis(site, axis);
  const positions = chosen?.map((p) => resolvePosition(p, length)) ?? upTo(length);
  if (positions.length === 0) throw usageError("no position was chosen");
  const along = new Map(counted.map((axis) => [axis, axis === "position" ? positions : sharedIndices(sites, axis)]));
  const places = [...along].reduce<Place[]>(
    (outer, [axis, indices]) => outer.flatMap((place) => indices.map((index) => ({ ...place, [axis]: index }))),
    [{}],
  );
  const [heads, neurons] = [along.get("head"), along.get("neuron")];
  const indices = { ...(heads === undefined ? {} : { heads }), ...(neurons === undefined ? {} : { neurons }) };
  return { counted, length, positions, indices, places };
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The heads or neurons that all sites have. */
function sharedIndices(sites: readonly SiteDescription[], axis: Axis): number[] {
  const counts = sites.map(({ axes, shape }) => Number(shape[axes.indexOf(axis)]));
  const other = counts.findIndex((own) => own !== counts[0]);
  if (other < 0) return upTo(counts[0] as number);
  throw usageError(
    `${sites[0]?.name} has ${counts[0]} ${axis}s and ${sites[other]?.name} ${counts[other]}: patch them apart`,
  );
}

/** The shape of a site's mark: whole along positions and what columns count, 1 along what a column covers. */
export function markShape(site: SiteDescription, { counted, length }: Columns): number[] {
  const sizes = sizesOf(site, length);
  return site.axes.map((axis, d) => (axis === "position" || counted.includes(axis) ? (sizes[d] as number) : 1));
}

/** Marks a column of a site in weights of `markShape`. */
export function markColumn(
  weights: Float32Array,
  site: SiteDescription,
  columns: Columns,
  place: Place,
  value: number,
): void {
  const strides = stridesOf(markShape(site, columns));
  const positions = place.position === undefined ? columns.positions : [place.position];
  for (const position of positions) weights[offsetOf(site.axes, strides, { ...place, position })] = value;
}

/** Where a column lies in a tensor of a site that was reduced to the dimensions (`axes`) that columns count. */
export function cellOf(site: SiteDescription, axes: readonly Axis[], { length }: Columns, place: Place): number {
  const sizes = sizesOf(site, length);
  const strides = stridesOf(axes.map((axis) => sizes[site.axes.indexOf(axis)] as number));
  return offsetOf(axes, strides, place);
}

function offsetOf(axes: readonly Axis[], strides: readonly number[], place: Place): number {
  return axes.reduce((sum, axis, d) => sum + (place[axis] ?? 0) * (strides[d] as number), 0);
}

/** The whole sites that names or globs stand for, each once. Throws for one that can only be recorded. */
export function patchableSites(model: Model, patterns: string | readonly string[]): SiteDescription[] {
  const found = [patterns].flat().flatMap((pattern) => wholeSites(model, pattern));
  return [...new Map(found.map((site) => [site.name, requireClampable(site)])).values()];
}

/** The sites that names, globs and parts stand for, with the part that each reference selects. */
export function patchableParts(model: Model, references: string | readonly string[]) {
  const found = [references].flat().flatMap((text) => {
    const reference = parseSite(text);
    return clampedSites(model, reference.name).map((site) => ({ site: requireClampable(site), reference }));
  });
  if (found.length === 0) throw usageError("no receiver was named");
  return found;
}

function requireClampable(site: SiteDescription): SiteDescription {
  if (site.clampable) return site;
  throw usageError(
    `${site.name} can be recorded and not clamped, so nothing can be patched there; name attn.z instead`,
  );
}
