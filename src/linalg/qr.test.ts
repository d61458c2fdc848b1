import { afterAll, describe, expect, it } from "vitest";
import { apart, fixtures, flipped, skewness, times } from "../../test/fixtures/linalg/check.js";
import { build, generalCases, noise } from "../../test/fixtures/linalg/matrices.js";
import { createRuntime, tensorOf } from "../runtime/index.js";
import { pivotedQr, qr } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

// n · 2.2e-16 · (a small constant) for n = 90.
const tolerance = 3e-14;

const below = (r: { shape: readonly number[]; data: Float64Array }) =>
  r.data.filter((_, at) => Math.floor(at / (r.shape[1] as number)) > at % (r.shape[1] as number));

describe("qr", () => {
  it.each(Object.entries(generalCases))("of %s is orthonormal times triangular", async (_, a) => {
    for (const full of [false, true]) {
      const { q, r } = await qr(a, { runtime, full });
      const rank = full ? a.shape[0] : Math.min(...a.shape);
      expect([q.shape, r.shape]).toEqual([
        [a.shape[0], rank],
        [rank, a.shape[1]],
      ]);
      expect(skewness(q)).toBeLessThan(tolerance);
      expect(below(r).every((value) => value === 0)).toBe(true);
      expect(apart(times(q, r).data, a.data)).toBeLessThan(tolerance);
    }
  });

  it("keeps each column's own digits, however small the column", async () => {
    const a = generalCases.graded as (typeof generalCases)[string];
    const { q, r } = await qr(a, { runtime });
    const [product, columns] = [times(q, r), a.shape[1]];
    const column = (data: Float64Array, j: number) => data.filter((_, at) => at % columns === j);
    for (let j = 0; j < columns; j++) expect(apart(column(product.data, j), column(a.data, j))).toBeLessThan(tolerance);
  });

  it("is not rebuilt by another basis: the comparison can fail", async () => {
    const a = noise(40, 36);
    const { q, r } = await qr(a, { runtime });
    const other = { ...q, data: q.data.map((value, at) => (at === 100 ? value + 1e-10 : value)) };
    expect(apart(times(other, r).data, a.data)).toBeGreaterThan(tolerance);
    expect(skewness(other)).toBeGreaterThan(tolerance);
  });

  it("refuses numbers that are not finite", async () => {
    await expect(qr(tensorOf("float64", [1, 2], [0, Number.NaN]))).rejects.toThrow(/holds NaN at \[0, 1\]/);
  });
});

describe("pivotedQr", () => {
  it.each(Object.entries(generalCases))("of %s rebuilds the columns in its order, longest first", (_, a) => {
    const { q, r, order } = pivotedQr(a);
    const columns = a.shape[1];
    const ordered = build(...a.shape, (i, j) => a.data[i * columns + (order[j] as number)] as number);
    expect(apart(times(q, r).data, ordered.data)).toBeLessThan(tolerance);
    expect(skewness(q)).toBeLessThan(tolerance);
    const diagonal = Array.from({ length: Math.min(...a.shape) }, (_, i) =>
      Math.abs(r.data[i * columns + i] as number),
    );
    // Lengths are updated, not measured, until half of their digits are gone: neighbours may be out of order by that.
    for (let i = 1; i < diagonal.length; i++) {
      expect(diagonal[i]).toBeLessThanOrEqual((diagonal[i - 1] as number) * (1 + 1e-8));
    }
  });

  it("takes the columns in LAPACK's order and shows the rank", () => {
    expect([...pivotedQr(noise(40, 36)).order]).toEqual(fixtures.pivots.map(Number));
    const { r } = pivotedQr(generalCases.deficient as (typeof generalCases)[string]);
    const [second, third] = [r.data[42] as number, r.data[84] as number]; // diagonal of [41, 41]
    expect(Math.abs(third / second)).toBeLessThan(1e-13);
    expect(flipped(r).shape).toEqual([41, 41]);
  });
});
