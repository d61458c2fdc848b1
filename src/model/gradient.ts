import type { Metric } from "./metric.js";
import type { PromptOptions } from "./model.js";
import type { Recording } from "./recording.js";

export interface GradientOptions extends PromptOptions {
  /** The number that is differentiated: see `Metric`. */
  readonly of: Metric;
  /** Where: names, globs and parts of sites, as in `record`. */
  readonly at: string | readonly string[];
  /** Sites from which the rest is computed again for the gradient instead of being kept: less memory, more time. */
  readonly checkpoint?: string | readonly string[];
  /** Most bytes that the gradients may hold; 4 GiB unless given. */
  readonly maxBytes?: number;
}

/** Gradients by site, each in the shape of its site, and the metric of every row. */
export interface Gradients extends Recording {
  readonly values: readonly number[];
}
