/**
 * Bytes become a file through one function: it counts, hashes, refuses more than was announced, and syncs, so that what
 * is renamed into the cache afterwards is on the disk.
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import { failure } from "../errors.js";
import type { FileRecord } from "./types.js";

export interface Stored extends FileRecord {
  readonly crc32: number;
}

/**
 * Writes a stream to a new file.
 * @param bytes the announced size; more or fewer bytes are a failure
 * @param where names the file in messages
 */
export async function storeStream(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  bytes: number,
  where: string,
): Promise<Stored> {
  // An error before the first chunk is asked for is told then; that nobody listens yet must not end the process.
  if (chunks instanceof Readable) chunks.on("error", () => {});
  const handle = await open(path, "wx");
  try {
    const sha256 = createHash("sha256");
    let [received, checksum] = [0, 0];
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > bytes) throw failure(`${where}: more than the ${bytes} bytes that were announced`);
      sha256.update(chunk);
      checksum = crc32(chunk, checksum);
      await writeAll(handle, chunk);
    }
    if (received < bytes) throw failure(`${where}: ends after ${received} of ${bytes} bytes`);
    await handle.sync();
    return { bytes, sha256: sha256.digest("hex"), crc32: checksum };
  } finally {
    await handle.close();
  }
}

/** Writes a whole chunk at the handle's position: one write call may take only a part of it. */
export async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length; ) {
    offset += (await handle.write(chunk, offset)).bytesWritten;
  }
}

/** Feeds a file to hashes; returns its size in bytes. */
export async function hashFile(path: string, hashes: readonly Hash[], signal?: AbortSignal): Promise<number> {
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20, ...(signal ? { signal } : {}) })) {
    for (const hash of hashes) hash.update(chunk);
    bytes += chunk.length;
  }
  return bytes;
}

/** The size and sha256 of a file. */
export async function recordOf(path: string, signal?: AbortSignal): Promise<FileRecord> {
  const sha256 = createHash("sha256");
  const bytes = await hashFile(path, [sha256], signal);
  return { bytes, sha256: sha256.digest("hex") };
}

/** The hash of a model: sha256 over its files' names and hashes in the order of names. */
export function modelHash(files: ReadonlyMap<string, FileRecord>): string {
  const hash = createHash("sha256");
  for (const [name, { sha256 }] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(`${name}\0${sha256}\n`);
  return hash.digest("hex");
}

/** Makes renames inside a folder durable. Windows cannot open folders, and needs no such call. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The single file in a folder whose name ends with `ending`. */
export async function singleFile(folder: string, ending: string, where: string): Promise<string> {
  const found = (await readdir(folder)).filter((name) => name.endsWith(ending));
  if (found.length !== 1) throw failure(`${where}: expected one ${ending} file, found ${found.length}`);
  return join(folder, found[0] as string);
}

/** Whether an error is the system's own (a disk, a permission), and not about what a file holds. */
export function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}

/** Whether an error, or anything that caused it, is a full disk or a used-up quota. */
export function isDiskFull(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT")) return true;
  }
  return false;
}
