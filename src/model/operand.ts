/**
 * Numbers of a clamp, brought to the shape of the site in a batch. What a caller gives is aligned to the selected part as
 * NumPy aligns shapes; what the graph gets is the site's own shape (or 1 where the operand does not vary), filled in at
 * the selected places. So the graph needs no index arithmetic, and other indices are only other numbers.
 */
import { usageError } from "../errors.js";
import { stridesOf, type Tensor, toNumbers, zeros } from "../runtime/index.js";
import type { Axis } from "./sites/names.js";
import type { Part } from "./sites/reference.js";
import {
  columnOf,
  countsTokens,
  describeExtent,
  keptDimensions,
  type Range,
  rangesOfRow,
  resolvePart,
  type SiteExtent,
} from "./sites/select.js";

/** An operand as a clamp states it, float32. `lengths`: its rows are padded on the left to the longest. */
export interface AlignedOperand {
  readonly tensor: Tensor<"float32">;
  readonly lengths?: readonly number[];
}

/** For each dimension of the site, whether the operand varies along it: the form that the graph is built for. */
export function operandForm(operand: AlignedOperand, parts: readonly Part[], site: string): boolean[] {
  const kept = keptDimensions(parts);
  const { shape } = operand.tensor;
  const extra = shape.length - kept.length;
  if (shape.slice(0, Math.max(0, extra)).some((size) => size !== 1)) {
    throw usageError(
      `a value of shape [${shape.join(", ")}] does not fit the ${kept.length} selected dimensions of ${site}`,
    );
  }
  const varies = parts.map(() => false);
  kept.forEach((dimension, i) => {
    varies[dimension] = (shape[i + extra] ?? 1) > 1;
  });
  return varies;
}

/**
 * The operand in the site's shape: 1 where it does not vary, else the dimension's own size, zero outside the selection.
 * Where positions vary, rows are filled one by one, because each has its own padding.
 */
export function materialize(
  operand: AlignedOperand,
  extent: SiteExtent,
  parts: readonly Part[],
  open: boolean,
): Tensor<"float32"> {
  const varies = operandForm(operand, parts, extent.site);
  const perRow = varies[0] || varies.some((yes, d) => yes && countsTokens(extent.axes[d] as Axis));
  const shape = extent.shape.map((size, d) => ((d === 0 ? perRow : varies[d]) ? size : 1));
  const sizes = operandSizes(operand, parts);
  const result = zeros("float32", shape);
  const fill = {
    operand,
    extent,
    parts,
    varies,
    sizes,
    from: stridesOf(sizes),
    to: stridesOf(shape),
    result: result.data,
  };
  const chosen = resolvePart(parts[0] as Part, extent.shape[0] as number, describeExtent(extent));
  const rows = perRow ? chosen : { from: chosen.from, to: chosen.from + 1 };
  for (let row = rows.from; row < rows.to; row++) {
    const ranges = rangesOfRow(extent, parts, row, open);
    checkSizes(operand, extent, parts, sizes, ranges, open, row);
    const source = sourceOf(sizes, chosen, row);
    const to = perRow ? row * (fill.to[0] as number) : 0;
    copy(fill, ranges, row, source, 1, to, source * (fill.from[0] as number));
  }
  return result;
}

/**
 * How many entries along a dimension count: a row's own tokens where the operand holds a whole dimension of tokens, which
 * is padded on the left; else all of them.
 */
function countedEntries(
  { lengths }: AlignedOperand,
  part: Part,
  axis: Axis,
  { size, source }: { size: number; source: number },
): number {
  return countsTokens(axis) && part.kind === "all" ? (lengths?.[source] ?? size) : size;
}

/** The operand's row that a selected row of the batch takes. */
function sourceOf(sizes: readonly number[], chosen: Range, row: number): number {
  return (sizes[0] as number) > 1 ? row - chosen.from : 0;
}

/** The operand's size along every dimension of the site: 1 for those that an index dropped. */
function operandSizes({ tensor }: AlignedOperand, parts: readonly Part[]): number[] {
  const kept = keptDimensions(parts);
  const extra = tensor.shape.length - kept.length;
  const sizes = parts.map(() => 1);
  kept.forEach((dimension, i) => {
    sizes[dimension] = tensor.shape[i + extra] ?? 1;
  });
  return sizes;
}

function checkSizes(
  operand: AlignedOperand,
  extent: SiteExtent,
  parts: readonly Part[],
  sizes: readonly number[],
  ranges: readonly Range[],
  open: boolean,
  row: number,
): void {
  sizes.forEach((size, d) => {
    if (size === 1) return;
    const tokens = countsTokens(extent.axes[d] as Axis);
    const length = extent.rows.lengths[row] as number;
    const { from, to } = ranges[d] as Range;
    if (from >= to) return; // a moving range that is empty for now
    const source = sourceOf(sizes, ranges[0] as Range, row);
    const given = countedEntries(operand, parts[d] as Part, extent.axes[d] as Axis, { size, source });
    if (given === to - from || (tokens && open && (parts[d] as Part).kind !== "index" && given <= to - from)) return;
    throw usageError(
      `a value with ${given} entries along ${extent.axes[d]} does not fit the ${(tokens ? Math.min(to, length) : to) - from} selected in ${describeExtent(extent, tokens ? row : undefined, length)}`,
    );
  });
}

interface Fill {
  readonly operand: AlignedOperand;
  readonly extent: SiteExtent;
  readonly parts: readonly Part[];
  readonly varies: readonly boolean[];
  readonly sizes: readonly number[];
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly result: Float32Array;
}

function copy(
  fill: Fill,
  ranges: readonly Range[],
  row: number,
  source: number,
  dimension: number,
  to: number,
  from: number,
): void {
  const { varies, sizes, extent, operand, parts, result } = fill;
  if (dimension === varies.length) {
    result[to] = operand.tensor.data[from] as number;
    return;
  }
  if (!varies[dimension]) {
    copy(fill, ranges, row, source, dimension + 1, to, from);
    return;
  }
  const axis = extent.axes[dimension] as Axis;
  const start = (ranges[dimension] as Range).from;
  const column = countsTokens(axis) ? columnOf(extent, dimension, row, start) : start;
  const given = sizes[dimension] as number;
  const padding = given - countedEntries(operand, parts[dimension] as Part, axis, { size: given, source });
  const size = extent.shape[dimension] as number;
  const first = Math.max(padding, padding - column);
  const last = Math.min(sizes[dimension] as number, padding + size - column);
  const step = { from: fill.from[dimension] as number, to: fill.to[dimension] as number };
  if (dimension === varies.length - 1) {
    const at = to + (column + first - padding) * step.to;
    if (first < last) result.set(operand.tensor.data.subarray(from + first * step.from, from + last * step.from), at);
    return;
  }
  for (let i = first; i < last; i++) {
    copy(fill, ranges, row, source, dimension + 1, to + (column + i - padding) * step.to, from + i * step.from);
  }
}

/** The last position (exclusive) of each row that an operand covers, where it varies along positions; else no limit. */
export function coveredPositions(
  operand: AlignedOperand,
  parts: readonly Part[],
  ranges: readonly Range[],
  positionAxis: number,
  row: number,
): number {
  const sizes = operandSizes(operand, parts);
  const size = sizes[positionAxis] as number;
  if (size === 1) return Number.POSITIVE_INFINITY;
  const source = sourceOf(sizes, ranges[0] as Range, row);
  const given = countedEntries(operand, parts[positionAxis] as Part, "position", { size, source });
  return (ranges[positionAxis] as Range).from + given;
}

/** A number, list, or tensor as a float32 tensor. Throws where it holds values that are not finite, or half precision. */
export function operandTensor(value: number | ArrayLike<number> | Tensor, what: string): Tensor<"float32"> {
  const result = toFloat32(value);
  const bad = result.data.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw usageError(`the value for ${what} is ${result.data[bad]} at element ${bad}; it must be finite`);
  return result;
}

function toFloat32(value: number | ArrayLike<number> | Tensor): Tensor<"float32"> {
  if (typeof value === "number") return { dtype: "float32", shape: [], data: Float32Array.of(value) };
  if ("dtype" in value) {
    if (value.dtype === "float32") return value as Tensor<"float32">;
    return { dtype: "float32", shape: value.shape, data: Float32Array.from(toNumbers(value)) };
  }
  return { dtype: "float32", shape: [value.length], data: Float32Array.from(value) };
}
