/** Saliency, gradient times input and SmoothGrad: Captum's numbers, closed forms, identities, a tiny checkpoint. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean } from "../../test/fixtures/explain/byHand.js";
import { captumCases, captumNetwork, element, float32 } from "../../test/fixtures/explain/networks.js";
import { openTiny } from "../../test/support/tinyModel.js";
import { mul, reduceSum, type Value } from "../graph/index.js";
import { createNetwork } from "../model/index.js";
import { createRuntime, normals, type Runtime, toNumbers } from "../runtime/index.js";
import type { DifferentiableFunction } from "./differentiable.js";
import { modelFunction } from "./modelFunction.js";
import { networkFunction } from "./networkFunction.js";
import { gradientTimesInput, saliency, smoothGrad } from "./saliency.js";

/** Float32 sums of a few numbers near 1. */
const tolerance = 1e-5;

let runtime: Runtime;
let tokens: DifferentiableFunction;
beforeAll(async () => {
  runtime = createRuntime({ threads: 1 });
  const { x, target } = captumCases;
  const feeds = { x: float32([1, 2, 3], x) };
  tokens = await networkFunction(captumNetwork(runtime), feeds, { of: element(target), at: "x" });
});
afterAll(() => runtime.close());

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] as number))));

/** An image [3, 2, 2] of which `fixed` knows no batch: F = sum of weight * x^2, so dF/dx = 2 weight x. */
const imageValues = [1, -2, 3, 4, 5, 6, -7, 8, 9, 1, 2, -3];
const imageWeights = [1, 1, -2, 1, 1, 3, 1, 1, 1, 1, 1, 1];
async function image(first: "batch" | 1): Promise<DifferentiableFunction> {
  const network = createNetwork(
    {
      inputs: { pixels: { dtype: "float32", shape: [first, 3, 2, 2] } },
      weights: { w: float32([3, 2, 2], imageWeights) },
      build: ({ inputs, weight }) => {
        const x = inputs.pixels as Value;
        return { score: reduceSum(mul(mul(x, x), weight("w")), [1, 2, 3]) };
      },
    },
    { runtime },
  );
  const feeds = { pixels: float32([1, 3, 2, 2], imageValues) };
  return networkFunction(network, feeds, { of: ({ site }) => site("score"), at: "pixels" });
}

describe("saliency", () => {
  it("is Captum's gradient, its norm a token", async () => {
    const found = await saliency(tokens);
    expect(worst(found.gradient.data as Float32Array, captumCases.saliency)).toBeLessThan(tolerance);
    expect(found.map.shape).toEqual([2]);
    expect(found.map.data[1]).toBeCloseTo(Math.hypot(...captumCases.saliency.slice(3)), 5);
    expect(Math.abs(found.value - captumCases.outputs.x)).toBeLessThan(tolerance);
  });

  it("takes the largest channel of a pixel, with a batch or without", async () => {
    for (const first of ["batch", 1] as const) {
      const found = await saliency(await image(first), { reduce: "max" });
      expect(found.map.shape).toEqual([2, 2]);
      expect([...found.map.data]).toEqual([18, 36, 14, 16]); // exact: max over channels of |2 w x|
      const norms = await saliency(await image(first));
      expect(norms.map.data[0]).toBeCloseTo(Math.hypot(2, 10, 18), 5);
    }
  });
});

describe("gradient times input", () => {
  it("is Captum's, summed a token", async () => {
    const found = await gradientTimesInput(tokens);
    expect(worst(found.attributions.data, captumCases.inputTimesGradient)).toBeLessThan(tolerance);
    expect(worst(found.attributions.data, captumCases.saliency)).toBeGreaterThan(1000 * tolerance);
    expect(found.sums.data[0]).toBeCloseTo(
      captumCases.inputTimesGradient.slice(0, 3).reduce((a, b) => a + b, 0),
      5,
    );
  });

  it("adds up to twice a quadratic form (Euler's theorem)", async () => {
    const { value, sums } = await gradientTimesInput(await image("batch"));
    expect(sums.data.reduce((a, b) => a + b, 0)).toBeCloseTo(2 * value, 3); // sums of some hundreds in float32
  });
});

describe("SmoothGrad", () => {
  it("without noise is the gradient", async () => {
    const [smooth, plain] = [await smoothGrad(tokens, { noise: 0, samples: 5 }), await saliency(tokens)];
    expect(worst(smooth.map.data, plain.map.data)).toBeLessThan(1e-6); // a mean of equal numbers
    const noisy = await smoothGrad(tokens, { noise: 0.5, samples: 5 });
    expect(worst(noisy.map.data, plain.map.data)).toBeGreaterThan(0.01);
  });

  it("is the mean over noisy copies, whatever the batches", async () => {
    const f = await image("batch"); // values from -7 to 9: a share of 0.25 is a deviation of 4
    const found = await smoothGrad(f, { noise: 0.25, samples: 33, seed: 5 });
    const wanted = imageValues.map((x, i) => {
      let total = 0;
      for (let k = 0; k < 33; k++) total += x + 4 * (normals(12, 5, k)[i] as number);
      return (2 * (imageWeights[i] as number) * total) / 33;
    });
    expect(worst(found.gradient.data as Float32Array, wanted)).toBeLessThan(1e-4); // float32 of numbers up to 50
    const single = await smoothGrad(await image(1), { noise: 0.25, samples: 33, seed: 5 });
    expect(worst(single.gradient.data as Float32Array, found.gradient.data as Float32Array)).toBeLessThan(1e-4);
    const other = await smoothGrad(f, { noise: 0.25, samples: 33, seed: 6 });
    expect(worst(other.gradient.data as Float32Array, wanted)).toBeGreaterThan(0.1);
  });

  it("shows progress and stops", async () => {
    const f = await image("batch");
    const seen: number[] = [];
    await smoothGrad(f, { samples: 40, onProgress: (done) => seen.push(done) });
    expect(seen).toEqual([14, 28, 40]); // three batches of at most 16, of one size
    const stop = new AbortController();
    const run = smoothGrad(f, { samples: 40, signal: stop.signal, onProgress: () => stop.abort() });
    await expect(run).rejects.toThrow(/abort/i);
  });
});

describe.each(["llama-tied", "gpt2-odd"])("in %s", (name) => {
  it("is the model's own gradient at any site", async () => {
    const model = await openTiny(name);
    const of = "logprob(#7)";
    for (const at of ["embed", "layers.0.attn.z", "layers.0.attn.pattern", "layers.0.mlp.act[:, 3:6]"]) {
      const f = await modelFunction(model, clean, { of, at });
      const found = await saliency(f);
      const own = await model.gradient(clean, { of, at });
      const gradient = toNumbers(Object.values(own.sites)[0] ?? found.gradient);
      const norm = Math.hypot(...gradient);
      const difference = Math.hypot(...toNumbers(found.gradient).map((x, i) => x - (gradient[i] as number)));
      expect(difference).toBeLessThan(tolerance * norm);
      expect(norm).toBeGreaterThan(0);
      expect(Math.abs(found.value - (own.values[0] as number))).toBeLessThan(tolerance);
      const places = at.includes("pattern") ? [9, 9] : at.endsWith("]") ? [3] : [9];
      expect(found.map.shape).toEqual(places);
      expect(Math.hypot(...found.map.data)).toBeCloseTo(norm, 4); // norms of norms
      expect(found.tokens?.map(({ id }) => id)).toEqual(clean);
    }
  });
});

describe("wrong calls", () => {
  it("says what would be right", async () => {
    await expect(saliency(tokens, { reduce: "sum" as "max" })).rejects.toThrow(/"norm" or "max", not "sum"/);
    await expect(smoothGrad(tokens, { samples: 0 })).rejects.toThrow(/samples must be a whole number of at least 1/);
    await expect(smoothGrad(tokens, { noise: -1 })).rejects.toThrow(/noise must be a share of 0 or more, not -1/);
    const network = captumNetwork(runtime);
    const feeds = { x: float32([1, 2, 3], captumCases.x) };
    const unrelated = networkFunction(network, feeds, { of: element(0), at: "out", rows: 0 });
    await expect(unrelated).rejects.toThrow(/rows must be a whole number/);
    const constant = networkFunction(network, feeds, {
      of: ({ site }) => reduceSum(site("x"), [1, 2]),
      at: "hidden",
    });
    await expect(constant).rejects.toThrow(/does not depend on hidden/);
  });
});
