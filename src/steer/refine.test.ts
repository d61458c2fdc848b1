/** Refined vectors where the answer is known, against what their gradient predicts, and under each of their limits. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, divergence, headOf, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { type Model, open, recordedRow } from "../model/index.js";
import { type RefineOptions, randomVector, refineSteering, steer } from "./index.js";

const prompts = [clean, corrupt.slice(0, 6)];
const texts = [
  [4, 8, 15, 16, 23, 42],
  [2, 3, 5, 7, 11, 13, 17],
];
const metric = "logit(#9) - logit(#4)";

describe.each(["llama-gqa", "gpt2-odd"])("refined steering of %s", (name) => {
  let model: Model;
  const site = "layers.0.residPost";
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  const refine = (options: Partial<RefineOptions> = {}) =>
    refineSteering(model, { prompts, metric, site, steps: 6, ...options });
  const measured = async (view: Model) => {
    const values = await Promise.all(
      prompts.map(async (ids) => {
        const logits = await lastLogits(view, ids);
        return (logits[9] as number) - (logits[4] as number);
      }),
    );
    return values.reduce((a, b) => a + b, 0) / values.length;
  };

  it.each(["all", "last", { from: 1, to: -1 }] as const)(
    "gains what the gradient predicts, at %o",
    async (positions) => {
      const { history } = await refine({ optimizer: "ascent", stepSize: 1e-3, steps: 1, positions });
      const [start, next] = history as [(typeof history)[0], (typeof history)[0]];
      expect(start.norm).toBe(0);
      const gain = (next.metric - start.metric) / (start.gradientNorm * next.norm);
      expect(Math.abs(gain - 1)).toBeLessThan(0.05); // the second order, and differences of float32 logits
    },
  );

  it("climbs along the unembedding where the metric is linear", async () => {
    const head = await headOf(model);
    const wanted = head.column(9).map((x, i) => x - (head.column(4)[i] as number));
    const { vector, history } = await refine({ site: "finalNorm", positions: "last", optimizer: "ascent", steps: 1 });
    const found = [...vector.vector.data];
    const scale = vector.norm / Math.hypot(...wanted);
    expect(Math.hypot(...found.map((x, i) => x - scale * (wanted[i] as number)))).toBeLessThan(1e-5 * vector.norm);
    expect(history[0]?.gradientNorm).toBeCloseTo(Math.hypot(...wanted), 4);
  });

  it("never falls by ascent, and ends at what it reports", async () => {
    const done: number[] = [];
    const { history, vector, stopped } = await refine({ optimizer: "ascent", onProgress: (step) => done.push(step) });
    expect(stopped).toBe("steps");
    expect(done).toEqual([1, 2, 3, 4, 5, 6]);
    history.slice(1).forEach(({ metric }, i) => {
      expect(metric).toBeGreaterThan(history[i]?.metric as number);
    });
    expect(history[0]?.metric).toBeCloseTo(await measured(model), 4);
    expect(await measured(steer(model, vector))).toBeCloseTo(history.at(-1)?.metric as number, 4);
  });

  it("rises by Adam, far above a random vector of its length", async () => {
    const { history, vector } = await refine({ steps: 15, stepSize: 0.05 });
    const best = Math.max(...history.map(({ metric }) => metric));
    const start = history[0]?.metric as number;
    expect(await measured(steer(model, vector))).toBeCloseTo(best, 4);
    for (const seed of [1, 2, 3]) {
      const gain = (await measured(steer(model, randomVector(vector, seed)))) - start;
      expect(best - start).toBeGreaterThan(2 * gain);
    }
  });

  it("starts anywhere, with a seeded displacement", async () => {
    const { vector: start } = await refine({ steps: 2 });
    const again = await refine({ start, steps: 1 });
    expect(again.history[0]?.norm).toBeCloseTo(start.norm, 4);
    const noisy = async (seed: number) => (await refine({ noise: 0.1, seed, steps: 1 })).vector;
    expect(await noisy(1)).toEqual(await noisy(1));
    expect((await noisy(1)).vector).not.toEqual((await noisy(2)).vector);
  });

  it("stays in its ball", async () => {
    const { history, vector } = await refine({ maxNorm: 0.3, stepSize: 0.5 });
    for (const { norm } of history) expect(norm).toBeLessThan(0.3 * (1 + 1e-6));
    expect(vector.norm).toBeGreaterThan(0.29);
    expect((await refine({ stepSize: 0.5 })).vector.norm).toBeGreaterThan(0.6);
  });

  it("keeps other texts as they are, for what that weighs", async () => {
    const free = await refine({ fluency: { prompts: texts, weight: 0 }, steps: 10, stepSize: 0.1 });
    const held = await refine({ fluency: { prompts: texts, weight: 50 }, steps: 10, stepSize: 0.1 });
    const kl = async (view: Model) => {
      let sum = 0;
      for (const ids of texts) {
        const [before, after] = [await model.record(ids, "logits"), await view.record(ids, "logits")].map(
          (recording) => [...(recordedRow(recording, "logits").data as Float32Array)],
        ) as [number[], number[]];
        const size = model.config.vocabulary;
        ids.forEach((_, p) => {
          sum += divergence(before.slice(p * size, (p + 1) * size), after.slice(p * size, (p + 1) * size));
        });
      }
      return sum / texts.flat().length;
    };
    const best = (found: typeof free) => found.history.reduce((a, b) => (b.objective > a.objective ? b : a));
    expect(free.history[0]?.kl).toBeCloseTo(0, 9);
    expect(best(free).kl as number).toBeCloseTo(await kl(steer(model, free.vector)), 5);
    expect(best(held).objective).toBeCloseTo(best(held).metric - 50 * (best(held).kl as number), 8);
    expect(best(held).kl as number).toBeLessThan(0.5 * (best(free).kl as number));
    expect(best(free).metric).toBeGreaterThan(best(held).metric);
  });

  it("predicts the gain of an objective with a KL", async () => {
    const { vector: start } = await refine({ steps: 3, stepSize: 0.1 });
    const options = {
      start,
      optimizer: "ascent",
      stepSize: 1e-3,
      steps: 1,
      fluency: { prompts: texts, weight: 20 },
    } as const;
    const { history } = await refine(options);
    const [first, next] = history as [(typeof history)[0], (typeof history)[0]];
    const { vector } = await refine(options);
    const moved = Math.hypot(...vector.vector.data.map((x, i) => x - (start.vector.data[i] as number)));
    const gain = (next.objective - first.objective) / (first.gradientNorm * moved);
    expect(Math.abs(gain - 1)).toBeLessThan(0.1); // the second order, and differences of float32 logits
  });

  it("stops at a target, without progress, or on a signal", async () => {
    const all = await refine({ optimizer: "ascent" });
    const target = (all.history[2]?.metric as number) - 1e-6;
    const early = await refine({ optimizer: "ascent", target });
    expect([early.stopped, early.history.length]).toEqual(["target", 3]);
    const flat = await refine({ metric: "0 * logit(#9)", optimizer: "ascent" });
    expect([flat.stopped, flat.vector.norm]).toEqual(["stuck", 0]);
    const bounded = await refine({ maxNorm: 1e-3, stepSize: 1, steps: 30, patience: 3 });
    expect(bounded.stopped).toBe("patience");
    const controller = new AbortController();
    const stopped = refine({ signal: controller.signal, onProgress: () => controller.abort() });
    await expect(stopped).rejects.toThrow(/abort/i);
  });

  it("runs batches and one graph", async () => {
    const whole = await refine({ steps: 2 });
    const before = model.statistics().sessionsOpened;
    const split = await refine({ steps: 2, batchTokens: 9 });
    expect(model.statistics().sessionsOpened - before).toBeLessThanOrEqual(1); // one row in a batch is the same graph
    expect(split.history.at(-1)?.metric).toBeCloseTo(whole.history.at(-1)?.metric as number, 3);
  });

  it.each([
    [{ metric: "layers.0.mlp.act[:, -1, 1]" }, /does not depend on/],
    [
      {
        metric: () => {
          throw new Error("own error");
        },
      },
      /own error/,
    ],
    [{ optimizer: "sgd" as "adam" }, /optimizer is one of/],
    [{ steps: 0 }, /steps must be/],
    [{ stepSize: 0 }, /stepSize must be above 0/],
    [{ maxNorm: -1 }, /maxNorm must be above 0/],
    [{ noise: -1 }, /noise must be at least 0/],
    [{ fluency: { prompts: [], weight: 1 } }, /fluency.prompts must be a list/],
    [{ fluency: { prompts: texts, weight: -1 } }, /fluency.weight/],
    [{ site: "layers.*.residPost" }, /stands for/],
  ] as [Partial<RefineOptions>, RegExp][])("refuses %o", async (options, message) => {
    await expect(refine(options)).rejects.toThrow(message);
  });

  it("needs a site", async () => {
    await expect(refineSteering(model, { prompts, metric })).rejects.toThrow(/needs a site/);
  });
});
