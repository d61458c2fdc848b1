/**
 * Which tokens of a prompt a method reads or steers, and what that means in a padded batch. A single position is a
 * number; a stretch is a range, whose ends may count from the prompt's end.
 */
import { usageError } from "../errors.js";
import { and, greaterOrEqual, less, reduceMax, reduceSum, reshape, sub, type Value, where } from "../graph/index.js";

/**
 * `last`: the last token (while generating: the newest). `all`: every token. A number: one position, negatives from the
 * end. `{ from, to }`: positions from `from` up to `to` (not included), either of which may be left out or count from the end.
 */
export type Positions = "last" | "all" | number | Range;

interface Range {
  readonly from?: number;
  readonly to?: number;
}

const isWhole = (x: unknown) => x === undefined || Number.isSafeInteger(x);

/** Throws unless the value names positions. */
export function checkPositions(positions: Positions): void {
  if (positions === "last" || positions === "all" || (typeof positions === "number" && isWhole(positions))) return;
  const range = typeof positions === "object" && positions !== null ? positions : undefined;
  if (range !== undefined && isWhole(range.from) && isWhole(range.to)) return;
  throw usageError(
    `positions must be "last", "all", a whole number or { from, to } of whole numbers, not ${JSON.stringify(positions)}`,
  );
}

/** The one position that is meant, or undefined for several. */
export function singlePosition(positions: Positions): number | undefined {
  if (positions === "last") return -1;
  return typeof positions === "number" ? positions : undefined;
}

/** The suffix of a site that selects the positions. */
export function positionSuffix(positions: Positions): string {
  checkPositions(positions);
  const single = singlePosition(positions);
  if (single !== undefined) return `[:, ${single}]`;
  if (typeof positions !== "object") return "";
  return `[:, ${positions.from ?? ""}:${positions.to ?? ""}]`;
}

/** Bool [batch, seq]: whether each token is one of the positions; never padding. `tokens`: int64 positions of a batch. */
export function positionMask(tokens: Value, positions: Positions): Value {
  const single = singlePosition(positions);
  const real = greaterOrEqual(tokens, 0);
  if (single === undefined && typeof positions !== "object") return real;
  const { from, to } = single === undefined ? (positions as Range) : rangeOf(single);
  const fromEnd = sub(sub(tokens, reduceMax(tokens, 1, { keepDims: true })), 1);
  const counted = (end: number) => (end < 0 ? fromEnd : tokens);
  const after = from === undefined ? real : and(real, greaterOrEqual(counted(from), from));
  return to === undefined ? after : and(after, less(counted(to), to));
}

const rangeOf = (at: number): Range => (at === -1 ? { from: -1 } : { from: at, to: at + 1 });

/**
 * The sum over the positions of a site's value [batch, seq, ...], as [batch, ...]. `tokens`: int64 positions of the batch.
 */
export function sumOverPositions(value: Value, tokens: Value, positions: Positions): Value {
  const mask = positionMask(tokens, positions);
  const spread = reshape(mask, [...mask.shape, ...value.shape.slice(2).map(() => 1)]);
  return reduceSum(where(spread, value, 0), 1);
}

/** Throws where the positions are none of a row of `length` tokens, or lie outside it. */
export function checkInside(positions: Positions, length: number): void {
  const single = singlePosition(positions);
  const { from = 0, to = length } =
    single !== undefined ? rangeOf(single) : typeof positions === "object" ? positions : {};
  const [first, end] = [from, to].map((at) => (at < 0 ? at + length : at)) as [number, number];
  if (first >= 0 && end <= length && first < end) return;
  throw usageError(
    `positions ${JSON.stringify(positions)} are empty or out of range: a prompt has ${length} tokens, positions 0 to ${length - 1}`,
  );
}
