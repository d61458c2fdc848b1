/** What a function traced on top of a model can read: sites, weights, and the decoder's own inputs. */
import { usageError } from "../errors.js";
import type { Value } from "../graph/index.js";
import type { ModelCore } from "./core.js";
import { weightValues } from "./core.js";
import { decoderInputs } from "./decoder/decoder.js";
import type { DeriveContext } from "./edit.js";
import { type Metric, metricValue } from "./metric.js";
import { resolveSites } from "./sites/resolve.js";

export interface ComputeContext {
  /** The value of a site, clamps included. */
  site(name: string): Value;
  /** The value of a site at each row's last token, its position dimension dropped: no other position's is computed. */
  last(name: string): Value;
  /** As `last`, at another position; negatives count from each row's end. */
  at(name: string, position: number): Value;
  /** A weight by its canonical name. */
  weight(name: string): Value;
  /** A metric as one number a row, [batch]. */
  metric(metric: Metric): Value;
  /** Positions of tokens, int64 [batch, seq]; negative for padding. */
  readonly positions: Value;
  /** Token ids, int64 [batch, seq]. */
  readonly ids: Value;
}

/** The context of a call of the model. */
export function computeContext(core: ModelCore, call: DeriveContext): ComputeContext {
  const weights = weightValues(core.graph("prompt"));
  let metrics = 0;
  const context: ComputeContext = {
    site: (name) => call.site(oneSite(core, name)),
    last: (name) => context.at(name, -1),
    at: (name, position) => call.at(oneSite(core, name), position),
    weight(name) {
      const value = weights.get(name);
      if (value === undefined) throw usageError(`the model has no weight "${name}"; model.weights.shapes lists them`);
      return value;
    },
    metric(metric) {
      const name = `metric ${metrics++}`; // two metrics of a call have tokens of their own
      const feed: DeriveContext["feed"] = (part, tensor) => call.feed(`${name} ${part}`, tensor);
      return metricValue(metric, context, { tokenizer: core.tokenizer, feed });
    },
    positions: call.input(decoderInputs.positions),
    ids: call.input(decoderInputs.ids),
  };
  return context;
}

function oneSite(core: ModelCore, name: string): string {
  const found = resolveSites(core.graph("prompt"), name);
  const [only] = found;
  if (found.length !== 1 || only === undefined || only.parts.some(({ kind }) => kind !== "all")) {
    throw usageError(`"${name}" must be one whole site here`);
  }
  return only.site;
}
