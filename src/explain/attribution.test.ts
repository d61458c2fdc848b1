/** Direct logit attribution: the terms add up, and each is what float64 loops over the recorded parts give. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { activation, clean, dot, headOf, modelsFolder, normOf } from "../../test/fixtures/explain/byHand.js";
import { add, type Model, open, scale, zero } from "../model/index.js";
import { toNumbers } from "../runtime/index.js";
import { type AttributionTerm, directLogitAttribution } from "./index.js";

const sumOf = (terms: readonly AttributionTerm[]) => terms.reduce((sum, { value }) => sum + value, 0);

describe.each(["llama-gqa", "llama-tied", "llama-sharded", "gpt2", "gpt2-odd"])("attribution in %s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  const cases = [
    { target: 20 },
    { target: 3, versus: 44 },
    { target: 44, versus: 3, position: 0 },
    { target: 8, versus: 9, position: -3 },
  ];

  it.each(cases)("adds up to the logit: %j", async (options) => {
    const { total, terms, position } = await directLogitAttribution(model, clean, options);
    const logits = await activation(model, clean, "logits", position);
    const wanted =
      (logits[options.target] as number) - (options.versus === undefined ? 0 : (logits[options.versus] as number));
    expect(position).toBe(((options.position ?? -1) + clean.length) % clean.length);
    expect(Math.abs(total - wanted)).toBeLessThan(1e-5 * Math.max(1, Math.abs(wanted))); // two float32 products of one row
    // The stream is a float32 sum of a few parts, each of which rounds at 6e-8 of it.
    expect(Math.abs(sumOf(terms) - total)).toBeLessThan(1e-4 * Math.abs(total));
  });

  it.each(cases)("gives each part its share: %j", async (options) => {
    const { terms, position } = await directLogitAttribution(model, clean, options);
    const { config, weights } = model;
    const head = await headOf(model);
    const unembedding = head
      .column(options.target)
      .map((x, i) => x - (options.versus === undefined ? 0 : (head.column(options.versus)[i] as number)));
    const final = await activation(model, clean, `layers.${config.layers - 1}.residPost`, position);
    const { divisor } = normOf(head, final);
    const share = (part: readonly number[]) => {
      const mean = head.bias === undefined ? 0 : part.reduce((a, b) => a + b, 0) / part.length;
      return dot(
        part.map((x, i) => ((x - mean) / divisor) * (head.gain[i] as number)),
        unembedding,
      );
    };
    const here = (site: string) => activation(model, clean, site, position);
    const wanted: [string, number][] = [["embed", share(await here("embed"))]];
    for (let layer = 0; layer < config.layers; layer++) {
      const results = await here(`layers.${layer}.attn.result`);
      for (let h = 0; h < config.heads; h++)
        wanted.push([`layers.${layer}.attn.h${h}`, share(results.slice(h * config.width, (h + 1) * config.width))]);
      if (config.bias.attentionOut)
        wanted.push([
          `layers.${layer}.attn.bias`,
          share([...toNumbers(await weights.get(`layers.${layer}.attn.o.bias`))]),
        ]);
      wanted.push([`layers.${layer}.mlp`, share(await here(`layers.${layer}.mlp.out`))]);
    }
    if (head.bias !== undefined) wanted.push(["bias", dot(head.bias, unembedding)]);
    expect(terms.map((term) => term.name)).toEqual(wanted.map(([part]) => part));
    const largest = Math.max(...wanted.map(([, value]) => Math.abs(value)));
    terms.forEach((term, i) => {
      expect(Math.abs(term.value - (wanted[i]?.[1] as number)), term.name).toBeLessThan(1e-6 * largest); // float64, rounded once
    });
  });

  it("names kinds, layers and heads", async () => {
    const { terms } = await directLogitAttribution(model, clean, { target: 20 });
    const kinds = new Set(terms.map(({ kind }) => kind));
    expect(kinds.has("bias")).toBe(model.config.norm === "layer");
    expect(kinds.has("attention bias")).toBe(model.config.bias.attentionOut);
    expect(terms.find((term) => term.name === "layers.1.attn.h1")).toMatchObject({ layer: 1, head: 1, kind: "head" });
    expect(terms.filter(({ kind }) => kind === "head")).toHaveLength(model.config.layers * model.config.heads);
  });

  it("is nothing like a sum over the wrong token's direction", async () => {
    const one = await directLogitAttribution(model, clean, { target: 20 });
    const other = await directLogitAttribution(model, clean, { target: 21 });
    expect(Math.abs(sumOf(other.terms) - one.total)).toBeGreaterThan(1e-2 * Math.abs(one.total));
  });

  it("sees a clamped part, and still adds up", async () => {
    const { total, terms } = await directLogitAttribution(model.with(zero("layers.1.attn.z[head=1]")), clean, {
      target: 20,
    });
    expect(terms.find((term) => term.name === "layers.1.attn.h1")?.value).toBe(0);
    expect(Math.abs(sumOf(terms) - total)).toBeLessThan(1e-4 * Math.max(1, Math.abs(total)));
  });

  it("says so when a clamp makes the stream more than the sum of its parts", async () => {
    for (const clamp of [scale("layers.0.residMid", 3), add("layers.1.residPost[:, -1, 2]", 50)]) {
      await expect(directLogitAttribution(model.with(clamp), clean, { target: 20 })).rejects.toMatchObject({
        kind: "usage",
        message: expect.stringContaining("a clamp changes the residual stream outside its parts"),
      });
    }
  });

  it.each([
    [{ target: 61 }, "the target 61 is not a token id; ids go from 0 to 60"],
    [{ target: 1, versus: -1 }, "the token to compare with -1 is not a token id; ids go from 0 to 60"],
    [{ target: 1, position: 9 }, "position 9 is out of range: the prompt has 9 tokens, positions 0 to 8"],
    [{ target: 1, position: -10 }, "position -10 is out of range: the prompt has 9 tokens, positions 0 to 8"],
  ])("refuses %j", async (options, message) => {
    await expect(directLogitAttribution(model, clean, options)).rejects.toMatchObject({ kind: "usage", message });
  });
});
