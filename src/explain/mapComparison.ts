/** How well one patching map predicts another: an estimate against the patching that it stands for, say. */
import { usageError } from "../errors.js";
import { pearson, spearman } from "../linalg/index.js";
import type { PatchingUnit } from "./columns.js";
import type { PatchingMap } from "./patching.js";

export interface MapComparison {
  /** Over all cells; NaN where a map is constant. */
  readonly pearson: number;
  readonly spearman: number;
  /** Largest difference between two cells, in recovered fractions. */
  readonly largestDifference: number;
  readonly cells: number;
}

/** Compares what two maps recover, over all cells. Throws where they are not of the same sites and columns. */
export function compareMaps(a: PatchingMap<PatchingUnit>, b: PatchingMap<PatchingUnit>): MapComparison {
  const [layoutA, layoutB] = [a, b].map(({ sites, by, positions }) => JSON.stringify({ by, positions, sites }));
  const [x, y] = [a.recovered.flat(), b.recovered.flat()];
  if (layoutA !== layoutB || x.length !== y.length)
    throw usageError(
      `the maps are not of the same cells: ${a.sites.length} sites by ${a.by}, ${x.length} cells, against ${b.sites.length} by ${b.by}, ${y.length}`,
    );
  return {
    pearson: pearson(x, y),
    spearman: spearman(x, y),
    largestDifference: x.reduce((most, value, i) => Math.max(most, Math.abs(value - (y[i] as number))), 0),
    cells: x.length,
  };
}
