/** Dimensions are a ring of polynomials with one canonical text each, and evaluating them is a homomorphism. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addDims,
  type Dim,
  divideDims,
  evaluateDim,
  formatShape,
  multiplyDims,
  sameShape,
  subtractDims,
  symbolsOf,
  termsOf,
} from "./dims.js";

const sizes = { batch: 3, past: 5, seq: 7, n_1: 2 };
const leaf = fc.oneof(fc.integer({ min: -6, max: 6 }), fc.constantFrom(...Object.keys(sizes)));
const term = fc.array(leaf, { minLength: 1, maxLength: 3 }).map((factors) => multiplyDims(...factors));
const dim: fc.Arbitrary<Dim> = fc
  .array(fc.tuple(term, fc.boolean()), { minLength: 1, maxLength: 4 })
  .map((terms) => terms.reduce((sum, [own, minus]) => (minus ? subtractDims(sum, own) : addDims(sum, own)), 0 as Dim));
const holds = (...args: Parameters<typeof fc.property<[Dim, Dim, Dim]>>) =>
  fc.assert(fc.property(...args), { seed: 1, numRuns: 200 });
/** Number arithmetic knows a negative zero; a size doesn't. */
const same = (a: Dim | undefined, b: Dim) => expect(a === 0 ? 0 : a).toBe(b === 0 ? 0 : b);

describe("arithmetic", () => {
  it("adds and multiplies as a commutative ring", () => {
    holds(dim, dim, dim, (a, b, c) => {
      same(addDims(a, b), addDims(b, a));
      same(addDims(addDims(a, b), c), addDims(a, addDims(b, c)));
      same(multiplyDims(a, b), multiplyDims(b, a));
      same(multiplyDims(multiplyDims(a, b), c), multiplyDims(a, multiplyDims(b, c)));
      same(multiplyDims(a, addDims(b, c)), addDims(multiplyDims(a, b), multiplyDims(a, c)));
    });
  });

  it("has 0, 1 and negatives", () => {
    holds(dim, dim, dim, (a, b) => {
      same(addDims(a, 0), a);
      same(multiplyDims(a, 1), a);
      same(multiplyDims(a, 0), 0);
      same(subtractDims(a, a), 0);
      same(addDims(subtractDims(a, b), b), a);
    });
    expect(multiplyDims()).toBe(1);
  });

  it("divides as the inverse of multiplying by one term", () => {
    fc.assert(
      fc.property(dim, term, (a, divisor) => {
        fc.pre(divisor !== 0);
        same(divideDims(multiplyDims(a, divisor), divisor), a);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it.each<[Dim, Dim]>([
    [7, 2],
    ["seq", "past"],
    ["3*seq", 2],
    ["seq + past", "seq"],
    ["seq", "seq*past"],
    ["seq*past", "past + seq"],
    ["seq", 0],
    [4, 0],
  ])("does not divide %s by %s", (a, b) => {
    expect(divideDims(a, b)).toBeUndefined();
  });

  it("divides a sum by itself", () => {
    expect(divideDims("past + seq", "past + seq")).toBe(1);
  });
});

describe("evaluation", () => {
  it("is a homomorphism", () => {
    const value = (d: Dim) => evaluateDim(d, sizes);
    holds(dim, dim, dim, (a, b) => {
      expect(value(addDims(a, b))).toBe(value(a) + value(b));
      expect(value(subtractDims(a, b))).toBe(value(a) - value(b));
      expect(value(multiplyDims(a, b)) + 0).toBe(value(a) * value(b) + 0);
    });
  });

  it("names the missing size and where it is needed", () => {
    expect(() => evaluateDim("past + 2*seq", { past: 1 })).toThrow('the size of dimension "seq" (in past + 2*seq)');
  });
});

describe("text", () => {
  it("is a fixed point: every result reads back as itself", () => {
    holds(dim, dim, dim, (a) => {
      same(addDims(`${a}`, 0), a);
      same(addDims(0, multiplyDims(`${a}`, 1)), a);
    });
  });

  it("has one form for one polynomial", () => {
    expect(addDims("seq", "past")).toBe("past + seq");
    expect(addDims(" seq*batch ", "batch * seq")).toBe("2*batch*seq");
    expect(addDims("seq", 1)).toBe("seq + 1");
    expect(subtractDims("seq", "2*past")).toBe("-2*past + seq");
    expect(subtractDims("past", "seq + 3")).toBe("past - seq - 3");
    expect(subtractDims("seq + 4", "seq")).toBe(4);
    expect(multiplyDims("seq + 1", "seq - 1")).toBe("seq*seq - 1");
  });

  it.each(["", " ", "+", "seq +", "seq--1", "2x", "a b*", "seq/2", "(seq)", "a..b", "1.5"])("refuses %j", (text) => {
    expect(() => addDims(text, "seq")).toThrow(`"${text}" is not a dimension`);
  });

  it("lists symbols and terms", () => {
    expect(symbolsOf("seq*past + 2*seq - 4")).toEqual(["past", "seq"]);
    expect(symbolsOf(4)).toEqual([]);
    expect(termsOf("past*seq - 2*seq + 5")).toEqual([
      { coefficient: 1, symbols: ["past", "seq"] },
      { coefficient: -2, symbols: ["seq"] },
      { coefficient: 5, symbols: [] },
    ]);
    expect(termsOf(0)).toEqual([]);
  });
});

it("shows and compares shapes", () => {
  expect(formatShape(["batch", 3])).toBe("[batch, 3]");
  expect(formatShape([])).toBe("[]");
  expect(sameShape(["batch", 3], ["batch", 3])).toBe(true);
  expect(sameShape(["batch", 3], ["batch"])).toBe(false);
  expect(sameShape(["batch"], ["seq"])).toBe(false);
});
