/** The sites that a method works on, by name or glob, with what it needs of them checked. */
import { usageError } from "../errors.js";
import { type Axis, type Model, parseSite, type SiteDescription } from "../model/index.js";

/** The sites that a name or glob stands for. Throws for a part of a site or a value before clamps. */
export function wholeSites(model: Model, pattern: string): SiteDescription[] {
  const { name, suffix } = parseSite(pattern);
  if (suffix !== "") throw usageError(`"${pattern}" selects a part; whole sites are needed here: "${name}"`);
  return clampedSites(model, name);
}

/** As `model.sites`, for sites whose values after clamps are meant. */
export function clampedSites(model: Model, name: string): SiteDescription[] {
  if (name.endsWith("@before")) throw usageError(`"${name}" is a value before clamps; name the site itself here`);
  return model.sites(name);
}

/** The size of every dimension of a site for one prompt of `length` tokens. */
export function sizesOf({ axes, shape }: SiteDescription, length: number): number[] {
  return axes.map((axis, d) => {
    if (axis === "row") return 1;
    return axis === "position" || axis === "key" ? length : (shape[d] as number);
  });
}

/** Throws unless the site has a dimension of that meaning. */
export function requireAxis({ name, axes }: SiteDescription, axis: Axis): void {
  if (!axes.includes(axis)) throw usageError(`${name} has no dimension "${axis}"; it has [${axes.join(", ")}]`);
}

/** Positions of a prompt of `length` tokens from ones that may count from the end. Throws for one out of range. */
export function resolvePosition(position: number, length: number): number {
  const at = position < 0 ? position + length : position;
  if (!Number.isInteger(position) || at < 0 || at >= length)
    throw usageError(
      `position ${position} is out of range: the prompt has ${length} tokens, positions 0 to ${length - 1}`,
    );
  return at;
}
