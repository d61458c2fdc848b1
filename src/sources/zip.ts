/** Wheels are zip files. The directory at the end is what counts; sizes and checksums of what is unpacked must agree. */
import type { Readable } from "node:stream";
import { type Entry, open, type ZipFile } from "yauzl";
import { failure, messageOf, PatchclampError } from "../errors.js";
import { type Archive, type ArchiveEntry, entryChecker } from "./archive.js";
import { printable } from "./place.js";
import { isSystemError, type Stored, storeStream } from "./store.js";

/** Opens a zip, lets `use` work with it, and closes it. Everything that is wrong with it is one failure. */
export async function withZip<T>(path: string, where: string, use: (archive: Archive) => Promise<T>): Promise<T> {
  let zip: ZipFile | undefined;
  try {
    zip = await openZip(path);
    return await use(await readDirectory(zip, where));
  } catch (error) {
    if (error instanceof PatchclampError || isSystemError(error)) throw error;
    throw failure(`${where}: damaged or not a zip file: ${printable(messageOf(error))}`, error);
  } finally {
    zip?.close();
  }
}

async function readDirectory(zip: ZipFile, where: string): Promise<Archive> {
  const { check, files } = entryChecker(where);
  const entries = new Map<string, Entry>();
  await eachEntry(zip, (entry) => {
    check(describe(entry));
    entries.set(entry.fileName, entry);
  });
  return {
    files,
    async extract(wanted) {
      const stored = new Map<string, Stored>();
      for (const [from, to] of wanted) {
        const entry = entries.get(from) as Entry;
        stored.set(from, await extractEntry(zip, entry, to, `${where}: '${from}'`));
      }
      return stored;
    },
  };
}

async function extractEntry(zip: ZipFile, entry: Entry, path: string, where: string): Promise<Stored> {
  const readable = !entry.isEncrypted() && (entry.compressionMethod === 0 || entry.compressionMethod === 8);
  if (!readable) throw failure(`${where}: encrypted, or compressed in a way that is not supported`);
  const stored = await storeStream(await openEntry(zip, entry), path, entry.uncompressedSize, where).catch((error) => {
    if (error instanceof PatchclampError || isSystemError(error)) throw error;
    throw failure(`${where}: ${printable(messageOf(error))}`, error);
  });
  // The library compares sizes but not checksums.
  if (stored.crc32 !== entry.crc32) throw failure(`${where}: wrong checksum (CRC-32): the archive is damaged`);
  return stored;
}

function describe(entry: Entry): ArchiveEntry {
  // Archives made on Unix keep the file's mode in the upper half of the attributes.
  const format = (entry.externalFileAttributes >>> 16) & 0o170000;
  const special = format !== 0 && format !== 0o100000 && format !== 0o040000;
  const type = special ? "other" : entry.fileName.endsWith("/") ? "folder" : "file";
  return { path: entry.fileName, bytes: entry.uncompressedSize, compressed: entry.compressedSize, type };
}

function openZip(path: string): Promise<ZipFile> {
  const options = { autoClose: false, lazyEntries: true, strictFileNames: true };
  return new Promise((resolve, reject) => {
    open(path, options, (error, zip) => (error === null ? resolve(zip) : reject(error)));
  });
}

/** Calls back with every entry; whatever that throws ends the reading. */
function eachEntry(zip: ZipFile, onEntry: (entry: Entry) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    zip.on("error", reject);
    zip.on("end", resolve);
    zip.on("entry", (entry: Entry) => {
      try {
        onEntry(entry);
        zip.readEntry();
      } catch (error) {
        reject(error);
      }
    });
    zip.readEntry();
  });
}

function openEntry(zip: ZipFile, entry: Entry): Promise<Readable> {
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => (error === null ? resolve(stream) : reject(error)));
  });
}
