/**
 * Archives come from strangers. Every name in one is checked before anything is written, only the chosen files are
 * unpacked, and only up to their declared sizes. Zip and tar share these rules; what differs is how to read them.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { failure } from "../errors.js";
import { checkPath } from "./place.js";
import { chooseFiles, kindOf, MAXIMUM_ARCHIVE_BYTES, MAXIMUM_TEXT_BYTES } from "./select.js";
import type { Stored } from "./store.js";
import type { FileRecord, Place } from "./types.js";

/** More entries than any package of a model has. */
const MAXIMUM_ENTRIES = 100_000;
/** Text compresses well, but a tokenizer of real words not as well as this (size over compressed size). */
const MAXIMUM_TEXT_RATIO = 200;

export interface ArchiveEntry {
  readonly path: string;
  /** The declared size. */
  readonly bytes: number;
  /** The size inside the archive, where entries are compressed one by one. */
  readonly compressed?: number;
  readonly type: "file" | "folder" | "other";
}

export interface Archive {
  /** The entries by path, checked by an `entryChecker`; files only. */
  readonly files: ReadonlyMap<string, ArchiveEntry>;
  /** Unpacks entries (path -> absolute path of a new file), up to their declared sizes. */
  extract(wanted: ReadonlyMap<string, string>): Promise<Map<string, Stored>>;
}

/** Checks entries one after another as an archive is listed, and collects the files. */
export function entryChecker(where: string): { check(entry: ArchiveEntry): void; files: Map<string, ArchiveEntry> } {
  const files = new Map<string, ArchiveEntry>();
  // Names that differ only in case are one file on some systems.
  const seen = new Set<string>();
  const check = (entry: ArchiveEntry) => {
    const path = entry.type === "folder" ? entry.path.replace(/\/$/, "") : entry.path;
    checkPath(path, where);
    if (entry.type === "folder") return;
    if (entry.type === "other") throw failure(`${where}: refused '${path}': a link or device, not a file`);
    const folded = path.normalize("NFC").toLowerCase();
    if (seen.has(folded)) throw failure(`${where}: refused '${path}': the name occurs twice`);
    if (seen.add(folded).size > MAXIMUM_ENTRIES) throw failure(`${where}: more than ${MAXIMUM_ENTRIES} entries`);
    if (kindOf(path) === "text") checkText(entry, where);
    files.set(path, entry);
  };
  return { check, files };
}

/**
 * Unpacks the files of a place from an archive into `<folder>/files`.
 * @returns the kept names with their records, and each one's path inside the archive
 */
export async function unpackModel(archive: Archive, place: Place, folder: string, where: string) {
  const chosen = chooseFiles([...archive.files.keys()], place);
  const declared = [...chosen.keys()].reduce((sum, path) => sum + (archive.files.get(path)?.bytes ?? 0), 0);
  if (declared > MAXIMUM_ARCHIVE_BYTES) {
    throw failure(`${where}: declares ${declared} bytes to unpack; at most ${MAXIMUM_ARCHIVE_BYTES} are accepted`);
  }
  const target = join(folder, "files");
  await mkdir(target);
  const stored = await archive.extract(new Map([...chosen].map(([path, name]) => [path, join(target, name)])));
  const files = new Map<string, FileRecord>();
  for (const [path, name] of chosen) {
    const { bytes, sha256 } = stored.get(path) as Stored;
    files.set(name, { bytes, sha256 });
  }
  return { files, origin: new Map([...chosen].map(([path, name]) => [name, path])) };
}

/** Text is small and compresses as words do; a bomb is neither. */
function checkText({ path, bytes, compressed }: ArchiveEntry, where: string): void {
  if (bytes > MAXIMUM_TEXT_BYTES) {
    throw failure(
      `${where}: '${path}' declares ${bytes} bytes; a text file of a model has at most ${MAXIMUM_TEXT_BYTES}`,
    );
  }
  if (compressed !== undefined && bytes > MAXIMUM_TEXT_RATIO * Math.max(compressed, 64)) {
    throw failure(`${where}: '${path}' expands ${Math.round(bytes / compressed)} times, as a zip bomb does`);
  }
}
