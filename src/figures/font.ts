/** Which characters a font can draw: the segments of the `cmap` table of a TrueType file (format 12, groups of code points). */
import { readFileSync } from "node:fs";
import { failure } from "../errors.js";

/** A test of code points: true where one of the font files has a glyph. A failure where a file has no such table. */
export function readCoverage(paths: readonly string[]): (codePoint: number) => boolean {
  const groups = paths.flatMap(readGroups);
  return (codePoint) =>
    isDefaultIgnorable(codePoint) || groups.some(([first, last]) => first <= codePoint && codePoint <= last);
}

/** Joiners and variation selectors draw nothing, so no font needs to have them. */
function isDefaultIgnorable(codePoint: number): boolean {
  return /\p{Default_Ignorable_Code_Point}/u.test(String.fromCodePoint(codePoint));
}

function readGroups(path: string): [number, number][] {
  const bytes = readFileSync(path);
  const cmap = findTable(bytes, "cmap");
  const subtables = Array.from(
    { length: bytes.readUInt16BE(cmap + 2) },
    (_, i) => cmap + bytes.readUInt32BE(cmap + 8 + 8 * i),
  );
  const groups = subtables.find((offset) => bytes.readUInt16BE(offset) === 12);
  if (groups === undefined) throw failure(`the font ${path} has no character map of format 12`);
  return Array.from({ length: bytes.readUInt32BE(groups + 12) }, (_, i) => {
    const group = groups + 16 + 12 * i;
    return [bytes.readUInt32BE(group), bytes.readUInt32BE(group + 4)];
  });
}

/** The offset of a table in the file: after 12 bytes, 16 bytes for each table: tag, checksum, offset, length. */
function findTable(bytes: Buffer, tag: string): number {
  for (let entry = 12; entry < 12 + 16 * bytes.readUInt16BE(4); entry += 16) {
    if (bytes.toString("latin1", entry, entry + 4) === tag) return bytes.readUInt32BE(entry + 8);
  }
  throw failure(`the font has no table "${tag}"`);
}
