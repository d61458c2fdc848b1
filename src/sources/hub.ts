/**
 * The Hugging Face hub. The branch or tag is pinned to its commit first, so that all files are of one state; the
 * listing gives each file's size and hash, and every file is checked against them: sha256 for the large ones, the git
 * blob's sha1 for the others.
 */
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { datasetInfo, HUB_URL, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { failure, messageOf, usageError } from "../errors.js";
import { silenceClock } from "./clock.js";
import { checkPath, makePlace } from "./place.js";
import { chooseFiles, kindOf, MAXIMUM_TEXT_BYTES } from "./select.js";
import { transferFile } from "./transfer.js";
import type { Delivery, FileRecord, Place, Source, Task } from "./types.js";

/** The largest page of a listing (bytes), and the most files a repository may list. */
const MAXIMUM_PAGE_BYTES = 32 * 2 ** 20;
const MAXIMUM_FILES = 100_000;

const PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
/** Pull requests' revisions have slashes; of other revisions with slashes the commit can be given. */
const REFERENCE = new RegExp(
  `^((?:datasets/)?${PART}/${PART})(?:@(refs/pr/\\d+|[A-Za-z0-9][^/:@\\s]*))?(?:[/:](.+))?$`,
);

export const hub: Source = {
  scheme: "hf",
  form: "hf:owner/name[@revision][/file]",
  parse(body) {
    const [, name, revision, path] = REFERENCE.exec(body) ?? [];
    if (name === undefined || name.includes("--") || name.includes("..")) return undefined;
    return makePlace("hf", name, "@", revision, path);
  },
  fetch: fetchFromHub,
};

async function fetchFromHub(place: Place, task: Task): Promise<Delivery | undefined> {
  const endpoint = hubEndpoint();
  const headers = authorization();
  const commit = await commitOf(place, endpoint, headers, task);
  if (commit === task.known) return undefined;
  const listed = await listing(place, endpoint, headers, commit, task);
  const chosen = chooseFiles([...listed.keys()], place);
  const files = new Map<string, FileRecord>();
  for (const [path, name] of chosen) {
    const entry = listed.get(path) as ListFileEntry;
    const url = `${endpoint}/${place.name}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
    files.set(name, await bring(url, headers, entry, name, place, task));
  }
  await mkdir(join(task.folder, "files"));
  for (const [path, name] of chosen) {
    await rename(partOf(task, listed.get(path) as ListFileEntry, name), join(task.folder, "files", name));
  }
  return { version: commit, files };
}

/** Brings one file into its part. Parts are named by content, so that a later commit resumes what has not changed. */
async function bring(
  url: string,
  headers: Readonly<Record<string, string>>,
  entry: ListFileEntry,
  name: string,
  place: Place,
  task: Task,
): Promise<FileRecord> {
  const where = `${place.text}: ${entry.path}`;
  const { bytes, algorithm, hex } = announced(entry, where);
  if (kindOf(entry.path) === "text" && bytes > MAXIMUM_TEXT_BYTES) {
    throw failure(`${where}: ${bytes} bytes are more than a text file of a model has (${MAXIMUM_TEXT_BYTES})`);
  }
  return transferFile({
    url,
    headers,
    part: partOf(task, entry, name),
    bytes,
    expected: { algorithm, hex },
    signal: task.signal,
    stall: task.limits.stall,
    where,
    onBytes: (received) => task.report({ kind: "download", file: name, received, total: bytes }),
  });
}

function partOf(task: Task, entry: ListFileEntry, name: string): string {
  return join(task.folder, "parts", `${announced(entry, name).hex}-${name}.part`);
}

function announced(entry: ListFileEntry, where: string) {
  const bytes = entry.lfs?.size ?? entry.size;
  // Some mirrors write the algorithm before the hash.
  const hex = entry.lfs?.oid.replace(/^sha256:/, "") ?? entry.oid ?? "";
  const algorithm = entry.lfs === undefined ? ("git" as const) : ("sha256" as const);
  const valid = algorithm === "git" ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/;
  if (!valid.test(hex)) throw failure(`${where}: the hub lists no usable hash for it`);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw failure(`${where}: the hub lists no usable size for it`);
  return { bytes, algorithm, hex };
}

async function commitOf(place: Place, endpoint: string, headers: Readonly<Record<string, string>>, task: Task) {
  const { type, name } = repositoryOf(place);
  const asked = {
    name,
    revision: place.version ?? "main",
    additionalFields: ["sha" as const],
    hubUrl: endpoint,
    fetch: boundedFetch(place, endpoint, headers, task, task.limits.answer),
  };
  const { sha } = type === "model" ? await modelInfo(asked) : await datasetInfo(asked);
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw failure(`${place.text}: the hub names no commit`);
  return sha;
}

/** The hub's addresses of datasets begin with a word, those of models don't. */
function repositoryOf({ name }: Place): { type: "model" | "dataset"; name: string } {
  return name.startsWith("datasets/") && name.split("/").length === 3
    ? { type: "dataset", name: name.slice("datasets/".length) }
    : { type: "model", name };
}

/** The files of a commit by path: of its top folder, or of all folders where the reference names a path. */
async function listing(
  place: Place,
  endpoint: string,
  headers: Readonly<Record<string, string>>,
  commit: string,
  task: Task,
): Promise<Map<string, ListFileEntry>> {
  const files = new Map<string, ListFileEntry>();
  const pages = listFiles({
    repo: repositoryOf(place),
    revision: commit,
    recursive: place.path !== undefined,
    hubUrl: endpoint,
    fetch: boundedFetch(place, endpoint, headers, task, task.limits.stall),
  });
  for await (const entry of pages) {
    if (entry.type !== "file") continue;
    checkPath(entry.path, place.text);
    files.set(entry.path, entry);
    if (files.size > MAXIMUM_FILES) throw failure(`${place.text}: lists more than ${MAXIMUM_FILES} files`);
  }
  return files;
}

/** A `fetch` for the hub's client: it gives up after `limit` milliseconds of silence and reads no endless page. */
function boundedFetch(
  place: Place,
  endpoint: string,
  headers: Readonly<Record<string, string>>,
  task: Task,
  limit: number,
): typeof fetch {
  return async (input) => {
    const url = new URL(String(input));
    const clock = silenceClock(limit, () => failure(`${place.text} did not answer within ${limit / 1000} s`));
    try {
      const response = await fetch(url, {
        // The next page's address comes from the server: the token goes only to the endpoint itself.
        headers: { accept: "application/json", ...(url.origin === new URL(endpoint).origin ? headers : {}) },
        signal: AbortSignal.any([task.signal, clock.signal]),
      });
      clock.restart(task.limits.stall);
      if (!response.ok) throw refusal(place, response.status);
      const page = await readPage(response, place, () => clock.restart());
      const link = response.headers.get("link");
      return new Response(page, { headers: link === null ? {} : { link } });
    } catch (error) {
      if (error instanceof TypeError) {
        throw failure(`${place.text} did not answer (${messageOf(error.cause ?? error)})`, error);
      }
      throw error;
    } finally {
      clock.stop();
    }
  };
}

async function readPage(response: Response, place: Place, onChunk: () => void): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    onChunk();
    bytes += chunk.length;
    if (bytes > MAXIMUM_PAGE_BYTES) throw failure(`${place.text}: the hub's answer is longer than any listing`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function refusal(place: Place, status: number): Error {
  if (status === 401 || status === 403) {
    const advice = process.env.HF_TOKEN ? "HF_TOKEN may not read it" : "set HF_TOKEN to a token that may read it";
    return failure(`${place.text}: the hub refuses (${status}): it does not exist, is private or is gated; ${advice}`);
  }
  if (status === 404) return failure(`${place.text}: the hub has no such model or revision (404)`);
  return failure(`${place.text}: the hub answered ${status}`);
}

function hubEndpoint(): string {
  const endpoint = process.env.HF_ENDPOINT || HUB_URL;
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw usageError("HF_ENDPOINT must be an http or https address");
  }
  return endpoint.replace(/\/+$/, "");
}

/** The token of `HF_TOKEN`, if any; it is sent to the endpoint and nowhere else, also not after a redirect. */
function authorization(): Readonly<Record<string, string>> {
  const token = process.env.HF_TOKEN?.trim();
  return token ? { authorization: `Bearer ${token}` } : {};
}
