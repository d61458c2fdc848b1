/**
 * What the generators of token sequences share: rows of tokens become `ids` and the tokens after them, `targets`, where
 * those that nobody could foretell are left out of the loss.
 */
import { type Random, random, type Tensor, tensorOf } from "../../runtime/index.js";
import type { Batches } from "../batches.js";
import { requireWhole } from "../whole.js";

/** The label that losses leave out. */
export const ignored = -100;

/** What every generator takes: `size` sequences in a batch. */
export interface SequenceOptions {
  readonly size: number;
  readonly seed?: number;
}

/** A sequence of tokens, and which of them can be foretold from those before. All can unless given. */
export interface SequenceRow {
  readonly tokens: readonly number[];
  readonly foretold?: (position: number) => boolean;
  /** Further numbers about it, by name. */
  readonly about?: Readonly<Record<string, readonly number[]>>;
}

/**
 * Batches of sequences for next-token prediction: `ids` and `targets`, int64 [size, length - 1], and what rows tell about
 * themselves. The rows of step s are draws of (seed, s), one after the other.
 */
export function sequenceBatches({ size, seed = 0 }: SequenceOptions, row: (draw: Random) => SequenceRow): Batches {
  requireWhole("a batch of sequences", { size });
  requireWhole("a batch of sequences", { seed }, 0);
  return (step) => {
    requireWhole("a batch of sequences", { step }, 0);
    const draw = random(seed, step);
    const rows = Array.from({ length: size }, () => row(draw));
    const names = Object.keys(rows[0]?.about ?? {});
    return {
      ids: integers(rows.map(({ tokens }) => tokens.slice(0, -1))),
      targets: integers(rows.map(targetsOf)),
      ...Object.fromEntries(names.map((name) => [name, integers(rows.map(({ about }) => about?.[name] ?? []))])),
    };
  };
}

function targetsOf({ tokens, foretold = () => true }: SequenceRow): number[] {
  return tokens.slice(1).map((token, i) => (foretold(i + 1) ? token : ignored));
}

/** Rows of equal length as an int64 matrix. */
export function integers(rows: readonly (readonly number[])[]): Tensor<"int64"> {
  return tensorOf("int64", [rows.length, rows[0]?.length ?? 0], rows.flat());
}

/** Whole numbers below `limit`, `count` of them. */
export const drawMany = (draw: Random, count: number, limit: number): number[] =>
  Array.from({ length: count }, () => draw.integer(limit));

/** One of the places of a list of running totals of weights, by weight. */
export function drawPlace(draw: Random, totals: ArrayLike<number>): number {
  const at = draw.uniform() * (totals[totals.length - 1] as number);
  let [low, high] = [0, totals.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((totals[middle] as number) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Running totals of weights, for `drawPlace`. */
export function runningTotals(weights: Iterable<number>): Float64Array {
  let total = 0;
  return Float64Array.from(weights, (weight) => {
    total += weight;
    return total;
  });
}
