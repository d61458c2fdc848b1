/** PEFT's own adapters, read: logits of the adapted models, twenty steps of training, and the way back. */
import { readFileSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openTiny, scratch } from "../../../test/support/tinyModel.js";
import { type Model, readSafetensors, writeSafetensors } from "../../model/index.js";
import { type Tensor, tensor, tensorOf, toNumbers } from "../../runtime/index.js";
import { adamW } from "../optimizers/index.js";
import { train } from "../train.js";
import { type Adapter, applyAdapter, languageModelStep, readAdapter, writeAdapter } from "./index.js";

const folder = new URL("../../../test/fixtures/adapt/", import.meta.url).pathname;
const models: Record<string, string> = {
  "lora-llama": "llama-gqa",
  "dora-llama": "llama-gqa",
  "ia3-llama": "llama-tied",
  "vera-llama": "llama-gqa",
  "lora-gpt2": "gpt2",
  "dora-gpt2": "gpt2",
  "ia3-gpt2": "gpt2",
};

let reference: Record<string, Tensor>;
beforeAll(async () => {
  reference = (await readSafetensors(`${folder}reference.safetensors`)).tensors;
});
const found = (name: string) => reference[name] as Tensor;
const prompts = () => {
  const ids = [...toNumbers(found("prompt"))];
  return [ids.slice(0, 16), ids.slice(16)];
};

/** Agreement as it is defined here: each row's distance as a share of its length. */
function worstRow(got: Tensor, want: Tensor): number {
  expect(got.shape).toEqual(want.shape);
  const width = want.shape.at(-1) as number;
  const [a, b] = [toNumbers(got), toNumbers(want)];
  let worst = 0;
  for (let at = 0; at < b.length; at += width) {
    const [x, y] = [a.subarray(at, at + width), b.subarray(at, at + width)];
    worst = Math.max(worst, Math.hypot(...x.map((value, i) => value - (y[i] as number))) / Math.hypot(...y));
  }
  return worst;
}

async function logitsWith(model: Model, adapter: Adapter, scale = 1): Promise<Tensor> {
  const view = await applyAdapter(model, adapter, { scale });
  return (await view.record(prompts(), "logits")).sites.logits as Tensor;
}

describe.each(Object.entries(models))("%s", (name, modelName) => {
  it("gives the logits that peft gives", async () => {
    const model = await openTiny(modelName);
    const adapter = await readAdapter(folder + name, model);
    // Float32 against float64: the models themselves agree within 3e-6.
    expect(worstRow(await logitsWith(model, adapter), found(`${name}.logits`))).toBeLessThan(1e-5);
    expect(worstRow(await logitsWith(model, adapter, 1.01), found(`${name}.logits`))).toBeGreaterThan(1e-4);
  });

  it("comes back from a folder of our own", async () => {
    const model = await openTiny(modelName);
    const adapter = await readAdapter(folder + name, model);
    const own = join(scratch, name);
    await writeAdapter(own, model, adapter);
    const again = await readAdapter(own, model);
    expect(worstRow(await logitsWith(model, again), found(`${name}.logits`))).toBeLessThan(1e-5);
    const stored = await readSafetensors(join(folder + name, "adapter_model.safetensors"));
    const written = await readSafetensors(join(own, "adapter_model.safetensors"));
    expect(Object.keys(written.tensors).sort()).toEqual(Object.keys(stored.tensors).sort());
  });
});

describe.each(["lora-llama", "dora-llama", "ia3-llama", "vera-llama", "dora-gpt2"])("%s, trained", (name) => {
  it("takes peft's path over 20 steps of AdamW", async () => {
    const model = await openTiny(models[name] as string);
    const adapter = await readAdapter(`${folder}${name}-start`, model);
    const [size, context] = [4, 12];
    const run = languageModelStep(model, {
      adapter,
      batch: { size, context },
      optimizer: adamW({ rate: 0.01, decay: 0 }),
    });
    const ids = toNumbers(found("ids"));
    const rowsOf = (step: number, offset: number) => {
      const at = (row: number) => (step * size + row) * (context + 1) + offset;
      const rows = Array.from({ length: size }, (_, row) => [...ids.subarray(at(row), at(row) + context)]);
      return tensorOf("int64", [size, context], rows.flat());
    };
    const share = tensor("float32", [size], new Float32Array(size).fill(1 / context));
    const { parameters, history } = await train(
      run.step,
      (step) => ({ ids: rowsOf(step, 0), targets: rowsOf(step, 1), share }),
      { steps: 20 },
    );
    const losses = toNumbers(found(`${name}.losses`));
    // Losses of about 4.
    expect(worstRow(tensorOf("float32", [1, 20], history.get("loss") as number[]), reshape(losses))).toBeLessThan(2e-6);
    const own = join(scratch, `${name}-trained`);
    await writeAdapter(own, model, run.adapter(parameters));
    const written = (await readSafetensors(join(own, "adapter_model.safetensors"))).tensors;
    for (const [key, value] of Object.entries(written)) {
      const want = found(`${name}.end.${key}`);
      const distance = Math.max(...toNumbers(value).map((x, i) => Math.abs(x - (toNumbers(want)[i] as number))));
      expect(distance, key).toBeLessThan(1e-5);
    }
    expect(Object.keys(written).length).toBe(
      Object.keys(reference).filter((key) => key.startsWith(`${name}.end.`)).length,
    );
  });
});

const reshape = (values: Float64Array) => tensorOf("float32", [1, values.length], values);

describe("reading", () => {
  const broken = async (change: (settings: Record<string, unknown>) => void) => {
    const own = join(scratch, "broken");
    await cp(`${folder}lora-llama`, own, { recursive: true });
    const path = join(own, "adapter_config.json");
    const settings = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    change(settings);
    writeFileSync(path, JSON.stringify(settings));
    return own;
  };

  it.each([
    [{ peft_type: "LOHA" }, /"peft_type" is "LOHA"; supported here: LORA, IA3, VERA/],
    [{ modules_to_save: ["lm_head"] }, /"modules_to_save" is \["lm_head"\], which is not supported/],
    [{ bias: "all" }, /"bias" is "all"/],
    [{ alpha_pattern: { "(a+)+$": 3 } }, /is an expression; only names/],
    [{ use_dora: true }, /has lora_A, lora_B of model\.layers\.0.*no lora_magnitude_vector/],
    [{ lora_dropout: 2 }, /"lora_dropout" must be a number from 0 to below 1/],
  ])("refuses %j", async (changes, message) => {
    const model = await openTiny("llama-gqa");
    await expect(readAdapter(await broken((settings) => Object.assign(settings, changes)), model)).rejects.toThrow(
      message,
    );
  });

  it("refuses an adapter of another model, by name or by shape", async () => {
    await expect(readAdapter(`${folder}lora-llama`, await openTiny("gpt2"))).rejects.toThrow(
      /holds "base_model\.model\.model\.layers\.0.*which is no part of/,
    );
    await expect(readAdapter(`${folder}dora-llama`, await openTiny("llama-tied"))).rejects.toThrow(
      /layers\.2\..*which is no part of|for this model it must be/,
    );
  });

  it("refuses matrices that do not fit", async () => {
    const model = await openTiny("llama-gqa");
    const own = await broken(() => {});
    const path = join(own, "adapter_model.safetensors");
    const { tensors } = await readSafetensors(path);
    const name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    await writeSafetensors(path, { ...tensors, [name]: tensorOf("float32", [1, 3], [1, 2, 3]) });
    await expect(readAdapter(own, model)).rejects.toThrow(/q_proj\.lora_B is \[1, 3\]; for this model.*\[32, 3\]/);
  });
});
