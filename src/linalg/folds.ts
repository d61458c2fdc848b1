/** Folds of cross-validation: every row is held out exactly once, and rows of one group are held out together. */
import { usageError } from "../errors.js";
import { type Random, random } from "../runtime/index.js";

/** Indices of rows, ascending: those to fit on, and those held out. */
export interface Fold {
  readonly train: Int32Array;
  readonly validation: Int32Array;
}

export interface FoldOptions {
  /** Number of folds; 5 unless given. */
  readonly count?: number;
  /** `contiguous` holds out runs of rows (for time series); `shuffled` draws them by the seed. Contiguous unless given. */
  readonly order?: "contiguous" | "shuffled";
  /** A group for every row (a story, a session, a subject): a group is never split. */
  readonly groups?: ArrayLike<number | string>;
  /** Seed of the shuffle; 0 unless given. */
  readonly seed?: number;
}

/**
 * Folds of `rows` rows. Without groups their sizes differ by one at most, larger ones first; with groups each group, the
 * largest first, goes to the fold with the fewest rows so far (`shuffled` draws the order among groups of one size).
 *
 * Throws for fewer than 2 folds, more folds than rows or groups, and a list of groups of another length.
 *
 * @example for (const { train, validation } of folds(100, { order: "shuffled", seed: 7 })) { ... }
 */
export function folds(rows: number, { count = 5, order = "contiguous", groups, seed = 0 }: FoldOptions = {}): Fold[] {
  if (groups !== undefined && groups.length !== rows) {
    throw usageError(`${groups.length} groups were given for ${rows} rows`);
  }
  const source = order === "shuffled" ? random(seed) : undefined;
  const units = groups === undefined ? Array.from({ length: rows }, (_, i) => [i]) : groupsOf(groups);
  if (!Number.isInteger(count) || count < 2 || count > units.length) {
    const what = groups === undefined ? "rows" : "groups";
    throw usageError(`the number of folds must be from 2 to ${units.length} (the number of ${what}), not ${count}`);
  }
  const shuffled = source === undefined ? units : shuffle(units, source);
  const heldOut = groups === undefined ? runs(shuffled, count) : spread(shuffled, count);
  return heldOut.map((validation) => {
    const out = new Set(validation);
    const train = Array.from({ length: rows }, (_, i) => i).filter((i) => !out.has(i));
    return { train: Int32Array.from(train), validation: Int32Array.from(validation).sort() };
  });
}

function groupsOf(groups: ArrayLike<number | string>): number[][] {
  const members = new Map<number | string, number[]>();
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i] as number | string;
    members.set(group, [...(members.get(group) ?? []), i]);
  }
  return [...members.values()];
}

/** Fisher and Yates' shuffle, as a new list. */
function shuffle<T>(list: readonly T[], source: Random): T[] {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = source.integer(i + 1);
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}

function runs(units: readonly number[][], count: number): number[][] {
  const [size, larger] = [Math.floor(units.length / count), units.length % count];
  return Array.from({ length: count }, (_, k) => {
    const from = k * size + Math.min(k, larger);
    return units.slice(from, from + size + (k < larger ? 1 : 0)).flat();
  });
}

function spread(units: readonly number[][], count: number): number[][] {
  const result = Array.from({ length: count }, (): number[] => []);
  for (const unit of [...units].sort((a, b) => b.length - a.length)) {
    const lightest = result.reduce((best, fold) => (fold.length < best.length ? fold : best));
    lightest.push(...unit);
  }
  return result;
}
