/**
 * The cache: one folder a place, which appears complete or not at all. `source.json` beside the files says what they
 * are and is written before the folder gets its name. A short name remembers the place that it came from.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { failure, messageOf } from "../errors.js";
import { slugOf, unsafePath } from "./place.js";
import { modelHash, recordOf, syncFolder } from "./store.js";
import type { Delivery, FileRecord, ModelFiles, Place } from "./types.js";

const MANIFEST = "source.json";
/** A manifest lists a few dozen files; anything far larger is not one (bytes). */
const MAXIMUM_JSON_BYTES = 2 ** 20;

interface Manifest {
  /** What was asked for when the files were brought. */
  readonly reference: string;
  readonly place: string;
  readonly version: string;
  readonly files: Readonly<Record<string, FileRecord>>;
  readonly hash: string;
}

export interface CachedCopy {
  readonly version: string;
  readonly model: ModelFiles;
}

export interface CachedModel {
  /** The place that it came from. */
  readonly source: string;
  /** What was asked for when it came. */
  readonly name: string;
  readonly folder: string;
  readonly files: readonly string[];
  readonly bytes: number;
  readonly hash: string;
}

/**
 * The cache folder as an absolute path: the option, else `PATCHCLAMP_HOME`, else `patchclamp` in the user's cache
 * directory (`XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on a Mac, `LOCALAPPDATA` on Windows). It may not exist.
 */
export function cacheFolder(options: { cache?: string } = {}): string {
  const chosen = options.cache || process.env.PATCHCLAMP_HOME;
  return chosen ? resolve(chosen) : join(userCacheFolder(), "patchclamp");
}

function userCacheFolder(): string {
  if (process.platform === "win32") return process.env.LOCALAPPDATA || join(homedir(), "AppData", "Local");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches");
  return process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
}

/** The models that the cache holds, sorted by source; empty where there is no cache. Damaged entries are left out. */
export async function cachedModels(options: { cache?: string } = {}): Promise<CachedModel[]> {
  return cachedIn(join(cacheFolder(options), "models"));
}

/** The datasets that the cache holds, as `cachedModels` tells of models. */
export async function cachedData(options: { cache?: string } = {}): Promise<CachedModel[]> {
  return cachedIn(join(cacheFolder(options), "data"));
}

async function cachedIn(parent: string): Promise<CachedModel[]> {
  const folders = await readdir(parent).catch(() => []);
  const found = await Promise.all(folders.map((folder) => describe(join(parent, folder))));
  return found.filter((model) => model !== undefined).sort((a, b) => (a.source < b.source ? -1 : 1));
}

async function describe(folder: string): Promise<CachedModel | undefined> {
  const manifest = await readManifest(folder);
  if (manifest === undefined || !(await isComplete(folder, manifest))) return undefined;
  const files = Object.keys(manifest.files);
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  return { source: manifest.place, name: manifest.reference, folder, files, bytes, hash: manifest.hash };
}

/** The cached copy of a place, "damaged" where a file of it is missing or has another size, undefined without one. */
export async function readCached(
  cache: string,
  place: Place,
  name: string,
): Promise<CachedCopy | "damaged" | undefined> {
  const folder = modelFolder(cache, place);
  if (!existsSync(folder)) return undefined;
  const manifest = await readManifest(folder);
  if (manifest === undefined || manifest.place !== place.text || !(await isComplete(folder, manifest)))
    return "damaged";
  const files = new Map(Object.keys(manifest.files).map((file) => [file, join(folder, file)]));
  return { version: manifest.version, model: { source: place.text, name, files, hash: manifest.hash } };
}

/**
 * Moves a delivery from a temporary folder into the cache. Where another process was first, its copy stays and ours
 * is dropped, unless `replace`.
 */
export async function publish(
  cache: string,
  place: Place,
  name: string,
  delivery: Delivery,
  folder: string,
  replace: boolean,
): Promise<void> {
  const staged = join(folder, "files");
  const manifest: Manifest = {
    reference: name,
    place: place.text,
    version: delivery.version,
    files: Object.fromEntries(delivery.files),
    hash: modelHash(delivery.files),
  };
  await writeFile(join(staged, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
  await syncFolder(staged);
  const target = modelFolder(cache, place);
  await mkdir(dirname(target), { recursive: true });
  if (replace) await swap(staged, target, join(folder, "replaced"));
  else await renameUnlessThere(staged, target);
  await syncFolder(dirname(target));
}

/** A folder cannot be exchanged in one step, so for an instant neither copy has the name; a failure restores the old. */
async function swap(staged: string, target: string, aside: string): Promise<void> {
  const moved = await rename(target, aside).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return false;
    },
  );
  try {
    await renameUnlessThere(staged, target);
  } catch (error) {
    if (moved) await rename(aside, target);
    throw error;
  }
}

async function renameUnlessThere(staged: string, target: string): Promise<void> {
  try {
    await rename(staged, target);
  } catch (error) {
    // A folder that holds files is never overwritten by a rename; the code that says so differs between systems.
    if (!existsSync(join(target, MANIFEST))) throw error;
  }
}

/** The place that a short name was first resolved from. */
export async function readName(cache: string, name: string): Promise<string | undefined> {
  const record = await readJson(nameFile(cache, name));
  return isRecord(record) && typeof record.place === "string" ? record.place : undefined;
}

/** Remembers where a short name came from. A cache that cannot be written to costs only that memory. */
export async function writeName(cache: string, name: string, place: Place): Promise<void> {
  if ((await readName(cache, name)) === place.text) return;
  await writeJson(nameFile(cache, name), { place: place.text });
}

/** The record of a file outside the cache, and how to keep it. */
export interface RememberedRecord {
  readonly record: FileRecord;
  readonly remember: () => Promise<void>;
}

/**
 * The size and sha256 of a file outside the cache. `remember` keeps the hash in the cache under the file's path, size and
 * time of change, so that opening a large model twice reads it once for its hash. It is not kept at once: a file that
 * turns out to be no model leaves the cache as it was.
 */
export async function rememberedRecord(cache: string, path: string, signal: AbortSignal): Promise<RememberedRecord> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  const key = `${path}\0${size}\0${mtimeNs}`;
  const file = join(cache, "hashes", `${createHash("sha256").update(path).digest("hex").slice(0, 32)}.json`);
  const kept = await readJson(file);
  if (isRecord(kept) && kept.key === key && isHash(kept.sha256))
    return { record: { bytes: Number(size), sha256: kept.sha256 }, remember: async () => {} };
  const record = await recordOf(path, signal);
  return { record, remember: () => writeJson(file, { key, sha256: record.sha256 }) };
}

const modelFolder = (cache: string, place: Place): string =>
  join(cache, place.whole === true ? "data" : "models", slugOf(place));
const nameFile = (cache: string, name: string): string => join(cache, "names", `${name}.json`);

/** Writes small JSON atomically; does nothing where the cache is read-only or full. */
async function writeJson(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, `${JSON.stringify(value)}\n`);
    await rename(temporary, path);
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
}

async function readJson(path: string): Promise<unknown> {
  try {
    if ((await stat(path)).size > MAXIMUM_JSON_BYTES) return undefined;
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
}

async function readManifest(folder: string): Promise<Manifest | undefined> {
  const manifest = await readJson(join(folder, MANIFEST));
  return isManifest(manifest) ? manifest : undefined;
}

function isManifest(value: unknown): value is Manifest {
  if (!isRecord(value) || !isRecord(value.files) || !isHash(value.hash)) return false;
  if (![value.reference, value.place, value.version].every((field) => typeof field === "string")) return false;
  return Object.entries(value.files).every(
    ([name, file]) =>
      unsafePath(name) === undefined &&
      !name.includes("/") &&
      isRecord(file) &&
      Number.isSafeInteger(file.bytes) &&
      isHash(file.sha256),
  );
}

async function isComplete(folder: string, manifest: Manifest): Promise<boolean> {
  const checks = Object.entries(manifest.files).map(async ([name, { bytes }]) => {
    const found = await stat(join(folder, name)).catch(() => undefined);
    return found?.isFile() === true && found.size === bytes;
  });
  return (await Promise.all(checks)).every(Boolean);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isHash = (value: unknown): value is string => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

/** Explains a cache folder that cannot be written to. */
export function unwritable(cache: string, error: unknown): Error {
  return failure(
    `cannot write to the cache ${cache} (${messageOf(error)}): set PATCHCLAMP_HOME to another folder`,
    error,
  );
}
