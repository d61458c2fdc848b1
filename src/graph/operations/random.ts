/**
 * Random numbers inside the graph, as functions of a key (seed, stream) and of nothing else: Philox4x32-10 (Salmon et
 * al., "Parallel random numbers: as easy as 1, 2, 3", 2011) in ONNX's integers, word for word the stream of the same
 * seed that the host draws from. Feed the key, and one compiled graph gives fresh numbers at every run.
 */
import { usageError } from "../../errors.js";
import { evaluateDim, formatShape, multiplyDims, type Shape } from "../dims.js";
import { constant, type Node, type Value, type ValueType } from "../graph.js";
import { random } from "../random.js";
import { type Dtype, elementCount, tensorOf } from "../tensor.js";
import { add, cast, div, less, log, min, mul, neg, type Operand, where } from "./elementwise.js";
import { reshape } from "./movement.js";
import { apply, applyOne, type Emitter, flat, type Operation, type ReferenceTensor } from "./operation.js";
import { unstack } from "./rearranging.js";
import { argMax } from "./sorting.js";

/** ONNX's numbers of the element types that a graph has no values of. */
const uint64 = 13;
const float64 = 11;

const wordMask = 0xffffffff;
const multipliers = [0xd2511f53, 0xcd9e8d57] as const;
const weyl = [0x9e3779b9, 0xbb67ae85] as const;

/** Nodes of 64-bit unsigned integers, each holding a word of 32 bits, and of float64. */
function arithmetic(emitter: Emitter) {
  const one = (type: string, ...inputs: readonly string[]) => emitter.node(type, inputs)[0] as string;
  const to = (name: string, type: number) => emitter.node("Cast", [name], { attributes: { to: type } })[0] as string;
  const word = (value: number) => to(emitter.int64([value]), uint64);
  const mask = word(wordMask);
  const shift = word(32);
  return {
    one,
    to,
    word,
    low: (x: string) => one("BitwiseAnd", x, mask),
    high: (x: string) => emitter.node("BitShift", [x, shift], { attributes: { direction: "RIGHT" } })[0] as string,
    /** A float64 number that is a quotient of two whole ones. */
    quotient: (a: number, b: number) => one("Div", to(emitter.int64([a]), float64), to(emitter.int64([b]), float64)),
  };
}

/** The exclusive or of words, those left out being zero. */
function combine(emitter: Emitter, ...words: readonly (string | undefined)[]): string | undefined {
  const given = words.filter((word) => word !== undefined);
  return given.length === 0 ? undefined : given.reduce((a, b) => emitter.node("BitwiseXor", [a, b])[0] as string);
}

/** The four words of every block that `count` numbers (int64 [1]) need: each [..., blocks] for keys [..., 2]. */
function emitBlocks(emitter: Emitter, key: string, count: string): string[] {
  const { one, to, word, low, high } = arithmetic(emitter);
  const blocks = one("Div", one("Add", count, emitter.int64([3])), emitter.int64([4]));
  const scalar = (name: string) => one("Squeeze", name, emitter.int64([0]));
  const counter = one("Range", ...[emitter.int64([0]), blocks, emitter.int64([1])].map(scalar));
  const words = low(to(key, uint64));
  const part = (i: number) => one("Slice", words, emitter.int64([i]), emitter.int64([i + 1]), emitter.int64([-1]));
  let keys = [part(0), part(1)] as const;
  let state: readonly (string | undefined)[] = [to(counter, uint64), undefined, undefined, undefined];
  for (let round = 0; round < 10; round++) {
    const products = [0, 1].map((i) => {
      const factor = state[2 * i];
      return factor === undefined ? undefined : one("Mul", factor, word(multipliers[i as 0 | 1]));
    });
    const [high0, high1] = products.map((product) => product && high(product));
    const [low0, low1] = products.map((product) => product && low(product));
    const [, c1, , c3] = state;
    // the key first, as the next operand is often one number and not yet a row
    state = [combine(emitter, keys[0], c1, high1), low1, combine(emitter, keys[1], c3, high0), low0];
    keys = [low(one("Add", keys[0], word(weyl[0]))), low(one("Add", keys[1], word(weyl[1])))];
  }
  return state as string[];
}

/** Rows of four words as numbers in order: the first `count` of them, in the shape of the node's output. */
function emitInterleaved(node: Node, emitter: Emitter, rows: readonly string[], count: string): void {
  const [output] = node.outputs as readonly [Value];
  const lead = (node.inputs[0] as Value).shape.length - 1;
  const { one } = arithmetic(emitter);
  const columns = rows.map((row) => one("Unsqueeze", row, emitter.int64([-1])));
  const [grid] = emitter.node("Concat", columns, { attributes: { axis: -1 } }) as [string];
  const kept = Array.from({ length: lead }, () => 0);
  const line = one("Reshape", grid, emitter.int64([...kept, -1]));
  const cut = one("Slice", line, emitter.int64([0]), count, emitter.int64([-1]));
  const [shaped] = emitter.node("Reshape", [cut, emitter.dims(output.shape)], { attributes: { allowzero: 1 } }) as [
    string,
  ];
  const types: Partial<Record<Dtype, number>> = { int64: 7, float32: 1, float64 };
  emitter.node("Cast", [shaped], {
    outputs: [emitter.name(output)],
    attributes: { to: types[output.dtype] as number },
  });
}

type Drawn = { shape: Shape; dtype: Dtype };

/**
 * A table entry for numbers drawn from the stream of a key: how one is drawn on the host, and how rows of four are
 * made.
 */
function draws(
  name: string,
  draw: (source: ReturnType<typeof random>) => number,
  rows: (emitter: Emitter, words: readonly string[]) => readonly string[],
): Operation<Drawn> {
  const operation: Operation<Drawn> = {
    name,
    infer([key], { shape, dtype }) {
      const { dtype: type, shape: keys } = key as ValueType;
      if (type !== "int64" || keys[keys.length - 1] !== 2) throw new Error("the key must be int64[2]: seed and stream");
      return [{ dtype, shape: [...keys.slice(0, -1), ...shape] }];
    },
    emit(node, { shape }, emitter) {
      const count = emitter.dims([multiplyDims(...shape)]);
      const words = emitBlocks(emitter, emitter.name(node.inputs[0] as Value), count);
      emitInterleaved(node, emitter, rows(emitter, words), count);
    },
    gradient: flat,
    batch: ([key], _, node) => apply(operation, [key as Value], node.attributes as Drawn),
    reference([key], { shape, dtype }, sizes) {
      const { shape: keys, data } = key as ReferenceTensor;
      const own = shape.map((dim) => evaluateDim(dim, sizes));
      const round = dtype === "float32" ? Math.fround : (x: number) => x;
      const all = Array.from({ length: data.length / 2 }, (_, k) => {
        const source = random((data[2 * k] as number) >>> 0, (data[2 * k + 1] as number) >>> 0);
        return Array.from({ length: elementCount(own) }, () => round(draw(source)));
      });
      return [{ dtype, shape: [...keys.slice(0, -1), ...own], data: Float64Array.from(all.flat()) }];
    },
  };
  return operation;
}

const bitsOperation = draws(
  "randomBits",
  (source) => source.word(),
  (_, words) => words,
);

/** 2 pi as the quotient of whole numbers that its float64 is. */
const turn = [884279719003555, 2 ** 47] as const;

/** Normal numbers in pairs (Box & Muller 1958), in float64, so that they are the same on every machine once rounded. */
const normalOperation = draws(
  "randomNormal",
  (source) => source.normal(),
  (emitter, words) => {
    const { one, to, quotient } = arithmetic(emitter);
    const uniforms = words.map((word) =>
      one("Mul", one("Add", to(word, float64), quotient(1, 2)), quotient(1, 2 ** 32)),
    );
    return [0, 2].flatMap((first) => {
      const [radial, angular] = uniforms.slice(first) as [string, string];
      const radius = one("Sqrt", one("Mul", one("Log", radial), quotient(-2, 1)));
      const angle = one("Mul", angular, quotient(...turn));
      return [one("Mul", radius, one("Cos", angle)), one("Mul", radius, one("Sin", angle))];
    });
  },
);

export const randomOperations = [bitsOperation, normalOperation];

/** A key: int64 [2]. Streams of one seed are independent. Both are whole numbers from 0 to 2^32 - 1. */
export function randomKey(seed: number, stream = 0): Value {
  for (const part of [seed, stream]) {
    if (!Number.isInteger(part) || part < 0 || part > wordMask)
      throw usageError(`randomKey: seed and stream are whole numbers from 0 to 2^32 - 1, not ${part}`);
  }
  return constant(tensorOf("int64", [2], [seed, stream]));
}

/** New keys from one, which is not to be drawn from any more: one for each place where a graph needs numbers. */
export function splitKey(key: Value, count: number): Value[] {
  return unstack(reshape(randomBits(key, [count * 2]), [count, 2]));
}

/**
 * Random 32-bit words, as int64 from 0 to 2^32 - 1: the first ones of the key's stream, in row-major order. `key` is
 * int64 [2], seed and stream (their lower 32 bits count), or [..., 2], and then each has numbers of its own: [...,
 * ...shape].
 */
export function randomBits(key: Value, shape: Shape): Value {
  return applyOne(bitsOperation, [key], { shape, dtype: "int64" });
}

export interface RandomOptions {
  /** float32 unless given. */
  readonly dtype?: "float32" | "float64";
}

/**
 * Uniform numbers in (0, 1), (word + 1/2) / 2^32, in float32 no more than 1 - 2^-24; key and shape as in `randomBits`.
 */
export function randomUniform(key: Value, shape: Shape, { dtype = "float32" }: RandomOptions = {}): Value {
  const exact = mul(add(cast(randomBits(key, shape), "float64"), 0.5), 2 ** -32);
  return dtype === "float64" ? exact : min(cast(exact, "float32"), 1 - 2 ** -24);
}

/** Standard normal numbers (Box & Muller 1958), computed in float64; key and shape as in `randomBits`. */
export function randomNormal(key: Value, shape: Shape, { dtype = "float32" }: RandomOptions = {}): Value {
  return applyOne(normalOperation, [key], { shape, dtype });
}

/** Standard Gumbel numbers, -log(-log(u)); key and shape as in `randomBits`. */
export function gumbel(key: Value, shape: Shape, options: RandomOptions = {}): Value {
  return neg(log(neg(log(randomUniform(key, shape, options)))));
}

/** True with a probability (a number, or a value that broadcasts with the shape); key and shape as in `randomBits`. */
export function bernoulli(key: Value, probability: Operand, shape: Shape): Value {
  const dtype = typeof probability !== "number" && probability.dtype === "float64" ? "float64" : "float32";
  return less(randomUniform(key, shape, { dtype }), probability);
}

/**
 * `x` with each element put to 0 with the probability `rate`, the others divided by 1 - rate, so that the mean stays
 * (Srivastava et al. 2014). `key` is int64 [2]: feed another one at each step.
 */
export function dropout(x: Value, rate: number, key: Value): Value {
  if (!(rate >= 0 && rate < 1)) throw usageError(`dropout: the rate lies from 0 to less than 1, not ${rate}`);
  if (key.shape.length !== 1) throw usageError(`dropout: the key must be int64[2], not ${formatShape(key.shape)}`);
  return rate === 0 ? x : where(bernoulli(key, 1 - rate, x.shape), div(x, 1 - rate), 0);
}

/**
 * An index drawn from the softmax of logits along the last axis, by the largest of logits plus Gumbel noise (Gumbel
 * 1954; Maddison et al. 2014): int64, without that axis. `key` is int64 [2].
 */
export function categorical(logits: Value, key: Value): Value {
  const dtype = logits.dtype === "float64" ? "float64" : "float32";
  return argMax(add(cast(logits, dtype), gumbel(key, logits.shape, { dtype })));
}
