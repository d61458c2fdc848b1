/** Every loss: its value and gradients are PyTorch's. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { gradients, reduceSum, trace, type Value, type ValueType } from "../../graph/index.js";
import { createRuntime, type Tensor, tensorOf } from "../../runtime/index.js";
import * as all from "./index.js";

interface Stored {
  readonly shape: readonly number[];
  readonly data: readonly number[];
  readonly int?: boolean;
}

interface Case {
  readonly name: keyof typeof all;
  readonly options: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, Stored>>;
  readonly fixed: Readonly<Record<string, Stored>>;
  readonly value: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

const { cases } = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/learn/losses.json", import.meta.url), "utf8"),
) as { readonly cases: readonly Case[] };

const runtime = createRuntime();
afterAll(() => runtime.close());

/** By name, as the fixture has them. */
const losses = { ...all };

type Loss = (...values: readonly unknown[]) => Value;

/** Arguments in the order in which the fixture names them; class weights are an option. */
async function computed({ name, options, inputs, fixed }: Case) {
  const stored = { ...inputs, ...fixed };
  const types = Object.fromEntries(
    Object.entries(stored).map(([key, { shape, int }]): [string, ValueType] => [
      key,
      { dtype: int ? "int64" : "float32", shape },
    ]),
  );
  const graph = trace((values) => {
    const { classWeights, ...own } = values;
    const given = classWeights === undefined ? options : { ...options, classWeights };
    const value = (losses[name] as Loss)(...Object.values(own), given);
    const sum = reduceSum(
      value,
      value.shape.map((_, i) => i),
    );
    const at = Object.keys(inputs).map((key) => values[key] as Value);
    const found = gradients(sum, at);
    return {
      value,
      ...Object.fromEntries(Object.keys(inputs).map((key, i) => [`gradient ${key}`, found[i] as Value])),
    };
  }, types);
  const feeds = Object.fromEntries(
    Object.entries(stored).map(([key, { shape, data, int }]) => [
      key,
      tensorOf(int ? "int64" : "float32", shape, data),
    ]),
  );
  return runtime.compile(graph, { weights: "fed", values: new Map() }).run(feeds);
}

const apart = (found: Tensor | undefined, wanted: readonly number[]) =>
  Math.hypot(...wanted.map((x, i) => x - Number(found?.data[i]))) / Math.max(Math.hypot(...wanted), 1e-3);

describe("losses", () => {
  it("are all in the fixture", () => {
    const tested = new Set(cases.map(({ name }) => name));
    expect(Object.keys(losses).filter((name) => name !== "accuracy" && !tested.has(name as Case["name"]))).toEqual([]);
  });

  it.each(cases.map((one) => [`${one.name} ${JSON.stringify(one.options)}`, one] as const))("%s", async (_, one) => {
    const found = await computed(one);
    expect(apart(found.value, one.value)).toBeLessThan(1e-6); // float32 of values near 1
    for (const [key, wanted] of Object.entries(one.gradients))
      expect(apart(found[`gradient ${key}`], wanted), key).toBeLessThan(1e-5); // a few roundings more
  });

  it("a wrong option is seen", async () => {
    const one = cases.find(({ name, options }) => name === "crossEntropy" && options.smoothing === 0.1) as Case;
    const found = await computed({ ...one, options: { smoothing: 0.11 } });
    expect(apart(found.value, one.value)).toBeGreaterThan(1e-4);
  });

  it("a target that no path spells is infinitely unlikely, unless it is skipped", async () => {
    const one = cases.find(({ options }) => options.skipImpossible === true) as Case;
    const found = await computed({ ...one, options: { reduction: "none" } });
    expect(found.value?.data[1]).toBe(Infinity);
    expect(found.value?.data[0]).toBeCloseTo(one.value[0] as number, 5);
  });

  it("a power below 1 has finite gradients where the sigmoid is 1 in float32", async () => {
    const one = cases.find(({ name }) => name === "focalLoss") as Case;
    const logits = { shape: [2, 1], data: [40, -40] };
    const found = await computed({
      ...one,
      options: { gamma: 0.5 },
      inputs: { logits },
      fixed: { targets: { shape: [2, 1], data: [1, 0] } },
    });
    for (const x of found["gradient logits"]?.data ?? [Number.NaN]) expect(Math.abs(Number(x))).toBeLessThan(1e-6);
  });

  it("accuracy counts the labels that are the largest, the first of equal ones, but for those ignored", async () => {
    const graph = trace(({ logits, labels }) => ({ share: losses.accuracy(logits as Value, labels as Value) }), {
      logits: { dtype: "float32", shape: [5, 3] },
      labels: { dtype: "int64", shape: [5] },
    });
    const { share } = await runtime.compile(graph, { weights: "fed", values: new Map() }).run({
      logits: tensorOf("float32", [5, 3], [1, 2, 3, 3, 2, 1, 0, 5, 0, 9, 0, 0, 0, 0, 0]),
      labels: tensorOf("int64", [5], [2, 0, 2, -100, 1]),
    });
    expect(share?.data[0]).toBeCloseTo(2 / 4, 6);
  });
});
