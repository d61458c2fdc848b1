/** Generation on tiny checkpoints: why it ends, what it streams, and that a batch is so many single runs. */
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { openTiny, scratch, tinyFolder, tinyPrompts } from "../../test/support/tinyModel.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import { add, type Clamp, type GenerateOptions, type Model, patch, scale, set, zero } from "./index.js";

const { A, B, C } = tinyPrompts;
/** What the model continues A with, greedily: the reference's own answer. */
const greedy = [55, 48, 28, 46, 48, 29, 4, 29, 35, 29, 49, 48];
const euro = 0x20ac;

/** The tiny model with a tokenizer of bytes, in which the greedy answer reads "€x", a broken byte, and the end. */
function withTokenizer(): string {
  const folder = join(scratch, "with-tokenizer");
  cpSync(`${tinyFolder}llama-gqa`, folder, { recursive: true });
  const special: Record<number, string> = { 55: "â", 48: "Ĥ", 28: "¬", 46: "x", 29: "<end>", 4: "yz" };
  const vocab = Object.fromEntries(Array.from({ length: 61 }, (_, id) => [special[id] ?? `t${id}`, id]));
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const added = [
    { id: 29, content: "<end>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ];
  const tokenizer = {
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: bytes,
    post_processor: null,
    decoder: bytes,
    model: { type: "BPE", vocab, merges: [] },
  };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: 29 }));
  return folder;
}

let model: Model;
let reading: Model;
beforeAll(async () => {
  model = await openTiny();
  reading = await openTiny(withTokenizer());
});

/** A continuation, and the pieces that were streamed. */
async function stream(of: Model, prompt: number[], options: GenerateOptions) {
  const pieces: string[] = [];
  const ids: number[] = [];
  const result = await of.generate(prompt, {
    ...options,
    stream: ({ row, id, text }) => {
      expect(row).toBe(0);
      pieces.push(text);
      if (ids[ids.length - 1] !== id || text !== "") ids.push(id);
    },
  });
  return { ...result, pieces };
}

describe("ends", () => {
  it("after maxTokens", async () => {
    expect(await model.generate(A, { maxTokens: 12 })).toMatchObject({ ids: greedy, finish: "length" });
    expect(await model.generate(A, { maxTokens: 1 })).toMatchObject({ ids: [55], text: "#55", finish: "length" });
    expect(await model.generate(A, { maxTokens: 0 })).toMatchObject({ ids: [], text: "", finish: "length" });
    await expect(model.generate(A, { maxTokens: -1 })).rejects.toThrow(
      "maxTokens must be a whole number of at least 0, not -1",
    );
    await expect(model.generate(A, { maxTokens: 1, topP: 2 })).rejects.toThrow("topP must lie in (0, 1], not 2");
  });

  it("at the model's own end, which is not part of it", async () => {
    const result = await reading.generate(A, { maxTokens: 12 });
    expect(result).toMatchObject({ ids: greedy.slice(0, 5), finish: "end" });
    expect(result.text).toBe(`${String.fromCodePoint(euro)}x\ufffd`);
    expect((await reading.generate(A, { maxTokens: 12, ignoreEnd: true })).ids).toEqual(greedy);
  });

  it.each([
    ["within a token", "48", "#55#"],
    ["at a token's border", "#48", "#55"],
    ["across two tokens", "5#4", "#5"],
    ["across three", "5#48#2", "#5"],
    ["at the very beginning", "#5", ""],
    ["after it looked like beginning twice", "#48#29", "#55#48#28#46"],
  ])("at a stop text %s", async (_, stop, text) => {
    const result = await stream(model, A, { maxTokens: 12, stop: [stop] });
    expect(result).toMatchObject({ text, finish: "stop" });
    expect(result.pieces.join("")).toBe(text);
  });

  it("at the first of several stop texts, and never at an empty one", async () => {
    expect(await model.generate(A, { maxTokens: 12, stop: ["#46", "8#2", ""] })).toMatchObject({
      text: "#55#4",
      ids: [55, 48, 28],
    });
    expect(await model.generate(A, { maxTokens: 3, stop: ["nothing", ""] })).toMatchObject({
      finish: "length",
      text: "#55#48#28",
    });
  });

  it("at the model's context", async () => {
    const long = Array.from({ length: 126 }, (_, i) => (i % 50) + 3);
    const result = await model.generate(long, { maxTokens: 12 });
    expect(result.finish).toBe("context");
    expect(result.ids).toHaveLength(3); // at positions 126 and 127, and the one after the last
    await expect(model.generate([...long, 1, 2, 3])).rejects.toThrow(
      "the prompt has 129 tokens; the model's context is 128",
    );
  });

  it("in one row of a batch while another goes on past the context (learned positions)", async () => {
    const learned = await openTiny("gpt2");
    const { context } = learned.config;
    const long = Array.from({ length: context - 1 }, (_, i) => (i % 50) + 3);
    const [first, second] = await learned.generateAll([long, C], { maxTokens: 9 });
    expect(first).toMatchObject({ finish: "context", ids: (await learned.generate(long, { maxTokens: 9 })).ids });
    expect(second).toMatchObject({ finish: "length", ids: (await learned.generate(C, { maxTokens: 9 })).ids });
  });
});

describe("streams", () => {
  it.each<[string, GenerateOptions]>([
    ["plain", {}],
    ["with a stop text that never comes", { stop: ["8#3", "#49#49", "8#2x"] }],
    ["with one that begins at the end", { stop: ["#48#"] }],
    ["sampled", { temperature: 1.5, seed: 4 }],
  ])("pieces that concatenate to the text: %s", async (_, options) => {
    const { pieces, text } = await stream(model, A, { maxTokens: 12, ...options });
    expect(pieces.join("")).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
  });

  it("whole characters, and the broken one at the end", async () => {
    const { pieces, text } = await stream(reading, A, { maxTokens: 12 });
    expect(pieces.join("")).toBe(text);
    expect(pieces.filter((piece) => piece !== "")).toEqual([String.fromCodePoint(euro), "x", "\ufffd"]);
  });

  it("each row under its own number", async () => {
    const texts = ["", ""];
    const results = await model.generateAll([A, C], {
      maxTokens: 5,
      stream: ({ row, text }) => {
        texts[row] += text;
      },
    });
    expect(texts).toEqual(results.map(({ text }) => text));
    expect(texts[0]).not.toBe(texts[1]);
  });
});

describe("abort", () => {
  it("before the first step", async () => {
    const reason = new Error("not now");
    await expect(model.generate(A, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("in the middle", async () => {
    const controller = new AbortController();
    let seen = 0;
    const running = model.generate(A, {
      maxTokens: 100,
      signal: controller.signal,
      stream: () => {
        seen += 1;
        if (seen === 3) controller.abort();
      },
    });
    await expect(running).rejects.toThrow(/abort/i);
    expect(seen).toBe(3);
  });
});

describe("clamps", () => {
  const act = "layers.1.mlp.act";
  const steps = async (clamps: Clamp[], prompts: number[][] = [A]) =>
    (await model.with(...clamps).generateAll(prompts, { maxTokens: 4, logits: true })).map(({ logits }) => logits);

  it("with values for the prompt's positions say nothing about later ones", async () => {
    const values = tensorOf("float32", [9, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const whole = await steps([set(act, values)]);
    expect(whole).toEqual(await steps([set(`${act}[:, 0:9]`, values)]));
    expect(whole).not.toEqual(await steps([set(act, 3)]));
    const source = await model.record([A, C], act);
    const patched = await steps([scale(act, 2), patch(act, source)], [A, C]);
    expect(patched).toEqual(await steps([scale(`${act}[0, 9:]`, 2), scale(`${act}[1, 4:]`, 2)], [A, C]));
  });

  it("of one row ask nothing of shorter ones", async () => {
    const both = await steps([set(`${act}[row=0, position=-6:]`, 1)], [A, C]);
    expect(both[0]).not.toEqual((await steps([], [A, C]))[0]);
    expect(both[1]).toEqual((await steps([], [A, C]))[1]);
  });
});

describe("a batch", () => {
  const prompts = [A, C, B];

  it.each<[string, (own: Model) => Model]>([
    ["plain", (own) => own],
    ["clamped", (own) => own.with(add("layers.1.residPost[:, -1]", 0.3), zero("layers.0.attn.z[head=1]"))],
    ["clamped at places of the prompt", (own) => own.with(set("layers.1.mlp.act[:, 1:3]", 0.5))],
    ["clamped from the newest back", (own) => own.with(set("layers.1.mlp.act[:, -2:3]", 0.5))],
  ])("equals single runs, in tokens and logits: %s", async (_, make) => {
    const view = make(model);
    const together = await view.generateAll(prompts, { maxTokens: 6, logits: true });
    for (const [r, prompt] of prompts.entries()) {
      const alone = await view.generate(prompt, { maxTokens: 6, logits: true });
      expect(together[r]?.ids).toEqual(alone.ids);
      expect(together[r]?.logits).toHaveLength(6);
      alone.logits?.forEach((step, i) => {
        // sums over padded keys run in another order
        expect(worstRow(together[r]?.logits?.[i] as Tensor, step).error).toBeLessThan(1e-5);
      });
    }
  });

  it("draws each row from its own stream", async () => {
    const options = { maxTokens: 12, temperature: 2, seed: 9 };
    const [first, second] = await model.generateAll([A, A], options);
    expect(first?.ids).toEqual((await model.generate(A, options)).ids);
    expect(second?.ids).not.toEqual(first?.ids);
    expect((await model.generateAll([A, A], options)).map(({ ids }) => ids)).toEqual([first?.ids, second?.ids]);
    expect((await model.generate(A, { ...options, seed: 10 })).ids).not.toEqual(first?.ids);
  });

  it("goes on with the rows that have not ended", async () => {
    const [first, second] = await reading.generateAll([A, C], { maxTokens: 12 });
    expect(first).toMatchObject({ finish: "end", ids: greedy.slice(0, 5) });
    expect(second?.ids).toEqual((await reading.generate(C, { maxTokens: 12 })).ids);
  });
});

it("keeps logits only where asked, and measures its speed", async () => {
  const { logits, tokensPerSecond } = await model.generate(A, { maxTokens: 4 });
  expect(logits).toBeUndefined();
  expect(tokensPerSecond).toBeGreaterThan(0);
});
