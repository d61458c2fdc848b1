/**
 * Rows of unequal length in one batch, padded on the left. Positions count real tokens of each row from 0; columns count
 * the tensor's own places. All of that arithmetic is here.
 */
import { usageError } from "../../errors.js";
import { type Tensor, tensorOf } from "../../runtime/index.js";

/** A batch at one moment: which positions the tensor's columns hold, and how long each row is in all. */
export interface Rows {
  /** Real tokens of each row so far, those in this run included. */
  readonly lengths: readonly number[];
  /** Columns of this run. Row r's last column is its position `lengths[r] - 1`. */
  readonly columns: number;
  /** Columns of keys: those of this run and the cached ones. */
  readonly keyColumns: number;
}

/** The batch of a first run over whole prompts. */
export function promptRows(lengths: readonly number[]): Rows {
  const columns = Math.max(...lengths);
  return { lengths, columns, keyColumns: columns };
}

/** The position that a column of a row holds; negative for padding. */
export function positionAt(rows: Rows, row: number, column: number): number {
  return (rows.lengths[row] as number) - rows.columns + column;
}

/** The position that a key column of a row holds; negative for padding. */
export function keyPositionAt(rows: Rows, row: number, column: number): number {
  return (rows.lengths[row] as number) - rows.keyColumns + column;
}

/** Ids padded on the left, int64 [batch, columns]. Padding is token 0, which nothing sees. */
export function paddedIds(ids: readonly (readonly number[])[], rows: Rows): Tensor<"int64"> {
  const values = ids.flatMap((row) => [...new Array<number>(rows.columns - row.length).fill(0), ...row]);
  return tensorOf("int64", [ids.length, rows.columns], values);
}

/** Positions of every column, int64 [batch, columns]; negative for padding. */
export function positions(rows: Rows): Tensor<"int64"> {
  const values = rows.lengths.flatMap((_, r) => Array.from({ length: rows.columns }, (_, c) => positionAt(rows, r, c)));
  return tensorOf("int64", [rows.lengths.length, rows.columns], values);
}

/** Token ids of prompts, checked: at least one row, no empty row, known ids, no row longer than the context. */
export function checkRows(ids: readonly (readonly number[])[], vocabulary: number, context: number): void {
  if (ids.length === 0) throw usageError("no prompt was given");
  ids.forEach((row, r) => {
    const which = ids.length === 1 ? "the prompt" : `prompt ${r}`;
    if (row.length === 0) throw usageError(`${which} has no tokens`);
    if (row.length > context) throw usageError(`${which} has ${row.length} tokens; the model's context is ${context}`);
    const bad = row.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
    if (bad !== undefined) throw usageError(`${which} has the token id ${bad}; ids go from 0 to ${vocabulary - 1}`);
  });
}
