/** What our trainer learns is what Hugging Face's learns. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { trainBpe } from "./bpe.js";

const fixture = JSON.parse(readFileSync(new URL("../../../test/fixtures/data/bpe.json", import.meta.url), "utf8")) as {
  readonly texts: readonly string[];
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly string[];
};

describe("trainBpe", () => {
  it("learns the merges and ids of Hugging Face's trainer", () => {
    const { model } = trainBpe(fixture.texts, { vocabulary: 420, special: ["<|end|>"] });
    expect(model.merges).toEqual(fixture.merges);
    expect(model.vocab).toEqual(fixture.vocab);
  });

  it("learns others from another text", () => {
    const { model } = trainBpe(fixture.texts.slice(0, 5), { vocabulary: 420, special: ["<|end|>"] });
    expect(model.merges).not.toEqual(fixture.merges);
  });

  it("stops where no pair is left, and says what it needs", () => {
    expect(trainBpe(["aa aa aa"], { vocabulary: 1000 }).model.merges).toEqual(["a a", "Ġ aa"]);
    expect(() => trainBpe([], { vocabulary: 300 })).toThrow(/no text/);
    expect(() => trainBpe(["a"], { vocabulary: 200 })).toThrow(/no room for 256 bytes/);
  });
});
