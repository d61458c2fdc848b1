/** A sweep of strengths against logits that were recorded one prompt and one strength at a time. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  clean,
  corrupt,
  divergence,
  lastLogits,
  logSoftmax,
  modelsFolder,
} from "../../test/fixtures/explain/byHand.js";
import { type Model, open, recordedRow } from "../model/index.js";
import { type SteeringVector, type StrengthOptions, steer, steeringVector, sweepStrength } from "./index.js";

/** Logits of some units in float32. */
const tolerance = 1e-4;

const prompts = [clean, corrupt.slice(0, 5), clean.slice(2)];
const fluency = [
  [4, 8, 15, 16, 23, 42],
  [2, 3, 5],
];
const strengths = [0, 1, -2];
const metric = "logit(#9) - logit(#4)";

describe.each(["llama-gqa", "gpt2-odd"])("strengths in %s", (name) => {
  let model: Model;
  let vector: SteeringVector;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    vector = await steeringVector(model, { site: "layers.0.residPost", positive: [clean], negative: [corrupt] });
  });
  afterAll(() => model.close());

  const sweep = (options: Partial<StrengthOptions> = {}) =>
    sweepStrength(model, vector, { strengths, prompts, metric, fluency, ...options });
  const logitsOf = async (view: Model, ids: readonly number[]) => {
    const data = [...(recordedRow(await view.record(ids, "logits"), "logits").data as Float32Array)];
    return ids.map((_, p) => data.slice(p * model.config.vocabulary, (p + 1) * model.config.vocabulary));
  };

  it.each(["all", "last"] as const)("agree with single runs, at %s", async (positions) => {
    const points = await sweep({ positions, batchTokens: 12 });
    expect(points.map(({ strength }) => strength)).toEqual(strengths);
    for (const { strength, perPrompt, metric: mean, perplexity, kl } of points) {
      const view = steer(model, vector, { strength, positions });
      for (const [i, ids] of prompts.entries()) {
        const logits = await lastLogits(view, ids);
        expect(Math.abs((perPrompt[i] as number) - (logits[9] as number) + (logits[4] as number))).toBeLessThan(
          tolerance,
        );
      }
      expect(mean).toBeCloseTo(perPrompt.reduce((a, b) => a + b, 0) / prompts.length, 6);
      let [surprisal, moved] = [0, 0];
      for (const ids of fluency) {
        const [before, after] = [await logitsOf(model, ids), await logitsOf(view, ids)];
        ids.forEach((id, p) => {
          moved += divergence(before[p] as number[], after[p] as number[]);
          if (p > 0) surprisal -= logSoftmax(after[p - 1] as number[])[id] as number;
        });
      }
      expect(Math.abs((perplexity as number) / Math.exp(surprisal / 7) - 1)).toBeLessThan(tolerance);
      expect(Math.abs((kl as number) - moved / 9)).toBeLessThan(tolerance);
    }
    const [none, some] = points;
    expect(none?.kl).toBeLessThan(1e-9); // a strength of 0 changes nothing; other sums round otherwise
    expect(some?.kl).toBeGreaterThan(10 * tolerance);
  });

  it("run one graph for all strengths, and report what is done", async () => {
    const done: number[] = [];
    await sweep({ onProgress: (count, total) => done.push(count / total) });
    const { sessionsOpened } = model.statistics();
    await sweep({ strengths: [0.5, 0.25, 8] });
    expect(model.statistics().sessionsOpened).toBe(sessionsOpened);
    expect(done.at(-1)).toBe(1);
    expect(done).toHaveLength(6);
  });

  it("can do without fluency, and steer along several vectors", async () => {
    const points = await sweepStrength(model, [vector, vector], { strengths: [1], prompts, metric });
    expect(points[0]?.perplexity).toBeUndefined();
    const twice = await sweepStrength(model, vector, { strengths: [2], prompts, metric });
    expect(Math.abs((points[0]?.metric as number) - (twice[0]?.metric as number))).toBeLessThan(tolerance);
  });

  it.each([
    [{ strengths: [] }, /no strength/],
    [{ prompts: [] }, /prompts must be a list/],
    [{ fluency: [[3, 4], [3]] }, /fluency text 1 has one token/],
    [{ metric: ({ last }: { last: (name: string) => never }) => last("logits") }, /one number a row/],
    [{ signal: AbortSignal.abort() }, /abort/i],
  ] as [Partial<StrengthOptions>, RegExp][])("refuse %o", async (options, message) => {
    await expect(sweep(options)).rejects.toThrow(message);
  });
});
