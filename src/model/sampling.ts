/** From logits to the next token: greedy, or a draw from the softmax at a temperature, cut to the likeliest tokens. */
import { usageError } from "../errors.js";
import type { Random } from "../runtime/index.js";

export interface SamplingOptions {
  /** 0 takes the likeliest token (greedy); 1 draws from the model's own distribution. 0 unless given. */
  readonly temperature?: number;
  /** Only the k likeliest tokens can be drawn. All unless given. */
  readonly topK?: number;
  /** Only the likeliest tokens that together reach this probability can be drawn (Holtzman et al. 2020). 1 unless given. */
  readonly topP?: number;
}

/** Throws where an option is out of range. */
export function checkSampling({ temperature = 0, topK, topP = 1 }: SamplingOptions): void {
  if (!(temperature >= 0 && Number.isFinite(temperature)))
    throw usageError(`temperature must be 0 or more, not ${temperature}`);
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1))
    throw usageError(`topK must be a whole number of at least 1, not ${topK}`);
  if (!(topP > 0 && topP <= 1)) throw usageError(`topP must lie in (0, 1], not ${topP}`);
}

/** The next token's id; ties go to the lower id. */
export function sample(
  logits: Float32Array,
  { temperature = 0, topK, topP = 1 }: SamplingOptions,
  random: Random,
): number {
  if (temperature === 0) return argmax(logits);
  const top = logits[argmax(logits)] as number;
  const weigh = (logit: number) => Math.exp((logit - top) / temperature);
  const all = topK === undefined ? logits.reduce((sum, logit) => sum + weigh(logit), 0) : undefined;
  const drawn = random.uniform();
  // Sorting a whole vocabulary takes as long as a step of the model: the few likeliest nearly always suffice.
  for (let reach = 8; ; reach *= 2) {
    const order = likeliest(logits, top - reach * temperature).slice(0, topK);
    const complete = order.length === (topK ?? logits.length) || order.length === logits.length || reach > 1e6;
    const weights = order.map((id) => weigh(logits[id] as number));
    const total = all ?? weights.reduce((a, b) => a + b, 0);
    const kept = topP === 1 ? undefined : nucleus(weights, topP * total);
    if (!complete && (topK !== undefined || (topP < 1 && kept === undefined))) continue;
    const found = place(weights, drawn * (topP === 1 ? total : sumOf(weights, kept ?? weights.length)), kept);
    if (found !== undefined) return order[found] as number;
    if (complete) return order[(kept ?? order.length) - 1] as number;
  }
}

const sumOf = (weights: readonly number[], count: number) => weights.slice(0, count).reduce((a, b) => a + b, 0);

/** The first of the leading `count` weights whose running sum reaches the target; undefined where none does. */
function place(weights: readonly number[], target: number, count = weights.length): number | undefined {
  let left = target;
  for (let i = 0; i < count; i++) {
    left -= weights[i] as number;
    if (left <= 0) return i;
  }
  return undefined;
}

/** The index of the largest value, the lowest of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Indices of the logits of at least `least`, the largest first. */
function likeliest(logits: Float32Array, least: number): number[] {
  const order: number[] = [];
  for (let i = 0; i < logits.length; i++) if ((logits[i] as number) >= least) order.push(i);
  return order.sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
}

/** How many of the falling weights reach a sum; undefined where they all don't. */
function nucleus(weights: readonly number[], wanted: number): number | undefined {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i] as number;
    if (sum >= wanted) return i + 1;
  }
  return undefined;
}
