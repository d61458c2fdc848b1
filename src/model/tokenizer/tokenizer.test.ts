/** What the interface promises beyond the right ids: properties of any text, streams, single tokens, chats. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tokenizerFromFiles } from "./index.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/tokenizer/${name}.tokenizer.json`, import.meta.url), "utf8"));

const smollm = tokenizerFromFiles({ tokenizer: read("smollm") });
const llama = tokenizerFromFiles({ tokenizer: read("llama") });
const wordpiece = tokenizerFromFiles({ tokenizer: read("wordpiece") });

/** Any text without halves of surrogate pairs, which no encoding of bytes can give back. */
const anyText = fc.string({ unit: "binary" });
const anyIds = fc.array(fc.nat({ max: smollm.vocabularySize - 1 }), { maxLength: 30 });

describe("byte-level tokens", () => {
  it("give any text back", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const tokens = smollm.encode(text);
        expect(smollm.decode(tokens.map(({ id }) => id))).toBe(text);
      }),
    );
  });

  it("cover any text without a gap, and their offsets show them", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const tokens = smollm.encode(text);
        let covered = 0;
        for (const { start, end, text: shown, bytes } of tokens) {
          expect(start).toBeLessThanOrEqual(covered);
          covered = end;
          if (bytes === undefined) expect(text.slice(start, end)).toBe(shown);
        }
        expect(covered).toBe(text.length);
      }),
    );
  });

  it("read half of a surrogate pair as U+FFFD, one unit long", () => {
    const tokens = smollm.encode("a\ud83db");
    expect(smollm.decode(tokens.map(({ id }) => id))).toBe("a\ufffdb");
    expect(tokens.at(-1)).toMatchObject({ start: 2, end: 3 });
  });

  it("carry bytes exactly where they are not text", () => {
    const parts = smollm.encode("🦄");
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.flatMap(({ bytes }) => bytes)).toEqual([0xf0, 0x9f, 0xa6, 0x84]);
    for (const part of parts) expect(part).toMatchObject({ start: 0, end: 2 });
    expect(smollm.encode("a")[0]).not.toHaveProperty("bytes");
  });
});

describe("ids", () => {
  it("have the offsets of their text in the decoded text", () => {
    fc.assert(
      fc.property(anyIds, (ids) => {
        const text = smollm.decode(ids);
        const tokens = smollm.ids(ids);
        expect(tokens.map(({ id }) => id)).toEqual(ids);
        for (const token of tokens) {
          if (token.bytes === undefined) expect(text.slice(token.start, token.end)).toBe(token.text);
        }
        expect(tokens.at(-1)?.end ?? 0).toBe(text.length);
      }),
    );
  });

  it("share the offsets of a character that is spread over them", () => {
    const tokens = smollm.encode("x🦄y");
    const ids = tokens.map(({ id }) => id);
    expect(smollm.ids(ids)).toEqual(tokens);
    // Cut off, the character reads as one U+FFFD.
    expect(smollm.ids(ids.slice(0, 2)).at(-1)).toMatchObject({ start: 1, end: 2, text: "\ufffd" });
  });

  it("follow what the decoder drops before a first word", () => {
    const ids = llama.encode("the the", { bos: false }).map(({ id }) => id);
    const text = llama.decode(ids);
    expect(text).toBe("the the");
    const tokens = llama.ids(ids);
    expect(tokens.map(({ start, end }) => text.slice(start, end)).join("")).toBe(text);
  });

  it("outside the vocabulary are refused everywhere", () => {
    const message = /token #99999 is not in the vocabulary, whose ids go from 0 to 699/;
    expect(() => smollm.token(99999)).toThrow(message);
    expect(() => smollm.decode([0, 99999])).toThrow(message);
    expect(() => smollm.ids([99999])).toThrow(message);
    expect(() => smollm.decoder().push(99999)).toThrow(message);
    expect(() => smollm.single("#99999")).toThrow(message);
    expect(() => smollm.token(-1)).toThrow("#-1");
    expect(() => smollm.token(0.5)).toThrow("#0.5");
  });
});

describe("a stream", () => {
  it("gives the text of all ids, and never half a character", () => {
    fc.assert(
      fc.property(anyIds, (ids) => {
        const decoder = smollm.decoder();
        const parts = ids.map((id) => decoder.push(id));
        expect(parts.join("") + decoder.flush()).toBe(smollm.decode(ids));
      }),
    );
    const decoder = smollm.decoder();
    const parts = smollm.encode("a😀b").map(({ id }) => decoder.push(id));
    expect(parts.filter((part) => part !== "")).toEqual(["a", "😀", "b"]);
    expect(decoder.flush()).toBe("");
  });

  it("shows what was left incomplete when it ends, and starts afresh", () => {
    const decoder = smollm.decoder();
    expect(decoder.push(smollm.encode("🦄")[0]?.id as number)).toBe("");
    expect(decoder.flush()).toBe("\ufffd");
    expect(decoder.push(smollm.single("a"))).toBe("a");
  });

  it("keeps the space before a first word only where it continues a text", () => {
    const the = llama.single(" the");
    const decoder = llama.decoder();
    expect([decoder.push(the), decoder.push(the)]).toEqual(["the", " the"]);
    expect(llama.decoder({ continuing: true }).push(the)).toBe(" the");
  });

  it("leaves special tokens out on request", () => {
    const decoder = llama.decoder({ skipSpecial: true });
    expect(decoder.push(1)).toBe("");
    expect(decoder.push(llama.single(" the"))).toBe("the");
  });
});

describe("a single token", () => {
  it("is found by text and by id", () => {
    const id = smollm.single(" the");
    expect(smollm.token(id).text).toBe(" the");
    expect(smollm.single(`#${id}`)).toBe(id);
    expect(smollm.single("<|im_end|>")).toBe(2);
  });

  it("of a model that puts a space before every text is read as it stands inside a text", () => {
    expect(llama.token(llama.single(" he")).text).toBe(" he");
    expect(llama.token(llama.single("he")).text).toBe("he");
  });

  it("that is several is refused with the split", () => {
    expect(() => smollm.single("he he")).toThrow(/^"he he" is 2 tokens, not one: "he" #\d+ \+ " he" #\d+$/);
    expect(() => smollm.single("")).toThrow('"" is 0 tokens, not one');
    expect(() => smollm.single("1".repeat(50))).toThrow(/ \+ \.\.\.$/);
  });

  it("that is unknown is refused, unless it is the unknown token itself", () => {
    expect(() => wordpiece.single("☃")).toThrow('"☃" is not in the vocabulary: it reads as "[UNK]" #1');
    expect(wordpiece.single("[UNK]")).toBe(1);
  });
});

describe("special tokens around a text", () => {
  it("follow the model's setting unless told otherwise", () => {
    const ids = (options?: { bos: boolean }) => llama.encode("the", options).map(({ id }) => id);
    const the = llama.single(" the");
    expect(ids()).toEqual([1, the]);
    expect(ids({ bos: true })).toEqual([1, the]);
    expect(ids({ bos: false })).toEqual([the]);
    expect(wordpiece.encode("the").map(({ text }) => text)).toEqual(["[CLS]", "the", "[SEP]"]);
    expect(wordpiece.encode("the", { bos: false }).map(({ text }) => text)).toEqual(["the"]);
  });

  it("cannot be asked of a model that has none", () => {
    expect(smollm.bos).toBeUndefined();
    expect(() => smollm.encode("a", { bos: true })).toThrow("no beginning-of-text token");
  });

  it("come from the model's other files", () => {
    const config = { bos_token: { content: "<|im_start|>" }, eos_token: "<|im_end|>", add_bos_token: true };
    const named = tokenizerFromFiles({ tokenizer: read("smollm"), config, generation: { eos_token_id: [0, 2] } });
    expect(named.bos).toBe(1);
    expect(named.eos).toEqual([0, 2]);
    expect(named.encode("a").map(({ id }) => id)).toEqual([1, smollm.single("a")]);
    const silent = tokenizerFromFiles({ tokenizer: read("llama"), config: { add_bos_token: false } });
    expect(silent.encode("the")).toEqual(llama.encode("the", { bos: false }));
  });
});

describe("a chat", () => {
  const chat_template =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + eos_token + '\\n' }}{% endfor %}" +
    "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const config = { eos_token: "<|im_end|>", chat_template };
  const tokenizer = tokenizerFromFiles({ tokenizer: read("smollm"), config });
  const hi = { role: "user", content: "Hi" };

  it("is written by the model's template", () => {
    expect(tokenizer.chat([hi])).toBe("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    expect(tokenizer.chat([hi], { addGenerationPrompt: false })).toBe("<|im_start|>user\nHi<|im_end|>\n");
  });

  it("takes a system message, which replaces one that is there", () => {
    const expected = "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    expect(tokenizer.chat([hi], { system: "Be brief" })).toBe(expected);
    expect(tokenizer.chat([{ role: "system", content: "x" }, hi], { system: "Be brief" })).toBe(expected);
  });

  it("takes the template named default of several", () => {
    const templates = [
      { name: "other", template: "other" },
      { name: "default", template: "chosen" },
    ];
    const several = tokenizerFromFiles({ tokenizer: read("smollm"), config: { chat_template: templates } });
    expect(several.chat([hi])).toBe("chosen");
  });

  it("fails in one clear line", () => {
    expect(() => smollm.chat([hi])).toThrow("no chat template");
    expect(() => tokenizer.chat([])).toThrow("at least one message");
    expect(() => tokenizer.chat([{ role: "tool", content: "" }])).toThrow(
      /template refuses these messages: .*no tools/,
    );
    const broken = tokenizerFromFiles({ tokenizer: read("smollm"), config: { chat_template: "{% for %}" } });
    expect(() => broken.chat([hi])).toThrow("cannot read the model's chat template");
  });
});

describe("a text of any length", () => {
  it("takes no quadratic time", () => {
    const before = performance.now();
    expect(smollm.decode(smollm.encode("a".repeat(100_000)).map(({ id }) => id))).toHaveLength(100_000);
    expect(llama.encode(" ".repeat(100_000)).length).toBeGreaterThan(0);
    expect(wordpiece.encode("e".repeat(100_000))).toHaveLength(3);
    // Some 0.5 s on an idle core; quadratic time would be minutes.
    expect(performance.now() - before).toBeLessThan(10_000);
  }, 20_000);
});
