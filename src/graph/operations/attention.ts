/**
 * Attention and what it knows of positions, as functions of the operations of the table: so scores and patterns are values
 * that can be recorded and clamped, and gradients need no rule of their own.
 */
import { usageError } from "../../errors.js";
import { type Dim, divideDims, formatShape, multiplyDims, sameShape } from "../dims.js";
import { constant, type Value } from "../graph.js";
import { tensorOf } from "../tensor.js";
import {
  abs,
  add,
  cast,
  constantLike,
  cos,
  div,
  greater,
  lessOrEqual,
  max,
  mul,
  neg,
  sin,
  softcap,
  sqrt,
  sub,
  where,
} from "./elementwise.js";
import { matmul } from "./linear.js";
import { concat, dimension, reshape, slice, squeeze, unsqueeze } from "./movement.js";
import { range } from "./patterns.js";
import { reduceMax, softmax } from "./reduction.js";

/** Added to the scores of keys that a query may not see: the most negative float32, so that their probability is exactly 0. */
const hidden = -3.4028234663852886e38;

export interface AttentionOptions {
  /**
   * Which keys a query may see (bool), or what is added to its scores (of the queries' element type); broadcasts to
   * [batch, heads, queries, keys]. A query that may see none gets zeros.
   */
  readonly mask?: Value;
  /** Query i sees keys 0 to i and no others. Off unless given. */
  readonly causal?: boolean;
  /** How many keys stand before the first query where that is causal: those of a cache. 0 unless given. */
  readonly past?: Dim;
  /** What the products of queries and keys are multiplied by; 1 / sqrt(size of a head) unless given. */
  readonly scale?: number;
  /** Scores are kept within this number: softcap tanh(scores / softcap). Off unless given. */
  readonly softcap?: number;
}

/** What attention computes, with what leads to it. */
export interface AttentionResult {
  /** The weighted values, [batch, heads, queries, value size]. */
  readonly output: Value;
  /** Scaled, capped scores before the mask, [batch, heads, queries, keys]. */
  readonly scores: Value;
  /** Their softmax over the keys that a query may see. */
  readonly pattern: Value;
}

/**
 * softmax(q k' scale + mask) v (Vaswani et al. 2017; ONNX's Attention): q [batch, heads, queries, e], k [batch, key heads,
 * keys, e], v [batch, key heads, keys, value size]. Where there are fewer key heads they must divide the heads; each then
 * serves a group of neighbouring heads (Ainslie et al. 2023).
 */
export function attention(q: Value, k: Value, v: Value, options: AttentionOptions = {}): AttentionResult {
  checkShapes(q, k, v);
  const [batch, heads, queries] = q.shape as readonly [Dim, Dim, Dim, Dim];
  const keyHeads = k.shape[1] as Dim;
  // The heads of a group are stacked along the queries, so that keys and values need not be repeated.
  const stack = (x: Value): Value => {
    if (heads === keyHeads) return x;
    const rows = multiplyDims(divideDims(heads, keyHeads) as Dim, queries);
    return reshape(x, [batch, keyHeads, rows, x.shape[3] as Dim]);
  };
  const unstack = (x: Value): Value =>
    heads === keyHeads ? x : reshape(x, [batch, heads, queries, x.shape[3] as Dim]);
  const raw = unstack(matmul(stack(scaled(q, options.scale)), k, { transposeB: true }));
  const scores = options.softcap === undefined ? raw : softcap(raw, options.softcap);
  const pattern = patternOf(scores, options);
  return { output: unstack(matmul(stack(pattern), v)), scores, pattern };
}

function checkShapes(q: Value, k: Value, v: Value): void {
  const given = `attention(q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)})`;
  if ([q, k, v].some(({ shape }) => shape.length !== 4))
    throw usageError(`${given}: each must be [batch, heads, positions, size]`);
  if (!sameShape(k.shape.slice(0, 3), v.shape.slice(0, 3)) || q.shape[0] !== k.shape[0] || q.shape[3] !== k.shape[3])
    throw usageError(
      `${given}: batches, sizes of queries and keys, and heads and positions of keys and values must agree`,
    );
  if (divideDims(q.shape[1] as Dim, k.shape[1] as Dim) === undefined)
    throw usageError(`${given}: the heads of keys must divide those of queries`);
}

function scaled(q: Value, scale: number | undefined): Value {
  const size = q.shape[3] as Dim;
  if (scale !== undefined) return mul(q, scale);
  return typeof size === "number" ? mul(q, 1 / Math.sqrt(size)) : div(q, sqrt(cast(dimension(size), q.dtype)));
}

/** Softmax over the keys that are not hidden, which is worked out on the mask's own, smaller shape. */
function patternOf(scores: Value, { mask, causal = false, past = 0 }: AttentionOptions): Value {
  const nothing = constantLike(scores, 0);
  const own = mask && (mask.dtype === "bool" ? where(mask, nothing, hidden) : max(mask, hidden));
  const bias = causal ? where(seenBefore(scores, past), own ?? nothing, hidden) : own;
  if (bias === undefined) return softmax(scores);
  const pattern = softmax(add(scores, bias));
  if (own === undefined) return pattern;
  const seesAny = greater(reduceMax(bias, -1, { keepDims: true }), hidden / 2);
  return mul(pattern, cast(seesAny, pattern.dtype));
}

/** Whether a key stands at a query's own place or before: bool [queries, keys]. */
function seenBefore({ shape }: Value, past: Dim): Value {
  const [queries, keys] = shape.slice(-2).map(range) as [Value, Value];
  const places = past === 0 ? queries : add(queries, dimension(past));
  return lessOrEqual(unsqueeze(keys, 0), unsqueeze(places, 1));
}

/** base^(-2i / size) for i = 0 ... size / 2 - 1: radians by which a position turns the pair i of a head of that size. */
export function rotaryFrequencies(size: number, base = 10000): number[] {
  if (!Number.isInteger(size) || size < 2 || size % 2 !== 0)
    throw usageError(`rotaryFrequencies: the rotated size must be even and at least 2, not ${size}`);
  return Array.from({ length: size / 2 }, (_, i) => base ** ((-2 * i) / size));
}

/** Cosine and sine of every position times every frequency: float32 of the positions' shape with [frequencies] behind. */
export function rotaryAngles(positions: Value, frequencies: readonly number[]): { cosine: Value; sine: Value } {
  const angles = mul(
    unsqueeze(cast(positions, "float32"), -1),
    constant(tensorOf("float32", [frequencies.length], frequencies)),
  );
  return { cosine: cos(angles), sine: sin(angles) };
}

interface RotaryOptions {
  readonly cosine: Value;
  readonly sine: Value;
  /** Pairs are neighbours (2i, 2i + 1) rather than (i, i + half). Off unless given. */
  readonly interleaved?: boolean;
}

/**
 * Rotary position embedding (Su et al. 2021; ONNX's RotaryEmbedding): pairs of the last axis of `x` are turned by angles
 * whose cosine and sine [..., pairs] broadcast against `x`; for x [batch, heads, positions, size] they are [positions,
 * pairs] or [batch, 1, positions, pairs]. Where two times the pairs are fewer than the size, the rest stays as it is.
 */
export function rotaryEmbedding(x: Value, { cosine, sine, interleaved = false }: RotaryOptions): Value {
  const pairs = cosine.shape[cosine.shape.length - 1] as Dim;
  const turned = multiplyDims(2, pairs);
  const size = x.shape[x.shape.length - 1] as Dim;
  const own = turned === size ? x : slice(x, -1, 0, turned);
  const [first, second] = interleaved ? neighbours(own, pairs) : [slice(own, -1, 0, pairs), slice(own, -1, pairs)];
  const real = sub(mul(first, cosine), mul(second, sine));
  const imaginary = add(mul(second, cosine), mul(first, sine));
  const joined = interleaved
    ? reshape(concat([unsqueeze(real, -1), unsqueeze(imaginary, -1)], -1), own.shape)
    : concat([real, imaginary], -1);
  return turned === size ? joined : concat([joined, slice(x, -1, turned)], -1);
}

function neighbours(x: Value, pairs: Dim): [Value, Value] {
  const split = reshape(x, [...x.shape.slice(0, -1), pairs, 2]);
  return [squeeze(slice(split, -1, 0, 1), -1), squeeze(slice(split, -1, 1, 2), -1)];
}

/**
 * The bias of ALiBi (Press et al. 2022), to be given to `attention` as its mask: minus the distance of positions, queries
 * [..., s] from keys [..., t], times the slope of each head: [..., heads, s, t], float32.
 */
export function alibiBias(heads: number, queries: Value, keys: Value): Value {
  const slopes = constant(tensorOf("float32", [heads, 1, 1], alibiSlopes(heads)));
  const distance = abs(sub(cast(unsqueeze(queries, -3, -1), "float32"), cast(unsqueeze(keys, -3, -2), "float32")));
  return neg(mul(distance, slopes));
}

/** 2^(-8i / n) for i = 1 ... n; where n is no power of two, those of the next lower one and every other of the next higher. */
function alibiSlopes(heads: number): number[] {
  if (!Number.isInteger(heads) || heads < 1)
    throw usageError(`alibiBias: heads must be a whole number of at least 1, not ${heads}`);
  const lower = 2 ** Math.floor(Math.log2(heads));
  const powers = (count: number) => Array.from({ length: count }, (_, i) => 2 ** ((-8 * (i + 1)) / count));
  const between = powers(2 * lower).filter((_, i) => i % 2 === 0);
  return [...powers(lower), ...between.slice(0, heads - lower)];
}
