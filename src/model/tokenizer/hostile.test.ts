/** Files that are broken or malicious end in one clear line that names the place, and never in a crash or a hang. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PatchclampError } from "../../errors.js";
import { tokenizerFromFiles, tokenizerFromGguf } from "./index.js";

const smollm = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/tokenizer/smollm.tokenizer.json", import.meta.url), "utf8"),
);
const model = (changes: object) => ({ ...smollm, model: { ...smollm.model, ...changes } });
const template = (single: unknown, special_tokens: unknown = {}) => ({
  ...smollm,
  post_processor: { type: "TemplateProcessing", single, special_tokens },
});

/** Fails with exactly one line of the kind `failure` that contains `message`. */
function expectFailure(work: () => unknown, message: string): void {
  let thrown: unknown;
  try {
    work();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(PatchclampError);
  const { kind, message: line } = thrown as PatchclampError;
  expect({ kind, line }).toEqual({ kind: "failure", line: expect.stringContaining(message) });
  expect(line).not.toContain("\n");
}

const badFiles: readonly (readonly [string, unknown])[] = [
  ["tokenizer.json: an object should stand here, not null", null],
  ["tokenizer.json: an object should stand here, not a list", []],
  ["tokenizer.json: model: an object should stand here, not nothing", {}],
  ['tokenizer.json: model: "Magic" is not supported; known are BPE, WordPiece, Unigram', model({ type: "Magic" })],
  ['tokenizer.json: model: "constructor" is not supported', model({ type: "constructor" })],
  ["tokenizer.json: model.vocab: an object should stand here", model({ vocab: undefined })],
  ["tokenizer.json: model.vocab: the vocabulary is empty", model({ vocab: {} })],
  ['tokenizer.json: model.vocab["a"]: a token id from 0 to 4194303', model({ vocab: { a: -1 } })],
  ['tokenizer.json: model.vocab["a"]: a token id from 0 to 4194303', model({ vocab: { a: 4e9 } })],
  ['tokenizer.json: model.vocab["a"]: a token id from 0 to 4194303', model({ vocab: { a: "7" } })],
  ['id 0 belongs to two tokens, "a" and "b"', model({ vocab: { a: 0, b: 0 }, merges: [] })],
  ["tokenizer.json: model.merges: a list should stand here", model({ merges: "a b" })],
  ["model.merges[0]: a merge is two tokens with a space between, not a b c", model({ merges: ["a b c"] })],
  ["model.merges[0]: a merge is two tokens with a space between, not ab", model({ merges: ["ab"] })],
  ["model.merges[0]: a merge is two tokens with a space between", model({ merges: [["a", "b", "c"]] })],
  ["model.merges[0][1]: a text should stand here, not number 7", model({ merges: [["a", 7]] })],
  ['model.merges[0]: "zzzz" is not in the vocabulary', model({ merges: ["a zzzz"] })],
  ['model.merges[0]: "a~" is not in the vocabulary', model({ merges: ["a ~"] })],
  ['model.unk_token: "[UNK]" is not in the vocabulary', model({ type: "WordPiece", unk_token: "[UNK]" })],
  ["model.vocab[0][1]: a number should stand here", model({ type: "Unigram", vocab: [["a", "b"]], unk_id: 0 })],
  ["model.unk_id: 9 is not in the vocabulary", model({ type: "Unigram", vocab: [["a", 0]], unk_id: 9 })],
  ["tokenizer.json: added_tokens: a list should stand here", { ...smollm, added_tokens: 7 }],
  ["added_tokens[0].content: a text should stand here", { ...smollm, added_tokens: [{ id: 0 }] }],
  ['added_tokens: token "a" is there twice', { ...smollm, added_tokens: [{ id: 5000, content: "a" }] }],
  ["added_tokens: id 3 belongs to two tokens", { ...smollm, added_tokens: [{ id: 3, content: "new" }] }],
  [
    "normalizer.precompiled_charsmap: a trie of 4294967295 bytes does not fit into a map of 4 bytes",
    { ...smollm, normalizer: { type: "Precompiled", precompiled_charsmap: "/////w==" } },
  ],
  ["normalizer.type: a text should stand here", { ...smollm, normalizer: {} }],
  ['pre_tokenizer: "Magic" is not supported; known are ByteLevel,', { ...smollm, pre_tokenizer: { type: "Magic" } }],
  [
    "pre_tokenizer.pattern: cannot read the expression",
    { ...smollm, pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
  ],
  [
    'pre_tokenizer.behavior: "Eaten" is not known; known are Removed,',
    { ...smollm, pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "Eaten" } },
  ],
  [
    "pre_tokenizer.pattern: a pattern of 1 to 20000 characters should stand here, not 0",
    { ...smollm, pre_tokenizer: { type: "Split", pattern: { String: "" }, behavior: "Removed" } },
  ],
  ['decoder: "Magic" is not supported', { ...smollm, decoder: { type: "Magic" } }],
  ["post_processor.single[0]: an object should stand here", template(["x"])],
  ['post_processor.special_tokens["<s>"]: an object should stand here', template([{ SpecialToken: { id: "<s>" } }])],
  [
    'post_processor.special_tokens["<s>"].ids: token 5000 is not in the vocabulary',
    template([{ SpecialToken: { id: "<s>" } }], { "<s>": { ids: [5000] } }),
  ],
];

describe("tokenizer.json", () => {
  it.each(badFiles)("%s", (message, tokenizer) => {
    expectFailure(() => tokenizerFromFiles({ tokenizer }), message);
  });

  it("with broken companions", () => {
    const withConfig = (config: unknown) => () => tokenizerFromFiles({ tokenizer: smollm, config });
    expectFailure(withConfig([]), "tokenizer_config.json: an object should stand here");
    expectFailure(withConfig({ add_bos_token: 1 }), "add_bos_token: true or false should stand here, not number 1");
    expectFailure(withConfig({ chat_template: 7 }), "chat_template: a text should stand here");
    const generation = { eos_token_id: [5000] };
    expectFailure(
      () => tokenizerFromFiles({ tokenizer: smollm, generation }),
      "generation_config.json: eos_token_id: token 5000 is not in the vocabulary",
    );
  });

  it("with tokens named like the properties of every object", () => {
    const vocab = JSON.parse('{"__proto__": 0, "constructor": 1, "a": 2}');
    const tokenizer = tokenizerFromFiles({ tokenizer: { ...model({ vocab, merges: [] }), added_tokens: [] } });
    expect(tokenizer.vocabularySize).toBe(3);
    expect(tokenizer.token(0).text).toBe("__proto__");
  });
});

const gguf = (changes: Record<string, unknown>) => () =>
  tokenizerFromGguf(
    new Map(
      Object.entries({ model: "gpt2", pre: "smollm", tokens: ["a", "b", "ab"], merges: ["a b"], ...changes }).map(
        ([key, value]) => [`tokenizer.ggml.${key}`, value],
      ),
    ),
  );

const badMetadata: readonly (readonly [string, Record<string, unknown>])[] = [
  ["tokenizer.ggml.model: a text should stand here, not nothing", { model: undefined }],
  ['tokenizer.ggml.model: "bert" is not supported; known are gpt2, llama', { model: "bert" }],
  ['tokenizer.ggml.pre: "magic" is not known; known are default, gpt-2, smollm,', { pre: "magic" }],
  ['tokenizer.ggml.pre: "toString" is not known', { pre: "toString" }],
  ["tokenizer.ggml.tokens: a list should stand here", { tokens: undefined }],
  ["tokenizer.ggml.tokens[1]: a text should stand here, not number 7", { tokens: ["a", 7] }],
  ['tokenizer.ggml.tokens: token "a" is there twice, at 0 and 2', { tokens: ["a", "b", "a"] }],
  ["tokenizer.ggml.tokens: the vocabulary is empty", { tokens: [], merges: [] }],
  ["tokenizer.ggml.merges: a list should stand here", { merges: undefined }],
  ['tokenizer.ggml.merges[0]: "c" is not in the vocabulary', { merges: ["a c"] }],
  ["tokenizer.ggml.token_type: 2 entries for 3 tokens", { token_type: [1, 1] }],
  ["tokenizer.ggml.token_type[1]: a number should stand here", { token_type: [1, "1", 1] }],
  ["tokenizer.ggml.scores: a list should stand here", { model: "llama" }],
  ["tokenizer.ggml.scores: 1 entries for 3 tokens", { model: "llama", scores: new Float32Array(1) }],
  ["tokenizer.ggml.bos_token_id: 3 is not in the vocabulary of 3 tokens", { bos_token_id: 3 }],
  ["tokenizer.ggml.eos_token_id: a token id from 0", { eos_token_id: -1 }],
  ["tokenizer.ggml.add_bos_token is true, but the file names no such token", { add_bos_token: true }],
  ["tokenizer.ggml.add_bos_token: true or false should stand here", { add_bos_token: "yes" }],
];

describe("GGUF metadata", () => {
  it("that is small is fine", () => {
    const tokenizer = gguf({ eos_token_id: 1n, token_type: new Int32Array([1, 3, 1]) })();
    expect(tokenizer.encode("ab").map(({ id }) => id)).toEqual([0, 1]);
    expect(tokenizer.eos).toEqual([1]);
  });

  it.each(badMetadata)("%s", (message, changes) => {
    expectFailure(gguf(changes), message);
  });
});
