/** A folder or file of the user's own, used where it lies. Links are followed: the user's tools make them. */
import { readdir, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { failure, usageError } from "../errors.js";
import { rememberedRecord } from "./cache.js";
import { kindOf, MAXIMUM_TEXT_BYTES, selectFiles } from "./select.js";
import { modelHash } from "./store.js";
import type { FileRecord, ModelFiles } from "./types.js";

/**
 * The model at a path. A folder holds one model; a file is read with the configuration that lies beside it.
 * @throws usage error where there is nothing, or several models
 */
export async function localModel(reference: string, cache: string, signal: AbortSignal): Promise<ModelFiles> {
  const path = resolve(reference.replace(/^~(?=$|[/\\])/, homedir()));
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw usageError(`there is no file or folder ${path}`);
  if (!found.isDirectory() && kindOf(basename(path)) !== "weights") {
    throw usageError(`${path} is not a model file: expected .safetensors or .gguf`);
  }
  const folder = found.isDirectory() ? path : dirname(path);
  const wanted = found.isDirectory() ? undefined : basename(path);
  const files = new Map<string, string>();
  for (const name of selectFiles(await filesIn(folder), path, wanted).values()) {
    const file = await realpath(join(folder, name));
    await checkText(file);
    files.set(name, file);
  }
  return { source: path, name: reference, files, ...(await hashed(files, cache, signal)) };
}

/**
 * The files of a path: itself, or the regular ones in a folder that are not hidden. Their hashes are kept at once: nothing
 * about them can turn out to be wrong.
 * @throws usage error where there is nothing
 */
export async function localFiles(reference: string, cache: string, signal: AbortSignal): Promise<ModelFiles> {
  const path = resolve(reference.replace(/^~(?=$|[/\\])/, homedir()));
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw usageError(`there is no file or folder ${path}`);
  const folder = found.isDirectory() ? path : dirname(path);
  if (!found.isDirectory() && !found.isFile()) throw usageError(`${path} is no regular file`);
  const names = found.isDirectory()
    ? (await filesIn(folder)).filter((name) => !name.startsWith(".")).sort()
    : [basename(path)];
  if (names.length === 0) throw usageError(`the folder ${path} holds no files`);
  const files = new Map<string, string>();
  for (const name of names) files.set(name, await realpath(join(folder, name)));
  const { hash, remember } = await hashed(files, cache, signal);
  await remember();
  return { source: path, name: reference, files, hash };
}

/** The hash over files, and how to keep what it is made of. */
async function hashed(files: ReadonlyMap<string, string>, cache: string, signal: AbortSignal) {
  const records = new Map<string, FileRecord>();
  const memories: (() => Promise<void>)[] = [];
  for (const [name, file] of files) {
    const { record, remember } = await rememberedRecord(cache, file, signal);
    records.set(name, record);
    memories.push(remember);
  }
  const remember = async () => {
    for (const keep of memories) await keep();
  };
  return { hash: modelHash(records), remember };
}

/** The bound of downloads holds here too: nothing longer is ever read whole. */
async function checkText(path: string): Promise<void> {
  const { size } = await stat(path);
  if (kindOf(path) !== "text" || size <= MAXIMUM_TEXT_BYTES) return;
  throw failure(`${path}: ${size} bytes are more than a text file of a model has (${MAXIMUM_TEXT_BYTES})`);
}

/** Regular files only: reading a pipe or a device would never end. */
async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  const regular = await Promise.all(
    names.map((name) =>
      stat(join(folder, name)).then(
        (found) => found.isFile(),
        () => false,
      ),
    ),
  );
  return names.filter((_, index) => regular[index]);
}
