/**
 * Batches as functions of the step's number: nothing is consumed, so a run that is resumed, or done again by another
 * process, sees the same data. Orders and draws are Philox streams of (seed, epoch or step).
 */
import { usageError } from "../errors.js";
import { elementCount, type Random, random, type Tensor } from "../runtime/index.js";
import { requireWhole } from "./whole.js";

/** The batch of a step, from 0, by name. */
export type Batch = Readonly<Record<string, Tensor>>;
export type Batches = (step: number) => Batch;

/** Whole numbers from 0 to `count` - 1 in a random order (Fisher and Yates): another one for each epoch. */
export function shuffled(
  count: number,
  { seed = 0, epoch = 0 }: { readonly seed?: number; readonly epoch?: number } = {},
): Uint32Array {
  requireWhole("shuffled", { count, seed, epoch }, 0);
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
    if (!(Number.isInteger(at) && at >= 0 && at < count))
      throw usageError(`row ${at} is out of range for a tensor of ${count} rows`);
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
  for (const size of sizes) requireWhole("split", { size }, 0);
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
  /** Leaves out what is no whole batch at the end of an epoch; on unless given. Else an epoch's last batch is smaller. */
  readonly dropLast?: boolean;
  readonly augment?: Augmentation;
}

/** Draws for augmentations and for mixtures lie in streams apart from those of orders and of a step's data. */
const augmentStream = 2 ** 31;
const mixtureStream = 3 * 2 ** 30;

/**
 * Batches of examples, the rows of tensors that share their leading axis, epoch after epoch. The examples that `dropLast`
 * leaves out change with the epoch's order.
 *
 * @throws usage error for columns of several leading sizes, or more examples in a batch than there are
 */
export function batches(
  columns: Batch,
  { size, seed = 0, shuffle = true, dropLast = true, augment }: BatchesOptions,
): Batches {
  const counts = Object.entries(columns).map(([name, { shape }]) => [name, shape[0] ?? 0] as const);
  const count = counts[0]?.[1] ?? 0;
  const odd = counts.find(([, other]) => other !== count);
  if (odd !== undefined)
    throw usageError(`columns need one leading size: ${counts.map(([name, n]) => `${name} has ${n}`).join(", ")}`);
  if (!Number.isInteger(size) || size < 1 || size > count)
    throw usageError(`a batch of ${size} can't be taken from ${count} examples`);
  const each = dropLast ? Math.floor(count / size) : Math.ceil(count / size);
  // The order of one epoch is kept, as the next step needs the same one.
  let [known, order]: [number, Uint32Array] = [-1, new Uint32Array()];
  return (step) => {
    requireWhole("batches", { step }, 0);
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

/**
 * Batches of several sources: each step's come from one of them, drawn by weight. A source counts its own steps, so that
 * it goes through its epochs as it would alone.
 */
export function mixture(
  sources: readonly { readonly batches: Batches; readonly weight: number }[],
  { seed = 0 }: { readonly seed?: number } = {},
): Batches {
  const total = sources.reduce((sum, { weight }) => sum + weight, 0);
  if (!(total > 0 && total < Number.POSITIVE_INFINITY) || sources.some(({ weight }) => !(weight >= 0)))
    throw usageError("a mixture needs weights of at least 0, and one above it");
  const bounds = sources.map((_, i) => sources.slice(0, i + 1).reduce((sum, { weight }) => sum + weight, 0) / total);
  const chosenAt = (step: number) => {
    const at = random(seed, mixtureStream + step).uniform();
    const found = bounds.findIndex((bound) => at < bound);
    return found < 0 ? sources.findLastIndex(({ weight }) => weight > 0) : found;
  };
  // How often each source was chosen in the steps before `reached`: known again from the start after a step back.
  let [reached, chosen] = [0, sources.map(() => 0)];
  return (step) => {
    requireWhole("mixture", { step }, 0);
    if (step < reached) [reached, chosen] = [0, sources.map(() => 0)];
    for (; reached < step; reached++) {
      const source = chosenAt(reached);
      chosen[source] = (chosen[source] as number) + 1;
    }
    const source = chosenAt(step);
    return (sources[source] as (typeof sources)[number]).batches(chosen[source] as number);
  };
}
