/** What our trainer learns is what Hugging Face's learns, and its library reads the file. */
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { trainBpe, trainBpeStream } from "./index.js";

interface Case {
  readonly special: readonly string[];
  readonly pattern: string | null;
  readonly file: { readonly model: { readonly merges: readonly string[] } };
  readonly ids: readonly number[];
}
const fixture = JSON.parse(readFileSync(new URL("../../../test/fixtures/data/bpe.json", import.meta.url), "utf8")) as {
  readonly texts: readonly string[];
  readonly probe: string;
  readonly cases: Readonly<Record<string, Case>>;
};
const plainCase = fixture.cases.plain as Case;

describe.each(Object.entries(fixture.cases))("trainBpe, %s", (_, { special, pattern, file, ids }) => {
  const options = { vocabulary: 360, special, ...(pattern === null ? {} : { pattern }) };

  it("writes the file that Hugging Face's trainer writes", () => {
    const made = trainBpe(fixture.texts, options);
    expect(made).toEqual(file);
    expect(Object.keys(made.model.vocab).length).toBe(360);
  });

  it("writes a file that the JavaScript library encodes and decodes with", () => {
    // JavaScript's \s, with which the library cuts GPT-2's words, is not Rust's in these two.
    const probe = fixture.probe.replace(/[\u0085\ufeff]/g, "");
    const tokenizer = new Tokenizer(trainBpe(fixture.texts, options), {});
    const made = tokenizer.encode(probe).ids;
    expect(tokenizer.decode(made, { skip_special_tokens: false, clean_up_tokenization_spaces: false })).toBe(probe);
    // The signs that were taken out come later.
    expect(made.slice(0, 20)).toEqual(ids.slice(0, 20));
  });
});

describe("trainBpe", () => {
  it("learns others from another text", () => {
    const { model } = trainBpe(fixture.texts.slice(0, 5), { vocabulary: 360, special: ["<|end|>"] });
    expect(model.merges).not.toEqual(plainCase.file.model.merges);
  });

  it("learns the same from a stream", async () => {
    async function* stream() {
      yield* fixture.texts;
    }
    expect(await trainBpeStream(stream(), { vocabulary: 360, special: ["<|end|>"] })).toEqual(plainCase.file);
  });

  it("merges equal letters from the left, and stops where no pair is left", () => {
    expect(trainBpe(["aa aa aa"], { vocabulary: 1000 }).model.merges).toEqual(["a a", "Ġ aa"]);
    expect(trainBpe(["aaaaa"], { vocabulary: 1000 }).model.merges).toEqual(["a a"]);
    expect(trainBpe(["aaaaa"], { vocabulary: 1000, least: 1 }).model.merges).toEqual(["a a", "aa a", "aa aaa"]);
  });

  it.each<[string, () => unknown, RegExp]>([
    ["no text", () => trainBpe([], { vocabulary: 300 }), /there is no text/],
    ["only an empty text", () => trainBpe([""], { vocabulary: 300 }), /there is no text/],
    ["a small vocabulary", () => trainBpe(["a"], { vocabulary: 200 }), /vocabulary of 200 has no room for 256 bytes/],
    ["a half", () => trainBpe(["a"], { vocabulary: 300.5 }), /vocabulary of 300.5/],
    ["a token twice", () => trainBpe(["a"], { vocabulary: 300, special: ["<e>", "<e>"] }), /"<e>" can't be a special/],
    ["a byte's letter", () => trainBpe(["a"], { vocabulary: 300, special: ["a"] }), /"a" can't be a special/],
    [
      "a broken pattern",
      () => trainBpe(["a"], { vocabulary: 300, pattern: "(" }),
      /pattern \( is no regular expression/,
    ],
  ])("refuses %s", (_, call, message) => {
    expect(call).toThrow(message);
  });
});
