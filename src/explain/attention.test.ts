/** Attention patterns against the recorded site. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { clean, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { type Model, open, recorded } from "../model/index.js";
import { row, toNumbers } from "../runtime/index.js";
import { attentionPatterns } from "./index.js";

let model: Model;
beforeAll(async () => {
  model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
});
afterAll(() => model.close());

it("returns every head of every layer, in order", async () => {
  const { heads, tokens } = await attentionPatterns(model, clean);
  expect(tokens.map(({ id }) => id)).toEqual(clean);
  expect(heads.map(({ layer, head }) => `${layer}.${head}`)).toEqual(
    [0, 1, 2].flatMap((layer) => [0, 1, 2, 3].map((head) => `${layer}.${head}`)),
  );
  for (const { layer, head, pattern } of heads) {
    const site = `layers.${layer}.attn.pattern`;
    const whole = recorded(await model.record(clean, site), site);
    expect(pattern.shape).toEqual([9, 9]);
    expect(pattern.data).toEqual(row(row(whole, 0), head).data);
  }
});

it("holds probabilities over the keys up to each position", async () => {
  const { heads } = await attentionPatterns(model, clean);
  for (const { pattern } of heads) {
    const values = toNumbers(pattern);
    for (let query = 0; query < 9; query++) {
      const keys = [...values.subarray(query * 9, query * 9 + 9)];
      expect(keys.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6); // a float32 softmax of at most 9 terms
      expect(keys.slice(query + 1).every((p) => p === 0)).toBe(true);
    }
  }
});

it("returns only the chosen layers and heads", async () => {
  const all = await attentionPatterns(model, clean);
  const some = await attentionPatterns(model, clean, { layers: [2, 0], heads: [3] });
  expect(some.heads.map(({ layer, head }) => [layer, head])).toEqual([
    [2, 3],
    [0, 3],
  ]);
  expect(some.heads[0]?.pattern.data).toEqual(all.heads[11]?.pattern.data);
  expect(some.heads[0]?.pattern.data).not.toEqual(all.heads[10]?.pattern.data);
});

it.each([
  [{ layers: [3] }, "there is no layer 3: the model has layers 0 to 2"],
  [{ heads: [-1] }, "there is no head -1: the model has heads 0 to 3"],
  [{ heads: [] }, "no head was chosen"],
])("refuses %j", async (options, message) => {
  await expect(attentionPatterns(model, clean, options)).rejects.toMatchObject({ kind: "usage", message });
});
