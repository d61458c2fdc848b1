/**
 * Byte-pair encoding learned from text (Sennrich et al. 2016; on bytes, as GPT-2 has it): the pair of neighbours that
 * occurs most often becomes one token, again and again. What comes out is a `tokenizer.json`.
 */
import { usageError } from "../../errors.js";

export interface BpeOptions {
  /** Tokens in all: the 256 bytes, the merges, and the special ones. */
  readonly vocabulary: number;
  /** Tokens that stand for themselves and come first; none unless given. */
  readonly special?: readonly string[];
  /** Pairs that occur more seldom are not merged; 2 unless given. */
  readonly least?: number;
}

/** What GPT-2 splits text by: contractions, and runs of letters, digits or signs with the space before them. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's letters for the bytes: printable ones as they are, others moved past 255. */
const letters = byteLetters();

function byteLetters(): string[] {
  let moved = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : moved++);
  });
}

interface Word {
  readonly count: number;
  parts: number[];
}

/**
 * Learns a byte-level BPE from texts and returns it as the contents of a `tokenizer.json`. The same texts give the same
 * merges as Hugging Face's trainer: ties go to the pair of lower ids.
 */
export function trainBpe(texts: Iterable<string>, { vocabulary, special = [], least = 2 }: BpeOptions): BpeTokenizer {
  const room = vocabulary - special.length - 256;
  if (!Number.isInteger(vocabulary) || room < 0)
    throw usageError(`a vocabulary of ${vocabulary} has no room for 256 bytes and ${special.length} special tokens`);
  // Ids as Hugging Face gives them: specials, then the byte letters in the order of their code points, then merges.
  const alphabet = [...letters].sort((a, b) => (a.codePointAt(0) as number) - (b.codePointAt(0) as number));
  const tokens = [...special, ...alphabet];
  const idOfByte = letters.map((letter) => special.length + alphabet.indexOf(letter));
  const counted = countWords(texts);
  if (counted.size === 0) throw usageError("there is no text to learn tokens from");
  const encoder = new TextEncoder();
  const list = [...counted].map(
    ([text, count]): Word => ({ count, parts: Array.from(encoder.encode(text), (byte) => idOfByte[byte] as number) }),
  );
  const pairs = new PairCounts(list);
  const merges: string[] = [];
  for (let i = 0; i < room; i++) {
    const best = pairs.best(least);
    if (best === undefined) break;
    const [left, right] = best;
    merges.push(`${tokens[left]} ${tokens[right]}`);
    tokens.push(`${tokens[left]}${tokens[right]}`);
    pairs.merge(left, right, tokens.length - 1);
  }
  return tokenizerFile(tokens, merges, special);
}

function countWords(texts: Iterable<string>): Map<string, number> {
  const counted = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(words)) counted.set(word, (counted.get(word) ?? 0) + 1);
  }
  return counted;
}

/** Two ids as one number. */
const keyOf = (left: number, right: number) => left * 2 ** 21 + right;

/** How often each pair of neighbours occurs, kept up to date merge by merge. */
class PairCounts {
  readonly #words: readonly Word[];
  readonly #counts = new Map<number, number>();
  /** Words in which a pair has occurred. */
  readonly #places = new Map<number, Set<number>>();

  constructor(list: readonly Word[]) {
    this.#words = list;
    for (const [at, { parts, count }] of list.entries()) {
      for (let i = 0; i + 1 < parts.length; i++) this.#change(parts[i] as number, parts[i + 1] as number, count, at);
    }
  }

  #change(left: number, right: number, by: number, at: number): void {
    const key = keyOf(left, right);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + by);
    if (by < 0) return;
    const places = this.#places.get(key) ?? new Set();
    places.add(at);
    this.#places.set(key, places);
  }

  /** The pair that occurs most often, of equals the one of lower ids. */
  best(least: number): readonly [number, number] | undefined {
    let [found, most] = [-1, least - 1];
    for (const [key, count] of this.#counts) {
      if (count > most || (count === most && found >= 0 && key < found)) [found, most] = [key, count];
    }
    return found < 0 ? undefined : [Math.floor(found / 2 ** 21), found % 2 ** 21];
  }

  merge(left: number, right: number, token: number): void {
    for (const at of this.#places.get(keyOf(left, right)) ?? []) {
      const word = this.#words[at] as Word;
      const before = word.parts;
      const after = joinPairs(before, left, right, token);
      if (after.length === before.length) continue;
      for (let i = 0; i + 1 < before.length; i++)
        this.#change(before[i] as number, before[i + 1] as number, -word.count, at);
      for (let i = 0; i + 1 < after.length; i++)
        this.#change(after[i] as number, after[i + 1] as number, word.count, at);
      word.parts = after;
    }
    this.#counts.delete(keyOf(left, right));
    this.#places.delete(keyOf(left, right));
  }
}

function joinPairs(parts: readonly number[], left: number, right: number, token: number): number[] {
  const joined: number[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === left && parts[i + 1] === right) {
      joined.push(token);
      i++;
    } else {
      joined.push(parts[i] as number);
    }
  }
  return joined;
}

/** The contents of a `tokenizer.json` of a byte-level BPE. */
export interface BpeTokenizer {
  readonly version: string;
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly model: {
    readonly type: "BPE";
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly string[];
  };
}

function tokenizerFile(tokens: readonly string[], merges: readonly string[], special: readonly string[]): BpeTokenizer {
  const plain = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const file = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: plain,
    post_processor: null,
    decoder: plain,
    model: {
      type: "BPE" as const,
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
  return file;
}
