/**
 * Byte-pair encoding learned from text (Sennrich et al. 2016; on bytes, as GPT-2 has it): the pair of neighbours that
 * occurs most often becomes one token, again and again. What comes out is a `tokenizer.json`.
 */
import { messageOf, usageError } from "../../errors.js";
import { type CountedWord, countPairs, keyLimit, mergePair, nextPair } from "./pairs.js";
import { type BpeTokenizer, gptPattern, tokenizerFile } from "./tokenizerFile.js";

export interface BpeOptions {
  /** Tokens in all: the 256 bytes, the merges, and the special ones. */
  readonly vocabulary: number;
  /** Tokens that stand for themselves and come first; none unless given. */
  readonly special?: readonly string[];
  /** Pairs that occur more seldom are not merged; 2 unless given. */
  readonly least?: number;
  /**
   * What text is cut by before pairs are counted, as a regular expression that JavaScript (with the flag `u`) and Rust's
   * `tokenizers` read alike; text between two matches is a piece too. Unless given, GPT-2's: contractions, and runs of
   * letters, digits or signs with the space before them.
   */
  readonly pattern?: string;
}

/** GPT-2's letters for the bytes: printable ones as they are, others moved past 255. */
const letters = byteLetters();

function byteLetters(): string[] {
  let moved = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : moved++);
  });
}

/**
 * Learns a byte-level BPE from texts, which are read once and not kept, and returns it as the contents of a
 * `tokenizer.json`. The same texts give the same merges as Hugging Face's trainer: of pairs that occur equally often, the
 * one of lower ids comes first. Where no pair is left that occurs `least` times, the vocabulary stays smaller.
 *
 * @throws usage error for a vocabulary without room for the bytes, special tokens that occur twice, a pattern that is none,
 *   or no text
 */
export function trainBpe(texts: Iterable<string>, options: BpeOptions): BpeTokenizer {
  const words = wordCounter(options);
  for (const text of texts) words.read(text);
  return learn(words.counted, options);
}

/** `trainBpe` of texts that come one after the other, such as the documents of files. */
export async function trainBpeStream(texts: AsyncIterable<string>, options: BpeOptions): Promise<BpeTokenizer> {
  const words = wordCounter(options);
  for await (const text of texts) words.read(text);
  return learn(words.counted, options);
}

/** Checks the options, and counts the pieces that texts are cut into. */
function wordCounter({ vocabulary, special = [], pattern = gptPattern }: BpeOptions) {
  if (!Number.isInteger(vocabulary) || vocabulary < special.length + 256 || vocabulary > keyLimit)
    throw usageError(
      `a vocabulary of ${vocabulary} has no room for 256 bytes and ${special.length} special tokens, or more than ${keyLimit}`,
    );
  const odd = special.find((token, at) => token === "" || letters.includes(token) || special.indexOf(token) < at);
  if (odd !== undefined)
    throw usageError(`"${odd}" can't be a special token: it is empty, occurs twice, or is a byte's letter`);
  const expression = expressionOf(pattern);
  const counted = new Map<string, number>();
  const add = (piece: string) => {
    if (piece !== "") counted.set(piece, (counted.get(piece) ?? 0) + 1);
  };
  const read = (text: string) => {
    let at = 0;
    for (const { 0: match, index } of text.matchAll(expression)) {
      add(text.slice(at, index));
      add(match);
      at = index + match.length;
    }
    add(text.slice(at));
  };
  return { counted, read };
}

function expressionOf(pattern: string): RegExp {
  try {
    return new RegExp(pattern, "gu");
  } catch (error) {
    throw usageError(`the pattern ${pattern} is no regular expression: ${messageOf(error)}`, error);
  }
}

function learn(counted: ReadonlyMap<string, number>, options: BpeOptions): BpeTokenizer {
  const { vocabulary, special = [], least = 2, pattern } = options;
  if (counted.size === 0) throw usageError("there is no text to learn tokens from");
  // Ids as Hugging Face gives them: specials, then the byte letters in the order of their code points, then merges.
  const alphabet = [...letters].sort((a, b) => (a.codePointAt(0) as number) - (b.codePointAt(0) as number));
  const tokens = [...special, ...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const counts = countPairs(bytesOf(counted, (letter) => ids.get(letter) as number));
  const merges: string[] = [];
  while (ids.size < vocabulary) {
    const pair = nextPair(counts, least);
    if (pair === undefined) break;
    const [left, right] = [tokens[pair.left] as string, tokens[pair.right] as string];
    // A special token may be spelt by merges too: it keeps its id.
    const known = ids.get(left + right);
    const token = known ?? tokens.push(left + right) - 1;
    ids.set(left + right, token);
    merges.push(`${left} ${right}`);
    mergePair(counts, pair, token);
  }
  return tokenizerFile({ tokens, merges, special, ...(pattern === undefined ? {} : { pattern }) });
}

/** Each word as the ids of its bytes. */
function bytesOf(counted: ReadonlyMap<string, number>, idOf: (letter: string) => number): CountedWord[] {
  const encoder = new TextEncoder();
  const idOfByte = letters.map(idOf);
  return [...counted].map(([text, count]) => ({
    count,
    parts: Array.from(encoder.encode(text), (byte) => idOfByte[byte] as number),
  }));
}
