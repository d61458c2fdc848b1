/** What was lived through, kept to learn from again (Lin 1992): the newest transitions, drawn at random. */
import { takeRows } from "../../data/index.js";
import { usageError } from "../../errors.js";
import { type Random, type Tensor, zeros } from "../../runtime/index.js";
import { requireWhole } from "../environments/environment.js";

/** Columns of rows; it changes as rows are added. */
export interface ReplayBuffer {
  /** Rows that it holds. */
  size(): number;
  /** Adds rows, [rows, ...] for every column; the oldest make room. */
  add(rows: Readonly<Record<string, Tensor>>): void;
  /** Rows drawn with replacement: [count, ...] for every column. */
  draw(count: number, random: Random): Record<string, Tensor>;
}

/** An empty buffer for at most `capacity` rows. */
export function replayBuffer(capacity: number): ReplayBuffer {
  requireWhole("the capacity of a replay buffer", capacity, 1);
  const columns = new Map<string, Tensor>();
  let added = 0;
  const size = () => Math.min(added, capacity);
  return {
    size,
    add(rows) {
      const count = rowsOf(rows);
      for (const [name, part] of Object.entries(rows)) {
        const [, ...rest] = part.shape;
        const column = columns.get(name) ?? zeros(part.dtype, [capacity, ...rest]);
        if (column.dtype !== part.dtype || column.shape.slice(1).join() !== rest.join())
          throw usageError(`the replay buffer holds "${name}" as ${column.dtype}[rows, ${column.shape.slice(1)}]`);
        columns.set(name, column);
        const width = part.data.length / count;
        for (let i = 0; i < count; i++) {
          const from = (part.data as Float32Array).subarray(i * width, (i + 1) * width);
          (column.data as Float32Array).set(from, ((added + i) % capacity) * width);
        }
      }
      added += count;
    },
    draw(count, random) {
      if (added === 0) throw usageError("an empty replay buffer has nothing to draw");
      const picked = Uint32Array.from({ length: count }, () => random.integer(size()));
      return Object.fromEntries([...columns].map(([name, column]) => [name, takeRows(column, picked)]));
    },
  };
}

function rowsOf(rows: Readonly<Record<string, Tensor>>): number {
  const counts = new Set(Object.values(rows).map(({ shape }) => shape[0] ?? 0));
  const [count = 0] = counts;
  if (counts.size === 1 && count > 0) return count;
  throw usageError(`rows of a replay buffer need one leading size above 0, not ${[...counts].join(", ") || "none"}`);
}
