/** Numbers of a clamp against NumPy's alignment worked out element by element, over random batches, parts and shapes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { extents, multiIndices, offsetIn, partsOf, placeAt, placesOf } from "../../test/support/selection.js";
import { elementCount, type Tensor, tensorOf } from "../runtime/index.js";
import { type AlignedOperand, coveredPositions, materialize, operandForm, operandTensor } from "./operand.js";
import type { Part } from "./sites/reference.js";
import { rangesOfRow, type SiteExtent } from "./sites/select.js";

const all: Part = { kind: "all" };

/** Real places that a part selects in a row: `all` of a token dimension without its padding. */
const realPlaces = (extent: SiteExtent, parts: readonly Part[], d: number, row: number) =>
  placesOf(extent, parts, d, row).filter((place) => place >= 0);

/** An operand for a selection: random dimensions vary, leading ones that don't may be left out. */
function operandFor(extent: SiteExtent, parts: readonly Part[]): fc.Arbitrary<AlignedOperand> {
  const rows = placesOf(extent, parts, 0, 0);
  const kept = parts.flatMap((part, d) => (part.kind === "index" ? [] : [d]));
  return fc
    .record({ varies: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), drop: fc.boolean(), lead: fc.boolean() })
    .map(({ varies, drop, lead }) => {
      const sizes = kept.map((d) => {
        if (!varies[d]) return 1;
        if (d === 0) return rows.length;
        return Math.max(...rows.map((row) => realPlaces(extent, parts, d, row).length));
      });
      const first = sizes.findIndex((size) => size !== 1);
      const own = drop ? sizes.slice(first < 0 ? sizes.length : first) : lead ? [1, ...sizes] : sizes;
      const tensor = tensorOf(
        "float32",
        own,
        Array.from({ length: elementCount(own) }, (_, i) => i + 1),
      );
      return { tensor };
    });
}

/** Whether every selected row has as many places as the operand has entries, wherever it varies. */
function fits({ tensor }: AlignedOperand, extent: SiteExtent, parts: readonly Part[]): boolean {
  const kept = parts.flatMap((part, d) => (part.kind === "index" ? [] : [d]));
  return kept.every((d, i) => {
    const size = tensor.shape[i + tensor.shape.length - kept.length] ?? 1;
    if (size === 1) return true;
    if (d === 0) return size === placesOf(extent, parts, 0, 0).length;
    return placesOf(extent, parts, 0, 0).every((row) => realPlaces(extent, parts, d, row).length === size);
  });
}

/** The operand's number for an element of the site that is selected, or undefined where it is not. */
function numberAt(
  operand: Tensor,
  extent: SiteExtent,
  parts: readonly Part[],
  index: readonly number[],
): number | undefined {
  const row = index[0] as number;
  const ranks = index.map((n, d) => realPlaces(extent, parts, d, row).indexOf(placeAt(extent, d, row, n)));
  if (ranks.some((rank) => rank < 0) || !placesOf(extent, parts, 0, row).includes(row)) return undefined;
  ranks[0] = placesOf(extent, parts, 0, row).indexOf(row);
  const kept = ranks.filter((_, d) => parts[d]?.kind !== "index");
  const extra = operand.shape.length - kept.length;
  const own = operand.shape.map((_, i) => kept[i - extra] ?? 0);
  return Number(operand.data[offsetIn(operand.shape, own)]);
}

describe("materialize", () => {
  it.each([false, true])("puts every number where NumPy would broadcast it (decode: %s)", (decode) => {
    const cases = extents(decode ? { decode, equal: true } : {}).chain((extent) =>
      partsOf(extent).chain((parts) => fc.tuple(fc.constant(extent), fc.constant(parts), operandFor(extent, parts))),
    );
    fc.assert(
      fc.property(cases, ([extent, parts, operand]) => {
        // A new column holds one position: only operands that don't vary along positions say something about it.
        const positions = extent.axes.indexOf("position");
        const form = operandForm(operand, parts, "site");
        fc.pre(!decode || (!form[positions] && parts[positions]?.kind !== "range"));
        if (!fits(operand, extent, parts)) {
          expect(() => materialize(operand, extent, parts, false)).toThrow(/does not fit the \d+ selected in site/);
          return;
        }
        const result = materialize(operand, extent, parts, decode);
        for (const index of multiIndices(extent.shape)) {
          const wanted = numberAt(operand.tensor, extent, parts, index);
          if (wanted === undefined) continue;
          expect(result.data[offsetIn(result.shape, index)], index.join()).toBe(wanted);
        }
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it("has the site's size where the operand varies, else 1", () => {
    fc.assert(
      fc.property(
        extents({ equal: true }).chain((extent) =>
          partsOf(extent).chain((parts) =>
            fc.tuple(fc.constant(extent), fc.constant(parts), operandFor(extent, parts)),
          ),
        ),
        ([extent, parts, operand]) => {
          const form = operandForm(operand, parts, "site");
          const tokens = form.some((yes, d) => yes && (extent.axes[d] === "position" || extent.axes[d] === "key"));
          const { shape } = materialize(operand, extent, parts, false);
          expect(shape).toEqual(extent.shape.map((size, d) => (form[d] || (d === 0 && tokens) ? size : 1)));
        },
      ),
      { seed: 1, numRuns: 200 },
    );
  });

  const batch: SiteExtent = {
    site: "embed",
    axes: ["row", "position", "channel"],
    shape: [2, 3, 2],
    rows: { lengths: [3, 2], columns: 3, keyColumns: 3 },
  };

  it("takes operands whose own rows are padded on the left", () => {
    const tensor = tensorOf("float32", [2, 3, 1], [1, 2, 3, 0, 8, 9]);
    const result = materialize({ tensor, lengths: [3, 2] }, batch, [all, all, all], false);
    expect(result).toEqual(tensorOf("float32", [2, 3, 1], [1, 2, 3, 0, 8, 9]));
    expect(() => materialize({ tensor, lengths: [3, 1] }, batch, [all, all, all], false)).toThrow(
      "a value with 1 entries along position does not fit the 2 selected in embed, whose shape is [row 2, position 3, channel 2], row 1",
    );
  });

  it("gives a range of rows the operand's rows in turn, and asks nothing of the others", () => {
    const tensor = tensorOf("float32", [1, 3, 1], [0, 8, 9]);
    const second: Part[] = [{ kind: "range", from: 1, to: 2 }, all, all];
    const { data } = materialize({ tensor, lengths: [2] }, batch, second, false);
    expect(data).toEqual(Float32Array.of(0, 0, 0, 0, 8, 9));
    const first: Part[] = [{ kind: "index", index: 0 }, { kind: "range", from: 0, to: 3 }, all];
    const three = { tensor: tensorOf("float32", [3, 1], [1, 2, 3]) };
    expect(materialize(three, batch, first, false).data).toEqual(Float32Array.of(1, 2, 3, 0, 0, 0));
  });

  it("fits fewer positions than a row will have, in generation", () => {
    const two = { tensor: tensorOf("float32", [2, 1], [5, 6]) };
    expect(materialize(two, batch, [all, all, all], true).data).toEqual(Float32Array.of(5, 6, 0, 0, 5, 6));
    expect(() => materialize(two, batch, [all, all, all], false)).toThrow("a value with 2 entries along position");
    const decode: SiteExtent = { ...batch, shape: [2, 1, 2], rows: { lengths: [4, 3], columns: 1, keyColumns: 4 } };
    expect(materialize(two, decode, [all, all, all], true).data).toEqual(Float32Array.of(0, 0));
  });

  it("takes a moving range that is empty for now in some row", () => {
    const one = { tensor: tensorOf("float32", [1], [5]) };
    const moving: Part[] = [all, { kind: "range", from: -2, to: 1 }, all];
    expect(materialize(one, batch, moving, true).data).toEqual(Float32Array.of(5));
    const two = { tensor: tensorOf("float32", [2, 1], [5, 6]) };
    const longer: SiteExtent = { ...batch, shape: [2, 4, 2], rows: { lengths: [4, 2], columns: 4, keyColumns: 4 } };
    const { data } = materialize(two, longer, [all, { kind: "range", from: -2, to: 2 }, all], true);
    expect(data.slice(6)).toEqual(Float32Array.of(5, 6));
  });
});

describe("operandForm", () => {
  const parts: Part[] = [all, { kind: "index", index: -1 }, all, { kind: "range", from: 0, to: 2 }];

  it.each([
    [[], [false, false, false, false]],
    [[2], [false, false, false, true]],
    [
      [3, 1],
      [false, false, true, false],
    ],
    [
      [2, 3, 2],
      [true, false, true, true],
    ],
    [
      [1, 1, 3, 1],
      [false, false, true, false],
    ],
  ])("of %j", (shape, wanted) => {
    expect(
      operandForm({ tensor: tensorOf("float32", shape, new Array(elementCount(shape)).fill(0)) }, parts, "z"),
    ).toEqual(wanted);
  });

  it("refuses more dimensions than are selected", () => {
    const tensor = tensorOf("float32", [2, 1, 1, 2], [0, 0, 0, 0]);
    expect(() => operandForm({ tensor }, parts, "layers.0.attn.z")).toThrow(
      "a value of shape [2, 1, 1, 2] does not fit the 3 selected dimensions of layers.0.attn.z",
    );
  });
});

it("knows up to which position an operand says something", () => {
  const extent: SiteExtent = {
    site: "embed",
    axes: ["row", "position", "channel"],
    shape: [2, 5, 2],
    rows: { lengths: [5, 4], columns: 5, keyColumns: 5 },
  };
  const covered = (operand: AlignedOperand, parts: readonly Part[], row = 0) =>
    coveredPositions(operand, parts, rangesOfRow(extent, parts, row, true), 1, row);
  const three = tensorOf("float32", [3, 1], [1, 2, 3]);
  expect(covered({ tensor: three }, [all, all, all])).toBe(3);
  expect(covered({ tensor: three }, [all, { kind: "range", from: 1 }, all])).toBe(4);
  expect(covered({ tensor: tensorOf("float32", [], [1]) }, [all, all, all])).toBe(Infinity);
  const padded = { tensor: tensorOf("float32", [2, 3, 1], [1, 2, 3, 0, 8, 9]), lengths: [3, 2] };
  expect([0, 1].map((row) => covered(padded, [all, all, all], row))).toEqual([3, 2]);
});

describe("operandTensor", () => {
  it("takes numbers, lists and tensors", () => {
    expect(operandTensor(2, "x")).toEqual(tensorOf("float32", [], [2]));
    expect(operandTensor([1, 2], "x")).toEqual(tensorOf("float32", [2], [1, 2]));
    expect(operandTensor(Float64Array.of(1, 2), "x")).toEqual(tensorOf("float32", [2], [1, 2]));
    expect(operandTensor(tensorOf("int64", [2, 1], [3, -4]), "x")).toEqual(tensorOf("float32", [2, 1], [3, -4]));
    const own = tensorOf("float32", [1], [5]);
    expect(operandTensor(own, "x")).toBe(own);
  });

  it.each([
    [Number.NaN, "the value for layers.0.mlp.act is NaN at element 0; it must be finite"],
    [[1, Infinity], "the value for layers.0.mlp.act is Infinity at element 1"],
    [1e39, "is Infinity at element 0"],
  ])("refuses %j", (value, message) => {
    expect(() => operandTensor(value, "layers.0.mlp.act")).toThrow(message);
  });

  it("refuses half precision, whose words are not its values", () => {
    const half = { dtype: "float16", shape: [1], data: Uint16Array.of(0x3c00) } as const;
    expect(() => operandTensor(half, "x")).toThrow("widen it to float32 first");
  });
});
