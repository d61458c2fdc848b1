/** How modules name their sites: each by its own short name, which whoever calls it puts a prefix to. */
import type { MarkSite } from "../../graph/index.js";

/** Where sites of a module go. */
export interface SiteOptions {
  /** Names a value as a site, and returns it. Does nothing unless given. */
  readonly site?: MarkSite;
}

/** Names nothing. */
export const noSite: MarkSite = (_, value) => value;

/**
 * `site` with a prefix to every name: scope(site, "layers.0") names `mlp.act` as `layers.0.mlp.act`.
 */
export function scope(site: MarkSite, prefix: string): MarkSite {
  return (name, value) => site(`${prefix}.${name}`, value);
}
