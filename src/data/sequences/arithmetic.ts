/** Tables of modular arithmetic, all of it: a part to learn from and the rest to test on (Power et al. 2022). */
import { usageError } from "../../errors.js";
import type { Tensor } from "../../runtime/index.js";
import { shuffled } from "../batches.js";
import { labelTensor } from "../images/labelled.js";
import { requireWhole } from "../whole.js";
import { integers } from "./rows.js";

const operations = {
  add: (a: number, b: number) => a + b,
  subtract: (a: number, b: number) => a - b,
  multiply: (a: number, b: number) => a * b,
  sumOfSquares: (a: number, b: number) => a * a + b * b,
} as const;

export interface ModularOptions {
  /** Numbers are 0 to `modulus` - 1; at most 2,048. */
  readonly modulus: number;
  /** `add` unless given. */
  readonly operation?: keyof typeof operations;
  /** The share of the table to learn from; 0.3 unless given. */
  readonly share?: number;
  readonly seed?: number;
}

/** Equations. A type, not an interface, so that it is a batch of named tensors too. */
export type Equations = {
  /** int64 [rows, 3]: a, b, and token `modulus`, which reads "=". */
  readonly ids: Tensor<"int64">;
  /** int64 [rows]: the result. */
  readonly label: Tensor<"int64">;
};

/**
 * All equations a . b = c (mod `modulus`), parted at random by the seed. Vocabulary: `modulus` + 1 tokens. The parts are
 * columns for `batches`.
 */
export function modularArithmetic({ modulus, operation = "add", share = 0.3, seed = 0 }: ModularOptions): {
  readonly train: Equations;
  readonly test: Equations;
} {
  requireWhole("modularArithmetic", { modulus }, 2);
  if (modulus > 2048)
    throw usageError(`modularArithmetic: a modulus of ${modulus} makes too large a table; at most 2048`);
  if (!(share > 0 && share < 1)) throw usageError(`modularArithmetic: share must lie between 0 and 1, not ${share}`);
  if (!Object.hasOwn(operations, operation))
    throw usageError(`modularArithmetic: operation must be one of ${Object.keys(operations).join(", ")}`);
  const result = operations[operation];
  const order = shuffled(modulus * modulus, { seed });
  const part = (from: number, to: number): Equations => {
    const pairs = Array.from(order.subarray(from, to), (at) => [Math.floor(at / modulus), at % modulus] as const);
    const residue = ([a, b]: readonly [number, number]) => ((result(a, b) % modulus) + modulus) % modulus;
    return { ids: integers(pairs.map(([a, b]) => [a, b, modulus])), label: labelTensor(pairs.map(residue)) };
  };
  const first = Math.round(share * order.length);
  if (first < 1 || first >= order.length)
    throw usageError(`modularArithmetic: a share of ${share} of ${order.length} equations leaves a part empty`);
  return { train: part(0, first), test: part(first, order.length) };
}
