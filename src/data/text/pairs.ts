/**
 * Counts of neighbouring tokens, kept up to date merge by merge: a merge visits only the words that hold the pair, and a
 * heap gives the most frequent pair. Heap entries are not taken back when a count falls; they are weighed again on top.
 */

export interface CountedWord {
  readonly count: number;
  parts: number[];
}

export interface Pair {
  readonly left: number;
  readonly right: number;
}

interface Entry {
  readonly key: number;
  readonly count: number;
}

export interface PairCounts {
  readonly words: readonly CountedWord[];
  /** How often each pair occurs, by key. */
  readonly counts: Map<number, number>;
  /** Words in which a pair has occurred, by key. */
  readonly places: Map<number, number[]>;
  /** A binary heap: each entry comes before those at twice its place plus 1 and 2. */
  readonly heap: Entry[];
}

/** Ids lie below this, so that two make one exact number. */
export const keyLimit = 2 ** 21;
const keyOf = (left: number, right: number) => left * keyLimit + right;

/** Counts the pairs of all words. The words' parts change as pairs are merged. */
export function countPairs(words: readonly CountedWord[]): PairCounts {
  const state: PairCounts = { words, counts: new Map(), places: new Map(), heap: [] };
  for (const [at, { parts, count }] of words.entries()) {
    for (let i = 0; i + 1 < parts.length; i++)
      change(state, keyOf(parts[i] as number, parts[i + 1] as number), count, at);
  }
  for (const [key, count] of state.counts) push(state.heap, { key, count });
  return state;
}

function change({ counts, places }: PairCounts, key: number, by: number, at: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
  if (by < 0) return;
  const known = places.get(key);
  if (known === undefined) places.set(key, [at]);
  else if (known.at(-1) !== at) known.push(at);
}

/** The pair that occurs most often, of equals the one of lower ids; undefined where none occurs `least` times. */
export function nextPair({ counts, heap }: PairCounts, least: number): Pair | undefined {
  for (let top = pop(heap); top !== undefined; top = pop(heap)) {
    const count = counts.get(top.key) ?? 0;
    if (count === top.count && count >= least)
      return { left: Math.floor(top.key / keyLimit), right: top.key % keyLimit };
    // A count that rose has pushed an entry of its own.
    if (count < top.count && count >= least) push(heap, { key: top.key, count });
  }
  return undefined;
}

/** Replaces a pair by a token in every word. */
export function mergePair(state: PairCounts, { left, right }: Pair, token: number): void {
  const merged = keyOf(left, right);
  const risen = new Set<number>();
  for (const at of state.places.get(merged) ?? []) {
    const word = state.words[at] as CountedWord;
    word.parts = joinPair(word.parts, left, right, token, (first, second, sign) => {
      const key = keyOf(first, second);
      change(state, key, sign * word.count, at);
      if (sign > 0) risen.add(key);
    });
  }
  state.counts.delete(merged);
  state.places.delete(merged);
  for (const key of risen) {
    const count = state.counts.get(key) ?? 0;
    if (count > 0) push(state.heap, { key, count });
  }
}

/** The parts with the pair joined; `changed` hears of the neighbours that are no more, and of the new ones. */
function joinPair(
  parts: readonly number[],
  left: number,
  right: number,
  token: number,
  changed: (first: number, second: number, sign: 1 | -1) => void,
): number[] {
  const joined: number[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] !== left || parts[i + 1] !== right) {
      joined.push(parts[i] as number);
      continue;
    }
    const [before, after] = [joined.at(-1), parts[i + 2]];
    if (before !== undefined) {
      changed(before, left, -1);
      changed(before, token, 1);
    }
    if (after !== undefined) {
      changed(right, after, -1);
      changed(token, after, 1);
    }
    joined.push(token);
    i += 1;
  }
  return joined;
}

const isBefore = (a: Entry, b: Entry) => a.count > b.count || (a.count === b.count && a.key < b.key);

function push(heap: Entry[], entry: Entry): void {
  let at = heap.length;
  heap.push(entry);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as Entry;
    if (!isBefore(entry, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = entry;
}

function pop(heap: Entry[]): Entry | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
    if (!isBefore(heap[child] as Entry, last)) break;
    heap[at] = heap[child] as Entry;
    at = child;
  }
  heap[at] = last;
  return top;
}
