/** The effect of a clamp against the two recorded distributions, compared in float64. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  clean,
  divergence,
  lastLogits,
  logSoftmax,
  modelsFolder,
  ranking,
} from "../../test/fixtures/explain/byHand.js";
import { add, type Model, open, scale, zero } from "../model/index.js";
import { clampEffect } from "./index.js";

/** Logits of some units, rounded in float32 sums of 20 to 30 products. */
const tolerance = 1e-5;

describe.each(["llama-gqa", "gpt2-odd"])("the effect of a clamp on %s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  it("agrees with the computation by hand", async () => {
    const view = model.with(zero("layers.0.attn.z[head=1]"));
    const effect = await clampEffect(model, view, clean, { top: 7 });
    const [before, after] = [await lastLogits(model, clean), await lastLogits(view, clean)];
    const [p, q] = [before, after].map((logits) => logSoftmax(logits).map(Math.exp)) as [number[], number[]];
    expect(effect.tokens.map(({ id }) => id)).toEqual(clean);
    expect(effect.before.map(({ id }) => id)).toEqual(ranking(before).slice(0, 7));
    expect(effect.after.map(({ id }) => id)).toEqual(ranking(after).slice(0, 7));
    const change = p.map((x, i) => Math.abs(x - (q[i] as number)));
    expect(effect.movers.map(({ id }) => id)).toEqual(ranking(change).slice(0, 7));
    for (const mover of effect.movers) {
      expect(mover.text).toBe(`#${mover.id}`);
      expect(Math.abs(mover.before - (p[mover.id] as number))).toBeLessThan(tolerance);
      expect(Math.abs(mover.after - (q[mover.id] as number))).toBeLessThan(tolerance);
    }
    expect(change[effect.movers[0]?.id as number]).toBeGreaterThan(100 * tolerance);
    expect(Math.abs(effect.kl - divergence(before, after))).toBeLessThan(tolerance);
    expect(Math.abs(divergence(before, after) - divergence(after, before))).toBeGreaterThan(100 * tolerance); // the way round matters
  });

  it("measures a divergence far below what float32 resolves", async () => {
    const view = model.with(add("finalNorm[:, -1, 2]", 3e-4));
    const effect = await clampEffect(model, view, clean);
    const wanted = divergence(await lastLogits(model, clean), await lastLogits(view, clean));
    expect(wanted).toBeGreaterThan(0);
    expect(wanted).toBeLessThan(1e-8); // one float32 rounding of a log-probability is 1e-7
    // The recorded logits and those of the last token alone differ in the last bit, which is 1% of so small a change.
    expect(Math.abs(effect.kl - wanted)).toBeLessThan(0.05 * wanted);
  });

  it("is exactly nothing for a clamp that does nothing", async () => {
    const effect = await clampEffect(model, model.with(scale("layers.1.mlp.out", 1)), clean);
    expect(effect.kl).toBe(0);
    expect(effect.after).toEqual(effect.before);
    for (const { before, after } of effect.movers) expect(after).toBe(before);
  });

  it("compares a clamped view with another", async () => {
    const [one, two] = [model.with(zero("layers.0.mlp.out")), model.with(zero("layers.1.mlp.out"))];
    const { kl } = await clampEffect(one, two, clean);
    expect(Math.abs(kl - divergence(await lastLogits(one, clean), await lastLogits(two, clean)))).toBeLessThan(
      tolerance,
    );
  });

  it("refuses more tokens than there are", async () => {
    await expect(clampEffect(model, model, clean, { top: 62 })).rejects.toMatchObject({ kind: "usage" });
  });
});
