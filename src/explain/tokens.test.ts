/** Tokens as methods report them. */
import { expect, it } from "vitest";
import type { Tokenizer } from "../model/index.js";
import { topTokens } from "./index.js";

const words = ["a", "b", "c", "\uFFFD"];
const tokenizer: Tokenizer = {
  ...({} as Omit<Tokenizer, "vocabularySize" | "token">), // nothing else is needed to show tokens
  vocabularySize: 4,
  token: (id) => ({ id, text: words[id] as string, ...(id === 3 ? { bytes: [0xf0] } : {}) }),
};

it("lists the likeliest tokens first, equals by lower id", () => {
  expect(topTokens(tokenizer, Float32Array.of(0.125, 0.25, 0.125, 0.5), 3)).toEqual([
    { id: 3, text: "\uFFFD", probability: 0.5, bytes: [0xf0] },
    { id: 1, text: "b", probability: 0.25 },
    { id: 0, text: "a", probability: 0.125 },
  ]);
});

it("shows logits that the tokenizer has no token for by their id", () => {
  expect(topTokens(tokenizer, Float32Array.of(0, 0, 0, 0, 1), 1)).toEqual([{ id: 4, text: "#4", probability: 1 }]);
});

it("refuses a count that is no count", () => {
  for (const count of [0, 1.5, 3, Number.NaN])
    expect(() => topTokens(tokenizer, Float32Array.of(0.5, 0.5), count)).toThrow(/top must be a whole number from 1/);
});
