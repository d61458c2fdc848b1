/** The logit lens against float64 loops over recorded streams and weights. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  activation,
  clean,
  divergence,
  headOf,
  lastLogits,
  logitsOf,
  logSoftmax,
  modelsFolder,
  ranking,
} from "../../test/fixtures/explain/byHand.js";
import { type Model, open, zero } from "../model/index.js";
import { type Lens, type LensPosition, logitLens } from "./index.js";

/** Logits of some units, rounded in float32 sums of 20 to 30 products: 1e-6 of each, and a little more in nats. */
const tolerance = 1e-5;

describe.each(["llama-gqa", "llama-tied", "llama-sharded", "gpt2", "gpt2-odd"])("logit lens of %s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  const byHand = async (site: string, position: number, target: number, view = model) => {
    const head = await headOf(view);
    const logits = logitsOf(head, await activation(view, clean, site, position));
    const final = await activation(view, clean, "logits", position);
    const probabilities = logSoftmax(logits).map(Math.exp);
    const order = ranking(logits);
    return {
      top: order.slice(0, 5).map((id) => ({ id, probability: probabilities[id] as number })),
      target: { rank: order.indexOf(target) + 1, probability: probabilities[target] as number },
      kl: divergence(final, logits),
    };
  };

  it("agrees with the computation by hand at every layer and position", async () => {
    const target = 20;
    const lens = await logitLens(model, clean, { target });
    expect(lens.tokens.map(({ id }) => id)).toEqual(clean);
    expect(lens.layers.map(({ site }) => site)).toEqual([
      "embed",
      ...Array.from({ length: model.config.layers }, (_, i) => `layers.${i}.residPost`),
    ]);
    for (const { site, positions } of lens.layers) {
      expect(positions).toHaveLength(clean.length);
      for (const [p, found] of positions.entries()) {
        const wanted = await byHand(site, p, target);
        expect(found.top.map(({ id }) => id)).toEqual(wanted.top.map(({ id }) => id));
        found.top.forEach(({ probability }, i) => {
          expect(Math.abs(probability - (wanted.top[i]?.probability as number))).toBeLessThan(tolerance);
        });
        expect(found.target?.rank).toBe(wanted.target.rank);
        expect(Math.abs((found.target?.probability as number) - wanted.target.probability)).toBeLessThan(tolerance);
        expect(Math.abs(found.kl - wanted.kl)).toBeLessThan(tolerance * Math.max(1, wanted.kl));
      }
    }
  });

  it("tells layers, positions and targets apart by far more than the tolerance", async () => {
    const { layers } = await logitLens(model, clean, { target: 20 });
    const at = (layer: number, position: number) => layers[layer]?.positions[position] as LensPosition;
    expect(Math.abs(at(0, 3).kl - at(1, 3).kl)).toBeGreaterThan(100 * tolerance);
    expect(Math.abs(at(1, 3).kl - at(1, 4).kl)).toBeGreaterThan(100 * tolerance);
  });

  it("ends in the model's own prediction", async () => {
    const { layers } = await logitLens(model, clean, { top: 61 });
    const final = layers[layers.length - 1]?.positions[clean.length - 1] as LensPosition;
    const probabilities = logSoftmax(await lastLogits(model, clean)).map(Math.exp);
    expect(final.kl).toBe(0);
    expect(final.top.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 6);
    for (const { id, probability } of final.top)
      expect(Math.abs(probability - (probabilities[id] as number))).toBeLessThan(tolerance);
  });

  it("gives the same numbers when few logits fit at once, in one more session", async () => {
    const whole = await logitLens(model, clean, { target: 7 });
    for (const logitsAtOnce of [1, 2 * 61 * whole.layers.length, 4 * 61 * whole.layers.length]) {
      const before = model.statistics().sessionsOpened;
      const parts = await logitLens(model, clean, { target: 7, logitsAtOnce });
      expect(model.statistics().sessionsOpened - before).toBeLessThanOrEqual(1);
      parts.layers.forEach(({ positions }, i) => {
        positions.forEach((found, p) => {
          const wanted = whole.layers[i]?.positions[p] as LensPosition;
          expect(found.top.map(({ id }) => id)).toEqual(wanted.top.map(({ id }) => id));
          expect(Math.abs(found.kl - wanted.kl)).toBeLessThan(tolerance);
          expect(found.target?.rank).toBe(wanted.target?.rank);
        });
      });
    }
  });

  it("reads other sites, without the final stream among them", async () => {
    const { layers } = await logitLens(model, clean, { sites: ["layers.0.residMid", "layers.*.mlp.out"], top: 1 });
    expect(layers.map(({ site }) => site)).toEqual([
      "layers.0.residMid",
      ...Array.from({ length: model.config.layers }, (_, i) => `layers.${i}.mlp.out`),
    ]);
    const wanted = await byHand("layers.0.residMid", 2, 0);
    expect(Math.abs((layers[0]?.positions[2]?.kl as number) - wanted.kl)).toBeLessThan(
      tolerance * Math.max(1, wanted.kl),
    );
    expect(layers[0]?.positions[2]?.target).toBeUndefined();
  });

  it("reads a clamped view's streams", async () => {
    const view = model.with(zero("layers.0.mlp.out"));
    const [found, plain] = await Promise.all([logitLens(view, clean), logitLens(model, clean)]);
    expect(found.layers[0]?.positions[2]?.top).toEqual(plain.layers[0]?.positions[2]?.top);
    const wanted = await byHand("layers.0.residPost", 2, 0, view);
    const { kl, top } = (found.layers[1] as Lens["layers"][number]).positions[2] as LensPosition;
    expect(top.map(({ id }) => id)).toEqual(wanted.top.map(({ id }) => id));
    expect(Math.abs(kl - wanted.kl)).toBeLessThan(tolerance * Math.max(1, wanted.kl));
    expect(Math.abs(kl - (plain.layers[1]?.positions[2]?.kl as number))).toBeGreaterThan(100 * tolerance);
  });

  it("reads an edited model's head", async () => {
    const { weights } = model;
    const halved = (await weights.get("finalNorm.weight")).data.map((x) => x / 2);
    const view = model.withWeights({ "finalNorm.weight": halved });
    const { layers } = await logitLens(view, clean);
    const wanted = await byHand("layers.0.residPost", 4, 0, view);
    const found = layers[1]?.positions[4]?.top[0]?.probability as number;
    expect(Math.abs(found - (wanted.top[0]?.probability as number))).toBeLessThan(tolerance);
    const plain = await byHand("layers.0.residPost", 4, 0);
    expect(Math.abs(found - (plain.top[0]?.probability as number))).toBeGreaterThan(100 * tolerance);
  });

  it.each([
    [{ sites: ["layers.0.attn.z"] }, "is not a residual stream"],
    [{ sites: ["embed[:, 0]"] }, "whole sites are needed"],
    [{ sites: ["embed@before"] }, "before clamps"],
    [{ sites: [] }, "at least one site"],
    [{ top: 0 }, "top must be a whole number from 1"],
    [{ top: 62 }, "the vocabulary's 61"],
    [{ target: 61 }, "the target 61 is not a token id"],
  ])("refuses %j", async (options, message) => {
    await expect(logitLens(model, clean, options)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining(message),
    });
  });
});
