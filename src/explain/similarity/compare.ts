/**
 * Comparing dissimilarity matrices, with a test and an interval whose unit is the condition, and with the ceiling that
 * noise sets (Nili et al. 2014, "A toolbox for representational similarity analysis").
 */
import { usageError } from "../../errors.js";
import { bootstrap, kendall, type Matrix, ranks } from "../../linalg/index.js";
import type { Tensor } from "../../runtime/index.js";
import { shuffled } from "../probes/labels.js";
import { dot, readRows, sizeOf } from "../probes/rows.js";
import type { Dissimilarity } from "./dissimilarity.js";

/**
 * Of the entries above the diagonals. `kendall` is tau-a, (concordant - discordant) / all pairs of entries, which does
 * not favour models with ties as tau-b and Spearman's do; `cosine` takes zero for what it is (crossnobis).
 */
export type ComparisonMeasure = "spearman" | "pearson" | "kendall" | "cosine";

export interface ComparisonOptions {
  /** `spearman` unless given. */
  readonly measure?: ComparisonMeasure;
  /** Random orders of the conditions that the similarity is compared with; 999 unless given, 0 for no test. */
  readonly permutations?: number;
  /** Samples of the conditions drawn for the interval; 1000 unless given, 0 for none. */
  readonly resamples?: number;
  /** Level of the interval; 0.95 unless given. */
  readonly level?: number;
  /** A whole number from 0; 0 unless given. */
  readonly seed?: number;
}

export interface NoiseCeiling {
  /** The mean similarity of each subject to the mean of the others. */
  readonly lower: number;
  /** The mean similarity of each subject to the mean of all: what no model can be expected to exceed. */
  readonly upper: number;
}

export interface DissimilarityComparison {
  readonly measure: ComparisonMeasure;
  /** The similarity; with several references the mean over them. */
  readonly similarity: number;
  /** The similarity to each reference. */
  readonly references: readonly number[];
  /** The share of orders of the conditions (the given one counted) that are at least as similar. */
  readonly p?: number;
  /** Percentile interval over conditions drawn with replacement. */
  readonly interval?: { readonly low: number; readonly high: number };
  /** Where there are several references. */
  readonly ceiling?: NoiseCeiling;
}

/** A matrix of dissimilarities as it is, or with its measure. */
export type DissimilarityInput = Dissimilarity | Tensor;

/**
 * How similar two dissimilarity matrices are, or a model's and those of several subjects.
 *
 * The test reorders the conditions of the first matrix, rows and columns together; the bootstrap draws conditions and
 * leaves out pairs of a condition with itself, whose dissimilarity is zero by construction. NaN (`kendall`: 0) where a
 * matrix is constant. Throws for matrices that are not square and symmetric, of unequal size, or of fewer than 3
 * conditions (4 for an interval).
 *
 * @example const { similarity, p, ceiling } = compareDissimilarity(layer, subjects, { measure: "kendall" });
 */
export function compareDissimilarity(
  model: DissimilarityInput,
  reference: DissimilarityInput | readonly DissimilarityInput[],
  options: ComparisonOptions = {},
): DissimilarityComparison {
  const { measure = "spearman", permutations = 999, resamples = 1000, level = 0.95, seed = 0 } = options;
  const similarityOf = entriesSimilarity(measure);
  if (!Number.isInteger(permutations) || permutations < 0)
    throw usageError(`permutations must be a whole number of at least 0, not ${permutations}`);
  const own = readDissimilarity(model, "the first matrix");
  const [count] = sizeOf(own);
  const others = readAll([reference].flat(), count);
  const meanAt = (places: ArrayLike<number>) => {
    const pairs = pairsOf(places);
    const entries = entriesAt(own, pairs);
    return meanOf(others.map((other) => similarityOf(entries, entriesAt(other, pairs))));
  };
  const vectors = others.map(entriesOf);
  const references = vectors.map((entries) => similarityOf(entriesOf(own), entries));
  const similarity = meanOf(references);
  const defined = !Number.isNaN(similarity);
  return {
    measure,
    similarity,
    references,
    ...(permutations > 0 && defined ? { p: permutationShare(own, vectors, measure, { permutations, seed }) } : {}),
    ...(resamples > 0 && defined ? { interval: intervalOf(count, meanAt, { resamples, level, seed }) } : {}),
    ...(others.length > 1 ? { ceiling: ceilingOf(vectors, measure) } : {}),
  };
}

/**
 * The noise ceiling of several subjects' dissimilarity matrices: the range in which the similarity of the true model to
 * a subject is expected. The mean of subjects is taken of what the measure sees of each: ranks, standard scores or unit
 * vectors. Throws for fewer than 2 subjects.
 */
export function noiseCeiling(
  subjects: readonly DissimilarityInput[],
  measure: ComparisonMeasure = "spearman",
): NoiseCeiling {
  if (subjects.length < 2) throw usageError(`a noise ceiling needs at least 2 subjects, not ${subjects.length}`);
  const [count] = sizeOf(readDissimilarity(subjects[0] as DissimilarityInput, "the first subject"));
  return ceilingOf(readAll(subjects, count).map(entriesOf), measure);
}

function ceilingOf(subjects: readonly Float64Array[], measure: ComparisonMeasure): NoiseCeiling {
  const similarityOf = entriesSimilarity(measure);
  const seen = subjects.map(comparisonOf(measure).view);
  const total = (seen[0] as Float64Array).map((_, k) => seen.reduce((sum, own) => sum + (own[k] as number), 0));
  const lower = subjects.map((own, s) => {
    const others = total.map((sum, k) => sum - (seen[s]?.[k] as number));
    return similarityOf(own, others);
  });
  return { lower: meanOf(lower), upper: meanOf(subjects.map((own) => similarityOf(own, total))) };
}

interface Comparison {
  /** What the measure sees of entries; it goes with any order of them. */
  readonly view: (entries: Float64Array) => Float64Array;
  /** The similarity of two views. */
  readonly similarity: (a: Float64Array, b: Float64Array) => number;
}

const cosine = (a: Float64Array, b: Float64Array) => Math.min(1, Math.max(-1, dot(a, b)));

const comparisons: Readonly<Record<ComparisonMeasure, Comparison>> = {
  cosine: { view: unit, similarity: cosine },
  pearson: { view: (entries) => unit(deviations(entries)), similarity: cosine },
  spearman: { view: (entries) => unit(deviations(ranks(entries))), similarity: cosine },
  kendall: { view: ranks, similarity: kendallA },
};

/** How a measure compares entries. */
function comparisonOf(measure: ComparisonMeasure): Comparison {
  const found = comparisons[measure];
  if (found !== undefined) return found;
  throw usageError(`dissimilarities are compared by ${Object.keys(comparisons).join(", ")}, not "${measure}"`);
}

/** The similarity of two lists of entries under a measure. */
export function entriesSimilarity(measure: ComparisonMeasure): (a: Float64Array, b: Float64Array) => number {
  const { view, similarity } = comparisonOf(measure);
  return (a, b) => similarity(view(a), view(b));
}

/** tau-a from tau-b, whose denominator leaves out tied pairs. */
function kendallA(a: Float64Array, b: Float64Array): number {
  const pairs = (a.length * (a.length - 1)) / 2;
  const [untiedA, untiedB] = [untiedPairs(a), untiedPairs(b)];
  if (untiedA === 0 || untiedB === 0) return 0;
  return kendall(a, b) * (Math.sqrt(untiedA / pairs) * Math.sqrt(untiedB / pairs));
}

function untiedPairs(values: Float64Array): number {
  const sorted = values.slice().sort();
  let tied = 0;
  for (let i = 1, run = 0; i < sorted.length; i++) {
    run = sorted[i] === sorted[i - 1] ? run + 1 : 0;
    tied += run;
  }
  return (values.length * (values.length - 1)) / 2 - tied;
}

/** Exactly zero where all are equal. */
function deviations(values: Float64Array): Float64Array {
  const mean = meanOf(values);
  if (values.every((value) => value === values[0])) return new Float64Array(values.length);
  return values.map((value) => value - mean);
}

/** At length 1; NaN for zeros. */
function unit(values: Float64Array): Float64Array {
  const length = Math.sqrt(dot(values, values));
  return values.map((value) => value / length);
}

function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum / values.length;
}

/**
 * The share of orders of the conditions of `own`, the given one counted, that are at least as similar to the
 * references.
 */
function permutationShare(
  own: Matrix,
  references: readonly Float64Array[],
  measure: ComparisonMeasure,
  { permutations, seed }: { readonly permutations: number; readonly seed: number },
): number {
  const { view, similarity } = comparisonOf(measure);
  const [count] = sizeOf(own);
  const seen = fromEntries(count, view(entriesOf(own)));
  const wanted = references.map(view);
  const all = Array.from({ length: count }, (_, i) => i);
  const meanIn = (order: readonly number[]) => {
    const entries = entriesAt(seen, pairsOf(order));
    return meanOf(wanted.map((reference) => similarity(entries, reference)));
  };
  const bound = meanIn(all) - 1e-12; // equal up to rounding is equal
  let extreme = 0;
  for (let order = 0; order < permutations; order++) if (meanIn(shuffled(all, seed, order + 1)) >= bound) extreme += 1;
  return (1 + extreme) / (1 + permutations);
}

function intervalOf(
  count: number,
  meanAt: (places: ArrayLike<number>) => number,
  options: { readonly resamples: number; readonly level: number; readonly seed: number },
): { low: number; high: number } {
  if (count < 4) throw usageError(`an interval needs at least 4 conditions, not ${count}: set resamples to 0`);
  // A sample of two distinct conditions may leave entries that are all equal: no similarity, counted as none.
  const statistic = (places: Int32Array = new Int32Array()) => meanAt(places) || 0;
  const { low, high } = bootstrap(count, statistic, { ...options, method: "percentile" });
  return { low, high };
}

/** Pairs of different conditions among places, as (i, j, i, j, ...). */
function pairsOf(places: ArrayLike<number>): Int32Array {
  const pairs: number[] = [];
  for (let i = 1; i < places.length; i++)
    for (let j = 0; j < i; j++) if (places[i] !== places[j]) pairs.push(places[i] as number, places[j] as number);
  return Int32Array.from(pairs);
}

function entriesAt({ shape, data }: Matrix, pairs: Int32Array): Float64Array {
  const count = shape[0] as number;
  return Float64Array.from(
    { length: pairs.length / 2 },
    (_, k) => data[(pairs[2 * k] as number) * count + (pairs[2 * k + 1] as number)] as number,
  );
}

/** The entries below the diagonal, row by row. */
export function entriesOf(matrix: Matrix): Float64Array {
  return entriesAt(matrix, pairsOf(Array.from({ length: sizeOf(matrix)[0] }, (_, i) => i)));
}

/** The symmetric matrix of entries below its diagonal. */
function fromEntries(count: number, entries: Float64Array): Matrix {
  const data = new Float64Array(count * count);
  for (let i = 1, k = 0; i < count; i++) {
    for (let j = 0; j < i; j++, k++) {
      data[i * count + j] = entries[k] as number;
      data[j * count + i] = entries[k] as number;
    }
  }
  return { dtype: "float64", shape: [count, count], data };
}

function readAll(inputs: readonly DissimilarityInput[], count: number): Matrix[] {
  if (inputs.length === 0) throw usageError("there is no matrix to compare with");
  return inputs.map((input, i) => {
    const name = inputs.length === 1 ? "the second matrix" : `reference ${i}`;
    const matrix = readDissimilarity(input, name);
    if (sizeOf(matrix)[0] === count) return matrix;
    throw usageError(`${name} has ${sizeOf(matrix)[0]} conditions, the first matrix ${count}`);
  });
}

function readDissimilarity(input: DissimilarityInput, name: string): Matrix {
  const matrix = readRows("dtype" in input ? input : input.matrix, name, 3);
  const [count, columns] = sizeOf(matrix);
  if (count !== columns) throw usageError(`${name} must be square, not [${count}, ${columns}]`);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [matrix.data[i * count + j] as number, matrix.data[j * count + i] as number];
      if (Math.abs(below - above) > 1e-6 * Math.max(Math.abs(below), Math.abs(above)))
        throw usageError(`${name} is not symmetric: [${i}, ${j}] is ${below} and [${j}, ${i}] is ${above}`);
    }
  }
  return matrix;
}
