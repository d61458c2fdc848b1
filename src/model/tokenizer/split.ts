/**
 * Splitters ("pre-tokenizers"): how a text is cut into the pieces that no token crosses. Most are a pattern and what
 * becomes of its matches; the table has one entry for each kind that a `tokenizer.json` may name.
 */
import { failure } from "../../errors.js";
import { type AlignedText, mapCharacters, sliceOf } from "./aligned.js";
import { toByteLevel } from "./bytes.js";
import { prepend } from "./normalize.js";
import { patternOf } from "./pattern.js";
import { byType, type Fields, flagOf, listOf, numberOf, textOf } from "./read.js";

/** `atStart`: whether a space that the tokenizer puts before every text is to be put before this one. */
export type Splitter = (text: AlignedText, atStart: boolean) => readonly AlignedText[];

interface Stretch {
  readonly from: number;
  to: number;
  readonly matched: boolean;
}

/** The matches of a pattern and what lies between them, in order, none empty. */
function stretchesOf(text: string, pattern: RegExp, invert: boolean): Stretch[] {
  const stretches: Stretch[] = [];
  let read = 0;
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (match === "") continue;
    if (index > read) stretches.push({ from: read, to: index, matched: invert });
    read = index + match.length;
    stretches.push({ from: index, to: read, matched: !invert });
  }
  if (read < text.length) stretches.push({ from: read, to: text.length, matched: invert });
  return stretches;
}

/** Joins each stretch to the one before it where `joins` says so; the joined one keeps the kind of its last part. */
function joined(stretches: readonly Stretch[], joins: (before: Stretch, next: Stretch) => boolean): Stretch[] {
  const result: Stretch[] = [];
  for (const next of stretches) {
    const before = result.at(-1);
    if (before && joins(before, next))
      result[result.length - 1] = { from: before.from, to: next.to, matched: next.matched };
    else result.push(next);
  }
  return result;
}

/** What becomes of the matches of a pattern, by the names that a `tokenizer.json` gives them. */
const behaviours: Readonly<Record<string, (stretches: Stretch[]) => Stretch[]>> = {
  Removed: (stretches) => stretches.filter(({ matched }) => !matched),
  Isolated: (stretches) => stretches,
  Contiguous: (stretches) => joined(stretches, (before, next) => before.matched === next.matched),
  MergedWithPrevious: (stretches) => joined(stretches, (before, next) => next.matched && !before.matched),
  MergedWithNext: (stretches) => joined(stretches, (before, next) => before.matched && !next.matched),
};

function byPattern(pattern: RegExp, behaviour: string, where: string, invert = false): Splitter {
  const keep = Object.hasOwn(behaviours, behaviour) ? behaviours[behaviour] : undefined;
  if (keep === undefined) {
    throw failure(`${where}.behavior: "${behaviour}" is not known; known are ${Object.keys(behaviours).join(", ")}`);
  }
  return (source) => keep(stretchesOf(source.text, pattern, invert)).map(({ from, to }) => sliceOf(source, from, to));
}

const inTurn =
  (steps: readonly Splitter[]): Splitter =>
  (text, atStart) =>
    steps.reduce<readonly AlignedText[]>((pieces, step) => pieces.flatMap((piece) => step(piece, atStart)), [text]);

/** GPT-2's words, with the same notion of white space as the original (JavaScript's `\s` is another one). */
const gpt2Words =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function byteLevel(config: Fields, where: string): Splitter {
  const prefixed = flagOf(config.add_prefix_space, true, `${where}.add_prefix_space`);
  const words = flagOf(config.use_regex, true, `${where}.use_regex`)
    ? byPattern(gpt2Words, "Isolated", where)
    : undefined;
  return (source, atStart) => {
    const text = prefixed && atStart && !source.text.startsWith(" ") ? prepend(source, " ") : source;
    return (words ? words(text, atStart) : [text]).map(toByteLevel);
  };
}

function metaspace(config: Fields, where: string): Splitter {
  const mark = textOf(config.replacement ?? "▁", `${where}.replacement`);
  const scheme = config.prepend_scheme ?? (config.add_prefix_space === false ? "never" : "always");
  if (mark.length !== 1) throw failure(`${where}.replacement: one character should stand here, not ${mark.length}`);
  if (scheme !== "always" && scheme !== "first" && scheme !== "never") {
    throw failure(`${where}.prepend_scheme: "always", "first" or "never" should stand here, not ${String(scheme)}`);
  }
  const split = flagOf(config.split, true, `${where}.split`)
    ? byPattern(new RegExp(mark.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&"), "gu"), "MergedWithNext", where)
    : undefined;
  return (source, atStart) => {
    const marked = mapCharacters(source, (character) => (character === " " ? mark : character));
    const prefixed =
      atStart &&
      !marked.text.startsWith(mark) &&
      (scheme === "always" || (scheme === "first" && source.starts[0] === 0));
    const text = prefixed ? prepend(marked, mark) : marked;
    return split ? split(text, atStart) : [text];
  };
}

function fixedLength(config: Fields, where: string): Splitter {
  const length = numberOf(config.length, `${where}.length`);
  if (!(length >= 1 && length <= 1000)) throw failure(`${where}.length: 1 to 1000 should stand here, not ${length}`);
  return byPattern(new RegExp(`[^]{1,${Math.floor(length)}}`, "gu"), "Isolated", where);
}

/** What BERT and others take for punctuation: Unicode's, and the symbols of ASCII. */
const punctuation = /[\p{P}$+<=>^`|~]/gu;
/** Words as Rust's `\w` has them, and runs of what is neither word nor white space. */
const wordsAndSigns =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{White_Space}\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+/gu;
const whiteSpace = /\p{White_Space}+/gu;

const splitters: Readonly<Record<string, (config: Fields, where: string) => Splitter>> = {
  ByteLevel: byteLevel,
  Metaspace: metaspace,
  FixedLength: fixedLength,
  // Digits are all numeric characters of Unicode: Nd, Nl and No.
  Digits: (config, where) => {
    const single = flagOf(config.individual_digits, false, `${where}.individual_digits`);
    return byPattern(/\p{N}/gu, single ? "Isolated" : "Contiguous", where);
  },
  Punctuation: (config, where) =>
    byPattern(punctuation, textOf(config.behavior ?? "Isolated", `${where}.behavior`), where),
  BertPreTokenizer: (_, where) =>
    inTurn([byPattern(whiteSpace, "Removed", where), byPattern(punctuation, "Isolated", where)]),
  WhitespaceSplit: (_, where) => byPattern(whiteSpace, "Removed", where),
  Whitespace: (_, where) => byPattern(wordsAndSigns, "Removed", where, true),
  Split: (config, where) =>
    byPattern(
      patternOf(config.pattern, `${where}.pattern`),
      textOf(config.behavior, `${where}.behavior`),
      where,
      flagOf(config.invert, false, `${where}.invert`),
    ),
  Sequence: (config, where) =>
    inTurn(
      Array.from(listOf(config.pretokenizers, `${where}.pretokenizers`), (step, i) =>
        splitterOf(step, `${where}[${i}]`),
      ),
    ),
};

/** The splitter of a `tokenizer.json`; null stands for none. */
export function splitterOf(config: unknown, where: string): Splitter {
  if (config === null || config === undefined) return (text) => [text];
  return byType(splitters, config, where);
}
