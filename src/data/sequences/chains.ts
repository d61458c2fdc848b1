/**
 * Sequences from random Markov chains: each sequence comes from one of several tables, which must be found out from the
 * sequence itself (Edelman et al. 2024 on the statistics that attention learns in context).
 */
import { usageError } from "../../errors.js";
import { type Random, random } from "../../runtime/index.js";
import type { Batches } from "../batches.js";
import { requireWhole } from "../whole.js";
import { drawMany, drawPlace, runningTotals, type SequenceOptions, sequenceBatches } from "./rows.js";

export interface ChainOptions {
  readonly symbols: number;
  /** Tokens before that a token depends on: 1 makes bigrams, 2 trigrams; 1 unless given. */
  readonly order?: number;
  /** Tables; 1 unless given. */
  readonly chains?: number;
  /** Of the Dirichlet distribution that each row of a table is drawn from: small ones make few next tokens likely. 1 unless given. */
  readonly concentration?: number;
  readonly seed?: number;
}

export interface NgramOptions extends ChainOptions, SequenceOptions {
  /** Tokens in a sequence. */
  readonly length: number;
}

/** Draws for tables lie in streams apart from those of steps. */
const tableStream = 2 ** 31;
/** The most numbers in all tables. */
const mostNumbers = 2 ** 24;

/**
 * The probabilities of the next token, one table a chain, [symbols^order, symbols] in row-major order: the row of tokens a,
 * b is a x symbols + b. From them comes the best loss that can be reached.
 */
export function ngramTables(options: ChainOptions): Float64Array[] {
  const { symbols, order = 1, chains = 1, concentration = 1, seed = 0 } = options;
  requireWhole("ngrams", { symbols, order, chains });
  if (!(concentration > 0 && concentration < 1e6))
    throw usageError(`ngrams: concentration must lie above 0 and below a million, not ${concentration}`);
  const rows = symbols ** order;
  if (rows * symbols * chains > mostNumbers)
    throw usageError(`ngrams: ${chains} tables of ${rows} x ${symbols} numbers are too many; at most ${mostNumbers}`);
  return Array.from({ length: chains }, (_, chain) => {
    const draw = random(seed, tableStream + chain);
    const table = new Float64Array(rows * symbols);
    for (let row = 0; row < rows; row++) table.set(dirichlet(draw, symbols, concentration), row * symbols);
    return table;
  });
}

/**
 * Sequences from the tables, each from one of them by a fair draw; the first `order` tokens are uniform, and not in the
 * loss. Vocabulary: `symbols`. `ids` and `targets` int64 [size, length - 1]; `chain` int64 [size, 1].
 */
export function ngrams({ length, ...options }: NgramOptions): Batches {
  const { symbols, order = 1 } = options;
  const totals = ngramTables(options).map((table) =>
    Array.from({ length: table.length / symbols }, (_, row) =>
      runningTotals(table.subarray(row * symbols, (row + 1) * symbols)),
    ),
  );
  requireWhole("ngrams", { length }, order + 1);
  return sequenceBatches(options, (draw) => {
    const chain = draw.integer(totals.length);
    const tokens = drawMany(draw, order, symbols);
    while (tokens.length < length) {
      const row = tokens.slice(-order).reduce((at, token) => at * symbols + token, 0);
      tokens.push(drawPlace(draw, totals[chain]?.[row] as Float64Array));
    }
    return { tokens, foretold: (position) => position >= order, about: { chain: [chain] } };
  });
}

/** A draw of the symmetric Dirichlet distribution. */
function dirichlet(draw: Random, count: number, concentration: number): Float64Array {
  const logs = Float64Array.from({ length: count }, () => logGamma(draw, concentration));
  const most = Math.max(...logs);
  const weights = logs.map((log) => Math.exp(log - most));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/**
 * The logarithm of a draw of the gamma distribution (Marsaglia and Tsang 2000). Of a shape below 1 it is a draw of shape + 1
 * times u^(1 / shape), which underflows unless taken as a logarithm.
 */
function logGamma(draw: Random, shape: number): number {
  if (shape < 1) return logGamma(draw, shape + 1) + Math.log(draw.uniform()) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = draw.normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(draw.uniform()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}
