/**
 * A tokenizer from the files of the Hugging Face hub: `tokenizer.json` says how to cut, `tokenizer_config.json` and
 * `generation_config.json` which tokens begin and end a text and how a conversation is written.
 */
import { failure } from "../../errors.js";
import type { AddedToken } from "./added.js";
import { bpe, mergesOfList } from "./bpe.js";
import type { ChatTemplate } from "./chat.js";
import type { Tokenizer } from "./contract.js";
import { decoderOf } from "./decode.js";
import { normalizerOf } from "./normalize.js";
import { byType, type Fields, fieldsOf, flagOf, idOf, listOf, numberOf, textOf } from "./read.js";
import { splitterOf } from "./split.js";
import { tokenizerOf } from "./tokenizer.js";
import { type Model, type Vocabulary, vocabularyOf, vocabularyOfObject } from "./vocabulary.js";
import { unigram, wordPiece } from "./words.js";

interface ReadModel {
  readonly vocabulary: Vocabulary;
  readonly model: Model;
  readonly unknown: number | undefined;
}

/**
 * The tokenizer of parsed JSON files. Fails, naming the place in the file, for what is missing, of the wrong kind,
 * contradictory or not supported.
 */
export function tokenizerFromFiles(files: {
  readonly tokenizer: unknown;
  readonly config?: unknown;
  readonly generation?: unknown;
}): Tokenizer {
  const json = fieldsOf(files.tokenizer, "tokenizer.json");
  const config = files.config === undefined ? {} : fieldsOf(files.config, "tokenizer_config.json");
  const generation = files.generation === undefined ? {} : fieldsOf(files.generation, "generation_config.json");
  const { vocabulary: own, model, unknown, type } = readModel(json.model);
  const added = addedTokens(json.added_tokens ?? []);
  const vocabulary = withAdded(own, added);
  const around = surroundings(json.post_processor, vocabulary);
  const bos = namedToken(config.bos_token, vocabulary) ?? around.before[0];
  return tokenizerOf({
    vocabulary,
    added,
    normalizer: normalizerOf(json.normalizer, "tokenizer.json: normalizer"),
    splitter: splitterOf(json.pre_tokenizer, "tokenizer.json: pre_tokenizer"),
    model,
    decoder: decoderOf(json.decoder, "tokenizer.json: decoder"),
    shownRaw: type === "WordPiece",
    ...withSettings(around, config, bos),
    bos,
    eos: endings(config, generation, vocabulary),
    unknown,
    template: templateOf(config),
  });
}

const models: Readonly<Record<string, (config: Fields, where: string) => ReadModel>> = {
  BPE: readBpe,
  WordPiece: (config, where) => {
    const vocabulary = vocabularyOfObject(config.vocab, `${where}.vocab`);
    const token = textOf(config.unk_token ?? "[UNK]", `${where}.unk_token`);
    const unknown = vocabulary.ids.get(token);
    if (unknown === undefined) throw failure(`${where}.unk_token: "${token}" is not in the vocabulary`);
    const prefix = textOf(config.continuing_subword_prefix ?? "##", `${where}.continuing_subword_prefix`);
    const longestWord = numberOf(config.max_input_chars_per_word ?? 100, `${where}.max_input_chars_per_word`);
    return { vocabulary, unknown, model: wordPiece({ vocabulary, unknown, prefix, longestWord }) };
  },
  Unigram: readUnigram,
};

/** Old files leave the model's type out: it shows in what the model has. */
function readModel(value: unknown): ReadModel & { readonly type: string } {
  const where = "tokenizer.json: model";
  const config = fieldsOf(value, where);
  const guess = "merges" in config ? "BPE" : Array.isArray(config.vocab) ? "Unigram" : "WordPiece";
  const type = textOf(config.type ?? guess, `${where}.type`);
  return { ...byType(models, { ...config, type }, where), type };
}

function readBpe(config: Fields, where: string): ReadModel {
  const vocabulary = vocabularyOfObject(config.vocab, `${where}.vocab`);
  const prefix = textOf(config.continuing_subword_prefix ?? "", `${where}.continuing_subword_prefix`);
  const unknown = vocabulary.ids.get(textOf(config.unk_token ?? "", `${where}.unk_token`));
  const merges = mergesOfList(listOf(config.merges, `${where}.merges`), vocabulary, prefix, `${where}.merges`);
  const model = bpe({
    vocabulary,
    merges,
    unknown,
    prefix,
    suffix: textOf(config.end_of_word_suffix ?? "", `${where}.end_of_word_suffix`),
    fuseUnknown: flagOf(config.fuse_unk, false, `${where}.fuse_unk`),
    byteFallback: flagOf(config.byte_fallback, false, `${where}.byte_fallback`),
    ignoreMerges: flagOf(config.ignore_merges, false, `${where}.ignore_merges`),
  });
  return { vocabulary, unknown, model };
}

function readUnigram(config: Fields, where: string): ReadModel {
  if (config.byte_fallback === true) throw failure(`${where}.byte_fallback: not supported for Unigram`);
  const pairs = Array.from(listOf(config.vocab, `${where}.vocab`), (pair, id) => {
    const [token, score] = Array.from(listOf(pair, `${where}.vocab[${id}]`));
    return { token: textOf(token, `${where}.vocab[${id}][0]`), score: numberOf(score, `${where}.vocab[${id}][1]`) };
  });
  const vocabulary = vocabularyOf(
    pairs.map(({ token }, id) => [token, id] as const),
    `${where}.vocab`,
  );
  const unknown = idOf(config.unk_id, `${where}.unk_id`);
  if (vocabulary.tokens[unknown] === undefined) throw failure(`${where}.unk_id: ${unknown} is not in the vocabulary`);
  const scores = pairs.map(({ score }) => score);
  return { vocabulary, unknown, model: unigram(vocabulary, scores, unknown) };
}

function addedTokens(value: unknown): AddedToken[] {
  return Array.from(listOf(value, "tokenizer.json: added_tokens"), (entry, i) => {
    const where = `tokenizer.json: added_tokens[${i}]`;
    const fields = fieldsOf(entry, where);
    const special = flagOf(fields.special, false, `${where}.special`);
    return {
      id: idOf(fields.id, `${where}.id`),
      content: textOf(fields.content, `${where}.content`),
      special,
      normalized: flagOf(fields.normalized, !special, `${where}.normalized`),
      singleWord: flagOf(fields.single_word, false, `${where}.single_word`),
      stripLeft: flagOf(fields.lstrip, false, `${where}.lstrip`),
      stripRight: flagOf(fields.rstrip, false, `${where}.rstrip`),
    };
  });
}

/** The model's vocabulary and the added tokens that are not in it yet. */
function withAdded(own: Vocabulary, added: readonly AddedToken[]): Vocabulary {
  const missing = added.filter(({ id, content }) => own.tokens[id] !== content);
  if (missing.length === 0) return own;
  const entries = missing.map(({ id, content }) => [content, id] as const).sort((a, b) => a[1] - b[1]);
  return vocabularyOf([...own.ids, ...entries], "tokenizer.json: added_tokens");
}

/** The special tokens that a post-processor puts around one text. */
function surroundings(value: unknown, vocabulary: Vocabulary): Around {
  if (value === null || value === undefined) return { before: [], after: [] };
  return byType(surrounders, value, "tokenizer.json: post_processor")(vocabulary);
}

interface Around {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const classAndSeparator = (config: Fields, where: string) => (vocabulary: Vocabulary) => {
  const idAt = (name: string) => knownId(listOf(config[name], `${where}.${name}`)[1], vocabulary, `${where}.${name}`);
  return { before: [idAt("cls")], after: [idAt("sep")] };
};

const surrounders: Readonly<Record<string, (config: Fields, where: string) => (vocabulary: Vocabulary) => Around>> = {
  // Only trims offsets, which here always cover a token's whole text.
  ByteLevel: () => () => ({ before: [], after: [] }),
  BertProcessing: classAndSeparator,
  RobertaProcessing: classAndSeparator,
  TemplateProcessing: (config, where) => (vocabulary) => fromTemplate(config, vocabulary, where),
  Sequence: (config, where) => (vocabulary) => {
    const parts = Array.from(listOf(config.processors, `${where}.processors`), (part, i) =>
      byType(surrounders, part, `${where}[${i}]`)(vocabulary),
    );
    return { before: parts.toReversed().flatMap(({ before }) => before), after: parts.flatMap(({ after }) => after) };
  },
};

function fromTemplate(config: Fields, vocabulary: Vocabulary, where: string): Around {
  const before: number[] = [];
  const after: number[] = [];
  const specials = fieldsOf(config.special_tokens ?? {}, `${where}.special_tokens`);
  let side = before;
  for (const [i, item] of Array.from(listOf(config.single, `${where}.single`)).entries()) {
    const fields = fieldsOf(item, `${where}.single[${i}]`);
    if ("Sequence" in fields) side = after;
    else {
      const name = textOf(fieldsOf(fields.SpecialToken, `${where}.single[${i}]`).id, `${where}.single[${i}].id`);
      const special = fieldsOf(specials[name], `${where}.special_tokens["${name}"]`);
      for (const id of Array.from(listOf(special.ids, `${where}.special_tokens["${name}"].ids`))) {
        side.push(knownId(id, vocabulary, `${where}.special_tokens["${name}"].ids`));
      }
    }
  }
  return { before, after };
}

function knownId(value: unknown, vocabulary: Vocabulary, where: string): number {
  const id = idOf(value, where);
  if (vocabulary.tokens[id] === undefined) throw failure(`${where}: token ${id} is not in the vocabulary`);
  return id;
}

/** Where `tokenizer_config.json` says whether a text begins with its special token, that counts. */
function withSettings(around: Around, config: Fields, bos: number | undefined): Around {
  const begins = flagOf(config.add_bos_token, around.before.length > 0, "tokenizer_config.json: add_bos_token");
  if (!begins) return { ...around, before: [] };
  if (around.before.length > 0 || bos === undefined) return around;
  return { ...around, before: [bos] };
}

/** The content of a token named in `tokenizer_config.json`, as a text or as an object. */
function contentOf(value: unknown): string | undefined {
  const content = typeof value === "object" && value !== null ? (value as Fields).content : value;
  return typeof content === "string" ? content : undefined;
}

function namedToken(value: unknown, { ids }: Vocabulary): number | undefined {
  const content = contentOf(value);
  return content === undefined ? undefined : ids.get(content);
}

function endings(config: Fields, generation: Fields, vocabulary: Vocabulary): number[] {
  const where = "generation_config.json: eos_token_id";
  const value = generation.eos_token_id ?? [];
  const ids = (Array.isArray(value) ? value : [value]).map((id) => knownId(id, vocabulary, where));
  const named = namedToken(config.eos_token, vocabulary);
  return [...new Set(named === undefined ? ids : [...ids, named])];
}

function templateOf(config: Fields): ChatTemplate | undefined {
  const where = "tokenizer_config.json: chat_template";
  const given = config.chat_template;
  if (given === undefined || given === null) return undefined;
  const named = Array.isArray(given) ? given.map((entry) => fieldsOf(entry, where)) : undefined;
  const chosen = named ? (named.find(({ name }) => name === "default") ?? named[0])?.template : given;
  const variables: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
    const content = contentOf(config[name]);
    if (content !== undefined) variables[name] = content;
  }
  return { source: textOf(chosen, where), variables };
}
