/**
 * Classification in context (Chan et al. 2022; Reddy 2024): pairs of an item and its label, then an item to label, which a
 * network may know by heart (from its weights) or read off the pairs (in context). How often classes come in bursts, how
 * many there are and how evenly they occur decides which of the two it learns.
 */
import { usageError } from "../../errors.js";
import { type Random, random, type Tensor, tensor } from "../../runtime/index.js";
import type { Batches } from "../batches.js";
import { labelTensor } from "../images/labelled.js";
import { requireWhole } from "../whole.js";
import { drawMany, drawPlace, integers, runningTotals, type SequenceOptions } from "./rows.js";

/**
 * What sequences are like: as in `training`; or one of three tests. `inWeights`: known classes, of which the context lacks
 * the one asked for. `inContext`: new classes with labels drawn for the sequence. `swapped`: known classes whose labels are
 * moved on by one, so that memory and context disagree, and the context is right.
 */
export type InContextKind = "training" | "inWeights" | "inContext" | "swapped";

export interface InContextOptions extends SequenceOptions {
  /** Classes; a multiple of the labels. Class k has label k mod `labels`. */
  readonly classes: number;
  /** 32 unless given. */
  readonly labels?: number;
  /** Pairs before the item asked for; 8 unless given. */
  readonly pairs?: number;
  /** Times that each class of a bursty context occurs, a divisor of the pairs below their number; 1 unless given. */
  readonly burst?: number;
  /** The share of sequences that are bursty: the class asked for is in the context. In others it is drawn apart. 1 unless given. */
  readonly bursty?: number;
  /** The share of bursty sequences whose classes or labels are new; 0 unless given. */
  readonly fresh?: number;
  /** Classes occur as k^-zipf; 0 (equally often) unless given. */
  readonly zipf?: number;
  /** `training` unless given. */
  readonly kind?: InContextKind;
}

export interface InContextVectorOptions extends InContextOptions {
  /** Numbers in an item or a label; 63 unless given. */
  readonly width?: number;
  /** Noise within a class, of the class' own size at 1; 0.1 unless given. */
  readonly noise?: number;
  /** Positions are one-hot for sequences of up to so many pairs, and each begins at a random one; 32 unless given. */
  readonly mostPairs?: number;
}

/** One sequence before it becomes tokens. New classes count -1, -2, ... */
interface Sequence {
  readonly classes: readonly number[];
  readonly labels: readonly number[];
  readonly asked: number;
  readonly answer: number;
  readonly bursty: boolean;
  readonly fresh: boolean;
}

/** Draws for classes and labels lie in streams apart from those of steps. */
const classStream = 2 ** 31;

/**
 * Sequences of vectors, as in Reddy 2024. Class means and labels are normal vectors of length about 1, an item is its
 * class' mean with noise, at the same length. `x` float32 [size, 2 pairs + 1, 2 mostPairs + 1 + width]: a one-hot position,
 * then an item or label, in turn; the last is the item asked for. `label` int64 [size] is the answer.
 *
 * About each sequence: `classes` and `labels` int64 [size, pairs] (new classes are negative), `matches` int64 [size, pairs]
 * (1 where a pair's class is the one asked for), `asked`, `bursty` and `fresh` int64 [size].
 */
export function inContextVectors(options: InContextVectorOptions): Batches {
  const { width = 63, noise = 0.1, mostPairs = 32, labels = 32, pairs = 8, classes, seed = 0 } = options;
  requireWhole("inContextVectors", { width, labels });
  if (!(noise >= 0)) throw usageError(`inContextVectors: noise must be at least 0, not ${noise}`);
  requireWhole("inContextVectors", { mostPairs }, pairs);
  const [positions, length] = [2 * mostPairs + 1, 2 * pairs + 1];
  const known = vectors(random(seed, classStream), classes, width);
  const labelVectors = vectors(random(seed, classStream + 1), labels, width);
  return sequences("inContextVectors", options, (rows, draw) => {
    const data = new Float32Array(rows.length * length * (positions + width));
    let at = 0;
    for (const row of rows) {
      const means = new Map<number, Float32Array>();
      const meanOf = (item: number) => {
        if (item >= 0) return known[item] as Float32Array;
        const mean = means.get(item) ?? (vectors(draw, 1, width)[0] as Float32Array);
        means.set(item, mean);
        return mean;
      };
      const shift = draw.integer(positions - length + 1);
      for (let position = 0; position < length; position++) {
        data[at + shift + position] = 1;
        const pair = position >> 1;
        const content =
          position % 2 === 1
            ? (labelVectors[row.labels[pair] as number] as Float32Array)
            : noisy(draw, meanOf(row.classes[pair] ?? row.asked), noise);
        data.set(content, at + positions);
        at += positions + width;
      }
    }
    return { x: tensor("float32", [rows.length, length, positions + width], data) };
  });
}

/**
 * The same sequences as tokens: class k is token k, label l is token `classes` + l. What is new in a fresh sequence is which
 * label a class has. Vocabulary: `classes` + `labels`. `ids` int64 [size, 2 pairs + 1]; `label` int64 [size], 0 to `labels` -
 * 1; and what `inContextVectors` tells about each.
 */
export function inContextTokens(options: InContextOptions): Batches {
  const { classes } = options;
  return sequences("inContextTokens", options, (rows, draw) => ({
    ids: integers(
      rows.map((row) => {
        // New classes go by the names of known ones.
        const names = distinct(() => draw.integer(classes), -Math.min(0, ...row.classes));
        const nameOf = (item: number) => (item < 0 ? (names[-1 - item] as number) : item);
        const tokens = row.classes.flatMap((item, i) => [nameOf(item), classes + (row.labels[i] as number)]);
        return [...tokens, nameOf(row.asked)];
      }),
    ),
  }));
}

/** Batches of sequences with what is told about them, and what `content` makes of them. */
function sequences(
  name: string,
  options: InContextOptions,
  content: (rows: readonly Sequence[], draw: Random) => Readonly<Record<string, Tensor>>,
): Batches {
  const { size, seed = 0 } = options;
  requireWhole(name, { size });
  requireWhole(name, { seed }, 0);
  const drawSequence = sequenceDrawer(name, options);
  return (step) => {
    requireWhole(name, { step }, 0);
    const draw = random(seed, step);
    const rows = Array.from({ length: size }, () => drawSequence(draw));
    return {
      ...content(rows, draw),
      label: labelTensor(rows.map(({ answer }) => answer)),
      classes: integers(rows.map(({ classes }) => classes)),
      labels: integers(rows.map(({ labels }) => labels)),
      matches: integers(rows.map(({ classes, asked }) => classes.map((item) => (item === asked ? 1 : 0)))),
      asked: labelTensor(rows.map(({ asked }) => asked)),
      bursty: labelTensor(rows.map(({ bursty }) => (bursty ? 1 : 0))),
      fresh: labelTensor(rows.map(({ fresh }) => (fresh ? 1 : 0))),
    };
  };
}

type Checked = Required<Omit<InContextOptions, keyof SequenceOptions>>;

/** The options with what is not given; throws a usage error where they don't fit together. */
function checked(name: string, options: InContextOptions): Checked {
  const { classes, labels = 32, pairs = 8, burst = 1, bursty = 1, fresh = 0, zipf = 0, kind = "training" } = options;
  requireWhole(name, { classes, labels, pairs, burst });
  if (classes % labels !== 0) throw usageError(`${name}: ${labels} labels don't divide ${classes} classes evenly`);
  if (pairs % burst !== 0 || (burst > 1 && burst >= pairs))
    throw usageError(`${name}: a burst must divide the ${pairs} pairs and be fewer, not ${burst}`);
  if (classes <= pairs / burst)
    throw usageError(`${name}: ${pairs / burst} classes in a context need more than that in all, not ${classes}`);
  for (const [what, share] of Object.entries({ bursty, fresh }))
    if (!(share >= 0 && share <= 1)) throw usageError(`${name}: ${what} must lie from 0 to 1, not ${share}`);
  if (!(zipf >= 0 && zipf <= 4)) throw usageError(`${name}: zipf must lie from 0 to 4, not ${zipf}`);
  return { classes, labels, pairs, burst, bursty, fresh, zipf, kind };
}

/** A function that draws sequences. */
function sequenceDrawer(name: string, options: InContextOptions): (draw: Random) => Sequence {
  const { classes, labels, pairs, burst, bursty, fresh, zipf, kind } = checked(name, options);
  const totals = runningTotals(Array.from({ length: classes }, (_, k) => (k + 1) ** -zipf));
  const drawClass = (draw: Random) => drawPlace(draw, totals);
  const labelOf = (item: number) => item % labels;
  const movedOn = (item: number) => (item + 1) % labels;
  const known = (draw: Random) => distinct(() => drawClass(draw), pairs / burst);

  /** Each class `burst` times, in a random order; the class asked for is one of them. */
  const inBursts = (draw: Random, chosen: readonly number[], label: (item: number) => number): Sequence => {
    const items = shuffledBy(
      draw,
      chosen.flatMap((item) => new Array<number>(burst).fill(item)),
    );
    const asked = chosen[draw.integer(chosen.length)] as number;
    return { classes: items, labels: items.map(label), asked, answer: label(asked), bursty: true, fresh: asked < 0 };
  };
  const fromNew = (draw: Random) => {
    const own = drawMany(draw, pairs / burst, labels);
    const chosen = own.map((_, i) => -1 - i);
    return inBursts(draw, chosen, (item) => own[-1 - item] as number);
  };
  /** The context is drawn without regard to the class asked for, or without that class. */
  const apart = (draw: Random, avoided: boolean): Sequence => {
    const asked = drawClass(draw);
    const items: number[] = [];
    while (items.length < pairs) {
      const item = drawClass(draw);
      if (!avoided || item !== asked) items.push(item);
    }
    return { classes: items, labels: items.map(labelOf), asked, answer: labelOf(asked), bursty: false, fresh: false };
  };
  const kinds: Readonly<Record<InContextKind, (draw: Random) => Sequence>> = {
    training: (draw) => {
      if (draw.uniform() >= bursty) return apart(draw, false);
      return draw.uniform() < fresh ? fromNew(draw) : inBursts(draw, known(draw), labelOf);
    },
    inWeights: (draw) => apart(draw, true),
    inContext: fromNew,
    swapped: (draw) => inBursts(draw, known(draw), movedOn),
  };
  if (!Object.hasOwn(kinds, kind))
    throw usageError(`${name}: kind must be one of ${Object.keys(kinds).join(", ")}, not ${kind}`);
  return kinds[kind];
}

function distinct(draw: () => number, count: number): number[] {
  const found = new Set<number>();
  while (found.size < count) found.add(draw());
  return [...found];
}

function shuffledBy(draw: Random, values: number[]): number[] {
  for (let i = values.length - 1; i > 0; i--) {
    const j = draw.integer(i + 1);
    [values[i], values[j]] = [values[j] as number, values[i] as number];
  }
  return values;
}

/** Normal vectors whose squared length is 1 in the mean. */
function vectors(draw: Random, count: number, width: number): Float32Array[] {
  return Array.from({ length: count }, () =>
    Float32Array.from({ length: width }, () => draw.normal() / Math.sqrt(width)),
  );
}

/** (mean + noise x normal) / sqrt(1 + noise^2): noise changes no length. */
function noisy(draw: Random, mean: Float32Array, noise: number): Float32Array {
  if (noise === 0) return mean;
  const scale = 1 / Math.sqrt(1 + noise * noise);
  return mean.map((value) => (value + (noise * draw.normal()) / Math.sqrt(mean.length)) * scale);
}
