/** Wheels are zip files. The directory at the end is what counts; sizes and checksums of what is unpacked must agree. */
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { failure, messageOf, PatchclampError } from "../../errors.js";
import { type Archive, type ArchiveEntry, entryChecker } from "./archive.js";
import { isSystemError, type Stored, storeStream } from "./store.js";

/** Opens a zip, lets `use` work with it, and closes it. Everything that is wrong with it is one failure. */
export async function withZip<T>(path: string, where: string, use: (archive: Archive) => Promise<T>): Promise<T> {
  let zip: ZipFile | undefined;
  try {
    zip = await openPromise(path, { autoClose: false, strictFileNames: true });
    return await use(await readDirectory(zip, where));
  } catch (error) {
    if (error instanceof PatchclampError || isSystemError(error)) throw error;
    throw failure(`${where}: damaged or not a zip file: ${messageOf(error)}`, error);
  } finally {
    zip?.close();
  }
}

async function readDirectory(zip: ZipFile, where: string): Promise<Archive> {
  const { check, files } = entryChecker(where);
  const entries = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    check(describe(entry));
    entries.set(entry.fileName, entry);
  }
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
  if (!entry.canDecodeFileData()) throw failure(`${where}: encrypted, or compressed in a way that is not supported`);
  const stream = await zip.openReadStreamPromise(entry);
  const stored = await storeStream(stream, path, entry.uncompressedSize, where);
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
