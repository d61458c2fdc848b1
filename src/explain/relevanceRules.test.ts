/** The rules on networks that can be worked out by hand. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  constantLike,
  expand,
  type GradientRule,
  gelu,
  layerNorm,
  matmul,
  mul,
  pullback,
  reduceSum,
  relu,
  rmsNorm,
  sigmoid,
  silu,
  softmax,
  tanh,
  type Value,
} from "../graph/index.js";
import { createNetwork } from "../model/index.js";
import { createRuntime, type Runtime, type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { type RelevanceRule, relevanceRules } from "./relevanceRules.js";

let runtime: Runtime;
beforeAll(() => {
  runtime = createRuntime();
});
afterAll(() => runtime.close());

type Weights = Record<string, { shape: number[]; values: number[] }>;

/** Relevance of x [rows, columns] for the sum of what `build` makes of it, and that sum. */
async function explain(
  x: { shape: number[]; values: number[] },
  weights: Weights,
  build: (x: Value, weight: (name: string) => Value) => Value,
  rule: RelevanceRule | undefined,
): Promise<{ relevance: number[]; total: number }> {
  const tensor = ({ shape, values }: { shape: number[]; values: number[] }) => tensorOf("float32", shape, values);
  const network = createNetwork(
    {
      inputs: { x: { dtype: "float32", shape: x.shape } },
      weights: Object.fromEntries(Object.entries(weights).map(([name, own]) => [name, tensor(own)])),
      build: ({ inputs, weight }) => ({ y: build(inputs.x as Value, weight) }),
    },
    { runtime },
  );
  const rules: ReadonlyMap<string, GradientRule> = rule === undefined ? new Map() : relevanceRules(rule);
  const program = network.compile(({ site }) => {
    const total = reduceSum(
      site("y"),
      site("y").shape.map((_, axis) => axis),
    );
    const [gradient] = pullback(new Map([[total, expand(constantLike(total, 1), [])]]), [site("x")], { rules });
    return { total, relevance: mul(site("x"), gradient as Value) };
  });
  const outputs = await program({ x: tensor(x) });
  return {
    relevance: [...toNumbers(outputs.relevance as Tensor)],
    total: toNumbers(outputs.total as Tensor)[0] as number,
  };
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const x = { shape: [1, 3], values: [1, -2, 0.5] };

describe("relevance by hand", () => {
  it("of two layers with a nonlinearity between: z-rule at both, whole through the nonlinearity", async () => {
    const first = [
      [0.4, -0.6],
      [0.3, 0.8],
      [-0.5, 0.2],
    ];
    const second = [1.5, -0.7];
    const { relevance, total } = await explain(
      x,
      { a: { shape: [3, 2], values: first.flat() }, b: { shape: [2, 1], values: second } },
      (input, weight) => matmul(tanh(matmul(input, weight("a"))), weight("b")),
      "attnLrp",
    );
    const hidden = [0, 1].map((j) => sum(x.values.map((value, i) => value * (first[i]?.[j] as number))));
    const atHidden = hidden.map((h, j) => Math.tanh(h) * (second[j] as number));
    const wanted = x.values.map((value, i) =>
      sum(hidden.map((h, j) => ((value * (first[i]?.[j] as number)) / h) * (atHidden[j] as number))),
    );
    relevance.forEach((found, i) => {
      expect(found).toBeCloseTo(wanted[i] as number, 5); // a few float32 products of size 1
    });
    expect(total).toBeCloseTo(sum(atHidden), 5);
  });

  it("halves between two activations, and gives all to one that meets a constant", async () => {
    const w = { w: { shape: [1, 3], values: [2, 3, 4] } };
    const squared = await explain(x, w, (input) => mul(input, input), "attnLrp");
    expect(squared.relevance).toEqual([1, 4, 0.25]); // x^2 and not the 2 x^2 of gradient times input
    const scaled = await explain(x, w, (input, weight) => mul(input, weight("w")), "attnLrp");
    expect(scaled.relevance).toEqual([2, -6, 2]);
    const product = await explain(x, w, (input) => matmul(input, input, { transposeB: true }), "attnLrp");
    expect(product.relevance).toEqual([1, 4, 0.25]);
  });

  it.each<[string, (x: Value, weight: (name: string) => Value) => Value]>([
    ["relu", (input) => relu(input)],
    ["silu", (input) => silu(input)],
    ["silu written as a product", (input) => mul(input, sigmoid(input))],
    ["gelu", (input) => gelu(input, "tanh")],
    ["rmsNorm", (input, weight) => rmsNorm(input, weight("gain"), 0)],
    ["layerNorm without a bias", (input, weight) => layerNorm(input, weight("gain"), weight("none"), 1e-5)],
    ["a gated product", (input, weight) => mul(silu(input), mul(input, weight("gain")))],
  ])("is conserved through %s, which gradients are not", async (name, build) => {
    const weights = {
      gain: { shape: [3], values: [0.5, 1.5, 2] },
      none: { shape: [3], values: [0, 0, 0] },
      mix: { shape: [3, 3], values: [1, 2, -1, 0.5, 0.3, 2, -1, 1, 0.7] },
    };
    const mixed = (input: Value, weight: (name: string) => Value) => build(matmul(input, weight("mix")), weight);
    for (const rule of ["attnLrp", "detached"] as const) {
      const { relevance, total } = await explain(x, weights, mixed, rule);
      expect(Math.abs(sum(relevance) - total)).toBeLessThan(1e-5 * Math.max(1, Math.abs(total))); // float32 sums of ten terms
    }
    const gradients = await explain(x, weights, mixed, undefined);
    if (name === "relu") return; // f(x) = x f'(x): its gradient conserves too
    expect(Math.abs(sum(gradients.relevance) - gradients.total)).toBeGreaterThan(1e-2);
  });

  it("is absorbed by biases", async () => {
    const bias = { bias: { shape: [3], values: [1, 2, 3] } };
    const { relevance, total } = await explain(x, bias, (input, weight) => add(input, weight("bias")), "attnLrp");
    expect(total - sum(relevance)).toBeCloseTo(6, 5);
  });

  it("is finite at zero and at the smallest numbers", async () => {
    const small = { shape: [1, 3], values: [0, 1e-42, -1e-38] };
    const { relevance } = await explain(small, {}, (input) => silu(input), "attnLrp");
    expect(relevance.every(Number.isFinite)).toBe(true);
  });

  it("of attention goes to the values alone when detached, and by halves when not", async () => {
    const tokens = { shape: [2, 2], values: [1, 2, -1, 0.5] };
    const attend = (input: Value) => matmul(softmax(matmul(input, input, { transposeB: true })), input);
    const scores = [5, 0, 0, 1.25];
    const weight = (i: number, j: number) =>
      Math.exp(scores[2 * i + j] as number) /
      (Math.exp(scores[2 * i] as number) + Math.exp(scores[2 * i + 1] as number));
    const detached = await explain(tokens, {}, attend, "detached");
    detached.relevance.forEach((found, k) => {
      const j = Math.floor(k / 2);
      expect(found).toBeCloseTo((weight(0, j) + weight(1, j)) * (tokens.values[k] as number), 5);
    });
    expect(sum(detached.relevance)).toBeCloseTo(detached.total, 5);
    const halved = await explain(tokens, {}, attend, "attnLrp");
    // Relevance of weight (i, j): half of weight times the sum of value j. The softmax hands scores s p (r - mean r) on.
    const values = [3, -0.5];
    const throughScores = [0, 1].map((i) => {
      const mean = sum(values.map((r, j) => weight(i, j) * 0.5 * r));
      return sum(values.map((r, j) => (scores[2 * i + j] as number) * weight(i, j) * (0.5 * r - mean)));
    });
    expect(sum(halved.relevance)).toBeCloseTo(halved.total / 2 + sum(throughScores), 4);
  });
});
