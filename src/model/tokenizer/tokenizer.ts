/**
 * A tokenizer from its parts. A text goes through: added tokens, normaliser, splitter, model; ids come back as bytes.
 * The parts are plain functions, so a GGUF file and a `tokenizer.json` differ only in who fills in the definition.
 */
import { usageError } from "../../errors.js";
import { type AddedToken, addedTokenFinder, type Section } from "./added.js";
import { type AlignedText, alignedText } from "./aligned.js";
import { characterAt, isText, textOfBytes } from "./bytes.js";
import { type ChatTemplate, renderChat } from "./chat.js";
import type { StreamDecoder, Token, Tokenizer } from "./contract.js";
import type { Decoder } from "./decode.js";
import { withinTime } from "./limit.js";
import type { Normalizer } from "./normalize.js";
import type { Splitter } from "./split.js";
import type { Model, Vocabulary } from "./vocabulary.js";

export interface Definition {
  /** All tokens, added ones too. */
  readonly vocabulary: Vocabulary;
  readonly added: readonly AddedToken[];
  readonly normalizer: Normalizer;
  readonly splitter: Splitter;
  readonly model: Model;
  readonly decoder: Decoder;
  /** Tokens are shown as they are in the vocabulary (`##ing`) rather than decoded. */
  readonly shownRaw: boolean;
  /** What the model's own setting puts around a text. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly bos: number | undefined;
  readonly eos: readonly number[];
  readonly unknown: number | undefined;
  readonly template: ChatTemplate | undefined;
}

interface Shown {
  readonly id: number;
  readonly text: string;
  readonly bytes?: readonly number[];
}

/** Milliseconds that cutting a text may take, beside one for each of its characters: a hundred times what it takes. */
const patience = 2000;

/** The tokenizer that a definition describes. */
export function tokenizerOf(definition: Definition): Tokenizer {
  const pieces = pieceReader(definition);
  const encodeUnbounded = encoder(definition, pieces.show);
  const encodeText: EncodeText = (text, special) =>
    withinTime(patience + text.length, "cutting the text as the model's tokenizer says", () =>
      encodeUnbounded(text, special),
    );
  return {
    vocabularySize: definition.vocabulary.tokens.length,
    bos: definition.bos,
    eos: definition.eos,
    encode: (text, options) => surrounded(encodeText(text, true), text.length, definition, options?.bos, pieces.show),
    token: pieces.show,
    decode: (ids, options) => textOfBytes(joined(pieces.bytes(ids, options?.skipSpecial ?? false))),
    decoder: (options) => streamDecoder(pieces, options?.skipSpecial ?? false, options?.continuing ?? false),
    single: (text) => single(text, definition, pieces.show, encodeText),
    chat: (messages, options) => renderChat(definition.template, messages, options),
    ids: (values) => placed(values, pieces),
  };
}

/** Tokens as text and as bytes. */
interface Pieces {
  show(id: number): Shown;
  /** The bytes of each id; no bytes for a special token that is left out. */
  bytes(ids: readonly number[], skipSpecial: boolean): Uint8Array[];
  /** The bytes of one id, `first` if no token stands before it; undefined for a special token that is left out. */
  one(id: number, first: boolean, skipSpecial: boolean): Uint8Array | undefined;
}

function pieceReader({ vocabulary, added, decoder, shownRaw }: Definition): Pieces {
  const addedById = new Map(added.map((token) => [token.id, token]));
  const contentOf = (id: number): string => {
    const content = vocabulary.tokens[id];
    if (content !== undefined) return content;
    throw usageError(
      `token #${String(id)} is not in the vocabulary, whose ids go from 0 to ${vocabulary.tokens.length - 1}`,
    );
  };
  const one = (id: number, first: boolean, skipSpecial: boolean) => {
    const content = contentOf(id);
    const token = addedById.get(id);
    return skipSpecial && token?.special ? undefined : decoder(content, { first, added: token !== undefined });
  };
  const read = (id: number): Shown => {
    if (shownRaw) return { id, text: contentOf(id) };
    const bytes = one(id, false, false) as Uint8Array;
    const text = textOfBytes(bytes);
    return isText(bytes) ? { id, text } : { id, text, bytes: [...bytes] };
  };
  const known = new Map<number, Shown>();
  const show = (id: number): Shown => {
    let shown = known.get(id);
    if (shown === undefined) {
      shown = read(id);
      known.set(id, shown);
    }
    return shown;
  };
  const bytes = (ids: readonly number[], skipSpecial: boolean) => {
    let first = true;
    return Array.from(ids, (id) => {
      const result = one(id, first, skipSpecial);
      first &&= result === undefined;
      return result ?? new Uint8Array(0);
    });
  };
  return { show, bytes, one };
}

type EncodeText = (text: string, atStart: boolean) => Token[];

/** Text to tokens, without what the model's setting puts around it. */
function encoder({ added, normalizer, splitter, model }: Definition, show: (id: number) => Shown): EncodeText {
  const findRaw = addedTokenFinder(
    added.filter(({ normalized }) => !normalized),
    ({ content }) => content,
  );
  const findNormalized = addedTokenFinder(
    added.filter(({ normalized }) => normalized),
    ({ content }) => normalizer(alignedText(content), true).text,
  );
  return (text, atStart) => {
    if (typeof text !== "string") throw usageError(`a text can be encoded, not ${typeof text}`);
    const tokens: Token[] = [];
    const push = (id: number, source: AlignedText, from: number, to: number) =>
      tokens.push({ ...show(id), start: source.starts[from] ?? 0, end: source.ends[to - 1] ?? 0 });
    const pushSection = ({ text: source, id }: Section, cut: (source: AlignedText) => void) =>
      id === undefined ? cut(source) : push(id, source, 0, source.text.length);
    const cutPieces = (source: AlignedText) => {
      for (const piece of splitter(source, atStart)) {
        for (const { id, start, end } of model(piece.text)) push(id, piece, start, end);
      }
    };
    for (const section of findRaw(alignedText(text))) {
      pushSection(section, (source) => {
        for (const part of findNormalized(normalizer(source, atStart))) pushSection(part, cutPieces);
      });
    }
    return tokens;
  };
}

/** Tokens with the special ones that belong around them. */
function surrounded(
  tokens: Token[],
  length: number,
  { before, after, bos }: Definition,
  wanted: boolean | undefined,
  show: (id: number) => Shown,
): Token[] {
  if (wanted === false) return tokens;
  const opening = wanted === true && before.length === 0 ? [bos] : before;
  const start = opening.map((id) => {
    if (id === undefined) throw usageError("this model has no beginning-of-text token: leave bos out, or false");
    return { ...show(id), start: 0, end: 0 };
  });
  return [...start, ...tokens, ...after.map((id) => ({ ...show(id), start: length, end: length }))];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function streamDecoder(pieces: Pieces, skipSpecial: boolean, continuing: boolean): StreamDecoder {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let first = !continuing;
  return {
    push(id) {
      const bytes = pieces.one(id, first, skipSpecial);
      first &&= bytes === undefined;
      return decoder.decode(bytes ?? new Uint8Array(0), { stream: true });
    },
    flush() {
      first = !continuing;
      return decoder.decode();
    },
  };
}

/** Tokens of ids at their places in the decoded text. */
function placed(ids: readonly number[], pieces: Pieces): Token[] {
  const parts = pieces.bytes(ids, false);
  const bytes = joined(parts);
  // For each byte, where the character that it is part of starts and ends in the text.
  const text = new Int32Array(bytes.length + 1);
  const ends = new Int32Array(bytes.length + 1);
  let written = 0;
  for (let at = 0; at < bytes.length; ) {
    const { end, wellFormed } = characterAt(bytes, at);
    const next = written + (wellFormed && end - at === 4 ? 2 : 1);
    text.fill(written, at, end);
    ends.fill(next, at, end);
    at = end;
    written = next;
  }
  text[bytes.length] = written;
  let from = 0;
  return Array.from(ids, (id, i) => {
    const to = from + (parts[i] as Uint8Array).length;
    const start = text[from] as number;
    const end = to > from ? (ends[to - 1] as number) : start;
    from = to;
    return { ...pieces.show(id), start, end };
  });
}

function single(text: string, { unknown, vocabulary }: Definition, show: (id: number) => Shown, encode: EncodeText) {
  const [, digits] = /^#(\d+)$/.exec(text) ?? [];
  if (digits !== undefined) return show(Number(digits)).id;
  const tokens = encode(text, false);
  const [only] = tokens;
  const shown = tokens.slice(0, 12).map((token) => `${JSON.stringify(token.text)} #${token.id}`);
  const split = `${shown.join(" + ")}${tokens.length > 12 ? " + ..." : ""}`;
  if (only === undefined || tokens.length > 1) {
    throw usageError(`${JSON.stringify(text)} is ${tokens.length} tokens, not one${split && `: ${split}`}`);
  }
  if (only.id === unknown && text !== vocabulary.tokens[unknown]) {
    throw usageError(`${JSON.stringify(text)} is not in the vocabulary: it reads as ${split}`);
  }
  return only.id;
}
