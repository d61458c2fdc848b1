/** One vector a prompt: a site's value at one position, or its mean over several, reduced in the graph. */
import { usageError } from "../errors.js";
import { cast, type Dim, div, reduceSum, reshape, type Value } from "../graph/index.js";
import type { ComputeContext, Model, Prompt, SiteDescription } from "../model/index.js";
import { elementCount, type Tensor, zeros } from "../runtime/index.js";
import { type BatchOptions, batchesOf, pause } from "./batches.js";
import {
  checkInside,
  checkPositions,
  type Positions,
  positionMask,
  singlePosition,
  sumOverPositions,
} from "./positions.js";

/** The sites that names and globs stand for: those of single tokens that can be clamped, each value once. */
export function steerableSites(model: Model, patterns: string | readonly string[]): SiteDescription[] {
  const found = [patterns].flat().flatMap((pattern) => model.sites(pattern));
  const seen = new Set<string>();
  const sites = found.filter((site) => {
    if (seen.has(site.name)) return false;
    for (const name of [site.name, ...site.aliases]) seen.add(name);
    return true;
  });
  if (sites.length === 0) throw usageError("no site was given to steer at");
  for (const { name, axes, clampable } of sites) {
    if (!clampable) throw usageError(`${name} can be recorded and not clamped, so nothing can be steered there`);
    if (axes[1] !== "position")
      throw usageError(`${name} belongs to pairs of tokens: it has no vector of a token to steer`);
  }
  return sites;
}

/** The one site that a name stands for: see `steerableSites`. */
export function steerableSite(model: Model, name: string): SiteDescription {
  const [site, ...others] = steerableSites(model, name) as [SiteDescription, ...SiteDescription[]];
  if (others.length === 0) return site;
  throw usageError(`"${name}" stands for ${others.length + 1} sites: name one`);
}

/** The sizes of one token's value at a site. */
export function tokenShape({ shape }: SiteDescription): number[] {
  return shape.slice(2) as number[];
}

/** For each site the activations of prompts at the positions (their mean, for several), float64 [prompts, size]. */
export async function promptActivations(
  model: Model,
  prompts: readonly Prompt[],
  sites: readonly SiteDescription[],
  positions: Positions,
  options: BatchOptions & { readonly what?: string },
): Promise<Tensor<"float64">[]> {
  checkPositions(positions);
  const batches = batchesOf(model, prompts, options.batchTokens, options.what);
  const sizes = sites.map((site) => elementCount(tokenShape(site)));
  const found = sizes.map((size) => zeros("float64", [prompts.length, size]));
  let done = 0;
  for (const ids of batches) {
    await pause(options.signal);
    for (const line of ids) checkInside(positions, line.length);
    const outputs = await model.compute(ids, (context) =>
      Object.fromEntries(sites.map((site) => [outputName(site), tokenMean(context, site, positions)])),
    );
    sites.forEach((site, i) => {
      found[i]?.data.set(outputs[outputName(site)]?.data as Float32Array, done * (sizes[i] as number));
    });
    done += ids.length;
    options.onProgress?.(done, prompts.length);
  }
  return found;
}

const outputName = ({ name }: SiteDescription) => `activation at ${name}`;

/** [batch, size]: a site's value at the position, or its mean over several. */
function tokenMean(context: ComputeContext, site: SiteDescription, positions: Positions): Value {
  const single = singlePosition(positions);
  const flattened = (value: Value) => reshape(value, [value.shape[0] as Dim, elementCount(tokenShape(site))]);
  if (single !== undefined) return flattened(context.at(site.name, single));
  const mask = cast(positionMask(context.positions, positions), "float32");
  const sum = sumOverPositions(context.site(site.name), context.positions, positions);
  return div(flattened(sum), reduceSum(mask, 1, { keepDims: true }));
}
