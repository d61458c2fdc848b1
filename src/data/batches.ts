/**
 * Batches as functions of the step's number: nothing is consumed, so a run that is resumed, or done again by another
 * process, sees the same data. Orders and draws are Philox streams of (seed, epoch or step).
 */
import { usageError } from "../errors.js";
import { elementCount, type Random, random, type Tensor } from "../runtime/index.js";

/** The batch of a step, from 0, by name. */
export type Batch = Readonly<Record<string, Tensor>>;
export type Batches = (step: number) => Batch;

/** Whole numbers from 0 to `count` - 1 in a random order (Fisher and Yates): another one for each epoch. */
export function shuffled(
  count: number,
  { seed = 0, epoch = 0 }: { readonly seed?: number; readonly epoch?: number } = {},
): Uint32Array {
  const draw = random(seed, epoch);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = draw.integer(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** Rows of a tensor, by index along its leading axis. */
export function takeRows(value: Tensor, rows: ArrayLike<number>): Tensor {
  const [count = 0, ...rest] = value.shape;
  const size = elementCount(rest);
  const data = new (value.data.constructor as new (length: number) => Float32Array)(rows.length * size);
  for (let i = 0; i < rows.length; i++) {
    const at = rows[i] as number;
    if (!(at >= 0 && at < count)) throw usageError(`row ${at} is out of range for a tensor of ${count} rows`);
    data.set((value.data as Float32Array).subarray(at * size, (at + 1) * size), i * size);
  }
  return { dtype: value.dtype, shape: [rows.length, ...rest], data } as Tensor;
}

/** Parts of `count` examples, in a seeded random order, of the given sizes; what is left over is in none. */
export function split(
  count: number,
  sizes: readonly number[],
  { seed = 0 }: { readonly seed?: number } = {},
): Uint32Array[] {
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total > count) throw usageError(`parts of ${sizes.join(" and ")} need ${total} examples; there are ${count}`);
  const order = shuffled(count, { seed });
  let at = 0;
  return sizes.map((size) => {
    at += size;
    return order.slice(at - size, at);
  });
}

/** A change of a batch by random numbers of its own: augmentation. */
export type Augmentation = (batch: Batch, draw: Random) => Batch;

export interface BatchesOptions {
  /** Examples in a batch. */
  readonly size: number;
  readonly seed?: number;
  /** A new order for every epoch; on unless given. */
  readonly shuffle?: boolean;
  readonly augment?: Augmentation;
}

/** Streams of draws for augmentation lie apart from those of orders. */
const augmentStream = 2 ** 31;

/**
 * Batches of examples, the rows of tensors that share their leading axis, epoch after epoch. An epoch has as many whole
 * batches as there are; the examples left over change with its order.
 */
export function batches(columns: Batch, { size, seed = 0, shuffle = true, augment }: BatchesOptions): Batches {
  const counts = Object.entries(columns).map(([name, { shape }]) => [name, shape[0] ?? 0] as const);
  const count = counts[0]?.[1] ?? 0;
  const odd = counts.find(([, other]) => other !== count);
  if (odd !== undefined)
    throw usageError(`columns need one leading size: ${counts.map(([name, n]) => `${name} has ${n}`).join(", ")}`);
  if (!Number.isInteger(size) || size < 1 || size > count)
    throw usageError(`a batch of ${size} can't be taken from ${count} examples`);
  const each = Math.floor(count / size);
  let [known, order]: [number, Uint32Array] = [-1, new Uint32Array()];
  return (step) => {
    const epoch = Math.floor(step / each);
    if (epoch !== known)
      order = shuffle ? shuffled(count, { seed, epoch }) : Uint32Array.from({ length: count }, (_, i) => i);
    known = epoch;
    const first = (step % each) * size;
    const rows = order.subarray(first, first + size);
    const batch = Object.fromEntries(Object.entries(columns).map(([name, x]) => [name, takeRows(x, rows)]));
    return augment === undefined ? batch : augment(batch, random(seed, augmentStream + step));
  };
}

/** Batches drawn from several sources, each step's from one of them by weight. */
export function mixture(
  sources: readonly { readonly batches: Batches; readonly weight: number }[],
  { seed = 0 }: { readonly seed?: number } = {},
): Batches {
  const total = sources.reduce((sum, { weight }) => sum + weight, 0);
  if (!(total > 0) || sources.some(({ weight }) => !(weight >= 0)))
    throw usageError("a mixture needs weights of at least 0, and one above it");
  return (step) => {
    let at = random(seed, step).uniform() * total;
    const found = sources.find(({ weight }) => {
      at -= weight;
      return at < 0;
    });
    return (found ?? (sources.at(-1) as (typeof sources)[number])).batches(step);
  };
}
