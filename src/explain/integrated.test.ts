/** Integrated and expected gradients: closed forms, Captum's numbers, the axioms, completeness, tiny checkpoints. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt } from "../../test/fixtures/explain/byHand.js";
import {
  captumCases,
  captumNetwork,
  element,
  float32,
  polynomialNetwork,
} from "../../test/fixtures/explain/networks.js";
import { openTiny } from "../../test/support/tinyModel.js";
import { matmul, mul, reduceMean, reduceSum, sqrt, squeeze, sub, tanh, type Value } from "../graph/index.js";
import { createNetwork, type Model, meanOverTokens, type NetworkCall, scale } from "../model/index.js";
import { createRuntime, type Runtime, tensorOf, toNumbers } from "../runtime/index.js";
import { meanEmbedding, promptBaseline } from "./baselines.js";
import { expectedGradients, integratedGradients } from "./integrated.js";
import { modelFunction } from "./modelFunction.js";
import { networkFunction } from "./networkFunction.js";

/** Float32 sums of a few numbers near 1. */
const tolerance = 1e-5;

let runtime: Runtime;
beforeAll(() => {
  runtime = createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] as number))));
const polynomial = ({ site }: NetworkCall) => site("polynomial");
const polynomialAt = (form: "powers" | "factored", x: number[]) =>
  networkFunction(polynomialNetwork(runtime, form), { x: float32([1, 3], x) }, { of: polynomial, at: "x" });

describe("closed forms", () => {
  it("is w (x - b) for a linear network, with one step, from any baseline", async () => {
    const weights = [2, -1, 0.5, 3];
    const network = createNetwork(
      {
        inputs: { x: { dtype: "float32", shape: ["batch", 4] } },
        weights: { w: float32([4, 1], weights) },
        build: ({ inputs, weight }) => ({ value: squeeze(matmul(inputs.x as Value, weight("w")), 1) }),
      },
      { runtime },
    );
    const x = [1, 2, 3, 4];
    const f = await networkFunction(network, { x: float32([1, 4], x) }, { of: ({ site }) => site("value"), at: "x" });
    const fromZero = await integratedGradients(f, { steps: 1 });
    expect([...fromZero.attributions.data]).toEqual([2, -2, 1.5, 12]); // exact in float32
    const baseline = float32([4], [1, 1, 1, -1]);
    const from = await integratedGradients(f, { steps: 1, baseline });
    expect([...from.sums.data]).toEqual([0, -1, 1, 15]);
    expect(from.completeness).toEqual({ sum: 15, difference: 15, error: 0 });
    expect(from.warning).toBeUndefined();
  });

  it("integrates a polynomial exactly by Gauss and Legendre, and nearly by trapezoids", async () => {
    // F = 2 a + b^2 + a c^3 from zero to (1, 2, 2): the integrals over t of dF/dx_i(t x) x_i are
    // a (2 + c^3/4), b^2, and 3 a c^3 / 4.
    const wanted = [1 * (2 + 8 / 4), 4, (3 * 8) / 4];
    const f = await polynomialAt("powers", [1, 2, 2]);
    const gauss = await integratedGradients(f, { steps: 2 });
    expect(worst(gauss.attributions.data, wanted)).toBeLessThan(tolerance);
    const one = await integratedGradients(f, { steps: 1, maxSteps: 1 });
    expect(worst(one.attributions.data, wanted)).toBeGreaterThan(0.1); // the midpoint alone misses the cubic
    expect(one.warning).toMatch(/after 1 steps the attributions add up to/);
    const even = await integratedGradients(f, { steps: 100, rule: "trapezoid" });
    expect(worst(even.attributions.data, wanted)).toBeLessThan(1e-3); // second order: (1/100)^2 times a curvature of some units
    expect(worst(even.attributions.data, wanted)).toBeGreaterThan(10 * tolerance);
  });

  it("depends on the function and not on how it is written, and gives nothing to what does not matter", async () => {
    const [a, b] = [await polynomialAt("powers", [1.5, -2, 1]), await polynomialAt("factored", [1.5, -2, 1])];
    const baseline = float32([3], [0.5, 1, 1]);
    const [one, other] = [await integratedGradients(a, { baseline }), await integratedGradients(b, { baseline })];
    expect(worst(one.attributions.data, other.attributions.data)).toBeLessThan(tolerance);
    expect(one.attributions.data[2]).toBe(0); // an entry that is the baseline's
    expect(Math.abs(one.attributions.data[0] as number)).toBeGreaterThan(1);
  });
});

describe("against Captum", () => {
  it("agrees on integrated gradients, token by token", async () => {
    const { x, baseline, integrated, outputs, target } = captumCases;
    const f = await networkFunction(
      captumNetwork(runtime),
      { x: float32([1, 2, 3], x) },
      { of: element(target), at: "x" },
    );
    const found = await integratedGradients(f, { baseline: float32([1, 2, 3], baseline), steps: 64 });
    expect(worst(found.attributions.data, integrated)).toBeLessThan(tolerance);
    expect(worst(found.attributions.data, [...integrated].reverse())).toBeGreaterThan(1000 * tolerance);
    expect(Math.abs(found.value - outputs.x)).toBeLessThan(tolerance);
    expect(Math.abs(found.baselineValue - outputs.baseline)).toBeLessThan(tolerance);
    expect(found.sums.shape).toEqual([2]);
    expect(found.sums.data[1]).toBeCloseTo(
      integrated.slice(3).reduce((a, b) => a + b, 0),
      5,
    );
  });
});

describe("rough functions", () => {
  /** A step of a few thousandths of the path: mean of tanh(200 x) around 0.3. */
  const steep = () => {
    const network = createNetwork(
      {
        inputs: { x: { dtype: "float32", shape: ["batch", 2] } },
        build: ({ inputs }) => ({ value: reduceMean(tanh(mul(sub(inputs.x as Value, 0.3), 400)), 1) }),
      },
      { runtime },
    );
    return networkFunction(network, { x: float32([1, 2], [1, 0.9]) }, { of: ({ site }) => site("value"), at: "x" });
  };

  it("adds points where completeness fails, and says so where it may not", async () => {
    const f = await steep();
    const fixed = await integratedGradients(f, { steps: 16, maxSteps: 16 });
    expect(fixed.completeness.error).toBeGreaterThan(0.05);
    expect(fixed.warning).toBeDefined();
    const progress: [number, number][] = [];
    const refined = await integratedGradients(f, { steps: 16, onProgress: (...both) => progress.push(both) });
    expect(refined.completeness.error).toBeLessThan(0.01);
    expect(refined.warning).toBeUndefined();
    expect(worst(refined.attributions.data, [1, 1])).toBeLessThan(0.02); // each rises from -1 to 1, halved by the mean
    expect(refined.steps).toBeGreaterThan(16);
    expect(progress[progress.length - 1]).toEqual([refined.steps, refined.steps]);
    const even = await integratedGradients(f, { steps: refined.steps, maxSteps: refined.steps, rule: "trapezoid" });
    expect(even.completeness.error).toBeGreaterThan(refined.completeness.error); // as many points, spread evenly
  });

  it("fails where a gradient on the path is not finite", async () => {
    const network = createNetwork(
      {
        inputs: { x: { dtype: "float32", shape: ["batch", 1] } },
        build: ({ inputs }) => ({ value: reduceSum(sqrt(inputs.x as Value), 1) }),
      },
      { runtime },
    );
    const f = await networkFunction(network, { x: float32([1, 1], [4]) }, { of: ({ site }) => site("value"), at: "x" });
    const ends = integratedGradients(f, { rule: "trapezoid" }); // looks at zero, where the slope is infinite
    await expect(ends).rejects.toThrow(/between baseline and tensor, .*not finite: start from another baseline/);
    const within = await integratedGradients(f);
    expect(within.completeness.error).toBeLessThan(0.01);
    expect(within.value).toBe(2);
  });

  it("stops where it is told to", async () => {
    const stop = new AbortController();
    const f = await steep();
    const run = integratedGradients(f, { signal: stop.signal, onProgress: () => stop.abort() });
    await expect(run).rejects.toThrow(/abort/i);
  });
});

describe("expected gradients", () => {
  it("is the mean over baselines", async () => {
    const f = await polynomialAt("powers", [1, 2, 2]);
    const baselines = [float32([3], [0, 0, 0]), float32([3], [1, 1, -1]), float32([1], [0.5])];
    const each = await Promise.all(baselines.map((baseline) => integratedGradients(f, { baseline })));
    const found = await expectedGradients(f, { baselines });
    const mean = [0, 1, 2].map(
      (i) => each.reduce((total, { attributions }) => total + (attributions.data[i] as number), 0) / 3,
    );
    expect(worst(found.attributions.data, mean)).toBeLessThan(tolerance);
    expect(found.completeness.error).toBeLessThan(tolerance);
    expect(worst(found.attributions.data, each[0]?.attributions.data as Float32Array)).toBeGreaterThan(0.1);
  });
});

describe.each(["llama-gqa", "gpt2"])("in %s", (name) => {
  const of = "logit(#7) - logit(#12)";
  let model: Model;
  beforeAll(async () => {
    model = await openTiny(name);
  });

  it("is complete at the embedding and at other sites, from several baselines", async () => {
    for (const at of ["embed", "layers.0.residPost", "layers.1.attn.z[:, -1]", "layers.0.mlp.act"]) {
      const f = await modelFunction(model, clean, { of, at });
      const found = await integratedGradients(f, { baseline: await promptBaseline(model, corrupt, at) });
      expect(found.completeness.error).toBeLessThan(0.01);
      expect(found.attributions.shape).toEqual(f.at.shape);
    }
  });

  it("explains the change between two prompts by the token that changed, as a naive loop does", async () => {
    const f = await modelFunction(model, clean, { of });
    const baseline = await promptBaseline(model, corrupt);
    const found = await integratedGradients(f, { baseline });
    expect(found.tokens?.map(({ id }) => id)).toEqual(clean);
    const [x, b] = [toNumbers(f.at), toNumbers(baseline)];
    const width = f.at.shape[1] as number;
    const wanted = new Float64Array(clean.length);
    const count = 40;
    for (let k = 0; k < count; k++) {
      const share = (k + 0.5) / count;
      const point = float32(
        [1, ...f.at.shape],
        x.map((value, i) => (1 - share) * (b[i] as number) + share * value),
      );
      const { gradients } = await f.evaluate(point);
      for (let i = 0; i < x.length; i++) {
        const place = Math.floor(i / width);
        wanted[place] =
          (wanted[place] as number) + (((x[i] as number) - (b[i] as number)) * Number(gradients.data[i])) / count;
      }
    }
    const size = Math.abs(wanted[4] as number);
    expect(worst(found.sums.data, wanted)).toBeLessThan(2e-3 * size); // midpoints: second order in 1/40
    expect(found.sums.data.filter((_, p) => p !== 4).every((x) => x === 0)).toBe(true);
    expect(size).toBeGreaterThan(1e-3);
  });

  it("takes the mean embedding, with each position's own part", async () => {
    const mean = await meanEmbedding(model, clean);
    const table = await model.weights.get("embed.weight");
    const width = table.shape[1] as number;
    const [embed, values] = [toNumbers((await model.record(clean, "embed")).sites.embed ?? table), toNumbers(table)];
    const wanted = Array.from(embed, (x, i) => {
      const [position, channel] = [Math.floor(i / width), i % width];
      let total = 0;
      for (let id = 0; id < (table.shape[0] as number); id++) total += values[id * width + channel] as number;
      return x - (values[(clean[position] as number) * width + channel] as number) + total / (table.shape[0] as number);
    });
    expect(mean.shape).toEqual([clean.length, width]);
    expect(worst(toNumbers(mean), wanted)).toBeLessThan(tolerance);
    const found = await integratedGradients(await modelFunction(model, clean, { of }), { baseline: mean });
    expect(found.completeness.error).toBeLessThan(0.01);
  });

  it("keeps the clamps of a view, and gives batches that don't matter", async () => {
    const baseline = meanOverTokens(await model.record(clean, "embed"), "embed"); // [1, 1, width]: aligned
    const view = model.with(scale("layers.1.mlp.out", 3));
    const [plain, clamped] = [await modelFunction(model, clean, { of }), await modelFunction(view, clean, { of })];
    const small = await modelFunction(view, clean, { of, batchTokens: 30 });
    const [a, b, c] = await Promise.all([plain, clamped, small].map((f) => integratedGradients(f, { baseline })));
    expect(worst(b?.attributions.data as Float32Array, c?.attributions.data as Float32Array)).toBeLessThan(tolerance);
    expect(worst(a?.attributions.data as Float32Array, b?.attributions.data as Float32Array)).toBeGreaterThan(
      100 * tolerance,
    );
  });

  it("compiles two graphs: values, and gradients", async () => {
    const fresh = await openTiny(name);
    const f = await modelFunction(fresh, clean, { of, batchTokens: 50 });
    const before = fresh.statistics();
    await integratedGradients(f, { baseline: await promptBaseline(fresh, corrupt), steps: 12 });
    const after = fresh.statistics();
    expect(after.sessionsOpened - before.sessionsOpened).toBe(2);
    expect(after.runs - before.runs).toBeGreaterThanOrEqual(4);
  });
});

describe("wrong calls", () => {
  it("says what would be right", async () => {
    const f = await polynomialAt("powers", [1, 2, 2]);
    await expect(integratedGradients(f, { steps: 0 })).rejects.toThrow(
      /steps must be a whole number of at least 1, not 0/,
    );
    await expect(integratedGradients(f, { steps: 64, maxSteps: 32 })).rejects.toThrow(
      /maxSteps must be at least the 64/,
    );
    await expect(integratedGradients(f, { rule: "simpson" as "trapezoid" })).rejects.toThrow(
      /"gauss-legendre" or "trapezoid"/,
    );
    await expect(integratedGradients(f, { tolerance: 0 })).rejects.toThrow(/tolerance must be above 0/);
    await expect(integratedGradients(f, { baseline: float32([2], [1, 2]) })).rejects.toThrow(
      /shape \[2\] and does not fit the explained \[3\]/,
    );
    await expect(integratedGradients(f, { baseline: float32([2, 3], [1, 2, 3, 4, 5, 6]) })).rejects.toThrow(
      /does not fit/,
    );
    await expect(integratedGradients(f, { baseline: tensorOf("float64", [1], [Number.NaN]) })).rejects.toThrow(
      /NaN at element 0/,
    );
    await expect(expectedGradients(f, { baselines: [] })).rejects.toThrow(/at least one baseline/);
    const model = await openTiny();
    const of = "logit(#7)";
    await expect(modelFunction(model, clean, { of, at: "layers.*.residPre" })).rejects.toThrow(/stands for \d+ sites/);
    await expect(modelFunction(model, clean, { of, at: "layers.0.attn.result" })).rejects.toThrow(
      /recorded and not clamped/,
    );
    await expect(modelFunction(model, clean, { of, at: "embed[0]" })).rejects.toThrow(/selects rows/);
    await expect(modelFunction(model, clean, { of, batchTokens: 0 })).rejects.toThrow(/batchTokens/);
    const whole = await modelFunction(model, clean, { of: ({ last }) => reduceSum(last("logits"), [0, 1]) });
    await expect(integratedGradients(whole, { steps: 4 })).rejects.toThrow(/one number a row/);
    const network = captumNetwork(runtime);
    const feeds = { x: float32([1, 2, 3], captumCases.x) };
    await expect(networkFunction(network, feeds, { of: element(1), at: "nothing" })).rejects.toThrow(
      /no site "nothing"/,
    );
    await expect(networkFunction(network, feeds, { of: element(1), at: "*" })).rejects.toThrow(/stands for 4 sites/);
    await expect(networkFunction(network, feeds, { of: ({ site }) => site("out"), at: "x" })).rejects.toThrow(
      /one number a row, shape \[batch\]/,
    );
    await expect(networkFunction(network, feeds, { of: element(1), at: "x", features: [2] })).rejects.toThrow(
      /features/,
    );
  });
});
