/** Bytes and text agree with the platform's own decoder, byte for byte. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { alignedText } from "./aligned.js";
import { characterAt, fromByteLevel, isText, textOfBytes, toByteLevel } from "./bytes.js";

/** Bytes at the edges of what is well formed, so that short lists of them meet every rule. */
const edges = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef];
const byte = fc.constantFrom(...edges, 0xf0, 0xf1, 0xf4, 0xf5, 0xff);
const bytesOf = fc.array(byte, { maxLength: 8 }).map((list) => Uint8Array.from(list));

/** The text of bytes by our bounds of characters alone. */
function textByCharacters(bytes: Uint8Array): string[] {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { end, wellFormed } = characterAt(bytes, at);
    parts.push(wellFormed ? textOfBytes(bytes.subarray(at, end)) : "\ufffd");
    at = end;
  }
  return parts;
}

it("cuts bytes into characters as a TextDecoder does", () => {
  fc.assert(
    fc.property(bytesOf, (bytes) => {
      const parts = textByCharacters(bytes);
      expect(parts.join("")).toBe(textOfBytes(bytes));
      for (const part of parts) expect([...part]).toHaveLength(1);
    }),
    { numRuns: 5000 },
  );
});

it("knows text from bytes that are none", () => {
  fc.assert(
    fc.property(bytesOf, (bytes) => {
      let accepted = true;
      try {
        new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      } catch {
        accepted = false;
      }
      expect(isText(bytes)).toBe(accepted);
    }),
    { numRuns: 5000 },
  );
});

it("writes every byte as one character and reads it again", () => {
  const text = String.fromCodePoint(...Array.from({ length: 0x250 }, (_, i) => i), 0x1f600);
  const written = toByteLevel(alignedText(text)).text;
  expect(written).not.toMatch(/[\s\0-\x20]/);
  expect(fromByteLevel(written)).toEqual(new TextEncoder().encode(text));
  expect(fromByteLevel("a b")).toBeUndefined();
});
