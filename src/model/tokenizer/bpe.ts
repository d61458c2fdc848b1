/**
 * Byte-pair encoding: a piece starts as characters, and the pair of neighbours with the lowest rank is merged until no
 * pair has one. Ranks come from a list of merges, or from the scores of the merged tokens (SentencePiece). All on ids:
 * a list of 50,000 merges is ready in some 30 ms, and a piece of any length takes n log n steps.
 */
import { failure } from "../../errors.js";
import { fallbackToken, utf8 } from "./bytes.js";
import { textsOf } from "./read.js";
import type { Model, Span, Vocabulary } from "./vocabulary.js";

/** Which neighbours merge. */
export interface Merges {
  /** How soon they merge, lower sooner, as a whole number below 2^24; undefined for never. */
  rank(left: number, right: number): number | undefined;
  /** What two neighbours that have a rank become. */
  result(left: number, right: number): number;
}

/**
 * Merges from a list, in order of rank, of `"left right"` or `[left, right]`. `prefix` is what tokens inside a word
 * start with, which merging drops. Fails for a merge of what is not in the vocabulary.
 */
export function mergesOfList(list: ArrayLike<unknown>, vocabulary: Vocabulary, prefix: string, where: string): Merges {
  const { ids } = vocabulary;
  const results = new Int32Array(list.length);
  const ranks = pairTable(list.length);
  for (let rank = 0; rank < list.length; rank++) {
    const [left, right] = pairOf(list[rank], where, rank);
    const result = left + (prefix !== "" && right.startsWith(prefix) ? right.slice(prefix.length) : right);
    const [leftId, rightId, id] = [ids.get(left), ids.get(right), ids.get(result)];
    if (leftId === undefined || rightId === undefined || id === undefined) {
      const missing = leftId === undefined ? left : rightId === undefined ? right : result;
      throw failure(`${where}[${rank}]: ${JSON.stringify(missing)} is not in the vocabulary`);
    }
    results[rank] = id;
    ranks.set(leftId, rightId, rank);
  }
  return { rank: ranks.get, result: (left, right) => results[ranks.get(left, right) as number] as number };
}

/** A map from pairs of ids to numbers in flat memory: built and read some ten times faster than a `Map`. */
function pairTable(count: number) {
  const bits = Math.ceil(Math.log2(2 * count + 2));
  const last = 2 ** bits - 1;
  const lefts = new Int32Array(last + 1).fill(-1);
  const rights = new Int32Array(last + 1);
  const values = new Int32Array(last + 1);
  const slotOf = (left: number, right: number) => {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> (32 - bits);
    while (lefts[slot] !== -1 && (lefts[slot] !== left || rights[slot] !== right)) slot = (slot + 1) & last;
    return slot;
  };
  return {
    get: (left: number, right: number) => {
      const slot = slotOf(left, right);
      return lefts[slot] === -1 ? undefined : values[slot];
    },
    set: (left: number, right: number, value: number) => {
      const slot = slotOf(left, right);
      lefts[slot] = left;
      rights[slot] = right;
      values[slot] = value;
    },
  };
}

function pairOf(value: unknown, where: string, rank: number): readonly [string, string] {
  if (Array.isArray(value) && value.length === 2) {
    const [left, right] = textsOf(value, `${where}[${rank}]`);
    return [left as string, right as string];
  }
  if (typeof value === "string") {
    const space = value.indexOf(" ");
    if (space > 0 && space < value.length - 1 && value.indexOf(" ", space + 1) < 0) {
      return [value.slice(0, space), value.slice(space + 1)];
    }
  }
  throw failure(`${where}[${rank}]: a merge is two tokens with a space between, not ${String(value).slice(0, 60)}`);
}

/** Merges into any token of the vocabulary, the highest score first. `scores[id]` is a token's score. */
export function mergesOfScores(vocabulary: Vocabulary, scores: ArrayLike<number>): Merges {
  const { ids, tokens } = vocabulary;
  const falling = Float64Array.from(new Set(Array.from(scores)))
    .sort()
    .reverse();
  const rankOfScore = new Map(Array.from(falling, (score, rank) => [score, rank]));
  const mergedId = (left: number, right: number) => ids.get(`${tokens[left]}${tokens[right]}`);
  return {
    rank(left, right) {
      const id = mergedId(left, right);
      return id === undefined ? undefined : rankOfScore.get(scores[id] as number);
    },
    result: (left, right) => mergedId(left, right) as number,
  };
}

interface BpeOptions {
  readonly vocabulary: Vocabulary;
  readonly merges: Merges;
  /** The token for a character that is not in the vocabulary; without one it is dropped. */
  readonly unknown: number | undefined;
  /** One unknown token for a run of unknown characters. */
  readonly fuseUnknown: boolean;
  /** A character that is not in the vocabulary becomes its bytes, `<0xE2>` and so on. */
  readonly byteFallback: boolean;
  /** A whole piece that is in the vocabulary is that token, whatever the merges say. */
  readonly ignoreMerges: boolean;
  /** What tokens inside a word start with, and what the last token of a word ends with; mostly empty. */
  readonly prefix: string;
  readonly suffix: string;
}

const CACHED_PIECES = 20_000;
const LONGEST_CACHED = 64;

/** The model that cuts by pairs. It remembers the latest short pieces. */
export function bpe(options: BpeOptions): Model {
  const cache = new Map<string, readonly Span[]>();
  return (piece) => {
    const known = cache.get(piece);
    if (known !== undefined) return known;
    const whole = options.ignoreMerges ? options.vocabulary.ids.get(piece) : undefined;
    const spans =
      whole === undefined
        ? mergeAll(symbolsOf(piece, options), options.merges)
        : [{ id: whole, start: 0, end: piece.length }];
    if (piece.length <= LONGEST_CACHED) {
      if (cache.size >= CACHED_PIECES) cache.clear();
      cache.set(piece, spans);
    }
    return spans;
  };
}

/** The characters of a piece as tokens. */
function symbolsOf(piece: string, options: BpeOptions): Span[] {
  const { vocabulary, unknown, prefix, suffix } = options;
  const symbols: Span[] = [];
  let start = 0;
  for (const character of piece) {
    const end = start + character.length;
    const token = `${start > 0 ? prefix : ""}${character}${end === piece.length ? suffix : ""}`;
    const id = vocabulary.ids.get(token);
    const bytes = id === undefined && options.byteFallback ? byteTokens(token, vocabulary) : undefined;
    const before = symbols.at(-1);
    if (id !== undefined) symbols.push({ id, start, end });
    else if (bytes !== undefined) for (const byte of bytes) symbols.push({ id: byte, start, end });
    else if (unknown !== undefined && options.fuseUnknown && before?.id === unknown) {
      symbols[symbols.length - 1] = { id: unknown, start: before.start, end };
    } else if (unknown !== undefined) symbols.push({ id: unknown, start, end });
    start = end;
  }
  return symbols;
}

function byteTokens(text: string, { ids }: Vocabulary): number[] | undefined {
  const bytes = Array.from(utf8(text), (byte) => ids.get(fallbackToken(byte)));
  return bytes.every((id) => id !== undefined) ? bytes : undefined;
}

/** A candidate for merging, the rank and the place of its left symbol, as one number: the smallest comes first. */
const PLACES = 2 ** 29; // longer than any JavaScript string

/** Merges neighbours, the lowest rank first and then the one furthest left, until none has a rank. */
function mergeAll(symbols: Span[], merges: Merges): readonly Span[] {
  const count = symbols.length;
  const current: (Span | undefined)[] = symbols;
  // A doubly linked list of the symbols that are left; `count` is the end.
  const next = Int32Array.from({ length: count }, (_, i) => i + 1);
  const previous = Int32Array.from({ length: count + 1 }, (_, i) => i - 1);
  const heap: number[] = [];
  const rankAt = (at: number) => {
    const left = current[at];
    const right = current[next[at] as number];
    return left && right && merges.rank(left.id, right.id);
  };
  const consider = (at: number) => {
    const rank = rankAt(at);
    if (rank !== undefined) pushSmallest(heap, rank * PLACES + at);
  };
  for (let at = 0; at + 1 < count; at++) consider(at);
  for (let best = popSmallest(heap); best !== undefined; best = popSmallest(heap)) {
    const at = best % PLACES;
    // The symbols may have changed since the candidate was found.
    if (rankAt(at) !== Math.floor(best / PLACES)) continue;
    const left = current[at] as Span;
    const gone = next[at] as number;
    const right = current[gone] as Span;
    current[at] = { id: merges.result(left.id, right.id), start: left.start, end: right.end };
    current[gone] = undefined;
    next[at] = next[gone] as number;
    previous[next[at] as number] = at;
    if (at > 0) consider(previous[at] as number);
    consider(at);
  }
  return current.filter((symbol) => symbol !== undefined);
}

/** Adds a number to a binary heap. */
function pushSmallest(heap: number[], value: number): void {
  let at = heap.length;
  heap.push(value);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (value >= (heap[parent] as number)) break;
    heap[at] = heap[parent] as number;
    at = parent;
  }
  heap[at] = value;
}

/** Takes the smallest number from a binary heap. */
function popSmallest(heap: number[]): number | undefined {
  const best = heap[0];
  const last = heap.pop();
  if (best === undefined || last === undefined || heap.length === 0) return best;
  let at = 0;
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
    if (last <= (heap[child] as number)) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  heap[at] = last;
  return best;
}
