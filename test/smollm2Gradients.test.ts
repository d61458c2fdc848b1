/**
 * Gradients of the real model against PyTorch's, at every residual stream of ten prompts (as sketches, support/sketch.ts),
 * and against what small steps along them do. The twin on tiny checkpoints, which never skips, is gradients.test.ts.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, type Model, open, readSafetensors, recordedRow } from "../src/model/index.js";
import { row, type Tensor, tensorOf, toNumbers } from "../src/runtime/index.js";
import { needsRealModel, realModel } from "./support/realModel.js";
import { sketch, sketchError } from "./support/sketch.js";

const folder = new URL("./fixtures/gradients/", import.meta.url).pathname;

/** Thirty layers in float32, forward and back, against float64; the estimate of a sketch is within 18%. */
const tolerance = 1e-3;

interface PromptCase {
  readonly ids: number[];
  readonly tokens: number[];
  readonly best: readonly [number, number];
  readonly value: number;
}

const { sites, prompts } = JSON.parse(readFileSync(`${folder}smollm2.json`, "utf8")) as {
  sites: string[];
  prompts: Record<string, PromptCase>;
};
const difference = ({ best: [a, b] }: PromptCase) => `logit(#${a}) - logit(#${b})`;

describe.skipIf(realModel === undefined)(`SmolLM2's gradients (${needsRealModel})`, { timeout: 600_000 }, () => {
  let model: Model;
  let sketches: Record<string, Tensor>;

  beforeAll(async () => {
    model = await open(realModel as string);
    sketches = (await readSafetensors(`${folder}smollm2.safetensors`)).tensors;
  });
  afterAll(() => model.close());

  /** The errors of a prompt's sketched tokens, each site's relative to the token's own norm. */
  const errorsOf = async (name: string, of: string) => {
    const { ids, tokens } = prompts[name] as PromptCase;
    const found = await model.gradient(ids, { of, at: sites });
    const errors = sites.flatMap((site, s) =>
      tokens.map((token, t) => {
        const wanted = toNumbers(row(row(sketches[name] as Tensor, s), t));
        const own = toNumbers(row(recordedRow(found, site), token));
        // What nothing reads after the last layer has no gradient there, on either side.
        if (wanted.at(-1) === 0) expect(own).toEqual(new Float64Array(own.length));
        return { site, token, error: sketchError(sketch(own), wanted), norm: wanted.at(-1) };
      }),
    );
    return { errors, value: found.values[0] as number };
  };

  it.each(Object.keys(prompts))("agree at every residual stream in the prompt %s", async (name) => {
    const prompt = prompts[name] as PromptCase;
    const { errors, value } = await errorsOf(name, difference(prompt));
    const compared = errors.filter(({ norm }) => norm !== 0);
    expect(compared.length).toBe((sites.length - 2) * prompt.tokens.length + 2); // the last residMid and residPost
    expect(compared.filter(({ error }) => !(error <= tolerance))).toEqual([]);
    expect(Math.abs(value - prompt.value)).toBeLessThan(1e-3); // float32 of logits near 20
  });

  it("are far from those of another metric", async () => {
    const { errors } = await errorsOf("capital", `logit(#${(prompts.capital as PromptCase).best[0]})`);
    expect(errors.filter(({ norm, error }) => norm !== 0 && error < 100 * tolerance)).toEqual([]);
  });

  it.each(["embed", "layers.14.residPost", "layers.28.residPost"])(
    "predict what a small step against them does to the metric: %s",
    async (site) => {
      const { ids, ...rest } = prompts.capital as PromptCase;
      const of = difference({ ids, ...rest });
      const found = await model.gradient(ids, { of, at: site });
      const gradient = recordedRow(found, site);
      const slope = toNumbers(gradient).reduce((sum, x) => sum + x * x, 0);
      const metricAfter = async (fall: number) => {
        const step = tensorOf(
          "float32",
          gradient.shape,
          toNumbers(gradient).map((x) => (-fall / slope) * x),
        );
        const { value } = await model.with(add(site, step)).compute(ids, ({ metric }) => ({ value: metric(of) }));
        return toNumbers(value as Tensor)[0] as number;
      };
      const start = await metricAfter(0);
      expect(start).toBeCloseTo(found.values[0] as number, 4);
      const errors: number[] = [];
      for (const fall of [0.4, 0.1, 0.025]) errors.push(Math.abs((start - (await metricAfter(fall))) / fall - 1));
      // What is left out is of second order, so the relative error shrinks with the step (measured at `embed`, where it is
      // largest: 5%, 0.9%, 0.2%); float32 ends it at 1e-5 of 0.025.
      expect(errors[2]).toBeLessThan(5e-3);
      expect(errors[2]).toBeLessThan((errors[0] as number) / 4);
    },
  );
});
