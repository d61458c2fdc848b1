/**
 * A reference to sites as people write it: a name or glob, and a suffix that selects a part:
 * `layers.*.mlp.act[:, -1, 123]`, `layers.5.attn.z[head=3]`, `layers.3.residPost@before`.
 */
import { usageError } from "../../errors.js";
import type { Axis } from "./names.js";

/** One dimension's part: everything, one index (its dimension is dropped), or a half-open range. Negatives count from the end. */
export type Part =
  | { readonly kind: "all" }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "range"; readonly from?: number; readonly to?: number };

export interface SiteReference {
  /** Name or glob, canonical or TransformerLens', without the suffix; ends in `@before` for the value before clamps. */
  readonly name: string;
  /** Parts in the order of the site's dimensions; missing ones mean all. */
  readonly parts: readonly Part[];
  /** Parts of dimensions by their names. */
  readonly named: Readonly<Record<string, Part>>;
  /** The suffix as written, for messages and for the names of recorded tensors. */
  readonly suffix: string;
}

const axisNames = ["row", "position", "key", "head", "neuron", "channel", "expert", "token"] as const;

/** Characters of a reference: several times the longest that makes sense. A pattern made from more may never end. */
const longest = 400;

/** Parses a site reference. Throws where the suffix is not one. */
export function parseSite(text: string): SiteReference {
  if (text.length > longest)
    throw usageError(
      `"${text.slice(0, 60)}..." is not a site: it has ${text.length} characters, at most ${longest} make sense`,
    );
  const match = /^([^[\]]+?)(\[([^[\]]*)\])?$/.exec(text.trim());
  const name = match?.[1];
  if (match === null || name === undefined || /\s/.test(name)) {
    throw usageError(
      `"${text}" is not a site: expected a name such as layers.3.mlp.act, with an optional suffix such as [:, -1, 123] or [head=3]`,
    );
  }
  const parts: Part[] = [];
  const named: Record<string, Part> = {};
  for (const piece of match[3] === undefined ? [] : match[3].split(",")) {
    const [left, right, ...more] = piece.split("=").map((side) => side.trim());
    if (more.length > 0) throw usageError(`in "${text}", "${piece.trim()}" has more than one =`);
    if (right === undefined) {
      if (Object.keys(named).length > 0)
        throw usageError(`in "${text}", parts by order must come before parts by name`);
      parts.push(parsePart(left as string, text));
    } else if ((axisNames as readonly string[]).includes(left as string) && !Object.hasOwn(named, left as string)) {
      named[left as string] = parsePart(right, text);
    } else {
      throw usageError(`in "${text}", "${left}" does not name a dimension once; the names are ${axisNames.join(", ")}`);
    }
  }
  return { name, parts, named, suffix: match[2] ?? "" };
}

function parsePart(text: string, whole: string): Part {
  if (/^-?\d+$/.test(text)) return { kind: "index", index: Number(text) };
  const range = /^(-?\d+)?\s*:\s*(-?\d+)?$/.exec(text);
  if (range === null)
    throw usageError(`in "${whole}", "${text}" is not an index: expected a whole number, a range a:b, or :`);
  const [, from, to] = range;
  if (from === undefined && to === undefined) return { kind: "all" };
  return {
    kind: "range",
    ...(from === undefined ? {} : { from: Number(from) }),
    ...(to === undefined ? {} : { to: Number(to) }),
  };
}

/** The parts of a reference for a site with these axes: one for each dimension. */
export function partsFor(reference: SiteReference, axes: readonly Axis[], site: string): Part[] {
  if (reference.parts.length > axes.length) {
    throw usageError(
      `${site}${reference.suffix} has ${reference.parts.length} parts; the site has ${axes.length} dimensions [${axes.join(", ")}]`,
    );
  }
  const parts = axes.map((_, i) => reference.parts[i] ?? ({ kind: "all" } as Part));
  for (const [name, part] of Object.entries(reference.named)) {
    const at = axes.indexOf(name as Axis);
    if (at < 0) throw usageError(`${site} has no dimension called "${name}"; it has [${axes.join(", ")}]`);
    if (at < reference.parts.length) throw usageError(`${site}${reference.suffix} selects dimension "${name}" twice`);
    parts[at] = part;
  }
  return parts;
}

/** Whether a canonical name matches a glob: `*` within a dot-separated part, `**` across them, `{a,b}` one of several. */
export function globPattern(glob: string): RegExp {
  const source = glob.replace(/\*{2,}|\*|\{[^{}]*\}|[.+?^$()|\\{}[\]]/g, (token) => {
    if (token.startsWith("**")) return ".*"; // one, however many stars: several in a row would be tried in every way
    if (token === "*") return "[^.]*";
    if (token.startsWith("{") && token.length > 1) {
      const choices = token.slice(1, -1).split(",");
      return `(?:${choices.map((choice) => choice.trim().replace(/[.+?^$()|\\]/g, "\\$&")).join("|")})`;
    }
    return `\\${token}`;
  });
  return new RegExp(`^${source}$`);
}
