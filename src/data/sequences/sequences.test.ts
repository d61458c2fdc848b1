/** Sequences hold what their rule says, as functions of the seed and the step. */
import { describe, expect, it } from "vitest";
import { type Tensor, toNumbers } from "../../runtime/index.js";
import type { Batch, Batches } from "../batches.js";
import {
  copying,
  dyck,
  type InContextOptions,
  inContextTokens,
  inContextVectors,
  induction,
  modularArithmetic,
  ngrams,
  ngramTables,
  reversing,
} from "./index.js";
import { ignored } from "./rows.js";

/** The rows of a matrix, or the numbers of a vector one by one. */
function rowsOf(value: Tensor | undefined): number[][] {
  const { shape } = value as Tensor;
  const numbers = toNumbers(value as Tensor);
  const width = shape[1] ?? 1;
  return Array.from({ length: shape[0] as number }, (_, i) => [...numbers.subarray(i * width, (i + 1) * width)]);
}
const numbersOf = (value: Tensor | undefined) => [...toNumbers(value as Tensor)];
/** Each row's tokens with the last target, and its targets. */
const tokensOf = ({ ids, targets }: Batch) => {
  const last = rowsOf(targets);
  return rowsOf(ids).map((row, i) => ({ tokens: [...row, last[i]?.at(-1) as number], targets: last[i] as number[] }));
};

const everyKind: readonly (readonly [string, (seed: number) => Batches])[] = [
  ["induction", (seed) => induction({ size: 5, symbols: 9, length: 6, seed })],
  ["copying", (seed) => copying({ size: 5, symbols: 9, length: 6, seed })],
  ["reversing", (seed) => reversing({ size: 5, symbols: 9, length: 6, seed })],
  ["dyck", (seed) => dyck({ size: 5, kinds: 3, length: 10, seed })],
  ["ngrams", (seed) => ngrams({ size: 5, symbols: 4, order: 2, chains: 3, length: 12, seed })],
  ["inContextVectors", (seed) => inContextVectors({ size: 5, classes: 64, fresh: 0.5, bursty: 0.5, seed })],
  ["inContextTokens", (seed) => inContextTokens({ size: 5, classes: 64, fresh: 0.5, bursty: 0.5, seed })],
];

describe.each(everyKind)("%s", (_, make) => {
  it("is a function of seed and step", () => {
    const [one, other] = [make(3), make(3)];
    const third = other(3);
    expect(one(3)).toEqual(third);
    expect(one(0)).toEqual(other(0));
    expect(one(3)).toEqual(third);
    expect(one(4)).not.toEqual(third);
    expect(make(4)(3)).not.toEqual(third);
    expect(() => one(0.5)).toThrow(/step must be a whole number/);
  });
});

describe("induction", () => {
  it("repeats, and counts only what a repeat foretells", () => {
    const batch = induction({ size: 20, symbols: 7, length: 4, repeats: 3, seed: 1 })(0);
    expect(batch.ids?.shape).toEqual([20, 12]);
    for (const { tokens, targets } of tokensOf(batch)) {
      const once = tokens.slice(1, 5);
      expect(tokens).toEqual([7, ...once, ...once, ...once]);
      expect(Math.max(...once)).toBeLessThan(7);
      expect(targets).toEqual([...new Array(5).fill(ignored), ...once.slice(1), ...once]);
    }
  });

  it("says what it needs", () => {
    expect(() => induction({ size: 1, symbols: 7, length: 4, repeats: 1 })).toThrow(
      /induction: repeats must be .* 2, not 1/,
    );
    expect(() => induction({ size: 0, symbols: 7, length: 4 })).toThrow(
      /size must be a whole number of at least 1, not 0/,
    );
  });
});

describe("copying and reversing", () => {
  it("ask for what was given", () => {
    const options = { size: 20, symbols: 7, length: 4, seed: 1 };
    for (const [make, turned] of [
      [copying, false],
      [reversing, true],
    ] as const) {
      for (const { tokens, targets } of tokensOf(make(options)(2))) {
        const given = tokens.slice(0, 4);
        const answer = turned ? given.toReversed() : given;
        expect(tokens).toEqual([...given, 7, ...answer]);
        expect(targets).toEqual([...new Array(4).fill(ignored), ...answer]);
      }
    }
  });
});

describe("dyck", () => {
  it("balances brackets to the depth that is allowed", () => {
    const batch = dyck({ size: 200, kinds: 3, length: 12, depth: 3, seed: 5 })(0);
    const depths = rowsOf(batch.depth);
    let deepest = 0;
    for (const [i, { tokens, targets }] of tokensOf(batch).entries()) {
      expect([tokens[0], tokens.at(-1), tokens.length]).toEqual([6, 6, 14]);
      const open: number[] = [];
      for (const [at, token] of tokens.slice(1, -1).entries()) {
        if (token < 3) open.push(token);
        else expect(open.pop()).toBe(token - 3);
        expect(depths[i]?.[at + 1]).toBe(open.length);
        expect(targets[at]).toBe(token < 3 ? ignored : token);
        deepest = Math.max(deepest, open.length);
      }
      expect(open).toEqual([]);
      expect(targets.at(-1)).toBe(6);
    }
    expect(deepest).toBe(3);
  });

  it("nests to the half of its length unless told otherwise, and needs an even one", () => {
    const depths = numbersOf(dyck({ size: 400, kinds: 1, length: 6 })(0).depth);
    expect(Math.max(...depths)).toBe(3);
    expect(() => dyck({ size: 1, kinds: 1, length: 5 })).toThrow(/even length, not 5/);
  });
});

describe("modularArithmetic", () => {
  it.each([
    ["add", (a: number, b: number) => (a + b) % 11],
    ["subtract", (a: number, b: number) => (a + 11 - b) % 11],
    ["multiply", (a: number, b: number) => (a * b) % 11],
    ["sumOfSquares", (a: number, b: number) => (a * a + b * b) % 11],
  ] as const)("has every equation of %s once", (operation, result) => {
    const { train, test } = modularArithmetic({ modulus: 11, operation, share: 0.3, seed: 2 });
    expect([train.label.shape, test.label.shape]).toEqual([[36], [85]]);
    const seen = new Set<string>();
    for (const part of [train, test]) {
      const labels = numbersOf(part.label);
      for (const [i, [a = -1, b = -1, equals]] of rowsOf(part.ids).entries()) {
        expect([equals, labels[i]]).toEqual([11, result(a, b)]);
        seen.add(`${a},${b}`);
      }
    }
    expect(seen.size).toBe(121);
  });

  it("parts by the seed, and says what it can't part", () => {
    const first = modularArithmetic({ modulus: 7 });
    expect(modularArithmetic({ modulus: 7 })).toEqual(first);
    expect(modularArithmetic({ modulus: 7, seed: 1 })).not.toEqual(first);
    expect(() => modularArithmetic({ modulus: 7, share: 1 })).toThrow(/share must lie between 0 and 1, not 1/);
    expect(() => modularArithmetic({ modulus: 2, share: 0.01 })).toThrow(/leaves a part empty/);
    expect(() => modularArithmetic({ modulus: 1e6 })).toThrow(/at most 2048/);
    expect(() => modularArithmetic({ modulus: 7, operation: "toString" as "add" })).toThrow(
      /operation must be one of add,/,
    );
  });
});

describe("ngrams", () => {
  const options = { symbols: 3, order: 2, chains: 2, concentration: 0.5, seed: 9 };

  it("follow their tables", () => {
    const tables = ngramTables(options);
    const counts = tables.map((table) => new Float64Array(table.length));
    const batch = ngrams({ ...options, size: 2000, length: 32 })(0);
    const chains = numbersOf(batch.chain);
    expect(batch.targets?.shape).toEqual([2000, 31]);
    for (const [i, { tokens, targets }] of tokensOf(batch).entries()) {
      expect(targets.map((target) => target === ignored)).toEqual(targets.map((_, at) => at < 1));
      for (let at = 2; at < 32; at++) {
        const place = ((tokens[at - 2] as number) * 3 + (tokens[at - 1] as number)) * 3 + (tokens[at] as number);
        (counts[chains[i] as number] as Float64Array)[place] = (counts[chains[i] as number]?.[place] as number) + 1;
      }
    }
    for (const [chain, table] of tables.entries()) {
      for (let row = 0; row < 9; row++) {
        const part = (counts[chain] as Float64Array).slice(row * 3, row * 3 + 3);
        const total = part.reduce((a, b) => a + b, 0);
        const wanted = table.slice(row * 3, row * 3 + 3);
        expect(wanted.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12); // a sum of three in float64
        // Five standard deviations of a share.
        for (const [k, share] of wanted.entries())
          expect(Math.abs((part[k] as number) / total - share)).toBeLessThan(5 * Math.sqrt(0.25 / total));
      }
    }
    expect(new Set(chains)).toEqual(new Set([0, 1]));
  });

  it.each([0.05, 1, 20])("draw tables from a Dirichlet distribution, concentration %d", (concentration) => {
    const [table = new Float64Array()] = ngramTables({ symbols: 4, order: 5, concentration });
    const squares = table.reduce((sum, share) => sum + share * share, 0) / table.length;
    // E[p^2] of a symmetric Dirichlet: (a + 1) / (K (K a + 1)). 4,096 values; the spread of p^2 is at most 0.45, four errors.
    expect(Math.abs(squares - (concentration + 1) / (4 * (4 * concentration + 1)))).toBeLessThan(0.03);
    expect(table.every(Number.isFinite)).toBe(true);
  });

  it("say what they can't do", () => {
    expect(() => ngrams({ ...options, size: 1, length: 2 })).toThrow(
      /length must be a whole number of at least 3, not 2/,
    );
    expect(() => ngramTables({ symbols: 1000, order: 2 })).toThrow(/1 tables of 1000000 x 1000 numbers are too many/);
    expect(() => ngramTables({ symbols: 3, concentration: 0 })).toThrow(/concentration must lie above 0/);
  });
});

/** What a batch tells about its sequences. */
function told(batch: Batch) {
  const [classes, labels, matches] = [rowsOf(batch.classes), rowsOf(batch.labels), rowsOf(batch.matches)];
  const [asked, label] = [numbersOf(batch.asked), numbersOf(batch.label)];
  const [bursty, fresh] = [numbersOf(batch.bursty), numbersOf(batch.fresh)];
  return asked.map((_, i) => ({
    classes: classes[i] as number[],
    labels: labels[i] as number[],
    matches: matches[i] as number[],
    asked: asked[i] as number,
    label: label[i] as number,
    bursty: bursty[i] === 1,
    fresh: fresh[i] === 1,
  }));
}

describe("sequences in context", () => {
  const options: InContextOptions = { size: 400, classes: 64, labels: 16, pairs: 8, burst: 2, seed: 4 };
  const rows = (changed: Partial<InContextOptions>) => told(inContextTokens({ ...options, ...changed })(0));

  it("bursts: each class of the context as often as asked, that of the question among them", () => {
    for (const { classes, labels, matches, asked, label, bursty, fresh } of rows({})) {
      expect([bursty, fresh]).toEqual([true, false]);
      const times = [...new Set(classes)].map((one) => classes.filter((other) => other === one).length);
      expect(times).toEqual([2, 2, 2, 2]);
      expect(labels).toEqual(classes.map((one) => one % 16));
      expect(matches).toEqual(classes.map((one) => Number(one === asked)));
      expect(matches.reduce((a, b) => a + b)).toBe(2);
      expect(label).toBe(asked % 16);
    }
  });

  it("mixes kinds by their shares", () => {
    const seen = rows({ size: 2000, bursty: 0.6, fresh: 0.25 });
    const bursty = seen.filter((row) => row.bursty);
    // Five standard deviations: sqrt(2000 x 0.24) = 22, sqrt(1200 x 0.19) = 15.
    expect(Math.abs(bursty.length - 1200)).toBeLessThan(110);
    expect(Math.abs(bursty.filter(({ fresh }) => fresh).length - 300)).toBeLessThan(75);
    expect(seen.some(({ bursty: one, fresh }) => !one && fresh)).toBe(false);
    expect(bursty.filter(({ fresh }) => fresh).every(({ classes }) => classes.every((one) => one < 0))).toBe(true);
  });

  it("draws classes by Zipf's law", () => {
    const seen = rows({ size: 4000, bursty: 0, zipf: 1 }).map(({ asked }) => asked);
    const total = Array.from({ length: 64 }, (_, k) => 1 / (k + 1)).reduce((a, b) => a + b);
    for (const k of [0, 1, 5]) {
      const wanted = 4000 / (k + 1) / total;
      // Five standard deviations of a count.
      expect(Math.abs(seen.filter((one) => one === k).length - wanted)).toBeLessThan(5 * Math.sqrt(wanted));
    }
  });

  it("tests memory without the answer in the context", () => {
    for (const { matches, label, asked } of rows({ kind: "inWeights" })) {
      expect(matches).toEqual(new Array(8).fill(0));
      expect(label).toBe(asked % 16);
    }
  });

  it("tests the context with new classes, and with labels that disagree with memory", () => {
    const fresh = rows({ kind: "inContext", size: 2000 });
    for (const { classes, labels, matches, label } of fresh) {
      expect(Math.max(...classes)).toBeLessThan(0);
      for (const [i, match] of matches.entries()) if (match === 1) expect(labels[i]).toBe(label);
    }
    // Labels of new classes are uniform: 125 of each expected, five standard deviations.
    for (let one = 0; one < 16; one++)
      expect(Math.abs(fresh.filter(({ label }) => label === one).length - 125)).toBeLessThan(55);
    for (const { classes, labels, asked, label } of rows({ kind: "swapped" })) {
      expect(labels).toEqual(classes.map((one) => (one + 1) % 16));
      expect(label).toBe((asked + 1) % 16);
    }
  });

  it("names classes and labels by tokens, new classes by known ones", () => {
    const batch = inContextTokens({ ...options, fresh: 0.5 })(0);
    const about = told(batch);
    for (const [i, ids] of rowsOf(batch.ids).entries()) {
      const { classes, labels, matches, asked, fresh } = about[i] as (typeof about)[number];
      const items = ids.filter((_, at) => at % 2 === 0);
      expect(ids.filter((_, at) => at % 2 === 1)).toEqual(labels.map((label) => 64 + label));
      expect(items.slice(0, 8).map((item) => Number(item === items[8]))).toEqual(matches);
      expect(Math.max(...items)).toBeLessThan(64);
      if (!fresh) expect(items).toEqual([...classes, asked]);
    }
  });

  it("makes vectors of classes, labels and positions", () => {
    const [width, positions] = [200, 21];
    const noise = 0.5;
    const batch = inContextVectors({ ...options, size: 60, fresh: 0.3, width, noise, mostPairs: 10 })(0);
    expect(batch.x?.shape).toEqual([60, 17, positions + width]);
    const about = told(batch);
    const data = batch.x?.data as Float32Array;
    const at = (row: number, position: number) => {
      const start = (row * 17 + position) * (positions + width);
      return {
        place: data.subarray(start, start + positions),
        content: data.subarray(start + positions, start + positions + width),
      };
    };
    const inner = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
    const shifts = new Set<number>();
    let lengths = 0;
    for (const [row, { matches, labels }] of about.entries()) {
      const shift = at(row, 0).place.indexOf(1);
      shifts.add(shift);
      for (let position = 0; position < 17; position++) {
        const { place } = at(row, position);
        expect([place.indexOf(1), place.reduce((a, b) => a + b)]).toEqual([shift + position, 1]);
      }
      const { content } = at(row, 16);
      lengths += inner(content, content) / about.length;
      for (const [pair, match] of matches.entries()) {
        // Of one class, 1 / (1 + noise^2) = 0.8; of two, 0. Widths of 200 spread by at most 0.1 about either.
        expect(Math.abs(inner(at(row, 2 * pair).content, content) - (match === 1 ? 0.8 : 0))).toBeLessThan(0.45);
      }
      const other = about.findIndex(({ labels: those }) => those[0] === labels[0]);
      expect(at(row, 1).content).toEqual(at(other, 1).content);
    }
    expect(shifts).toEqual(new Set([0, 1, 2, 3, 4]));
    // 60 squared lengths of 200 normal numbers: the mean's standard deviation is 0.013, so five of them.
    expect(Math.abs(lengths - 1)).toBeLessThan(0.065);
  });

  it("draws new classes anew for every sequence, and noise for every item", () => {
    const vectorsAt = (noise: number) =>
      inContextVectors({
        size: 2,
        classes: 64,
        labels: 16,
        pairs: 4,
        burst: 2,
        kind: "inContext",
        noise,
        mostPairs: 4,
      })(0);
    const { x, matches } = vectorsAt(0);
    const item = (value: Tensor, row: number, position: number) => [
      ...(value.data as Float32Array).subarray((row * 9 + position) * 72 + 9, (row * 9 + position + 1) * 72),
    ];
    const pair = rowsOf(matches)[0]?.indexOf(1) as number;
    expect(item(x as Tensor, 0, 2 * pair)).toEqual(item(x as Tensor, 0, 8));
    expect(item(x as Tensor, 1, 8)).not.toEqual(item(x as Tensor, 0, 8));
    const noisy = vectorsAt(0.1).x as Tensor;
    expect(item(noisy, 0, 2 * pair)).not.toEqual(item(noisy, 0, 8));
  });

  it.each<[Partial<InContextOptions>, RegExp]>([
    [{ labels: 10 }, /10 labels don't divide 64 classes evenly/],
    [{ burst: 3 }, /a burst must divide the 8 pairs and be fewer, not 3/],
    [{ burst: 8 }, /a burst must divide the 8 pairs and be fewer, not 8/],
    [{ classes: 4, labels: 2 }, /4 classes in a context need more than that in all, not 4/],
    [{ bursty: 1.5 }, /bursty must lie from 0 to 1, not 1.5/],
    [{ zipf: -1 }, /zipf must lie from 0 to 4, not -1/],
    [{ kind: "other" as "training" }, /kind must be one of training, inWeights/],
    [{ size: 0 }, /inContextTokens: size must be/],
  ])("refuses %j", (changed, message) => {
    expect(() => inContextTokens({ ...options, ...changed })).toThrow(message);
  });

  it("refuses vectors that can't be placed", () => {
    expect(() => inContextVectors({ ...options, mostPairs: 7 })).toThrow(
      /mostPairs must be a whole number of at least 8/,
    );
    expect(() => inContextVectors({ ...options, noise: -1 })).toThrow(/noise must be at least 0, not -1/);
  });
});
