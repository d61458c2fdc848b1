/**
 * Files as this room touches them: positioned reads that either fill their target or fail, and writes that appear under
 * their name only when they are complete. What the file system refuses becomes a `failure` that names the path.
 */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failure, messageOf } from "../../errors.js";

/** An open regular file and the length it had when it was opened, in bytes. */
export interface OpenFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly bytes: number;
}

/** The most that one system call is asked to move: some systems refuse 2 GiB and more. */
const callBytes = 1 << 30;

/** Opens a regular file for reading. Anything else (a folder, a pipe, a device) is a `failure`. */
export async function openFile(path: string): Promise<OpenFile> {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error) => {
    throw systemFailure("open", path, error);
  });
  const stat = await handle.stat();
  if (stat.isFile()) return { path, handle, bytes: stat.size };
  await handle.close();
  throw failure(`${path}: is not a regular file; give a file of weights or recordings`);
}

/** Runs `use` with the file open and closes it in any case. */
export async function withFile<T>(path: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const file = await openFile(path);
  try {
    return await use(file);
  } finally {
    await file.handle.close();
  }
}

/** Fills `target` from byte `position` of the file on; a file that ends before that is a `failure`. */
export async function readInto(file: OpenFile, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const length = Math.min(callBytes, target.length - done);
    const { bytesRead } = await file.handle.read(target, done, length, position + done).catch((error) => {
      throw systemFailure("read", file.path, error);
    });
    if (bytesRead === 0)
      throw failure(`${file.path}: ends at byte ${position + done}; ${target.length - done} more are needed`);
    done += bytesRead;
  }
}

/** Writes all of `source` at byte `position`. */
export async function writeFrom(handle: FileHandle, source: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < source.length; ) {
    const length = Math.min(callBytes, source.length - done);
    done += (await handle.write(source, done, length, position + done)).bytesWritten;
  }
}

const temporaryName = /^\.patchclamp-[0-9a-f-]{36}$/;

/**
 * Makes the file `path` from what `write` writes, all or nothing: a temporary file in the same folder is written, synced
 * to the disk and renamed. If anything throws, the target stays as it was and the temporary file is removed.
 */
export async function writeAtomically(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.patchclamp-${randomUUID()}`);
  try {
    const handle = await open(temporary, "wx");
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    // The first error is the one worth telling.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw systemFailure("write", path, error);
  }
}

/** A file that is being written grows all the time: one that did not for so long (milliseconds) belongs to a dead process. */
const abandonedAfter = 3600 * 1000;

/** Removes what processes that were killed left behind while they made a file of this folder. */
export async function removeUnfinished(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => temporaryName.test(name));
  for (const path of names.map((name) => join(folder, name))) {
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > abandonedAfter) await rm(path, { force: true }).catch(() => undefined);
  }
}

/** A zeroed buffer of a length that was checked against the file; lack of memory is a `failure` that says for what. */
export function allocate(bytes: number, what: string): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (error) {
    throw failure(`${what}: needs ${bytes} bytes of memory at once, which cannot be had`, error);
  }
}

/** The bytes behind any typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A `failure` from an error of the file system; any other error is returned as it is. */
export function systemFailure(action: string, path: string, error: unknown): unknown {
  const fromSystem = error instanceof Error && "syscall" in error;
  return fromSystem ? failure(`${path}: cannot ${action} it (${messageOf(error)})`, error) : error;
}

/** A name from a file for a message: quoted, on one line, no longer than a line. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}...` : name);
}
