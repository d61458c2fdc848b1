/**
 * The same ids, offsets and texts as the Rust library, for 300 strings and every kind of tokenizer that is supported.
 * `test/fixtures/tokenizer/make.py` made the expectations.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Tokenizer, tokenizerFromFiles, tokenizerFromGguf } from "./index.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/tokenizer/${name}`, import.meta.url), "utf8"));
const strings: readonly string[] = read("strings.json");

/** Ids; starts and ends in turn; the text of the ids with and without special tokens, null where it is the string. */
type Row = readonly [number[], number[], string | null, string | null];
const expected = (name: string): readonly Row[] => read(`${name}.expected.json`);

/**
 * Marks that change places or become one character with their letter: Rust gives a token the offsets of one of them, and
 * here it has the whole cluster's, so that the offsets show all of the character.
 */
const regrouped = /a\u0301\u0323\u0308|q\u0323\u0307|q\u0307\u0323|[ea]\u0301|a\u0300|[\u1100-\u11ff]/;

interface Difference {
  readonly text: string;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
}

/** `closed`: a token of no text stands at the end; Rust gives it the offsets 0, 0, and here it is at the end. */
function differences(tokenizer: Tokenizer, name: string, closed: boolean): Difference[] {
  return expected(name).flatMap(([ids, offsets], i) => {
    const text = strings[i] as string;
    const tokens = tokenizer.encode(text);
    const theirs = closed ? [...offsets.slice(0, -2), text.length, text.length] : offsets;
    const ours = tokens.flatMap(({ start, end }) => [start, end]);
    const sameIds = ids.length === tokens.length && ids.every((id, at) => id === tokens[at]?.id);
    if (!sameIds) return [{ text, ours: tokens.map(({ id }) => id), theirs: ids }];
    const same = theirs.every((offset, at) => offset === ours[at]);
    const covered = theirs.every((offset, at) => {
      const own = ours[at] as number;
      return at % 2 === 0 ? own <= offset : own >= offset;
    });
    return same || (closed && regrouped.test(text) && covered) ? [] : [{ text, ours, theirs }];
  });
}

function decoded(tokenizer: Tokenizer, name: string) {
  return expected(name).map(([ids], i) => [
    strings[i],
    tokenizer.decode(ids),
    tokenizer.decode(ids, { skipSpecial: true }),
  ]);
}

const expectedDecoding = (name: string) =>
  expected(name).map(([, , all, plain], i) => [strings[i], all ?? strings[i], plain ?? strings[i]]);

describe.each([
  { name: "smollm", closed: false },
  { name: "gpt2", closed: false },
  { name: "llama3", closed: false },
  { name: "llama", closed: false },
  { name: "llama-first", closed: false },
  { name: "wordpiece", closed: true },
  { name: "unigram", closed: true },
])("$name, from tokenizer.json", ({ name, closed }) => {
  const tokenizer = tokenizerFromFiles({ tokenizer: read(`${name}.tokenizer.json`) });

  it("encodes like the Rust library", () => {
    expect(differences(tokenizer, name, closed)).toEqual([]);
  });

  it("decodes like the Rust library", () => {
    expect(decoded(tokenizer, name)).toEqual(expectedDecoding(name));
  });
});

/** What a converter to GGUF keeps of a byte-pair `tokenizer.json`. */
function asGguf(name: string, extra: Record<string, unknown>): Map<string, unknown> {
  const { model, added_tokens } = read(`${name}.tokenizer.json`);
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(model.vocab)) tokens[id as number] = token;
  const types = new Int32Array(tokens.length).fill(1);
  for (const { id } of added_tokens) types[id] = 3;
  const merges: [string, string][] = model.merges;
  const scores = new Float32Array(tokens.length);
  merges.forEach((merge, rank) => {
    scores[tokens.indexOf(merge.join(""))] = -rank;
  });
  return new Map<string, unknown>(
    Object.entries({
      tokens,
      scores,
      token_type: types,
      merges: merges.map((merge) => merge.join(" ")),
      ...extra,
    }).map(([key, value]) => [`tokenizer.ggml.${key}`, value]),
  );
}

describe.each([
  { name: "smollm", extra: { model: "gpt2", pre: "smollm" } },
  { name: "gpt2", extra: { model: "gpt2", pre: "gpt-2" } },
  { name: "gpt2", extra: { model: "gpt2" } },
  { name: "llama3", extra: { model: "gpt2", pre: "llama-bpe", bos_token_id: 1 } },
  { name: "llama", extra: { model: "llama", bos_token_id: 1, unknown_token_id: 0 } },
])("$name, from GGUF metadata $extra", ({ name, extra }) => {
  const tokenizer = tokenizerFromGguf(asGguf(name, extra));

  it("encodes like the Rust library", () => {
    expect(differences(tokenizer, name, false)).toEqual([]);
  });

  it("decodes like the Rust library", () => {
    expect(decoded(tokenizer, name)).toEqual(expectedDecoding(name));
  });
});

/** The key-values of a GGUF file, by the format's description; only what the test needs. */
function ggufMetadata(path: string): Map<string, unknown> {
  const file = readFileSync(path);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 24;
  const take = (size: number) => {
    at += size;
    return at - size;
  };
  const length = () => Number(view.getBigUint64(take(8), true));
  const text = () => {
    const size = length();
    return file.toString("utf8", take(size), at);
  };
  const scalars: readonly (() => unknown)[] = [
    () => view.getUint8(take(1)),
    () => view.getInt8(take(1)),
    () => view.getUint16(take(2), true),
    () => view.getInt16(take(2), true),
    () => view.getUint32(take(4), true),
    () => view.getInt32(take(4), true),
    () => view.getFloat32(take(4), true),
    () => view.getUint8(take(1)) !== 0,
    text,
    () => {
      const kind = view.getUint32(take(4), true);
      return Array.from({ length: length() }, () => value(kind));
    },
    () => view.getBigUint64(take(8), true),
    () => view.getBigInt64(take(8), true),
    () => view.getFloat64(take(8), true),
  ];
  const value = (kind: number): unknown => (scalars[kind] as () => unknown)();
  const count = Number(view.getBigUint64(16, true));
  return new Map(Array.from({ length: count }, () => [text(), value(view.getUint32(take(4), true))]));
}

const realFile = process.env.PATCHCLAMP_TEST_GGUF;

describe.skipIf(!realFile)(
  "SmolLM2's real vocabulary (skipped unless PATCHCLAMP_TEST_GGUF names its GGUF file)",
  () => {
    it("encodes and decodes like the Rust library", () => {
      const metadata = ggufMetadata(realFile as string);
      const tokenizer = tokenizerFromGguf(metadata);
      expect(tokenizer.vocabularySize).toBe(49152);
      expect(differences(tokenizer, "smollm2", false)).toEqual([]);
      expect(decoded(tokenizer, "smollm2")).toEqual(expectedDecoding("smollm2"));
      expect(tokenizer.single(" Paris")).toBe(7042);
    });
  },
);
