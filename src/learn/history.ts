/** What training says of itself: numbers by step. */

/** By name: one number for each step so far. */
export type History = Map<string, number[]>;

/** Appends rows of a call; names that come later begin with NaN. */
export function appendHistory(history: History, steps: number, rows: ReadonlyMap<string, ArrayLike<number>>): void {
  for (const [name, values] of rows) {
    const own = history.get(name) ?? new Array<number>(steps).fill(Number.NaN);
    own.push(...Array.from(values));
    history.set(name, own);
  }
}
