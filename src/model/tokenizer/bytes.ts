/**
 * Bytes and text. Byte-level vocabularies (GPT-2's idea) write every byte as one printable character: printable Latin-1
 * stands for itself, the other 68 bytes for U+0100 and up, so a space is `Ġ` and a newline `Ċ`.
 */
import { type AlignedText, characterWidth } from "./aligned.js";

const isPrintable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);

const byteCharacters = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

const byteOfCharacter = new Map(byteCharacters.map((character, byte) => [character, byte]));

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** UTF-8; half a surrogate pair becomes U+FFFD. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of UTF-8 bytes; each ill-formed sequence reads as one U+FFFD. */
export function textOfBytes(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** A text with each of its UTF-8 bytes as one byte-level character, aligned with the character it is part of. */
export function toByteLevel(source: AlignedText): AlignedText {
  const bytes = utf8(source.text);
  const starts = new Int32Array(bytes.length);
  const ends = new Int32Array(bytes.length);
  let text = "";
  let at = 0;
  for (let i = 0; i < source.text.length; ) {
    const next = i + characterWidth(source.text, i);
    const stop = at + utf8Width(source.text.codePointAt(i) ?? 0);
    starts.fill(source.starts[i] as number, at, stop);
    ends.fill(source.ends[next - 1] as number, at, stop);
    for (; at < stop; at++) text += byteCharacters[bytes[at] as number];
    i = next;
  }
  return { text, starts, ends };
}

function utf8Width(codePoint: number): number {
  if (codePoint < 0x80) return 1;
  if (codePoint < 0x800) return 2;
  return codePoint < 0x10000 ? 3 : 4;
}

/** The bytes that a byte-level token stands for; undefined if it holds a character that stands for no byte. */
export function fromByteLevel(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token[i] as string);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** The byte of a SentencePiece byte token such as `<0xE2>`; undefined for any other token. */
export function fallbackByte(token: string): number | undefined {
  return /^<0x[0-9A-F]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;
}

/** How SentencePiece writes a byte. */
export function fallbackToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** How many bytes follow a lead byte, and the range of the first of them (Unicode's table of well-formed UTF-8). */
function continuation(lead: number): { count: number; low: number; high: number } | undefined {
  if (lead < 0x80) return { count: 0, low: 0, high: 0 };
  if (lead < 0xc2 || lead > 0xf4) return undefined;
  if (lead < 0xe0) return { count: 1, low: 0x80, high: 0xbf };
  if (lead < 0xf0) return { count: 2, low: lead === 0xe0 ? 0xa0 : 0x80, high: lead === 0xed ? 0x9f : 0xbf };
  return { count: 3, low: lead === 0xf0 ? 0x90 : 0x80, high: lead === 0xf4 ? 0x8f : 0xbf };
}

/**
 * The character that starts at byte `at`: where its bytes end, and whether they are well formed. What is not reads as
 * one U+FFFD, with the same bounds as a `TextDecoder` gives it.
 */
export function characterAt(bytes: Uint8Array, at: number): { end: number; wellFormed: boolean } {
  const follow = continuation(bytes[at] as number);
  if (follow === undefined) return { end: at + 1, wellFormed: false };
  for (let i = 1; i <= follow.count; i++) {
    const byte = bytes[at + i] ?? 0;
    const [low, high] = i === 1 ? [follow.low, follow.high] : [0x80, 0xbf];
    if (byte < low || byte > high) return { end: at + i, wellFormed: false };
  }
  return { end: at + follow.count + 1, wellFormed: true };
}

/** Whether bytes are UTF-8 as they stand. */
export function isText(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; ) {
    const { end, wellFormed } = characterAt(bytes, at);
    if (!wellFormed) return false;
    at = end;
  }
  return true;
}
