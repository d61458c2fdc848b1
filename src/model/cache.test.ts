/** The cache of keys and values against plain concatenation, across the steps at which its memory grows. */
import { describe, expect, it } from "vitest";
import { multiIndices, offsetIn } from "../../test/support/selection.js";
import { elementCount, type Tensor, tensorOf } from "../runtime/index.js";
import { cachedSites, createCache } from "./cache.js";
import type { DecoderConfig } from "./decoder/config.js";

const config: DecoderConfig = {
  layers: 2,
  width: 6,
  heads: 4,
  keyValueHeads: 2,
  headSize: 3,
  mlpWidth: 4,
  vocabulary: 5,
  context: 999,
  norm: "rms",
  epsilon: 1e-5,
  positions: { kind: "rotary", inverseFrequencies: [1] },
  gatedMlp: true,
  activation: "silu",
  bias: { qkv: false, attentionOut: false, mlp: false },
  tied: false,
};
const batch = 2;

/** A number that says where it belongs: layer, keys or values, row, column, head, channel. */
const numberAt = (layer: number, kind: number, [b = 0, s = 0, h = 0, e = 0]: readonly number[]) =>
  layer * 1e6 + kind * 5e5 + b * 2e5 + s * 100 + h * 10 + e + 1;

/** What a run returns for `added` new columns after `columns`. */
function outputsOf(columns: number, added: number): Record<string, Tensor> {
  const shape = [batch, added, 2, 3];
  const made = (layer: number, kind: number) =>
    tensorOf(
      "float32",
      shape,
      multiIndices(shape).map(([b = 0, s = 0, h = 0, e = 0]) => numberAt(layer, kind, [b, columns + s, h, e])),
    );
  return Object.fromEntries(
    [0, 1].flatMap((i) => [
      [`layers.${i}.attn.kRot`, made(i, 0)],
      [`layers.${i}.attn.v`, made(i, 1)],
    ]),
  );
}

it("takes keys after rotary where there is one, in every layer", () => {
  expect(cachedSites(config)).toEqual([
    "layers.0.attn.kRot",
    "layers.0.attn.v",
    "layers.1.attn.kRot",
    "layers.1.attn.v",
  ]);
  expect(cachedSites({ ...config, layers: 1, positions: { kind: "learned" } })).toEqual([
    "layers.0.attn.k",
    "layers.0.attn.v",
  ]);
});

describe("createCache", () => {
  it.each([
    { steps: [3, 1, 1] },
    { steps: [127, 1, 1, 1, 1] },
    { steps: [1, 300, 1] },
    { steps: [256, ...new Array<number>(140).fill(1)] },
  ])("holds what was appended, keys transposed, in steps of $steps", ({ steps }) => {
    const cache = createCache(config, batch);
    expect(cache.columns).toBe(0);
    for (const added of steps) cache.append(outputsOf(cache.columns, added));
    const total = steps.reduce((a, b) => a + b, 0);
    expect(cache.columns).toBe(total);
    const feeds = cache.feeds();
    expect(Object.keys(feeds)).toHaveLength(4);
    for (const layer of [0, 1]) {
      const keys = feeds[`layers.${layer}.past.k`] as Tensor;
      const values = feeds[`layers.${layer}.past.v`] as Tensor;
      expect(keys.shape.slice(0, 3)).toEqual([batch, 2, 3]);
      expect(keys.shape[3]).toBeGreaterThanOrEqual(total);
      expect(values.shape).toEqual([batch, 2, keys.shape[3], 3]);
      expect(keys.data).toHaveLength(elementCount(keys.shape));
      for (const [b = 0, s = 0, h = 0, e = 0] of multiIndices([batch, total, 2, 3])) {
        const place = [b, s, h, e];
        if (keys.data[offsetIn(keys.shape, [b, h, e, s])] !== numberAt(layer, 0, place))
          throw new Error(`keys at ${place}`);
        if (values.data[offsetIn(values.shape, [b, h, s, e])] !== numberAt(layer, 1, place))
          throw new Error(`values at ${place}`);
      }
    }
  });

  it("grows rarely: the same memory is fed for many steps", () => {
    const cache = createCache(config, batch);
    cache.append(outputsOf(0, 5));
    const memories = new Set<unknown>();
    for (let i = 0; i < 256; i++) {
      memories.add(cache.feeds()["layers.0.past.k"]?.data);
      cache.append(outputsOf(cache.columns, 1));
    }
    expect(memories.size).toBeLessThanOrEqual(3);
  });

  it("takes back memory that was lent to a run", () => {
    const cache = createCache(config, batch);
    cache.append(outputsOf(0, 2));
    const moved = Object.fromEntries(
      Object.entries(cache.feeds()).map(([name, value]) => [
        name,
        { ...value, data: Float32Array.from(value.data as Float32Array) },
      ]),
    );
    cache.append({ ...outputsOf(2, 1), ...moved });
    const keys = cache.feeds()["layers.1.past.k"] as Tensor;
    expect(keys.data).toBe(moved["layers.1.past.k"]?.data);
    expect([0, 1, 2].map((s) => keys.data[s])).toEqual([0, 1, 2].map((s) => numberAt(1, 0, [0, s, 0, 0])));
  });
});
