/** Batches are functions of the step: what holds for one order of asking holds for every other. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { type Batches, batches, mixture, shuffled, split, takeRows } from "./batches.js";

const counted = (count: number) =>
  tensorOf(
    "int32",
    [count],
    Array.from({ length: count }, (_, i) => i),
  );
const rowsOf = (one: Batches, step: number) => [...toNumbers(one(step).x as Tensor)];
const sorted = (values: ArrayLike<number>) => Array.from(values).sort((a, b) => a - b);
const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

describe("shuffled", () => {
  it("holds each number once, and another order for each seed and epoch", () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(1000), fc.nat(50), (count, seed, epoch) => {
        expect(sorted(shuffled(count, { seed, epoch }))).toEqual(range(count));
      }),
      { numRuns: 50 },
    );
    const first = shuffled(50);
    expect(shuffled(50)).toEqual(first);
    expect(shuffled(50, { seed: 1 })).not.toEqual(first);
    expect(shuffled(50, { epoch: 1 })).not.toEqual(first);
  });

  it("prefers no order", () => {
    const seen = new Map<string, number>();
    for (let seed = 0; seed < 6000; seed++) {
      const order = shuffled(3, { seed }).join("");
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    // 1,000 expected of each; the standard deviation is 29, so five of them.
    expect([...seen.values()].map((times) => Math.abs(times - 1000) < 145)).toEqual(range(6).map(() => true));
  });

  it("stays as it is: orders are part of what a seed means", () => {
    // From a Philox4x32-10 and a shuffle written in Python for this line.
    expect([...shuffled(10, { seed: 7, epoch: 2 })]).toEqual([4, 5, 9, 8, 6, 2, 1, 7, 3, 0]);
  });
});

describe("split", () => {
  it("parts examples without overlap, leaving out what is in none", () => {
    const [train = [], test = []] = split(10, [6, 3], { seed: 2 });
    expect([train.length, test.length]).toEqual([6, 3]);
    expect(new Set([...train, ...test]).size).toBe(9);
    expect(split(10, [10, 0])[1]).toEqual(new Uint32Array());
  });

  it("says what it needs", () => {
    expect(() => split(3, [2, 2])).toThrow(/parts of 2 and 2 need 4 examples; there are 3/);
    expect(() => split(3, [-1, 2])).toThrow(/size must be a whole number of at least 0, not -1/);
  });
});

describe("takeRows", () => {
  it("keeps the type and takes rows again", () => {
    const x = tensorOf("int64", [3, 2], [0, 1, 2, 3, 4, 5]);
    expect(takeRows(x, [2, 0, 2])).toEqual(tensorOf("int64", [3, 2], [4, 5, 0, 1, 4, 5]));
    expect(() => takeRows(x, [3])).toThrow(/row 3 is out of range for a tensor of 3 rows/);
    expect(() => takeRows(x, [0.5])).toThrow(/row 0.5 is out of range/);
  });
});

describe("batches", () => {
  const x = counted(10);

  it("goes through all examples in each epoch", () => {
    const one = batches({ x }, { size: 5, seed: 3 });
    for (const epoch of [0, 1, 6]) {
      expect(sorted([...rowsOf(one, 2 * epoch), ...rowsOf(one, 2 * epoch + 1)])).toEqual(range(10));
    }
    expect(rowsOf(one, 0)).not.toEqual(rowsOf(one, 2));
  });

  it("is a function of the step, asked in any order, and keeps columns together", () => {
    const columns = {
      x,
      y: tensorOf(
        "float32",
        [10, 1],
        range(10).map((i) => i / 2),
      ),
    };
    const [one, other] = [batches(columns, { size: 3, seed: 1 }), batches(columns, { size: 3, seed: 1 })];
    for (const step of [9, 0, 4, 4, 1000, 3]) expect(one(step)).toEqual(other(step));
    expect(one(4)).toEqual(batches(columns, { size: 3, seed: 1 })(4));
    const { x: rows, y } = one(5);
    expect([...toNumbers(y as Tensor)]).toEqual([...toNumbers(rows as Tensor)].map((i) => i / 2));
  });

  it("leaves out the last examples, or makes a smaller batch of them", () => {
    const dropping = batches({ x }, { size: 4, shuffle: false });
    expect([0, 1, 2].map((step) => rowsOf(dropping, step))).toEqual([range(4), range(4, 4), range(4)]);
    const keeping = batches({ x }, { size: 4, shuffle: false, dropLast: false });
    expect([2, 3].map((step) => rowsOf(keeping, step))).toEqual([[8, 9], range(4)]);
  });

  it("gives each step's augmentation draws of its own", () => {
    const one = batches({ x }, { size: 2, augment: (_, draw) => ({ x: tensorOf("int32", [1], [draw.integer(1e6)]) }) });
    expect(rowsOf(one, 3)).toEqual(rowsOf(one, 3));
    expect(rowsOf(one, 3)).not.toEqual(rowsOf(one, 4));
  });

  it("says what it can't do", () => {
    expect(() => batches({ x, y: counted(9) }, { size: 2 })).toThrow(/one leading size: x has 10, y has 9/);
    expect(() => batches({ x }, { size: 11 })).toThrow(/a batch of 11 can't be taken from 10 examples/);
    expect(() => batches({}, { size: 1 })).toThrow(/from 0 examples/);
    expect(() => batches({ x }, { size: 2 })(-1)).toThrow(/step must be a whole number of at least 0, not -1/);
  });
});

describe("mixture", () => {
  const sources = [
    { batches: batches({ x: counted(10) }, { size: 5, shuffle: false }), weight: 3 },
    { batches: batches({ x: tensorOf("int32", [4], range(4, 100)) }, { size: 4, shuffle: false }), weight: 1 },
    { batches: batches({ x: tensorOf("int32", [1], [-1]) }, { size: 1 }), weight: 0 },
  ];

  it("draws by weight, and lets each source count its own steps", () => {
    const one = mixture(sources, { seed: 5 });
    const seen = range(2000).map((step) => rowsOf(one, step)[0] as number);
    const fromFirst = seen.filter((value) => value < 100);
    // 1,500 expected; the standard deviation is 19, so five of them.
    expect(Math.abs(fromFirst.length - 1500)).toBeLessThan(97);
    expect(fromFirst).toEqual(fromFirst.map((_, i) => (i % 2) * 5));
    expect(seen).not.toContain(-1);
  });

  it("is a function of the step", () => {
    const one = mixture(sources, { seed: 5 });
    const inOrder = range(60).map((step) => rowsOf(one, step));
    const other = mixture(sources, { seed: 5 });
    for (const step of [50, 3, 3, 59, 0]) expect(rowsOf(other, step)).toEqual(inOrder[step]);
    expect(range(60).map((step) => rowsOf(mixture(sources, { seed: 6 }), step))).not.toEqual(inOrder);
  });

  it("needs weights", () => {
    const [{ batches: any }] = sources as [(typeof sources)[number]];
    for (const weights of [[], [0], [-1, 2], [Number.NaN], [Number.POSITIVE_INFINITY]])
      expect(() => mixture(weights.map((weight) => ({ batches: any, weight })))).toThrow(/needs weights of at least 0/);
  });
});
