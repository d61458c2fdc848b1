/** Where each head looks: the attention probabilities of a prompt, head by head. */
import { usageError } from "../errors.js";
import { type Model, type Prompt, recorded, type Token } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";

export interface AttentionPatterns {
  readonly tokens: readonly Token[];
  /** By layer, then head. `pattern` [seq, seq]: row i holds the probabilities with which position i reads each key. */
  readonly heads: { layer: number; head: number; pattern: Tensor }[];
}

export interface AttentionOptions {
  /** Layers to show; all unless given. */
  readonly layers?: readonly number[];
  /** Heads to show in each of them; all unless given. */
  readonly heads?: readonly number[];
}

/** The attention patterns of a prompt. Only the chosen heads leave the runtime. Throws for a layer or head that does not exist. */
export async function attentionPatterns(
  model: Model,
  prompt: Prompt,
  options: AttentionOptions = {},
): Promise<AttentionPatterns> {
  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
  const { layers = upTo(model.config.layers), heads = upTo(model.config.heads) } = options;
  checkWithin(layers, model.config.layers, "layer");
  checkWithin(heads, model.config.heads, "head");
  const places = layers.flatMap((layer) => heads.map((head) => ({ layer, head })));
  const siteOf = ({ layer, head }: { layer: number; head: number }) => `layers.${layer}.attn.pattern[0, ${head}]`;
  const recording = await model.record(prompt, places.map(siteOf));
  return {
    tokens: recording.tokens[0] as readonly Token[],
    heads: places.map((place) => ({ ...place, pattern: recorded(recording, siteOf(place)) })),
  };
}

function checkWithin(indices: readonly number[], count: number, what: string): void {
  if (indices.length === 0) throw usageError(`no ${what} was chosen`);
  const wrong = indices.find((index) => !Number.isInteger(index) || index < 0 || index >= count);
  if (wrong !== undefined) throw usageError(`there is no ${what} ${wrong}: the model has ${what}s 0 to ${count - 1}`);
}
