/**
 * Temporary folders of downloads, beside the models on the same file system. A folder's name carries its owner (host
 * and process), so that a later run can tell a live download from a killed one, take over what a killed or failed one
 * left in `parts`, and sweep away the rest. Taking over is a rename, which only one process can win.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { unwritable } from "./cache.js";

/** Nothing that was untouched for so long is resumed or belongs to a live download (milliseconds). */
const STALE_AFTER = 24 * 3600 * 1000;
const HOST = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

interface Owned {
  readonly slug: string;
  readonly host: string;
  /** 0: nobody's, released after a failure. */
  readonly process: number;
}

/** Makes the temporary folder of a download, or takes over the one that an earlier, dead download of it left. */
export async function openTemporary(cache: string, slug: string): Promise<string> {
  const root = join(cache, "tmp");
  const own = join(root, folderName(slug, process.pid));
  try {
    await mkdir(root, { recursive: true });
    for (const name of await readdir(root)) {
      if (ownerOf(name)?.slug !== slug || !(await isAbandoned(root, name))) continue;
      if (await takeOver(join(root, name), own)) return own;
    }
    await mkdir(join(own, "parts"), { recursive: true });
  } catch (error) {
    throw unwritable(cache, error);
  }
  return own;
}

/** Makes another's folder ours, with nothing but its parts; false where another process was quicker. */
async function takeOver(folder: string, own: string): Promise<boolean> {
  const won = await rename(folder, own).then(
    () => true,
    () => false,
  );
  if (!won) return false;
  for (const name of await readdir(own)) {
    if (name !== "parts") await rm(join(own, name), { recursive: true, force: true });
  }
  await mkdir(join(own, "parts"), { recursive: true });
  return true;
}

/** After a failure: keeps a folder with parts for a later download to take over, and removes one without. */
export async function releaseTemporary(cache: string, slug: string, folder: string): Promise<void> {
  const parts = await readdir(join(folder, "parts")).catch(() => []);
  if (parts.length === 0) return removeTemporary(cache, folder);
  await rm(join(folder, "files"), { recursive: true, force: true });
  await rename(folder, join(cache, "tmp", folderName(slug, 0)));
}

/** Removes a temporary folder, and their common folder if it was the last. */
export async function removeTemporary(cache: string, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  await rmdir(join(cache, "tmp")).catch(() => {});
}

/** Removes what dead downloads left and nothing can resume. A cache without such folders, or read-only, is fine. */
export async function sweepTemporary(cache: string): Promise<void> {
  const root = join(cache, "tmp");
  for (const name of await readdir(root).catch(() => [])) {
    const keep = (await isFresh(root, name)) && (!(await isAbandoned(root, name)) || (await hasParts(root, name)));
    if (!keep) await rm(join(root, name), { recursive: true, force: true }).catch(() => {});
  }
}

function folderName(slug: string, owner: number): string {
  return `${slug}+${HOST}+${owner}+${randomBytes(6).toString("hex")}`;
}

function ownerOf(name: string): Owned | undefined {
  const [slug, host, owner, random] = name.split("+");
  if (slug === undefined || host === undefined || random === undefined || !/^\d+$/.test(owner ?? "")) return undefined;
  return { slug, host, process: Number(owner) };
}

/** Whether no live process can own the folder. Of other hosts (a shared cache) only the age of a folder is known. */
async function isAbandoned(root: string, name: string): Promise<boolean> {
  const owner = ownerOf(name);
  if (owner === undefined || owner.process === 0) return true;
  return owner.host === HOST ? !isAlive(owner.process) : !(await isFresh(root, name));
}

function isAlive(process_: number): boolean {
  try {
    process.kill(process_, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function hasParts(root: string, name: string): Promise<boolean> {
  return (await readdir(join(root, name, "parts")).catch(() => [])).length > 0;
}

/** Whether anything in the folder changed within a day. */
async function isFresh(root: string, name: string): Promise<boolean> {
  const inside = await readdir(join(root, name), { recursive: true }).catch(() => []);
  const times = await Promise.all(
    ["", ...inside].map((path) =>
      stat(join(root, name, path)).then(
        (found) => found.mtimeMs,
        () => 0,
      ),
    ),
  );
  return Date.now() - Math.max(...times) < STALE_AFTER;
}
