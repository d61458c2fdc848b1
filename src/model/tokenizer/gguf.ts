/**
 * A tokenizer from the metadata of a GGUF file, which holds the vocabulary and names, rather than describes, the way
 * a text is cut before it: those rules are the table here, written as a `tokenizer.json` would write them.
 */
import { failure } from "../../errors.js";
import type { AddedToken } from "./added.js";
import { bpe, type Merges, mergesOfList, mergesOfScores } from "./bpe.js";
import type { ChatTemplate } from "./chat.js";
import type { Tokenizer } from "./contract.js";
import { decoderOf } from "./decode.js";
import { normalizerOf } from "./normalize.js";
import { flagOf, idOf, listOf, numbersOf, textOf, textsOf } from "./read.js";
import { splitterOf } from "./split.js";
import { type Definition, tokenizerOf } from "./tokenizer.js";
import { type Vocabulary, vocabularyOf } from "./vocabulary.js";

type Metadata = ReadonlyMap<string, unknown>;

interface Rule {
  /** As `pre_tokenizer` of a `tokenizer.json`. */
  readonly splitter: unknown;
  readonly normalizer?: unknown;
  /** A piece that is in the vocabulary is that token, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** Whether a text begins with the beginning-of-text token where the file does not say. */
  readonly beginsText?: boolean;
}

const byteLevel = (words: boolean) => ({ type: "ByteLevel", add_prefix_space: false, use_regex: words });
const sequence = (...pretokenizers: unknown[]) => ({ type: "Sequence", pretokenizers });
const byExpression = (Regex: string) =>
  sequence({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }, byteLevel(false));

/** Words as Llama 3 and Qwen 2 cut them; they differ in how many digits stand together. */
const modernWords = (digits: string) =>
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const gpt2: Rule = { splitter: byteLevel(true) };
const smollm: Rule = { splitter: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)) };
const llama3: Rule = { splitter: byExpression(modernWords("\\p{N}{1,3}")), ignoreMerges: true, beginsText: true };
const qwen2: Rule = { splitter: byExpression(modernWords("\\p{N}")), normalizer: { type: "NFC" } };

/** What `tokenizer.ggml.pre` may name. Files that name nothing are old, and GPT-2's rule was the usual one. */
const rules: Readonly<Record<string, Rule>> = {
  default: gpt2,
  "gpt-2": gpt2,
  smollm,
  starcoder: smollm,
  refact: smollm,
  codeshell: smollm,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
};

type Cut = Pick<Definition, "normalizer" | "splitter" | "decoder"> & {
  readonly merges: Merges;
  readonly ignoreMerges: boolean;
  readonly beginsText: boolean;
};

/** How the two kinds of model that `tokenizer.ggml.model` may name cut a text. */
const kinds: Readonly<Record<string, (metadata: Metadata, vocabulary: Vocabulary) => Cut>> = {
  gpt2: (metadata, vocabulary) => {
    const name = textOf(metadata.get(keyOf("pre")) ?? "default", keyOf("pre"));
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) {
      throw failure(`${keyOf("pre")}: "${name}" is not known; known are ${Object.keys(rules).join(", ")}`);
    }
    return {
      normalizer: normalizerOf(rule.normalizer, keyOf("pre")),
      splitter: splitterOf(rule.splitter, keyOf("pre")),
      decoder: decoderOf({ type: "ByteLevel" }, keyOf("pre")),
      merges: mergesOfList(listOf(metadata.get(keyOf("merges")), keyOf("merges")), vocabulary, "", keyOf("merges")),
      ignoreMerges: rule.ignoreMerges ?? false,
      beginsText: rule.beginsText ?? false,
    };
  },
  llama: (metadata, vocabulary) => {
    const prefixed = flagOf(metadata.get(keyOf("add_space_prefix")), true, keyOf("add_space_prefix"));
    const marks = { type: "Replace", pattern: { String: " " }, content: "▁" };
    const spaces = { type: "Replace", pattern: { String: "▁" }, content: " " };
    const strip = prefixed ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
    const normalizers = prefixed ? [{ type: "Prepend", prepend: "▁" }, marks] : [marks];
    return {
      normalizer: normalizerOf({ type: "Sequence", normalizers }, keyOf("model")),
      splitter: splitterOf(null, keyOf("model")),
      decoder: decoderOf(
        { type: "Sequence", decoders: [spaces, { type: "ByteFallback" }, { type: "Fuse" }, ...strip] },
        keyOf("model"),
      ),
      merges: mergesOfScores(vocabulary, numbersAt(metadata, "scores", vocabulary)),
      ignoreMerges: false,
      beginsText: true,
    };
  },
};

const keyOf = (name: string) => `tokenizer.ggml.${name}`;

/**
 * The tokenizer of a GGUF file's key-values (arrays plain or typed). Fails, naming the key, for what is missing, of the
 * wrong kind, contradictory or not supported.
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>): Tokenizer {
  const kind = textOf(metadata.get(keyOf("model")), keyOf("model"));
  const cutBy = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (cutBy === undefined) {
    throw failure(`${keyOf("model")}: "${kind}" is not supported; known are ${Object.keys(kinds).join(", ")}`);
  }
  const vocabulary = readVocabulary(metadata);
  const { merges, ignoreMerges, beginsText, ...cut } = cutBy(metadata, vocabulary);
  const unknown = idAt(metadata, "unknown_token_id", vocabulary);
  const bos = idAt(metadata, "bos_token_id", vocabulary);
  const eos = [idAt(metadata, "eos_token_id", vocabulary), idAt(metadata, "eot_token_id", vocabulary)];
  const byteFallback = kind === "llama";
  const options = { vocabulary, merges, ignoreMerges, byteFallback, fuseUnknown: byteFallback, prefix: "", suffix: "" };
  return tokenizerOf({
    ...cut,
    vocabulary,
    unknown,
    bos,
    model: bpe({ ...options, unknown }),
    added: addedTokens(metadata, vocabulary),
    shownRaw: false,
    before: around(metadata, "add_bos_token", beginsText, bos),
    after: around(metadata, "add_eos_token", false, eos[0]),
    eos: [...new Set(eos.filter((id) => id !== undefined))],
    template: templateOf(metadata, vocabulary),
  });
}

function readVocabulary(metadata: Metadata): Vocabulary {
  const key = keyOf("tokens");
  return vocabularyOf(
    textsOf(metadata.get(key), key).map((token, id) => [token, id]),
    key,
  );
}

/** A list with one number for each token. */
function numbersAt(metadata: Metadata, name: string, { tokens }: Vocabulary): ArrayLike<number> {
  const list = numbersOf(metadata.get(keyOf(name)), keyOf(name));
  if (list.length === tokens.length) return list;
  throw failure(`${keyOf(name)}: ${list.length} entries for ${tokens.length} tokens; there should be one for each`);
}

/** Token types of GGUF that are recognised in a text, and whether they are special. */
const addedTypes: ReadonlyMap<number, { special: boolean }> = new Map([
  [2, { special: true }], // unknown
  [3, { special: true }], // control
  [4, { special: false }], // user-defined
]);

function addedTokens(metadata: Metadata, vocabulary: Vocabulary): AddedToken[] {
  if (metadata.get(keyOf("token_type")) === undefined) return [];
  const types = numbersAt(metadata, "token_type", vocabulary);
  return vocabulary.tokens.flatMap((content, id) => {
    const kind = addedTypes.get(types[id] as number);
    if (kind === undefined || content === undefined) return [];
    return [{ ...kind, id, content, normalized: false, singleWord: false, stripLeft: false, stripRight: false }];
  });
}

function idAt(metadata: Metadata, name: string, { tokens }: Vocabulary): number | undefined {
  const value = metadata.get(keyOf(name));
  if (value === undefined) return undefined;
  const id = idOf(value, keyOf(name));
  if (id >= tokens.length) throw failure(`${keyOf(name)}: ${id} is not in the vocabulary of ${tokens.length} tokens`);
  return id;
}

function around(metadata: Metadata, name: string, fallback: boolean, id: number | undefined): number[] {
  const wanted = flagOf(metadata.get(keyOf(name)), fallback && id !== undefined, keyOf(name));
  if (wanted && id === undefined) throw failure(`${keyOf(name)} is true, but the file names no such token`);
  return wanted && id !== undefined ? [id] : [];
}

function templateOf(metadata: Metadata, vocabulary: Vocabulary): ChatTemplate | undefined {
  const source = metadata.get("tokenizer.chat_template");
  if (source === undefined) return undefined;
  const variables: Record<string, string> = {};
  for (const [name, key] of Object.entries({ bos: "bos", eos: "eos", unk: "unknown", pad: "padding" })) {
    const id = idAt(metadata, `${key}_token_id`, vocabulary);
    if (id !== undefined) variables[`${name}_token`] = vocabulary.tokens[id] as string;
  }
  return { source: textOf(source, "tokenizer.chat_template"), variables };
}
