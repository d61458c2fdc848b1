/** Random numbers in the graph: the host's own, uniform, normal, independent, and drawn by the key alone. */
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime, normals, random } from "../../runtime/index.js";
import {
  bernoulli,
  categorical,
  constant,
  type Dim,
  dropout,
  grad,
  gumbel,
  input,
  log,
  randomBits,
  randomKey,
  randomNormal,
  randomUniform,
  reduceSum,
  splitKey,
  stack,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const key = (seed: number, stream = 0) => tensorOf("int64", [2], [seed, stream]);

/** What the runtime makes of a function of a key. */
async function draw(build: (key: Value) => Value, given: Tensor): Promise<number[]> {
  const graph = trace(({ key }) => ({ y: build(key as Value) }), { key: { dtype: "int64", shape: given.shape } });
  const { y } = await runtime.compile(graph).run({ key: given });
  return [...toNumbers(y as Tensor)];
}

const mean = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
const moment = (numbers: readonly number[], k: number) => mean(numbers.map((x) => x ** k));

const count = 20_001;
/** Five standard errors of the mean of `count` numbers whose variance is 1: a wrong generator is far beyond. */
const bound = 5 / Math.sqrt(count);

describe("the host's stream", () => {
  it("is drawn word for word, on from any seed and stream", async () => {
    const source = random(12, 4_000_000_000);
    const wanted = Array.from({ length: 103 }, () => source.word());
    expect(await draw((k) => randomBits(k, [103]), key(12, 4_000_000_000))).toEqual(wanted);
  });

  it("gives the same uniform and normal numbers, rounded to float32", async () => {
    const source = random(3, 9);
    const wanted = Array.from({ length: 50 }, () => Math.fround(source.uniform()));
    expect(await draw((k) => randomUniform(k, [5, 10]), key(3, 9))).toEqual(wanted);
    expect(await draw((k) => randomNormal(k, [count]), key(3, 9))).toEqual([...normals(count, 3, 9)]);
  });
});

describe("distributions", () => {
  it("are uniform: moments, and 64 bins of equal weight", async () => {
    const numbers = await draw((k) => randomUniform(k, [count]), key(1));
    expect(numbers.every((x) => x > 0 && x < 1)).toBe(true);
    for (const k of [1, 2, 3, 4]) expect(Math.abs(moment(numbers, k) - 1 / (k + 1))).toBeLessThan(bound);
    const bins = new Array<number>(64).fill(0);
    for (const x of numbers) bins[Math.floor(64 * x)] = (bins[Math.floor(64 * x)] as number) + 1;
    const expected = count / 64;
    const chiSquare = bins.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    expect(chiSquare).toBeLessThan(63 + 5 * Math.sqrt(2 * 63)); // five standard deviations
  });

  it("are normal: moments", async () => {
    const numbers = await draw((k) => randomNormal(k, [count]), key(2));
    // variances of x, x^2, x^3 and x^4 of a normal number are 1, 2, 15 and 96
    for (const [k, wanted, variance] of [
      [1, 0, 1],
      [2, 1, 2],
      [3, 0, 15],
      [4, 3, 96],
    ] as const) {
      expect(Math.abs(moment(numbers, k) - wanted)).toBeLessThan(bound * Math.sqrt(variance));
    }
  });

  it("are Gumbel: mean and variance", async () => {
    const numbers = await draw((k) => gumbel(k, [count]), key(4));
    const variance = Math.PI ** 2 / 6;
    expect(Math.abs(mean(numbers) - 0.5772156649)).toBeLessThan(bound * Math.sqrt(variance));
    expect(Math.abs(moment(numbers, 2) - mean(numbers) ** 2 - variance)).toBeLessThan(bound * 4);
  });

  it("are true as often as asked", async () => {
    const numbers = await draw((k) => bernoulli(k, 0.2, [count]), key(5));
    expect(Math.abs(mean(numbers) - 0.2)).toBeLessThan(bound * 0.4); // the standard deviation is 0.4
  });

  it("are drawn from the softmax of logits", async () => {
    const weights = [0.1, 0.2, 0.7];
    const logits = (k: Value) => categorical(log(constant(tensorOf("float32", [count, 3], repeated(weights)))), k);
    const drawn = await draw(logits, key(6));
    weights.forEach((weight, i) => {
      const share = drawn.filter((x) => x === i).length / count;
      expect(Math.abs(share - weight)).toBeLessThan(bound * Math.sqrt(weight * (1 - weight)));
    });
  });
});

const repeated = (row: readonly number[]) =>
  Array.from({ length: count * row.length }, (_, i) => row[i % row.length] as number);

describe("keys", () => {
  const correlation = (a: readonly number[], b: readonly number[]) => mean(a.map((x, i) => x * (b[i] as number)));

  it("of other streams, other seeds and split ones give numbers that do not correlate", async () => {
    const normal = (k: Value) => randomNormal(k, [count]);
    const all = [
      await draw(normal, key(1, 0)),
      await draw(normal, key(1, 1)),
      await draw(normal, key(2, 0)),
      ...(await Promise.all([0, 1].map((i) => draw((k) => normal(splitKey(k, 2)[i] as Value), key(1, 0))))),
    ];
    for (let i = 0; i < all.length; i++) {
      for (let j = 0; j < i; j++) {
        expect(Math.abs(correlation(all[i] as number[], all[j] as number[]))).toBeLessThan(bound);
      }
    }
  });

  it("of many rows draw what each draws alone", async () => {
    const rows = tensorOf("int64", [2, 2], [1, 0, 7, 3]);
    const alone = [
      ...(await draw((k) => randomBits(k, [5]), key(1, 0))),
      ...(await draw((k) => randomBits(k, [5]), key(7, 3))),
    ];
    expect(await draw((k) => randomBits(k, [5]), rows)).toEqual(alone);
  });

  it("are checked", () => {
    expect(() => randomKey(-1)).toThrow("whole numbers from 0 to 2^32 - 1, not -1");
    expect(() => randomKey(1, 2 ** 32)).toThrow("not 4294967296");
    expect(() => randomBits(input("k", "int64", [3]), [2])).toThrow("the key must be int64[2]: seed and stream");
    expect(() => randomBits(input("k", "float32", [2]), [2])).toThrow("the key must be int64[2]");
  });
});

describe("dropout", () => {
  it("keeps a share of elements, scaled, and their gradients", async () => {
    const x = constant(tensorOf("float32", [count], new Array<number>(count).fill(3)));
    const both = (k: Value) => stack([dropout(x, 0.25, k), grad((x: Value) => reduceSum(dropout(x, 0.25, k), 0))(x)]);
    const numbers = await draw(both, key(8));
    const [values, slopes] = [numbers.slice(0, count), numbers.slice(count)];
    expect(new Set(values)).toEqual(new Set([0, 4]));
    expect(slopes).toEqual(values.map((value) => (value === 0 ? 0 : Math.fround(1 / 0.75))));
    expect(Math.abs(mean(values) - 3)).toBeLessThan(bound * Math.sqrt(3)); // the variance is 16 * 0.75 * 0.25 = 3
  });

  it("is nothing at rate 0, and an error outside of [0, 1)", () => {
    const x = input("x", "float32", ["batch"] as Dim[]);
    expect(dropout(x, 0, randomKey(1))).toBe(x);
    expect(() => dropout(x, 1, randomKey(1))).toThrow("the rate lies from 0 to less than 1, not 1");
    expect(() => dropout(x, 0.1, input("k", "int64", [2, 2]))).toThrow("the key must be int64[2], not [2, 2]");
  });
});
