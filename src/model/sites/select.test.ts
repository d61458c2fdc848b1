/** Selections against a plain twin that works element by element, over random shapes, lengths and parts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { extents, multiIndices, offsetIn, partsOf, placeAt, placesOf } from "../../../test/support/selection.js";
import { elementCount, tensorOf, zeros } from "../../runtime/index.js";
import type { Part } from "./reference.js";
import { clampMasks, gatherIndices, rangesOfRow, resolvePart, type SiteExtent, zeroPadding } from "./select.js";

const all: Part = { kind: "all" };
const at = (index: number): Part => ({ kind: "index", index });
const range = (from?: number, to?: number): Part => ({
  kind: "range",
  ...(from === undefined ? {} : { from }),
  ...(to === undefined ? {} : { to }),
});
const withParts = (options: Parameters<typeof extents>[0] = {}) =>
  extents(options).chain((extent) => fc.tuple(fc.constant(extent), partsOf(extent)));
const settings = { seed: 1, numRuns: 400 };

/** Offsets into the whole site of the elements that parts select, in order, row by row; undefined where rows differ. */
function selectedOffsets(
  extent: SiteExtent,
  parts: readonly Part[],
): { shape: number[]; offsets: number[] } | undefined {
  const rows = placesOf(extent, parts, 0, 0);
  const places = rows.map((row) => parts.map((_, d) => (d === 0 ? [row] : placesOf(extent, parts, d, row))));
  const sizes = places.map((own) => own.slice(1).map((list) => list.length));
  if (sizes.some((own) => own.join() !== sizes[0]?.join())) return undefined;
  const offsets = places.flatMap((own, i) =>
    multiIndices(own.map((list) => list.length)).map((index) => {
      const full = index.map((n, d) => columnOf(extent, d, rows[i] as number, (own[d] as number[])[n] as number));
      return offsetIn(extent.shape, full);
    }),
  );
  const shape = [rows.length, ...(sizes[0] as number[])].filter((_, d) => parts[d]?.kind !== "index");
  return { shape, offsets };
}

const columnOf = (extent: SiteExtent, d: number, row: number, place: number) => place - placeAt(extent, d, row, 0);

describe("gatherIndices", () => {
  it.each([false, true])("gathers what the parts select (decode: %s)", (decode) => {
    const decodes = decode ? { decode, equal: true } : {};
    fc.assert(
      fc.property(withParts(decodes), ([extent, parts]) => {
        // In generation only the newest column is there to be gathered.
        fc.pre(!decode || parts.every((part, d) => extent.axes[d] !== "position" || part.kind === "all"));
        const wanted = selectedOffsets(extent, parts);
        if (wanted === undefined) {
          expect(() => gatherIndices(extent, parts)).toThrow("has another length in every row of site");
          return;
        }
        const gathered = gatherIndices(extent, parts);
        if (parts.every(({ kind }) => kind === "all")) {
          expect(gathered).toBeUndefined();
          return;
        }
        const { indices, flattened } = gathered as NonNullable<typeof gathered>;
        const inner = elementCount(extent.shape.slice(flattened));
        const offsets = Array.from(indices.data, Number).flatMap((index) =>
          Array.from({ length: inner }, (_, i) => index * inner + i),
        );
        expect([...indices.shape, ...extent.shape.slice(flattened)]).toEqual(wanted.shape);
        expect(offsets).toEqual(wanted.offsets);
      }),
      settings,
    );
  });

  const batch: SiteExtent = {
    site: "layers.3.residPost",
    axes: ["row", "position", "channel"],
    shape: [2, 4, 2],
    rows: { lengths: [4, 2], columns: 4, keyColumns: 4 },
  };

  it("flattens no more dimensions than it must", () => {
    expect(gatherIndices(batch, [all, at(-1), all])?.flattened).toBe(2);
    expect(gatherIndices(batch, [at(1), all, all])?.flattened).toBe(1);
    expect(gatherIndices(batch, [all, all, all])).toBeUndefined();
  });

  it("takes each row's own last token, and its own first", () => {
    expect(gatherIndices(batch, [all, at(-1), all])?.indices).toEqual(tensorOf("int64", [2], [3, 7]));
    expect(gatherIndices(batch, [all, at(0), all])?.indices).toEqual(tensorOf("int64", [2], [0, 6]));
  });

  it("refuses a position that one selected row lacks, and shows the row and the shape", () => {
    expect(() => gatherIndices(batch, [all, at(2), all])).toThrow(
      "index 2 is out of range in layers.3.residPost, whose shape is [row 2, position 4, channel 2], row 1 of which has 2 tokens",
    );
    expect(gatherIndices(batch, [at(0), at(2), all])?.indices).toEqual(tensorOf("int64", [], [2]));
  });
});

describe("resolvePart", () => {
  it.each<[Part, boolean, object]>([
    [all, false, { from: 0, to: 5 }],
    [at(-5), false, { from: 0, to: 1 }],
    [range(-2), false, { from: 3, to: 5 }],
    [range(undefined, -1), false, { from: 0, to: 4 }],
    [all, true, { from: 0, to: Infinity }],
    [at(9), true, { from: 9, to: 10 }],
    [range(2), true, { from: 2, to: Infinity }],
    [range(6, 9), true, { from: 6, to: 9 }],
    [range(-2), true, { from: 3, to: Infinity }],
    [range(4, -4), true, { from: 4, to: 4 }],
    [range(-2, 1), true, { from: 3, to: 3 }],
    [range(undefined, -5), true, { from: 0, to: 0 }],
  ])("of %j (open: %s)", (part, open, wanted) => {
    expect(resolvePart(part, 5, "site", open)).toEqual(wanted);
  });

  it.each<[Part, boolean, string]>([
    [at(5), false, "index 5 is out of range in a site"],
    [at(-6), false, "index -6 is out of range in a site"],
    [at(-6), true, "index -6 is out of range in a site"],
    [range(3, 3), false, "the range 3:3 is empty or out of range in a site"],
    [range(0, 6), false, "the range 0:6 is empty or out of range in a site"],
    [range(-6), false, "the range -6: is empty or out of range in a site"],
    [range(4, -4), false, "the range 4:-4 is empty or out of range in a site"],
    [range(3, 2), true, "the range 3:2 is empty or out of range in a site"],
    [range(-1, -2), true, "the range -1:-2 is empty or out of range in a site"],
    [range(-6, 2), true, "the range -6:2 is empty or out of range in a site"],
  ])("refuses %j (open: %s)", (part, open, message) => {
    expect(() => resolvePart(part, 5, "a site", open)).toThrow(message);
  });

  it("shows the site's shape for a dimension that counts no tokens", () => {
    const extent: SiteExtent = {
      site: "layers.0.mlp.act",
      axes: ["row", "position", "neuron"],
      shape: [1, 3, 40],
      rows: { lengths: [3], columns: 3, keyColumns: 3 },
    };
    expect(() => rangesOfRow(extent, [all, all, at(40)], 0)).toThrow(
      /^index 40 is out of range in layers\.0\.mlp\.act, whose shape is \[row 1, position 3, neuron 40\]$/,
    );
  });
});

/** Whether a clamp acts on an element: its row, its position (no padding) and every other selected place. */
function acts(extent: SiteExtent, parts: readonly Part[], index: readonly number[], open: boolean): boolean {
  const row = index[0] as number;
  return index.every((n, d) => {
    const part = parts[d] as Part;
    const place = placeAt(extent, d, row, n);
    if (part.kind === "all") return extent.axes[d] !== "position" || place >= 0;
    const size = extent.axes[d] === "position" || extent.axes[d] === "key" ? extent.rows.lengths[row] : extent.shape[d];
    const fromEnd = (bound: number) => (bound < 0 ? bound + (size as number) : bound);
    if (part.kind === "index") return place === fromEnd(part.index);
    const to = part.to === undefined ? (open ? Infinity : (size as number)) : fromEnd(part.to);
    return place >= fromEnd(part.from ?? 0) && place < to;
  });
}

describe("clampMasks", () => {
  it.each([
    { decode: false, open: false },
    { decode: false, open: true },
    { decode: true, open: true },
  ])("act exactly on what the parts select ($decode, $open)", ({ decode, open }) => {
    fc.assert(
      fc.property(withParts({ decode }), ([extent, parts]) => {
        const { tokens, others } = clampMasks(extent, parts, open);
        const positionAxis = extent.axes.indexOf("position");
        expect(tokens.shape).toEqual([extent.shape[0], extent.rows.columns]);
        for (const index of multiIndices(extent.shape)) {
          const token = tokens.data[(index[0] as number) * extent.rows.columns + (index[positionAxis] as number)] === 1;
          const rest = [...others].every(([d, mask]) => {
            const place = index[d] as number;
            const offset = mask.shape.length === 2 ? (index[0] as number) * (mask.shape[1] as number) + place : place;
            return mask.data[offset] === 1;
          });
          expect(token && rest, index.join()).toBe(acts(extent, parts, index, open));
        }
      }),
      settings,
    );
  });

  it("has a mask of its own for each further dimension that is not whole, and none else", () => {
    const extent: SiteExtent = {
      site: "layers.0.attn.pattern",
      axes: ["row", "head", "position", "key"],
      shape: [2, 3, 4, 4],
      rows: { lengths: [4, 2], columns: 4, keyColumns: 4 },
    };
    const { others } = clampMasks(extent, [all, at(1), all, range(0, 2)], false);
    expect([...others].map(([d, { shape }]) => [d, shape])).toEqual([
      [1, [3]],
      [3, [2, 4]],
    ]);
    expect(others.get(3)?.data).toEqual(Uint8Array.of(1, 1, 0, 0, 0, 0, 1, 1));
    expect(clampMasks(extent, [all, all, at(0), all], false).others.size).toBe(0);
  });

  it("lets rows that are not selected be shorter than the part", () => {
    const extent: SiteExtent = {
      site: "embed",
      axes: ["row", "position", "channel"],
      shape: [2, 4, 1],
      rows: { lengths: [4, 2], columns: 4, keyColumns: 4 },
    };
    expect(clampMasks(extent, [at(0), at(3), all], false).tokens.data).toEqual(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0));
    expect(() => clampMasks(extent, [all, at(3), all], false)).toThrow("row 1 of which has 2 tokens");
  });
});

describe("zeroPadding", () => {
  it.each(["float32", "int64"] as const)("zeroes every element of padding and nothing else (%s)", (dtype) => {
    fc.assert(
      fc.property(extents(), (extent) => {
        const value = zeros(dtype, extent.shape);
        value.data.fill((dtype === "int64" ? 7n : 7) as never);
        zeroPadding(extent, value);
        for (const index of multiIndices(extent.shape)) {
          const padding = index.some((n, d) => placeAt(extent, d, index[0] as number, n) < 0);
          expect(Number(value.data[offsetIn(extent.shape, index)]), index.join()).toBe(padding ? 0 : 7);
        }
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});
