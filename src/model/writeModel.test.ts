/** A model written is the model that was opened, whatever its architecture; half precision rounds to the nearest. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Tensor } from "../runtime/index.js";
import { narrowHalf, readSafetensors } from "./formats/index.js";
import { open } from "./open.js";
import { writeModel } from "./writeModel.js";

const folder = mkdtempSync(join(tmpdir(), "write-model-"));
afterAll(() => rmSync(folder, { recursive: true }));
const checkpoints = new URL("../../test/fixtures/models/", import.meta.url);

async function weightsOf(path: string) {
  const model = await open(path, { cache: join(folder, "cache") });
  const weights = new Map<string, Tensor<"float32">>();
  for (const name of model.weights.shapes.keys()) weights.set(name, await model.weights.get(name));
  await model.close();
  return weights;
}

describe("writeModel", () => {
  it.each(["gpt2", "llama-gqa", "llama-tied"])(
    "%s: what is opened, written and opened again is the same",
    async (name) => {
      const source = new URL(`${name}/`, checkpoints).pathname;
      const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
      const weights = await weightsOf(source);
      await writeModel(join(folder, name), { config, weights });
      expect(await weightsOf(join(folder, name))).toEqual(weights);
      const [theirs, ours] = [
        await readSafetensors(join(source, "model.safetensors")),
        await readSafetensors(join(folder, name, "model.safetensors")),
      ];
      for (const [tensor, { shape }] of Object.entries(ours.tensors))
        expect(theirs.tensors[tensor]?.shape ?? shape).toEqual(shape);
    },
  );

  it("says which weight is missing or of another shape", async () => {
    const source = new URL("llama-tied/", checkpoints).pathname;
    const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
    const weights = await weightsOf(source);
    const missing = new Map([...weights].filter(([name]) => name !== "layers.0.attn.q.weight"));
    await expect(writeModel(join(folder, "x"), { config, weights: missing })).rejects.toThrow(
      /"layers.0.attn.q.weight" is missing/,
    );
    await expect(writeModel(join(folder, "x"), { config: { ...config, vocab_size: 3 }, weights })).rejects.toThrow(
      /embed.weight/,
    );
    await expect(writeModel(join(folder, "x"), { config: { model_type: "none" }, weights })).rejects.toThrow(
      /architecture "none"/,
    );
  });
});

describe("narrowHalf", () => {
  it("rounds to the nearest half, ties to even, as IEEE 754 has it", () => {
    const cases: [number, number][] = [
      [0, 0],
      [-0, 0x8000],
      [1, 0x3c00],
      [-2, 0xc000],
      [65504, 0x7bff],
      [65519, 0x7bff],
      [65520, 0x7c00],
      [1e9, 0x7c00],
      [2 ** -24, 1],
      [2 ** -25, 0],
      [1.5 * 2 ** -24, 2],
      [2 ** -14, 0x0400],
      [1 + 2 ** -11, 0x3c00],
      [1 + 3 * 2 ** -11, 0x3c02],
      [0.1, 0x2e66],
      [Number.POSITIVE_INFINITY, 0x7c00],
      [6.0975e-5, 0x03ff],
    ];
    for (const [x, bits] of cases) expect(narrowHalf(x), String(x)).toBe(bits);
    expect(narrowHalf(Number.NaN) & 0x7c00).toBe(0x7c00);
  });
});
