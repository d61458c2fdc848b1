/**
 * SentencePiece's character map, as a `tokenizer.json` holds it: a trie over UTF-8 (a "double array", in which a child
 * is found by exclusive-or of the parent's offset and the byte) and the texts that its entries stand for.
 */
import { failure } from "../../errors.js";
import { utf8 } from "./bytes.js";
import { textOf } from "./read.js";

/** Longer clusters than this many bytes are mapped character by character. */
const LONGEST_CLUSTER = 5;

const clusters = new Intl.Segmenter("und", { granularity: "grapheme" });
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

const labelOf = (unit: number) => unit & 0x800000ff;
const offsetOf = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);
const hasLeaf = (unit: number) => (unit & 0x100) !== 0;

/**
 * Cuts a text into the parts that a map treats together, each with what it becomes. `encoded` is the map in base64: the
 * size of the trie in bytes, the trie, the texts, each closed by a zero.
 */
export function charsmapOf(
  encoded: unknown,
  where: string,
): (text: string) => (readonly [part: string, text: string])[] {
  const bytes = Buffer.from(textOf(encoded, where), "base64");
  const trieBytes = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
  if (trieBytes === 0 || trieBytes % 4 !== 0 || trieBytes > bytes.length - 4) {
    throw failure(`${where}: a trie of ${trieBytes} bytes does not fit into a map of ${bytes.length} bytes`);
  }
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const texts = bytes.subarray(4 + trieBytes);
  const lookUp = (part: string): string | undefined => {
    const start = firstMatch(trie, utf8(part));
    if (start === undefined) return undefined;
    const end = texts.indexOf(0, start);
    return decoder.decode(texts.subarray(start, end < 0 ? texts.length : end));
  };
  return (text) =>
    Array.from(clusters.segment(text)).flatMap(({ segment }) => {
      const whole = utf8(segment).length <= LONGEST_CLUSTER ? lookUp(segment) : undefined;
      if (whole !== undefined) return [[segment, whole] as const];
      return [...segment].map((character) => [character, lookUp(character) ?? character] as const);
    });
}

/** Where the text of the shortest entry that `key` starts with begins. */
function firstMatch(trie: Uint32Array, key: Uint8Array): number | undefined {
  let at = offsetOf(trie[0] ?? 0);
  for (const byte of key) {
    if (byte === 0) return undefined;
    at ^= byte;
    const unit = trie[at] ?? 0;
    if (labelOf(unit) !== byte) return undefined;
    at ^= offsetOf(unit);
    if (hasLeaf(unit)) return (trie[at] ?? 0) & 0x7fffffff;
  }
  return undefined;
}
