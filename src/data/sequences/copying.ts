/** Sequences whose second part follows from the first: repeats (what induction heads are for), copies and reversals. */
import { usageError } from "../../errors.js";
import type { Batches } from "../batches.js";
import { requireWhole } from "../whole.js";
import { drawMany, type SequenceOptions, sequenceBatches } from "./rows.js";

export interface InductionOptions extends SequenceOptions {
  /** Random tokens, 0 to `symbols` - 1. */
  readonly symbols: number;
  /** Tokens before they repeat. */
  readonly length: number;
  /** How often they occur in all; 2 unless given. */
  readonly repeats?: number;
}

/**
 * Random sequences repeated (Elhage et al. 2021; Olsson et al. 2022): token `symbols` begins each, then `length` random
 * tokens, `repeats` times. Vocabulary: `symbols` + 1. Targets of the first round, and the first of the second, which
 * nothing foretells, are left out of the loss. `ids` and `targets` int64 [size, length x repeats].
 */
export function induction({ symbols, length, repeats = 2, ...options }: InductionOptions): Batches {
  requireWhole("induction", { symbols, length });
  requireWhole("induction", { repeats }, 2);
  return sequenceBatches(options, (draw) => {
    const once = drawMany(draw, length, symbols);
    const tokens = [symbols, ...Array.from({ length: repeats }, () => once).flat()];
    return { tokens, foretold: (position) => position > length + 1 };
  });
}

export interface CopyOptions extends SequenceOptions {
  readonly symbols: number;
  /** Tokens to copy. */
  readonly length: number;
}

/**
 * Sequences to copy: `length` random tokens (0 to `symbols` - 1), token `symbols`, and the same tokens again. Vocabulary:
 * `symbols` + 1. Only the copy counts in the loss. `ids` and `targets` int64 [size, 2 length].
 */
export function copying(options: CopyOptions): Batches {
  return answered("copying", options, (given) => given);
}

/** Sequences to reverse: as `copying`, with the tokens from the last to the first. */
export function reversing(options: CopyOptions): Batches {
  return answered("reversing", options, (given) => given.toReversed());
}

function answered(
  name: string,
  { symbols, length, ...options }: CopyOptions,
  answer: (given: readonly number[]) => readonly number[],
): Batches {
  requireWhole(name, { symbols, length });
  return sequenceBatches(options, (draw) => {
    const given = drawMany(draw, length, symbols);
    return { tokens: [...given, symbols, ...answer(given)], foretold: (position) => position > length };
  });
}

export interface DyckOptions extends SequenceOptions {
  /** Kinds of brackets. */
  readonly kinds: number;
  /** Brackets in a sequence, an even number. */
  readonly length: number;
  /** The deepest nesting; that of the length unless given. */
  readonly depth?: number;
}

/**
 * Balanced brackets (the Dyck language): token k opens kind k, token `kinds` + k closes it, token 2 `kinds` begins and ends
 * a sequence. Vocabulary: 2 `kinds` + 1. Whether a bracket opens or closes is a fair coin where both are possible; of the
 * kind that closes, all is known, and only closing brackets and the end count in the loss. `ids` and `targets` int64 [size,
 * length + 1]; `depth` int64 [size, length + 1]: brackets open after each token of `ids`.
 */
export function dyck({ kinds, length, depth = length / 2, ...options }: DyckOptions): Batches {
  if (length % 2 !== 0) throw usageError(`dyck: balanced brackets have an even length, not ${length}`);
  requireWhole("dyck", { kinds, length, depth });
  return sequenceBatches(options, (draw) => {
    const open: number[] = [];
    const [tokens, depths] = [[2 * kinds], [0]];
    for (let left = length; left > 0; left--) {
      const mayOpen = open.length < Math.min(depth, left);
      if (mayOpen && (open.length === 0 || draw.integer(2) === 0)) {
        const kind = draw.integer(kinds);
        open.push(kind);
        tokens.push(kind);
      } else {
        tokens.push(kinds + (open.pop() as number));
      }
      depths.push(open.length);
    }
    tokens.push(2 * kinds);
    return { tokens, foretold: (position) => (tokens[position] as number) >= kinds, about: { depth: depths } };
  });
}
