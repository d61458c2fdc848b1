/**
 * Text from outside, made safe to show and measured in columns. A token may hold anything: controls, lone surrogates,
 * invisible joiners, wide characters. Everything is counted in grapheme clusters and in columns of a monospaced font.
 */

/** Line breaks and tabs have signs of their own; they are what tokens hold most often after letters. */
const signs: Readonly<Record<string, string>> = { "\n": "⏎", "\r": "␍", "\t": "⇥" };

/**
 * Joiners and variation selectors stay where they shape what is seen (emoji sequences, Arabic, the scripts of India).
 * Anything else that leaves no mark on paper is matched by the second half.
 */
const joiner =
  "(?<=[\\p{M}\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\p{Script=Arabic}])[\\u200c\\u200d](?=[\\p{L}\\p{Extended_Pictographic}])" +
  "|(?<=[\\p{Extended_Pictographic}0-9#*])[\\ufe0e\\ufe0f]";
const hidden = "[\\p{C}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}]|(?! )\\p{Zs}";
const unseen = new RegExp(`(${joiner})|${hidden}`, "gu");

/**
 * The text with everything invisible made visible: newline `⏎`, carriage return `␍`, tab `⇥`; other controls `\x1b`;
 * invisible, directional, unassigned and private characters and lone surrogates `\u{200b}`. Spaces stay as they are.
 * Of more than four combining marks in a row, four are kept and the rest become `…`.
 */
export function visible(text: string): string {
  return text
    .replace(unseen, (character, kept?: string) => kept ?? signs[character] ?? escapeCode(character))
    .replace(/(\p{M}{4})\p{M}+/gu, "$1…");
}

function escapeCode(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return code < 0x80 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`;
}

/**
 * The visible form of a token's text. Spaces at its start and end, and each of several in a row, are `·`; a single space
 * inside stays. Newline is `⏎`, carriage return `␍`, tab `⇥`; other controls are `\x1b`, and characters that leave no
 * mark (zero-width, directional, no-break spaces, private, unassigned, lone surrogates) are `\u{200b}`. A combining mark
 * at the start sits on `◌`. The empty text is `∅`. Showing what is already shown changes nothing.
 */
export function showToken(text: string): string {
  if (text === "") return "∅";
  return visible(text)
    .replace(/^ +| +$| {2,}/g, (spaces) => "·".repeat(spaces.length))
    .replace(/^(?=\p{M})/u, "◌");
}

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The grapheme clusters of a text: what a reader calls characters. */
export function graphemes(text: string): string[] {
  // most text is plain, and asking the segmenter costs fifty times as much
  if (/^[ -~]*$/.test(text)) return text.split("");
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** What a terminal draws two columns wide: emoji, and East Asian wide and fullwidth characters (of Unicode 16). */
const wide = new RegExp(
  "(?!\\p{RI})[\\p{Emoji_Presentation}\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Yi}\\p{Script=Tangut}\\p{Script=Nushu}" +
    "\\p{Script=Khitan_Small_Script}\\u1100-\\u115f\\u2329\\u232a\\u2630-\\u2637\\u268a-\\u268f\\u2ff0-\\u303e\\u3099-\\u3247" +
    "\\u3250-\\u4dff\\ua960-\\ua97c\\uac00-\\ud7a3\\ufe10-\\ufe19\\ufe30-\\ufe6b\\uff01-\\uff60\\uffe0-\\uffe6" +
    "\\u{1aff0}-\\u{1b122}\\u{1b155}-\\u{1b167}\\u{1d300}-\\u{1d376}\\u{1f200}-\\u{1f265}]",
  "u",
);

/** How many columns of a terminal one code point takes: 0 for marks and joiners, 2 for wide ones, else 1. */
export function codePointColumns(character: string): 0 | 1 | 2 {
  if (/\p{M}|\p{Emoji_Modifier}|\u200c|\u200d|[\u1160-\u11ff]/u.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/** How many columns of a terminal a text takes that has been made visible. */
export function columnsOf(text: string): number {
  return widthOf(text, graphemeColumns);
}

/** How many columns of a terminal a grapheme cluster takes; at least one, as marks that stand alone do. */
export function graphemeColumns(grapheme: string): number {
  if (grapheme.length === 1 && grapheme >= " " && grapheme <= "~") return 1;
  const emoji = grapheme.includes("\ufe0f") || /^(?!\p{RI})\p{Emoji_Presentation}/u.test(grapheme);
  return emoji ? 2 : Math.max(1, sum(Array.from(grapheme, codePointColumns)));
}

/** Scripts whose letters keep to one column in the fonts that figures are drawn with; other letters get two. */
const narrowScripts =
  /^[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Arabic}\p{Script=Armenian}\p{Script=Georgian}\p{Script=Lao}\p{Script=Common}\p{Script=Inherited}]/u;

/** How wide a grapheme cluster is, in a unit of the measure's choice. */
export type Measure = (grapheme: string) => number;

/** Columns of a monospaced font in a picture. Letters that such a font lacks come from others and are wider. */
export const drawnColumns: Measure = (grapheme) =>
  Math.max(graphemeColumns(grapheme), narrowScripts.test(grapheme) ? 0 : 2);

/** Parts of the font's size in a proportional font, close to DejaVu Sans and not below it for whole words. */
export const sansEms: Measure = (grapheme) => {
  if (/^[ijlI.,:;'|!ftr()[\]· ]/.test(grapheme)) return 0.4;
  if (/^[mwMW@%—…]/.test(grapheme)) return 1;
  return /^\p{Lu}/u.test(grapheme) ? 0.75 : 0.64 * drawnColumns(grapheme);
};

/** The width of a text by a measure. */
export function widthOf(text: string, measure: Measure): number {
  return sum(graphemes(text).map(measure));
}

/** The width of the widest of some texts, 0 without any. */
export function widest(texts: readonly string[], measure: Measure): number {
  return texts.reduce((most, text) => Math.max(most, widthOf(text, measure)), 0);
}

/** The text if it is at most `room` wide, else as much of it as fits with `…` at its end. */
export function cut(text: string, room: number, measure: Measure): string {
  const parts = graphemes(text);
  if (sum(parts.map(measure)) <= room) return text;
  let used = measure("…");
  if (used > room) return "";
  const kept = parts.findIndex((part) => {
    used += measure(part);
    return used > room;
  });
  return `${parts.slice(0, kept).join("")}…`;
}

/** The text cut or filled with spaces to exactly `columns` columns of a terminal. */
export function pad(text: string, columns: number, align: "left" | "right" = "left"): string {
  const shown = cut(text, columns, graphemeColumns);
  const space = " ".repeat(Math.max(0, columns - columnsOf(shown)));
  return align === "left" ? shown + space : space + shown;
}

/** Words set in lines of at most `room`; what goes beyond `lines` lines is cut. */
export function wrap(text: string, room: number, lines: number, measure: Measure): string[] {
  const result: string[] = [];
  let rest = graphemes(text);
  while (result.length < lines - 1 && sum(rest.map(measure)) > room) {
    const end = lineEnd(rest, room, measure);
    result.push(rest.slice(0, end).join("").trimEnd());
    rest = rest.slice(end);
  }
  return [...result, cut(rest.join(""), room, measure)];
}

/** After the last space that fits, else where the room ends; at least one cluster. */
function lineEnd(parts: readonly string[], room: number, measure: Measure): number {
  let used = 0;
  const overflow = parts.findIndex((part) => {
    used += part === " " ? 0 : measure(part);
    if (used > room) return true;
    used += part === " " ? measure(part) : 0;
    return false;
  });
  const space = parts.lastIndexOf(" ", overflow - 1);
  return Math.max(1, space > 0 ? space + 1 : overflow);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
