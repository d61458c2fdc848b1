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
  const order = likeliest(logits, topK ?? logits.length);
  const top = logits[order[0] as number] as number;
  const weights = order.map((id) => Math.exp(((logits[id] as number) - top) / temperature));
  const kept = nucleus(weights, topP);
  let target = random.uniform() * weights.slice(0, kept).reduce((a, b) => a + b, 0);
  for (let i = 0; i < kept; i++) {
    target -= weights[i] as number;
    if (target <= 0) return order[i] as number;
  }
  return order[kept - 1] as number;
}

/** The index of the largest value, the lowest of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

function likeliest(logits: Float32Array, count: number): number[] {
  const order = Array.from(logits.keys()).sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
  return order.slice(0, count);
}

/** How many of the falling weights reach the share `topP` of their sum. */
function nucleus(weights: readonly number[], topP: number): number {
  const wanted = topP * weights.reduce((a, b) => a + b, 0);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i] as number;
    if (sum >= wanted) return i + 1;
  }
  return weights.length;
}
