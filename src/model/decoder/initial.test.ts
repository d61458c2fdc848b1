/** How a decoder starts: deviations by kind of weight, and a loss that knows nothing. */
import { describe, expect, it } from "vitest";
import { evaluate, trace, type Value } from "../../graph/index.js";
import { random, tensorOf } from "../../runtime/index.js";
import { type DecoderConfig, decoderWeights } from "./config.js";
import { decoder } from "./decoder.js";
import { initialWeights } from "./initial.js";

const config: DecoderConfig = {
  layers: 2,
  width: 32,
  heads: 4,
  keyValueHeads: 2,
  headSize: 8,
  mlpWidth: 64,
  vocabulary: 50,
  context: 16,
  norm: "layer",
  epsilon: 1e-5,
  positions: { kind: "learned" },
  gatedMlp: false,
  activation: "gelu",
  bias: { qkv: true, attentionOut: true, mlp: true },
  tied: false,
};

const deviation = (data: Float32Array) => Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);

describe("initial weights", () => {
  const weights = initialWeights(config, random(3));
  const of = (name: string) => weights[name]?.data as Float32Array;

  it("have every shape of the decoder; of a tied one, the embedding alone", () => {
    const shapes = Object.entries(weights).map(([name, { shape }]) => [name, shape]);
    expect(shapes).toEqual([...decoderWeights(config)]);
    const tied = initialWeights({ ...config, tied: true }, random(3));
    expect(Object.keys(tied)).toEqual(Object.keys(weights).filter((name) => name !== "unembed.weight"));
  });

  it("deviate as GPT-2's", () => {
    // 1,024 draws and more: the deviation is within 10% (four standard errors).
    for (const name of ["embed.weight", "layers.0.attn.q.weight", "layers.1.mlp.up.weight"])
      expect(deviation(of(name)) / 0.02).toBeCloseTo(1, 1);
    for (const name of ["layers.0.attn.o.weight", "layers.1.mlp.down.weight"])
      expect(deviation(of(name)) / (0.02 / 2)).toBeCloseTo(1, 1);
    expect(new Set(of("layers.0.attn.norm.weight"))).toEqual(new Set([1]));
    expect(new Set(of("finalNorm.bias"))).toEqual(new Set([0]));
    expect(of("layers.1.mlp.up.bias").every((x) => x === 0)).toBe(true);
  });

  it("come from the seed", () => {
    expect(initialWeights(config, random(3))).toEqual(weights);
    expect(initialWeights(config, random(4))["embed.weight"]).not.toEqual(weights["embed.weight"]);
  });
});

describe("the decoder as a function", () => {
  it("takes weights from its caller and shows its products", () => {
    const weights = initialWeights(config, random(3));
    const adapted: string[] = [];
    const graph = trace(
      (inputs: Readonly<Record<string, Value>>) => ({
        logits: decoder(config, inputs.ids as Value, {
          weight: (name) => inputs[name] as Value,
          adapt: (name, _, y) => {
            adapted.push(name);
            return y;
          },
        }),
      }),
      {
        ids: { dtype: "int64", shape: [1, 4] },
        ...Object.fromEntries(Object.entries(weights).map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
      },
    );
    expect(adapted.length).toBe(12);
    expect(adapted).toContain("layers.1.mlp.down");
    const { logits } = evaluate(graph, { ...weights, ids: tensorOf("int64", [1, 4], [1, 2, 3, 4]) });
    const own = Array.from((logits?.data ?? []) as Float32Array);
    expect(own.length).toBe(200);
    // Small logits: a loss of about log(50).
    expect(Math.max(...own.map(Math.abs))).toBeLessThan(1);
    const other = evaluate(graph, { ...weights, ids: tensorOf("int64", [1, 4], [1, 2, 3, 9]) });
    expect(Array.from((other.logits?.data ?? []) as Float32Array).slice(0, 150)).toEqual(own.slice(0, 150));
    expect(Array.from((other.logits?.data ?? []) as Float32Array).slice(150)).not.toEqual(own.slice(150));
  });
});
