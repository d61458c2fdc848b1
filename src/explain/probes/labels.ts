/** Labels of examples: what people call classes, numbered from 0, and folds that hold out a share of every class. */
import { usageError } from "../../errors.js";
import { type Fold, type FoldOptions, folds } from "../../linalg/index.js";
import { random } from "../../runtime/index.js";

export type Label = number | string;

export interface ClassLabels {
  /** The labels that occur: numbers in rising order, texts in the order of their characters. */
  readonly classes: readonly Label[];
  /** The class of every row, as an index into `classes`. */
  readonly classOf: Int32Array;
}

/**
 * Numbers the classes of labels. Throws unless there is one label for each of `rows` rows (any number unless given).
 */
export function readLabels(labels: ArrayLike<Label>, rows = labels.length, name = "labels"): ClassLabels {
  if (labels.length !== rows) throw usageError(`there are ${labels.length} ${name} for ${rows} rows of features`);
  const list = Array.from(labels);
  const bad = list.findIndex((label) => typeof label !== "string" && !Number.isFinite(label));
  if (bad >= 0) throw usageError(`${name}[${bad}] is ${list[bad]}, neither a text nor a finite number`);
  const classes = [...new Set(list)].sort(compareLabels);
  const numbers = new Map(classes.map((label, k) => [label, k]));
  return { classes, classOf: Int32Array.from(list, (label) => numbers.get(label) as number) };
}

function compareLabels(a: Label, b: Label): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : 1;
}

/** How rows are held out. */
export interface SplitOptions {
  /** Number of folds; 5 unless given. */
  readonly folds?: number;
  /** `shuffled` unless given; `contiguous` holds out runs of rows, as time series need. */
  readonly order?: "shuffled" | "contiguous";
  /** A group for every row (a prompt, a story, a subject), never split between fitting and scoring. */
  readonly groups?: ArrayLike<Label>;
  /** Seed of the shuffle and of the interval; 0 unless given. */
  readonly seed?: number;
}

/** What folds are made of: groups, or rows. Folds within a fold can't be more than these. */
export const unitCount = (rows: number, groups?: ArrayLike<Label>) =>
  groups === undefined ? rows : new Set(Array.from(groups)).size;

/** The folds of rows with numbers as targets. */
export function splitRows(rows: number, { folds: count = 5, ...options }: SplitOptions): Fold[] {
  return folds(rows, { ...splitDefaults(options), count });
}

const splitDefaults = ({ order = "shuffled", groups, seed = 0 }: SplitOptions): FoldOptions => ({
  order,
  seed,
  ...(groups === undefined ? {} : { groups }),
});

/**
 * The folds of rows with classes. Shuffled rows without groups are dealt out class by class, so that every fold holds
 * out its share of each: a majority learned from an unequal rest would otherwise push scores below chance.
 * Throws where a class does not occur in what a fold is fitted on.
 */
export function splitClasses({ classes, classOf }: ClassLabels, options: SplitOptions): Fold[] {
  const { folds: count = 5, order = "shuffled", groups, seed = 0 } = options;
  const dealt = order === "shuffled" && groups === undefined;
  const split = dealt ? dealFolds(classOf, count, seed) : splitRows(classOf.length, options);
  split.forEach(({ train }, f) => {
    const present = new Set(Array.from(train, (i) => classOf[i]));
    const missing = classes.findIndex((_, k) => !present.has(k));
    if (missing < 0) return;
    const advice = dealt ? "every class needs at least two rows" : "shuffle, regroup or use more folds";
    throw usageError(`fold ${f} holds out every row labelled ${JSON.stringify(classes[missing])}: ${advice}`);
  });
  return split;
}

function dealFolds(classOf: Int32Array, count: number, seed: number): Fold[] {
  const rows = classOf.length;
  if (!Number.isInteger(count) || count < 2 || count > rows)
    throw usageError(`the number of folds must be from 2 to ${rows} (the number of rows), not ${count}`);
  const order = shuffled(
    Array.from({ length: rows }, (_, i) => i),
    seed,
  );
  const byClass = order.sort((a, b) => (classOf[a] as number) - (classOf[b] as number)); // stable: shuffled within
  const foldOf = new Int32Array(rows);
  byClass.forEach((row, place) => {
    foldOf[row] = place % count;
  });
  const all = Int32Array.from(foldOf.keys());
  return Array.from({ length: count }, (_, f) => ({
    train: all.filter((i) => foldOf[i] !== f),
    validation: all.filter((i) => foldOf[i] === f),
  }));
}

/** A list in a random order (Fisher and Yates), as a new list. */
export function shuffled<T>(list: readonly T[], seed: number, stream = 0): T[] {
  const source = random(seed, stream);
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = source.integer(i + 1);
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}
