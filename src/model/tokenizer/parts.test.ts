/** Single normalisers, splitters and added tokens against the Rust library's (`test/fixtures/tokenizer/parts.json`). */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { alignedText, rewrite } from "./aligned.js";
import { tokenizerFromFiles } from "./files.js";
import { normalizerOf } from "./normalize.js";
import { splitterOf } from "./split.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/tokenizer/${name}`, import.meta.url), "utf8"));

interface Parts {
  readonly texts: readonly string[];
  readonly normalizers: readonly (readonly [unknown, readonly (string | null)[]])[];
  readonly splitters: readonly (readonly [unknown, readonly number[][]])[];
  readonly added: {
    readonly normalizer: unknown;
    readonly added_tokens: unknown;
    readonly rows: readonly (readonly [string, number[], number[]])[];
  };
  readonly affixes: { readonly tokenizer: unknown; readonly rows: readonly (readonly [string, number[], number[]])[] };
}
const { texts, normalizers, splitters, added, affixes }: Parts = read("parts.json");

describe("normalisers", () => {
  it.each(normalizers.map(([config, rows]) => [JSON.stringify(config).slice(0, 120), config, rows] as const))(
    "%s",
    (_, config, rows) => {
      const normalizer = normalizerOf(config, "normalizer");
      const results = texts.map((text) => [text, normalizer(alignedText(text), true).text]);
      expect(results).toEqual(texts.map((text, i) => [text, rows[i] ?? text]));
    },
  );
});

describe("splitters", () => {
  it.each(splitters.map(([config, rows]) => [JSON.stringify(config), config, rows] as const))(
    "%s",
    (_, config, rows) => {
      const splitter = splitterOf(config, "pre_tokenizer");
      const results = texts.map((text) => [
        text,
        splitter(alignedText(text), true).flatMap(({ starts, ends }) => [starts[0], ends.at(-1)]),
      ]);
      expect(results).toEqual(texts.map((text, i) => [text, rows[i]]));
    },
  );
});

describe("added tokens", () => {
  const { normalizer, added_tokens } = added;
  const tokenizer = tokenizerFromFiles({ tokenizer: { ...read("gpt2.tokenizer.json"), normalizer, added_tokens } });

  it.each(added.rows)("%j", (text, ids, offsets) => {
    const tokens = tokenizer.encode(text);
    expect(tokens.map(({ id }) => id)).toEqual(ids);
    expect(tokens.flatMap(({ start, end }) => [start, end])).toEqual(offsets);
  });
});

describe("pairs with marks inside and at the end of words", () => {
  const tokenizer = tokenizerFromFiles({ tokenizer: affixes.tokenizer });

  it.each(affixes.rows)("%j", (text, ids, offsets) => {
    const tokens = tokenizer.encode(text);
    expect(tokens.map(({ id }) => id)).toEqual(ids);
    // The token at the end stands for no text: 0, 0 in Rust, here the end of the text.
    const ends = [...offsets.slice(0, -2), text.length, text.length];
    expect(tokens.flatMap(({ start, end }) => [start, end])).toEqual(ends);
  });
});

describe("alignment", () => {
  it("follows a composed character to all the marks that it was made of", () => {
    const composed = normalizerOf({ type: "NFC" }, "normalizer")(alignedText("xe\u0301y"), true);
    expect(composed.text).toBe("xéy");
    expect([...composed.starts]).toEqual([0, 1, 3]);
    expect([...composed.ends]).toEqual([1, 3, 4]);
  });

  it("gives both halves of a pair of surrogates the whole character", () => {
    const { starts, ends } = alignedText("a😀");
    expect([...starts]).toEqual([0, 1, 1]);
    expect([...ends]).toEqual([1, 3, 3]);
  });

  it("aligns inserted, replaced and kept text", () => {
    const { text, starts, ends } = rewrite(alignedText("abcd"), [
      { from: 0, to: 0, text: "_" },
      { from: 1, to: 3, text: "XYZ" },
    ]);
    expect(text).toBe("_aXYZd");
    expect([...starts]).toEqual([0, 0, 1, 1, 1, 3]);
    expect([...ends]).toEqual([1, 1, 3, 3, 3, 4]);
  });
});
