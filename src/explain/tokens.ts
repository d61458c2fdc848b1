/** Tokens with their probabilities, as every method reports them, and the checks of what callers name: tokens and counts. */
import { usageError } from "../errors.js";
import type { Tokenizer } from "../model/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";

/** An entry of the vocabulary with its probability under the full softmax. */
export interface TokenProbability {
  readonly id: number;
  readonly text: string;
  readonly probability: number;
  /** The token's bytes, where they are not valid text by themselves. */
  readonly bytes?: readonly number[];
}

/** A token as people read it. Models may have more logits than their tokenizer has tokens: those read as `#id`. */
export function shownToken(
  tokenizer: Tokenizer,
  id: number,
): { readonly id: number; readonly text: string; readonly bytes?: readonly number[] } {
  return id < tokenizer.vocabularySize ? tokenizer.token(id) : { id, text: `#${id}` };
}

/** The `count` likeliest tokens of a distribution over the vocabulary, likeliest first; equals by lower id. */
export function topTokens(tokenizer: Tokenizer, probabilities: Float32Array, count: number): TokenProbability[] {
  checkCount(count, probabilities.length);
  return Array.from(probabilities.keys())
    .sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b)
    .slice(0, count)
    .map((id) => ({ ...shownToken(tokenizer, id), probability: probabilities[id] as number }));
}

/** What a graph returns of the likeliest tokens: ids and probabilities, in falling order. */
export interface TopTensors {
  readonly best: Tensor;
  readonly probabilities: Tensor;
}

/** The tokens whose ids (`best`) and probabilities a graph returned, in their order. */
export function readTokens(tokenizer: Tokenizer, { best, probabilities }: TopTensors): TokenProbability[] {
  const values = toNumbers(probabilities);
  return Array.from(toNumbers(best), (id, i) => ({ ...shownToken(tokenizer, id), probability: values[i] as number }));
}

/** Throws unless that many tokens can be shown. */
export function checkCount(count: number, vocabulary: number): void {
  if (!Number.isInteger(count) || count < 1 || count > vocabulary)
    throw usageError(`top must be a whole number from 1 to the vocabulary's ${vocabulary}, not ${count}`);
}

/** Throws unless `id` is a token of the model; `what` names it. */
export function checkToken(id: number, vocabulary: number, what: string): void {
  if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
    throw usageError(`${what} ${id} is not a token id; ids go from 0 to ${vocabulary - 1}`);
}
