/**
 * A text that remembers where each of its UTF-16 units came from. Normalisers and splitters only ever rewrite and slice
 * it, so the offsets of a token into the text that the user wrote are there at the end without searching for them.
 */

export interface AlignedText {
  readonly text: string;
  /** For each unit, where the original character (or run of characters) it came from starts and ends. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

/** Replace the units `from` to `to` (exclusive) by `text`. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** A text aligned with itself; both halves of a surrogate pair have the offsets of the whole character. */
export function alignedText(text: string): AlignedText {
  const starts = new Int32Array(text.length);
  const ends = new Int32Array(text.length);
  for (let i = 0; i < text.length; ) {
    const end = i + characterWidth(text, i);
    starts.fill(i, i, end);
    ends.fill(end, i, end);
    i = end;
  }
  return { text, starts, ends };
}

/** The UTF-16 units of the character at `at`: 2 for a surrogate pair, else 1. */
export function characterWidth(text: string, at: number): number {
  return (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
}

/** Part of a text; shares memory with it. */
export function sliceOf(source: AlignedText, from: number, to: number): AlignedText {
  if (from === 0 && to === source.text.length) return source;
  return {
    text: source.text.slice(from, to),
    starts: source.starts.subarray(from, to),
    ends: source.ends.subarray(from, to),
  };
}

/**
 * Applies edits that are in order and do not overlap; text between them stays. New text is aligned with all that it
 * replaces; inserted text with the character before which it is inserted.
 */
export function rewrite(source: AlignedText, edits: readonly Edit[]): AlignedText {
  if (edits.length === 0) return source;
  const length = edits.reduce((sum, edit) => sum + edit.text.length - (edit.to - edit.from), source.text.length);
  const starts = new Int32Array(length);
  const ends = new Int32Array(length);
  const parts: string[] = [];
  let read = 0;
  let written = 0;
  const keepUntil = (to: number) => {
    parts.push(source.text.slice(read, to));
    starts.set(source.starts.subarray(read, to), written);
    ends.set(source.ends.subarray(read, to), written);
    written += to - read;
    read = to;
  };
  for (const { from, to, text } of edits) {
    keepUntil(from);
    parts.push(text);
    starts.fill(source.starts[from] ?? 0, written, written + text.length);
    ends.fill(source.ends[Math.max(to - 1, from)] ?? 0, written, written + text.length);
    written += text.length;
    read = to;
  }
  keepUntil(source.text.length);
  return { text: parts.join(""), starts, ends };
}

/** Rewrites each character (code point) by itself. */
export function mapCharacters(source: AlignedText, map: (character: string) => string): AlignedText {
  const edits: Edit[] = [];
  let from = 0;
  for (const character of source.text) {
    const to = from + character.length;
    const text = map(character);
    if (text !== character) edits.push({ from, to, text });
    from = to;
  }
  return rewrite(source, edits);
}

const whiteSpace = /\p{White_Space}/u;

/** Where the white space that ends at `at` starts, not before `least`. */
export function spaceBefore(text: string, at: number, least: number): number {
  let from = at;
  while (from > least && whiteSpace.test(text[from - 1] as string)) from--;
  return from;
}

/** Where the white space that starts at `at` ends. */
export function spaceAfter(text: string, at: number): number {
  let to = at;
  while (to < text.length && whiteSpace.test(text[to] as string)) to++;
  return to;
}
