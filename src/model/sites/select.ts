/**
 * What a part of a site means in a given batch: parts are resolved to ranges, ranges to the numbers that the compiled
 * graph takes as inputs (masks for clamps, gather indices for recordings). Another index is another number, not another graph.
 */
import { usageError } from "../../errors.js";
import { elementCount, type Tensor, zeros } from "../../runtime/index.js";
import type { Axis } from "./names.js";
import type { Part } from "./reference.js";
import { keyPositionAt, positionAt, type Rows } from "./rows.js";

/** A half-open range. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Whether an axis counts tokens, so that its columns hold other positions in every row. */
export function countsTokens(axis: Axis): boolean {
  return axis === "position" || axis === "key";
}

/**
 * The range of a part along a dimension of `size`. Throws where it does not lie within, naming the site and its shape;
 * with `open`, the dimension may still grow (generation), so only places before its start are out of range, and a range
 * between two ends of which one moves (`-3:5`, `5:-3`) may be empty for a while.
 */
export function resolvePart(part: Part, size: number, what: string, open = false): Range {
  if (part.kind === "all") return { from: 0, to: open ? Number.POSITIVE_INFINITY : size };
  if (part.kind === "index") {
    const at = part.index < 0 ? part.index + size : part.index;
    if (at < 0 || (at >= size && !open)) throw usageError(`index ${part.index} is out of range in ${what}`);
    return { from: at, to: at + 1 };
  }
  const end = open ? Number.POSITIVE_INFINITY : size;
  const from = part.from === undefined ? 0 : part.from < 0 ? part.from + size : part.from;
  const to = part.to === undefined ? end : part.to < 0 ? part.to + size : part.to;
  const moving = open && part.to !== undefined && (part.from ?? 0) < 0 !== part.to < 0;
  if (from < 0 || to > end || (from >= to && !moving))
    throw usageError(`the range ${part.from ?? ""}:${part.to ?? ""} is empty or out of range in ${what}`);
  return { from, to: Math.max(from, to) };
}

/** A site's shape in a batch, with its axes: what selections are made of. */
export interface SiteExtent {
  readonly site: string;
  readonly axes: readonly Axis[];
  /** Sizes of the dimensions in this run. */
  readonly shape: readonly number[];
  readonly rows: Rows;
}

/** How messages call a part of a site. */
export function describeExtent({ site, shape, axes }: SiteExtent, row?: number, length?: number): string {
  const where = row === undefined ? "" : `, row ${row} of which has ${length} tokens`;
  return `${site}, whose shape is [${shape.map((size, i) => `${axes[i]} ${size}`).join(", ")}]${where}`;
}

/** For each dimension, whether an index drops it. */
export function keptDimensions(parts: readonly Part[]): number[] {
  return parts.flatMap((part, i) => (part.kind === "index" ? [] : [i]));
}

/** Ranges of every dimension for one row of the batch, in positions for dimensions that count tokens. */
export function rangesOfRow(extent: SiteExtent, parts: readonly Part[], row: number, open = false): Range[] {
  const length = extent.rows.lengths[row] as number;
  return parts.map((part, d) => {
    const axis = extent.axes[d] as Axis;
    if (!countsTokens(axis)) return resolvePart(part, extent.shape[d] as number, describeExtent(extent));
    return resolvePart(part, length, describeExtent(extent, row, length), open);
  });
}

/** The column that holds a position of a row. */
export function columnOf({ rows, axes }: SiteExtent, axis: number, row: number, position: number): number {
  const first = axes[axis] === "key" ? keyPositionAt(rows, row, 0) : positionAt(rows, row, 0);
  return position - first;
}

/**
 * Int64 indices that gather a selection out of the site's leading dimensions flattened to one: those up to the last
 * dimension that is not selected whole. Returns the indices (shape: the selection of those dimensions, indexed ones
 * dropped) and how many dimensions are flattened; undefined where everything is selected.
 */
export function gatherIndices(
  extent: SiteExtent,
  parts: readonly Part[],
): { indices: Tensor<"int64">; flattened: number } | undefined {
  const flattened = parts.findLastIndex((part) => part.kind !== "all") + 1;
  if (flattened === 0) return undefined;
  const rowRange = resolvePart(parts[0] as Part, extent.shape[0] as number, describeExtent(extent));
  const chosen = Array.from({ length: rowRange.to - rowRange.from }, (_, i) => i + rowRange.from);
  const columns = chosen.map((row) => columnsOfRow(extent, parts, row, flattened));
  const sizes = (columns[0] as number[][]).map((list) => list.length);
  if (columns.some((own) => own.some((list, d) => list.length !== sizes[d]))) {
    throw usageError(
      `the selected range has another length in every row of ${describeExtent(extent)}: select positions that all rows have`,
    );
  }
  const flat: number[] = [];
  chosen.forEach((row, i) => {
    pushFlat(flat, row, columns[i] as number[][], extent.shape.slice(1, flattened), 0);
  });
  const shape = keptDimensions(parts.slice(0, flattened)).map((d) =>
    d === 0 ? chosen.length : (sizes[d - 1] as number),
  );
  return { indices: { dtype: "int64", shape, data: BigInt64Array.from(flat, BigInt) }, flattened };
}

/** Columns selected in the dimensions after the rows, up to `count` dimensions: a vocabulary that is whole is not listed. */
function columnsOfRow(extent: SiteExtent, parts: readonly Part[], row: number, count: number): number[][] {
  const ranges = rangesOfRow(extent, parts, row).slice(1, count);
  return ranges.map(({ from, to }, i) => {
    const d = i + 1;
    const axis = extent.axes[d] as Axis;
    if (countsTokens(axis) && (parts[d] as Part).kind === "all")
      return Array.from({ length: extent.shape[d] as number }, (_, c) => c);
    const positions = Array.from({ length: to - from }, (_, i) => from + i);
    return countsTokens(axis) ? positions.map((position) => columnOf(extent, d, row, position)) : positions;
  });
}

function pushFlat(
  flat: number[],
  prefix: number,
  columns: readonly number[][],
  sizes: readonly number[],
  depth: number,
): void {
  if (depth === columns.length) {
    flat.push(prefix);
    return;
  }
  for (const column of columns[depth] as number[])
    pushFlat(flat, prefix * (sizes[depth] as number) + column, columns, sizes, depth + 1);
}

/** Zeroes everything in a whole site's tensor that belongs to padding, in place: it is fresh memory from the runtime. */
export function zeroPadding(extent: SiteExtent, value: Tensor): void {
  const { rows, axes, shape } = extent;
  rows.lengths.forEach((_, row) => {
    axes.forEach((axis, d) => {
      if (!countsTokens(axis)) return;
      const padding = Math.max(0, columnOf(extent, d, row, 0));
      const inner = elementCount(shape.slice(d + 1));
      const outer = elementCount(shape.slice(1, d));
      const size = shape[d] as number;
      for (let o = 0; o < outer; o++) {
        const start = (row * outer + o) * size * inner;
        value.data.fill((value.dtype === "int64" ? 0n : 0) as never, start, start + padding * inner);
      }
    });
  });
}

/** Booleans that say where a clamp acts: over rows and positions together, and over each further dimension that is not whole. */
export interface ClampMasks {
  /** [batch, columns] */
  readonly tokens: Tensor<"bool">;
  /** By dimension: [size], or [batch, size] for keys. */
  readonly others: ReadonlyMap<number, Tensor<"bool">>;
}

/** The masks of a selection. `open`: the rows may still grow, so later positions are no error. */
export function clampMasks(extent: SiteExtent, parts: readonly Part[], open: boolean): ClampMasks {
  const { rows, shape, axes } = extent;
  const batch = rows.lengths.length;
  const tokens = zeros("bool", [batch, rows.columns]);
  const others = new Map<number, Tensor<"bool">>();
  const rowRange = resolvePart(parts[0] as Part, batch, describeExtent(extent));
  const positionAxis = axes.indexOf("position");
  for (let row = rowRange.from; row < rowRange.to; row++) {
    const ranges = rangesOfRow(extent, parts, row, open);
    fillRow(tokens, extent, positionAxis, row, ranges[positionAxis] as Range);
    parts.forEach((part, d) => {
      if (d === 0 || d === positionAxis || part.kind === "all") return;
      const axis = axes[d] as Axis;
      const mask = others.get(d) ?? zeros("bool", axis === "key" ? [batch, shape[d] as number] : [shape[d] as number]);
      others.set(d, mask);
      if (axis === "key") fillRow(mask, extent, d, row, ranges[d] as Range);
      else mask.data.fill(1, (ranges[d] as Range).from, (ranges[d] as Range).to);
    });
  }
  return { tokens, others };
}

function fillRow(mask: Tensor<"bool">, extent: SiteExtent, axis: number, row: number, range: Range): void {
  const size = mask.shape[1] as number;
  const from = Math.max(0, columnOf(extent, axis, row, range.from));
  const to = Math.min(size, columnOf(extent, axis, row, range.to));
  if (from < to) mask.data.fill(1, row * size + from, row * size + to);
}
