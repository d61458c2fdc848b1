/**
 * Normalisers: what a model's tokenizer does to a text before it splits it, as rewrites of an aligned text. The table
 * has one entry for each kind that a `tokenizer.json` may name.
 */

import { type AlignedText, type Edit, mapCharacters, rewrite, sliceOf, spaceAfter, spaceBefore } from "./aligned.js";
import { charsmapOf } from "./charsmap.js";
import { patternOf } from "./pattern.js";
import { byType, type Fields, flagOf, listOf, textOf } from "./read.js";

/** `atStart`: whether text that the tokenizer puts before every text is to be put before this one. */
export type Normalizer = (text: AlignedText, atStart: boolean) => AlignedText;

/** A character with the marks and Hangul letters that may combine with it: what a normal form can act on together. */
const combiningCluster = /[^\p{M}][\p{M}\u1160-\u11ff]*|\p{M}+/gu;

/** Rewrites each cluster: character by character where that gives the same, so that offsets stay as fine as can be. */
function mapClusters(source: AlignedText, map: (text: string) => string): AlignedText {
  if (map(source.text) === source.text) return source;
  const edits: Edit[] = [];
  for (const { 0: cluster, index } of source.text.matchAll(combiningCluster)) {
    const text = map(cluster);
    if (text === cluster) continue;
    const characters = [...cluster];
    if (characters.map(map).join("") === text) {
      let from = index;
      for (const character of characters) {
        edits.push({ from, to: from + character.length, text: map(character) });
        from += character.length;
      }
    } else edits.push({ from: index, to: index + cluster.length, text });
  }
  return rewrite(source, edits);
}

const normalForm = (form: "NFC" | "NFD" | "NFKC" | "NFKD") => () => (text: AlignedText) =>
  mapClusters(text, (part) => part.normalize(form));

// One character at a time: as a whole, JavaScript writes a final sigma differently, and the models' tokenizers don't.
const lowercase = (text: AlignedText) => mapCharacters(text, (character) => character.toLowerCase());

const dropped = (pattern: RegExp) => (text: AlignedText) =>
  mapCharacters(text, (character) => (pattern.test(character) ? "" : character));

const cleaned = (text: AlignedText) =>
  mapCharacters(text, (character) => {
    if (/[\t\n\r]/.test(character)) return " ";
    if (/[\0\ufffd\p{Cc}\p{Cf}\p{Co}\p{Cs}]/u.test(character)) return "";
    return /\p{White_Space}/u.test(character) ? " " : character;
  });

/** The blocks of Chinese characters that BERT sets apart with spaces. */
const chinese =
  /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;

const spacedChinese = (text: AlignedText) =>
  mapCharacters(text, (character) => (chinese.test(character) ? ` ${character} ` : character));

function bertNormalizer(config: Fields, where: string): Normalizer {
  const lower = flagOf(config.lowercase, true, `${where}.lowercase`);
  const steps: Normalizer[] = [];
  if (flagOf(config.clean_text, true, `${where}.clean_text`)) steps.push(cleaned);
  if (flagOf(config.handle_chinese_chars, true, `${where}.handle_chinese_chars`)) steps.push(spacedChinese);
  if (flagOf(config.strip_accents, lower, `${where}.strip_accents`))
    steps.push(normalForm("NFD")(), dropped(/\p{Mn}/u));
  if (lower) steps.push(lowercase);
  return inTurn(steps);
}

const inTurn =
  (steps: readonly Normalizer[]): Normalizer =>
  (text, atStart) =>
    steps.reduce((current, step) => step(current, atStart), text);

function strip(config: Fields, where: string): Normalizer {
  const left = flagOf(config.strip_left, true, `${where}.strip_left`);
  const right = flagOf(config.strip_right, true, `${where}.strip_right`);
  return (source) => {
    const from = left ? spaceAfter(source.text, 0) : 0;
    return sliceOf(source, from, right ? spaceBefore(source.text, source.text.length, from) : source.text.length);
  };
}

function replace(config: Fields, where: string): Normalizer {
  const pattern = patternOf(config.pattern, `${where}.pattern`);
  const content = textOf(config.content, `${where}.content`);
  return (source) => {
    const edits: Edit[] = [];
    for (const { 0: match, index } of source.text.matchAll(pattern)) {
      if (match !== "") edits.push({ from: index, to: index + match.length, text: content });
    }
    return rewrite(source, edits);
  };
}

/** Puts text before a text that is not empty. */
export function prepend(source: AlignedText, text: string): AlignedText {
  return source.text === "" ? source : rewrite(source, [{ from: 0, to: 0, text }]);
}

const normalizers: Readonly<Record<string, (config: Fields, where: string) => Normalizer>> = {
  NFC: normalForm("NFC"),
  NFD: normalForm("NFD"),
  NFKC: normalForm("NFKC"),
  NFKD: normalForm("NFKD"),
  Lowercase: () => lowercase,
  StripAccents: () => dropped(/\p{M}/u),
  BertNormalizer: bertNormalizer,
  Strip: strip,
  Replace: replace,
  Prepend: (config, where) => {
    const text = textOf(config.prepend, `${where}.prepend`);
    return (source, atStart) => (atStart ? prepend(source, text) : source);
  },
  Precompiled: (config, where) => {
    const map = charsmapOf(config.precompiled_charsmap, `${where}.precompiled_charsmap`);
    return (source) => {
      const edits: Edit[] = [];
      let from = 0;
      for (const [part, text] of map(source.text)) {
        const to = from + part.length;
        if (text !== part) edits.push({ from, to, text });
        from = to;
      }
      return rewrite(source, edits);
    };
  },
  Sequence: (config, where) =>
    inTurn(
      Array.from(listOf(config.normalizers, `${where}.normalizers`), (step, i) => normalizerOf(step, `${where}[${i}]`)),
    ),
};

/** The normaliser of a `tokenizer.json`; null stands for none. */
export function normalizerOf(config: unknown, where: string): Normalizer {
  if (config === null || config === undefined) return (text) => text;
  return byType(normalizers, config, where);
}
