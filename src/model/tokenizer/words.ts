/**
 * The two models that are not byte-pair encoding: WordPiece (BERT), the longest known token first, and Unigram (T5,
 * XLM-R), the likeliest cut of a piece, which the library finds.
 */
import { Unigram } from "./library.js";
import type { Model, Span, Vocabulary } from "./vocabulary.js";

interface WordPieceOptions {
  readonly vocabulary: Vocabulary;
  /** The token for a word that cannot be cut into known tokens. */
  readonly unknown: number;
  /** What tokens inside a word start with: `##`. */
  readonly prefix: string;
  /** A word of more characters is unknown. */
  readonly longestWord: number;
}

/** Cuts a word by taking the longest known token from the left, again and again. */
export function wordPiece({ vocabulary, unknown, prefix, longestWord }: WordPieceOptions): Model {
  let longestToken = 0;
  for (const token of vocabulary.ids.keys()) longestToken = Math.max(longestToken, token.length);
  const longestAt = (word: string, start: number): Span | undefined => {
    for (let end = Math.min(word.length, start + longestToken); end > start; end--) {
      const id = vocabulary.ids.get((start > 0 ? prefix : "") + word.slice(start, end));
      if (id !== undefined) return { id, start, end };
    }
    return undefined;
  };
  return (word) => {
    const whole = [{ id: unknown, start: 0, end: word.length }];
    if (word.length > longestWord && [...word].length > longestWord) return whole;
    const spans: Span[] = [];
    for (let start = 0; start < word.length; ) {
      const span = longestAt(word, start);
      if (span === undefined) return whole;
      spans.push(span);
      start = span.end;
    }
    return spans;
  };
}

/** Cuts a piece so that the sum of the tokens' scores is highest; a run of unknown characters is one `unknown`. */
export function unigram(vocabulary: Vocabulary, scores: readonly number[], unknown: number): Model {
  const pairs = Array.from(scores, (score, id): [string, number] => [vocabulary.tokens[id] ?? "", score]);
  const library = new Unigram({ type: "Unigram", vocab: pairs, unk_id: unknown }, "");
  return (piece) => {
    const spans: Span[] = [];
    let start = 0;
    for (const part of library.encode([piece])) {
      const id = vocabulary.ids.get(part) ?? unknown;
      const end = start + part.length;
      const before = spans.at(-1);
      if (id === unknown && before?.id === unknown) spans[spans.length - 1] = { ...before, end };
      else spans.push({ id, start, end });
      start = end;
    }
    return spans;
  };
}
