/**
 * What an environment is: many episodes side by side, each a row of plain columns of numbers, and functions from them to new
 * ones. A file here writes down the rules of one row; what all environments share (checks, limits, fresh copies, random
 * streams) is done once, around the rules.
 */
import { usageError } from "../../errors.js";
import { elementCount, type Random, type Tensor, zeros } from "../../runtime/index.js";

/** What an agent may do: one of `count` things, or `size` numbers from `low` to `high`. */
export type ActionSpace =
  | { readonly kind: "discrete"; readonly count: number }
  | { readonly kind: "continuous"; readonly size: number; readonly low: number; readonly high: number };

/** What an agent sees, and between which numbers each entry lies (row-major). */
export interface ObservationSpace {
  readonly shape: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
}

/** Episodes side by side: row-major columns, `count` rows each. */
export interface Episodes {
  readonly count: number;
  readonly columns: Readonly<Record<string, Float64Array>>;
  /** Steps made in each episode. */
  readonly elapsed: Int32Array;
}

/** What a step of all episodes brings. */
export interface Transition {
  /** Every episode after the step; those that ended stay where they ended until they are restarted. */
  readonly episodes: Episodes;
  /** float32 [count]. */
  readonly rewards: Tensor<"float32">;
  /** 1 where the episode came to an end of its own. */
  readonly terminated: Uint8Array;
  /** 1 where it was cut off by the limit of steps, and by nothing else. */
  readonly truncated: Uint8Array;
}

export interface Environment {
  readonly name: string;
  readonly observation: ObservationSpace;
  readonly actions: ActionSpace;
  /** Steps after which an episode is cut off. */
  readonly limit: number;
  /** Fresh episodes. */
  start(count: number, random: Random): Episodes;
  /** What is seen in each: float32 [count, ...shape]. */
  observe(episodes: Episodes): Tensor<"float32">;
  /**
   * All episodes one step on; its input stays as it is. `actions` are int64 [count], or float32 [count, size], which are
   * clamped to their bounds.
   *
   * @throws where actions have another type or shape, are out of range (discrete) or no numbers (continuous)
   */
  step(episodes: Episodes, actions: Tensor, random: Random): Transition;
  /** Fresh episodes in the rows that are not 0 in `rows`; the others as they are. */
  restart(episodes: Episodes, rows: Uint8Array, random: Random): Episodes;
}

/** Columns that the rules of a row read and write. */
export type Columns = Readonly<Record<string, Float64Array>>;

/** What one step of one row brings. */
export interface Outcome {
  readonly reward: number;
  readonly terminated: boolean;
}

/** The rules of one episode. They are given fresh copies of the columns, and write into their own row only. */
export interface Rules {
  readonly name: string;
  readonly observation: ObservationSpace;
  readonly actions: ActionSpace;
  readonly limit: number;
  /** Numbers of each column in one row. */
  readonly columns: Readonly<Record<string, number>>;
  /** Writes a fresh episode. */
  begin(columns: Columns, row: number, random: Random): void;
  /** Makes a step: `action` is an index, or the numbers of an action. */
  move(columns: Columns, row: number, action: Float64Array, random: Random): Outcome;
  /** Writes what is seen. */
  see(columns: Columns, row: number, into: Float32Array): void;
}

/** The environment of some rules. */
export function environmentOf(rules: Rules): Environment {
  const { name, observation, actions, limit } = rules;
  requireWhole(`${name}: limit`, limit, 1);
  return {
    name,
    observation,
    actions,
    limit,
    start(count, random) {
      requireWhole(`${name}: the number of episodes`, count, 1);
      const widths = Object.entries(rules.columns);
      const columns = Object.fromEntries(widths.map(([key, width]) => [key, new Float64Array(count * width)]));
      for (let row = 0; row < count; row++) rules.begin(columns, row, random);
      return { count, columns, elapsed: new Int32Array(count) };
    },
    observe({ count, columns }) {
      const seen = zeros("float32", [count, ...observation.shape]);
      const size = elementCount(observation.shape);
      for (let row = 0; row < count; row++) rules.see(columns, row, seen.data.subarray(row * size, (row + 1) * size));
      return seen;
    },
    step: (episodes, given, random) => stepRows(rules, episodes, given, random),
    restart: (episodes, rows, random) => restartRows(rules, episodes, rows, random),
  };
}

function stepRows(rules: Rules, before: Episodes, given: Tensor, random: Random): Transition {
  const { count } = before;
  const { width, values } = checkedActions(rules, count, given);
  const columns = copied(before.columns);
  const elapsed = before.elapsed.map((steps) => steps + 1);
  const rewards = zeros("float32", [count]);
  const terminated = new Uint8Array(count);
  const truncated = new Uint8Array(count);
  for (let row = 0; row < count; row++) {
    const outcome = rules.move(columns, row, values.subarray(row * width, (row + 1) * width), random);
    rewards.data[row] = outcome.reward;
    terminated[row] = Number(outcome.terminated);
    truncated[row] = Number(!outcome.terminated && (elapsed[row] as number) >= rules.limit);
  }
  return { episodes: { count, columns, elapsed }, rewards, terminated, truncated };
}

function restartRows(rules: Rules, before: Episodes, rows: Uint8Array, random: Random): Episodes {
  const { count } = before;
  if (rows.length !== count)
    throw usageError(`${rules.name}: ${count} episodes need a flag each to restart, not ${rows.length}`);
  const columns = copied(before.columns);
  const elapsed = before.elapsed.slice();
  for (let row = 0; row < count; row++) {
    if (rows[row] === 0) continue;
    rules.begin(columns, row, random);
    elapsed[row] = 0;
  }
  return { count, columns, elapsed };
}

function copied(columns: Columns): Columns {
  return Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values.slice()]));
}

/** Actions as numbers, `width` of them in a row. */
function checkedActions({ name, actions }: Rules, count: number, given: Tensor) {
  const discrete = actions.kind === "discrete";
  const [dtype, shape] = discrete ? (["int64", [count]] as const) : (["float32", [count, actions.size]] as const);
  if (given.dtype !== dtype || given.shape.join() !== shape.join())
    throw usageError(
      `${name}: actions are ${dtype}[${shape.join(", ")}], not ${given.dtype}[${given.shape.join(", ")}]`,
    );
  const values = Float64Array.from(given.data as Iterable<number | bigint>, Number);
  const [low, high] = discrete ? [0, actions.count - 1] : [actions.low, actions.high];
  const odd = values.findIndex((x) => (discrete ? !(x >= low && x <= high) : Number.isNaN(x)));
  if (odd >= 0)
    throw usageError(
      `${name}: action ${values[odd]} of episode ${discrete ? odd : Math.floor(odd / actions.size)} is not ${discrete ? "one" : "a number"} from ${low} to ${high}`,
    );
  if (discrete) return { width: 1, values };
  return { width: actions.size, values: values.map((x) => Math.min(high, Math.max(low, x))) };
}

/** Throws where a number is not whole, or below the least. */
export function requireWhole(what: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw usageError(`${what} must be a whole number of at least ${least}, not ${value}`);
}

/** The same bounds for every entry of an observation. */
export function boundedObservation(shape: readonly number[], low: number, high: number): ObservationSpace {
  const every = (bound: number) => new Array<number>(elementCount(shape)).fill(bound);
  return { shape, low: every(low), high: every(high) };
}
