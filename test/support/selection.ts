/**
 * What a part of a site means, worked out element by element from tokens: the plain twin of the arithmetic that the model
 * uses, and generators of batches, in a prompt and in generation, and of parts.
 */
import fc, { type Arbitrary } from "fast-check";
import type { Axis } from "../../src/model/sites/names.js";
import type { Part } from "../../src/model/sites/reference.js";
import type { Rows } from "../../src/model/sites/rows.js";
import type { SiteExtent } from "../../src/model/sites/select.js";
import { type Tensor, tensorOf } from "../../src/runtime/index.js";

const kinds: readonly (readonly Axis[])[] = [
  ["row", "position", "channel"],
  ["row", "position", "head", "headChannel"],
  ["row", "head", "position", "key"],
];

const isToken = (axis: Axis | undefined) => axis === "position" || axis === "key";

/** A site in a batch. With `decode`, one new column and as many cached ones as the longest row has. */
export function extents({ decode = false, equal = false } = {}): Arbitrary<SiteExtent> {
  return fc
    .record({
      axes: fc.constantFrom(...kinds),
      lengths: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }),
      sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 4, maxLength: 4 }),
    })
    .map(({ axes, lengths: drawn, sizes }) => {
      const lengths = equal ? drawn.map(() => drawn[0] as number) : drawn;
      const keyColumns = Math.max(...lengths);
      const rows: Rows = { lengths, columns: decode ? 1 : keyColumns, keyColumns };
      const sizeOf = (axis: Axis, d: number) =>
        axis === "row" ? lengths.length : axis === "position" ? rows.columns : axis === "key" ? keyColumns : sizes[d];
      return { site: "site", axes, shape: axes.map((axis, d) => sizeOf(axis, d) as number), rows };
    });
}

/** Parts of a site that select something in every row. */
export function partsOf(extent: SiteExtent): Arbitrary<Part[]> {
  const { axes, shape, rows } = extent;
  const shortest = Math.min(...rows.lengths);
  return fc
    .tuple(...axes.map((axis, d) => partOf(isToken(axis) ? shortest : (shape[d] as number))))
    .filter((parts) =>
      rows.lengths.every((_, row) => parts.every((_, d) => placesOf(extent, parts, d, row).length > 0)),
    );
}

function partOf(size: number): Arbitrary<Part> {
  const bound = (at: number) => fc.constantFrom(at, at - size).map((n) => (at === size ? size : n));
  return fc.oneof(
    fc.constant<Part>({ kind: "all" }),
    fc.integer({ min: -size, max: size - 1 }).map((index): Part => ({ kind: "index", index })),
    fc
      .tuple(fc.nat(size - 1), fc.integer({ min: 1, max: size }))
      .filter(([from, to]) => from < to)
      .chain(([from, to]) =>
        fc.tuple(fc.option(bound(from), { nil: undefined }), fc.option(bound(to), { nil: undefined })),
      )
      .map(
        ([from, to]): Part => ({
          kind: "range",
          ...(from === undefined ? {} : { from }),
          ...(to === undefined ? {} : { to }),
        }),
      ),
  );
}

/** How many places a dimension has in one row of the batch: its tokens so far, or its size. */
const extentOfRow = ({ axes, shape, rows }: SiteExtent, d: number, row: number) =>
  isToken(axes[d]) ? (rows.lengths[row] as number) : (shape[d] as number);

/** The place (position, head, ...) that an index of a dimension stands for in a row; negative for padding. */
export function placeAt({ axes, rows }: SiteExtent, d: number, row: number, index: number): number {
  if (axes[d] === "position") return index - rows.columns + (rows.lengths[row] as number);
  if (axes[d] === "key") return index - rows.keyColumns + (rows.lengths[row] as number);
  return index;
}

/** The places that a part selects in a row, in order. `all` of a token dimension is every column, padding included. */
export function placesOf(extent: SiteExtent, parts: readonly Part[], d: number, row: number): number[] {
  const part = parts[d] as Part;
  const size = extentOfRow(extent, d, row);
  if (part.kind === "all")
    return Array.from({ length: extent.shape[d] as number }, (_, i) => placeAt(extent, d, row, i));
  const places = Array.from({ length: size }, (_, i) => i);
  if (part.kind === "index") return places.slice(part.index).slice(0, 1);
  return places.slice(part.from ?? 0, part.to ?? size);
}

/** Every multi-index of a shape, in row-major order. */
export function multiIndices(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (found, size) => found.flatMap((own) => Array.from({ length: size }, (_, i) => [...own, i])),
    [[]],
  );
}

/** Where a multi-index lies in row-major order; indices along dimensions of size 1 count as 0 (broadcasting). */
export function offsetIn(shape: readonly number[], index: readonly number[]): number {
  return shape.reduce((offset, size, d) => offset * size + (size === 1 ? 0 : (index[d] as number)), 0);
}

/** The same tensor with each element passed through `f`, rounded to float32. */
export function mapped(value: Tensor, f: (x: number, index: readonly number[]) => number): Tensor {
  const data = Array.from(value.data, Number);
  return tensorOf(
    "float32",
    value.shape,
    multiIndices(value.shape).map((index, i) => Math.fround(f(data[i] as number, index))),
  );
}

/** `count` things, each made from its place. */
export const numbersFrom = <T>(count: number, f: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => f(i));
