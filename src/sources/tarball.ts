/** Packages of npm are gzipped tar files: streams, so they are read twice, once to check and once to unpack. */
import { createReadStream } from "node:fs";
import { Parser, type ReadEntry } from "tar";
import { failure, messageOf, PatchclampError } from "../errors.js";
import { type Archive, type ArchiveEntry, entryChecker } from "./archive.js";
import { printable } from "./place.js";
import { MAXIMUM_ARCHIVE_BYTES } from "./select.js";
import { isSystemError, type Stored, storeStream } from "./store.js";

/** Reads the directory of a gzipped tar and lets `use` work with it. Everything that is wrong with it is one failure. */
export async function withTarball<T>(path: string, where: string, use: (archive: Archive) => Promise<T>): Promise<T> {
  try {
    const { check, files } = entryChecker(where);
    await readEntries(path, where, (entry) => {
      check(entryOf(entry));
      entry.resume();
    });
    return await use({ files, extract: (wanted) => extract(path, where, wanted) });
  } catch (error) {
    if (error instanceof PatchclampError || isSystemError(error)) throw error;
    throw failure(`${where}: damaged or not a gzipped tar file: ${printable(messageOf(error))}`, error);
  }
}

async function extract(path: string, where: string, wanted: ReadonlyMap<string, string>): Promise<Map<string, Stored>> {
  const stored = new Map<string, Stored>();
  await readEntries(path, where, (entry) => {
    const target = wanted.get(entry.path);
    if (target === undefined) return entry.resume();
    return storeStream(entry, target, entry.size, `${where}: '${entry.path}'`).then((file) =>
      stored.set(entry.path, file),
    );
  });
  return stored;
}

function entryOf({ path, size, type }: ReadEntry): ArchiveEntry {
  if (type === "Directory") return { path, bytes: 0, type: "folder" };
  const file = type === "File" || type === "OldFile" || type === "ContiguousFile";
  return { path, bytes: size, type: file ? "file" : "other" };
}

/** Calls back with every entry in turn; each must be consumed. Strict: whatever is odd about the archive is an error. */
function readEntries(path: string, where: string, onEntry: (entry: ReadEntry) => Promise<unknown> | unknown) {
  const source = createReadStream(path);
  return new Promise<void>((resolve, reject) => {
    const fail = (error: unknown) => {
      source.destroy();
      reject(error);
    };
    const work: Promise<unknown>[] = [];
    let declared = 0;
    const onReadEntry = async (entry: ReadEntry) => {
      declared += entry.size;
      if (declared > MAXIMUM_ARCHIVE_BYTES) {
        throw failure(`${where}: declares more than the ${MAXIMUM_ARCHIVE_BYTES} bytes that are accepted`);
      }
      await onEntry(entry);
    };
    const parser = new Parser({
      strict: true,
      brotli: false,
      zstd: false,
      onReadEntry: (entry) => void work.push(onReadEntry(entry).catch(fail)),
    });
    parser.on("error", fail);
    parser.on("end", () => Promise.all(work).then(() => resolve()));
    source.on("error", fail);
    source.pipe(parser);
  });
}
