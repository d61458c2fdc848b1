/**
 * Decoders: the bytes that a token adds to a text. Text is made of bytes, not of tokens' texts, because a character may
 * be spread over several tokens. The table has one entry for each kind that a `tokenizer.json` may name.
 */
import { failure } from "../../errors.js";
import { fallbackByte, fromByteLevel, textOfBytes, utf8 } from "./bytes.js";
import { patternOf } from "./pattern.js";
import { byType, type Fields, fieldsOf, flagOf, listOf, numberOf, textOf } from "./read.js";

interface Place {
  /** Nothing stands before the token. */
  readonly first: boolean;
  /** The token is an added one: its text is not encoded. */
  readonly added: boolean;
}

/** What a token still is on its way through the steps: text, or bytes at last. */
type Step = (token: string | Uint8Array, place: Place) => string | Uint8Array;

/** The bytes that a token adds to a text at a place. */
export type Decoder = (token: string, place: Place) => Uint8Array;

/** A step that leaves bytes alone. */
const onText =
  (step: (token: string, place: Place) => string | Uint8Array): Step =>
  (token, place) =>
    typeof token === "string" ? step(token, place) : token;

/** English as it is written rather than as BERT splits it. */
const tidied = (text: string) =>
  text
    .replace(/ ([.?!,])/g, "$1")
    .replace(/ ' /g, "'")
    .replace(/ (n't|'m|'s|'ve|'re)/g, "$1")
    .replace(/ do not/g, " don't");

function wordPieces(config: Fields, where: string): Step {
  const prefix = textOf(config.prefix ?? "##", `${where}.prefix`);
  const tidy = flagOf(config.cleanup, true, `${where}.cleanup`) ? tidied : (text: string) => text;
  return onText((token, { first }) => {
    if (first) return tidy(token);
    return tidy(prefix !== "" && token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
  });
}

function metaspace(config: Fields, where: string): Step {
  const mark = textOf(config.replacement ?? "▁", `${where}.replacement`);
  const prefixed = (config.prepend_scheme ?? (config.add_prefix_space === false ? "never" : "always")) !== "never";
  return onText((token, { first }) => {
    const rest = prefixed && first && token.startsWith(mark) ? token.slice(mark.length) : token;
    return rest.replaceAll(mark, " ");
  });
}

/** Takes characters off the start of the text. Only there: what a text ends with is not known while it streams. */
function strip(config: Fields, where: string): Step {
  const content = textOf(config.content, `${where}.content`);
  const most = numberOf(config.start, `${where}.start`);
  if (config.stop !== 0) throw failure(`${where}.stop: only 0 is supported`);
  return (token, { first }) => {
    if (!first) return token;
    const text = typeof token === "string" ? token : textOfBytes(token);
    let from = 0;
    while (from < most && text[from] === content) from++;
    return from === 0 ? token : text.slice(from);
  };
}

function sequence(config: Fields, where: string): Step {
  const list = Array.from(listOf(config.decoders, `${where}.decoders`));
  const types = list.map((step, i) => fieldsOf(step, `${where}[${i}]`).type);
  if (types.includes("Strip") && !types.slice(0, types.indexOf("Strip")).includes("Fuse")) {
    throw failure(`${where}: "Strip" is supported only after "Fuse"`);
  }
  const steps = list.map((step, i) => byType(decoders, step, `${where}[${i}]`));
  return (token, place) => steps.reduce((current, step) => step(current, place), token);
}

const decoders: Readonly<Record<string, (config: Fields, where: string) => Step>> = {
  ByteLevel: () => onText((token, { added }) => (added ? token : (fromByteLevel(token) ?? token))),
  WordPiece: wordPieces,
  Metaspace: metaspace,
  ByteFallback: () =>
    onText((token) => {
      const byte = fallbackByte(token);
      return byte === undefined ? token : Uint8Array.of(byte);
    }),
  Fuse: () => (token) => token,
  Strip: strip,
  Replace: (config, where) => {
    const pattern = patternOf(config.pattern, `${where}.pattern`);
    const content = textOf(config.content, `${where}.content`);
    return onText((token) => token.replace(pattern, () => content));
  },
  Sequence: sequence,
};

/** The decoder of a `tokenizer.json`; with null, tokens are words with a space between. */
export function decoderOf(config: unknown, where: string): Decoder {
  const step: Step =
    config === null || config === undefined
      ? onText((token, { first }) => (first ? token : ` ${token}`))
      : byType(decoders, config, where);
  return (token, place) => {
    const result = step(token, place);
    return typeof result === "string" ? utf8(result) : result;
  };
}
