/**
 * The cache of converted weights: `weights/<hash of the files>-<hash of the plan>-<layout>.safetensors`. A model is
 * converted once; opening it again reads a header. Where the cache can't be written, a folder of the user's own under the
 * system's temporary folder takes its place.
 */
import { createHash } from "node:crypto";
import { access, constants, mkdir, readdir, rm, stat, statfs } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { failure, messageOf } from "../errors.js";
import { type CachedModel, cachedData, cachedModels, cacheFolder } from "../sources/index.js";
import { openWeights, removeUnfinished, type WeightFile, type WeightPlan } from "./formats/index.js";

/** Changes whenever weights are laid out in another way, so that files of older versions are not found. */
export const layout = 1;

interface CacheOptions {
  /** The cache folder; `cacheFolder` says the default. */
  readonly cache?: string;
}

/** One file of converted weights. */
export interface ConvertedWeights {
  readonly path: string;
  /** The place that the model came from, or what is wrong with the file. */
  readonly source: string;
  readonly bytes: number;
}

/**
 * The weights' file of a model with this hash and plan: kept from an earlier opening, or made now by `convert`, which gets
 * the path to write. `notice` hears of a damaged file, which is made again, and of a conversion.
 */
export async function weightFile(
  { hash, plan }: { readonly hash: string; readonly plan: readonly WeightPlan[] },
  convert: (target: string) => Promise<WeightFile>,
  { notice, ...options }: CacheOptions & { readonly notice: (message: string) => void },
): Promise<WeightFile> {
  // Another plan makes another file of the same checkpoint, so the name holds both.
  const planned = createHash("sha256").update(JSON.stringify(plan)).digest("hex").slice(0, 12);
  const name = `${hash}-${planned}-${layout}.safetensors`;
  const [target, fallback] = [join(weightsFolder(options), name), join(fallbackFolder(), name)];
  const kept =
    (await openKept(target, notice)) ??
    ((await isOurs(dirname(fallback))) ? await openKept(fallback, notice) : undefined);
  if (kept !== undefined) return kept;
  const path = (await writable(dirname(target))) ? target : fallback;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if (path === fallback && !(await isOurs(dirname(path)))) {
    throw failure(
      `${dirname(target)} can't be written to, and ${dirname(path)} belongs to another user: set PATCHCLAMP_HOME`,
    );
  }
  await removeUnfinished(dirname(path));
  notice(`converting weights once to float32: ${path} (${await freeSpace(dirname(path))} free)`);
  return convert(path);
}

/** Every file of converted weights in the cache. */
export async function convertedWeights(options: CacheOptions = {}): Promise<ConvertedWeights[]> {
  const folder = weightsFolder(options);
  const names = (await readdir(folder).catch(() => [])).filter((name) => weightsName.test(name));
  const found = await Promise.all(names.sort().map((name) => describeWeights(join(folder, name))));
  return found.filter((file) => file !== undefined);
}

/** Files of ours, by the form of their names: nothing else in the folder is ours to touch. */
const weightsName = /^[0-9a-f]{64}-[0-9a-f-]+\.safetensors$/;

/**
 * Removes downloads (models and datasets) and converted weights from the cache (both unless told otherwise), and says what
 * was removed. They come back when they are needed.
 */
export async function clearCache(
  options: CacheOptions & { readonly models?: boolean; readonly weights?: boolean } = {},
): Promise<{ models: CachedModel[]; weights: ConvertedWeights[] }> {
  const models = options.models === false ? [] : [...(await cachedModels(options)), ...(await cachedData(options))];
  const weights = options.weights === false ? [] : await convertedWeights(options);
  for (const path of [...models.map(({ folder }) => folder), ...weights.map((file) => file.path)]) {
    await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
      throw failure(`cannot remove ${path} (${messageOf(error)})`, error);
    });
  }
  return { models, weights };
}

function weightsFolder(options: CacheOptions): string {
  return join(cacheFolder(options), "weights");
}

function fallbackFolder(): string {
  return join(tmpdir(), `patchclamp-${userInfo().username}`, "weights");
}

/** Whether a folder and the one around it belong to this user: another's, in a shared temporary folder, are not to be trusted. */
async function isOurs(folder: string): Promise<boolean> {
  const found = await Promise.all([folder, dirname(folder)].map((path) => stat(path).catch(() => undefined)));
  const user = process.getuid?.();
  return found.every((own) => own !== undefined && (user === undefined || own.uid === user));
}

/** Undefined where there is no such file, or a damaged one: it can be made again. */
async function openKept(path: string, notice: (message: string) => void): Promise<WeightFile | undefined> {
  if ((await stat(path).catch(() => undefined)) === undefined) return undefined;
  return openWeights(path).catch((error: unknown) => {
    notice(`${messageOf(error)}; converting again`);
    return undefined;
  });
}

async function writable(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function freeSpace(folder: string): Promise<string> {
  const { bavail, bsize } = await statfs(folder);
  return `${((bavail * bsize) / 1e9).toFixed(1)} GB`;
}

/** Undefined where another process was quicker to remove it. */
async function describeWeights(path: string): Promise<ConvertedWeights | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  const source = await openWeights(path).then(
    ({ metadata }) => metadata.source ?? "",
    (error: unknown) => `damaged: ${messageOf(error)}`,
  );
  return { path, source, bytes: found.size };
}
