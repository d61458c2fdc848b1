/** The hub on its bad days: cut, silent, lying, refusing, redirecting. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { failingWrites, removeTemporaryFolders, temporaryFolder, treeOf } from "../../test/fixtures/sources/machine.ts";
import { type HubState, type Server, sendFile, serve, serveHub } from "../../test/fixtures/sources/servers.ts";
import { resolveModel, type SourceOptions } from "./index.js";
import { resolveWithin } from "./resolve.js";

const REFERENCE = "hf:owner/name";
const WEIGHTS = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));
/** Waiting times that no busy machine exceeds, and short ones for the tests of silence. */
const PATIENT = { start: 20_000, answer: 10_000, stall: 10_000 };
const SHORT = { ...PATIENT, stall: 300 };

vi.setConfig({ testTimeout: 20_000 });

let cache: string;
let state: HubState;
let hub: Server;
const servers: Server[] = [];

beforeEach(async () => {
  cache = join(temporaryFolder(), "cache");
  state = { files: { "config.json": "{}", "model.safetensors": WEIGHTS }, commit: "b".repeat(40) };
  hub = await serveHub(state);
  servers.push(hub);
  vi.stubEnv("HF_ENDPOINT", `${hub.address}/`);
  vi.stubEnv("HF_TOKEN", "");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server.close()));
  removeTemporaryFolders();
});

const resolve = (options: SourceOptions = {}, limits = PATIENT) =>
  resolveWithin(REFERENCE, { cache, ...options }, limits);
const rangesAsked = () => hub.requests.map((request) => request.headers.range).filter((range) => range !== undefined);
const weightsIn = (files: ReadonlyMap<string, string>) => readFileSync(files.get("model.safetensors") as string);
const isWeights = (path: string) => path.endsWith(".safetensors");

/** Sends the first bytes of the weights and then cuts the connection, or falls silent. */
function sendBeginning(response: ServerResponse, bytes: number, then: "cut" | "silence"): true {
  response.writeHead(200, { "content-length": WEIGHTS.length });
  response.write(WEIGHTS.subarray(0, bytes), () => then === "cut" && setTimeout(() => response.destroy(), 50));
  return true;
}

describe("interrupted transfers", () => {
  test("a cut connection is taken up where it ended", async () => {
    let cuts = 0;
    state.intercept = (_, response, path) => isWeights(path) && cuts++ === 0 && sendBeginning(response, 100_000, "cut");
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(rangesAsked()).toEqual(["bytes=100000-"]);
  });

  test("a connection that is always cut fails, and the next call goes on from there", async () => {
    state.intercept = (request, response, path) =>
      isWeights(path) &&
      (request.headers.range ? response.destroy() !== undefined : sendBeginning(response, 100_000, "cut"));
    await expect(resolve()).rejects.toThrow(/after 100000 of 300000 bytes; call again to go on from there/);
    expect(existsSync(join(cache, "models"))).toBe(false);
    delete state.intercept;
    hub.requests.length = 0;
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(rangesAsked()).toEqual(["bytes=100000-"]);
    expect(existsSync(join(cache, "tmp"))).toBe(false);
  });

  test("a silent transfer fails after the limit and can be resumed", async () => {
    state.intercept = (_, response, path) => isWeights(path) && sendBeginning(response, 50_000, "silence");
    const started = performance.now();
    await expect(resolve({}, SHORT)).rejects.toThrow("no byte for 0.3 s; call again to go on");
    expect(performance.now() - started).toBeGreaterThan(SHORT.stall - 20);
    delete state.intercept;
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(rangesAsked()).toEqual(["bytes=50000-"]);
  });

  test("a slow transfer that never pauses for long is fine", async () => {
    const limits = { ...PATIENT, stall: 1200 };
    state.intercept = (_, response, path) => {
      if (!isWeights(path)) return false;
      response.writeHead(200, { "content-length": WEIGHTS.length });
      for (let step = 0; step < 6; step++) {
        setTimeout(() => response.write(WEIGHTS.subarray(step * 50_000, (step + 1) * 50_000)), step * 300);
      }
      return true;
    };
    const started = performance.now();
    expect(weightsIn((await resolve({}, limits)).files)).toEqual(WEIGHTS);
    expect(performance.now() - started).toBeGreaterThan(limits.stall);
  });

  test("a server that ignores ranges sends everything, and what is there is skipped", async () => {
    state.ignoreRange = true;
    let cuts = 0;
    state.intercept = (_, response, path) => isWeights(path) && cuts++ === 0 && sendBeginning(response, 100_000, "cut");
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
  });

  test("a server that answers with another range is refused", async () => {
    state.intercept = (request, response, path) => {
      if (!isWeights(path)) return false;
      if (request.headers.range === undefined) return sendBeginning(response, 100_000, "cut");
      response.writeHead(206, { "content-range": "bytes 0-9/300000" }).end("0123456789");
      return true;
    };
    await expect(resolve()).rejects.toThrow("answered 206 to a request for bytes from 100000");
  });

  test("parts of a killed process are taken over; those of a live one are not", async () => {
    const first = new AbortController();
    state.intercept = (_, response, path) => isWeights(path) && sendBeginning(response, 60_000, "silence");
    const failed = resolve({
      signal: first.signal,
      onProgress: (event) => event.kind === "download" && event.received === 60_000 && first.abort(new Error("Ctrl-C")),
    });
    await expect(failed).rejects.toThrow("Ctrl-C");
    delete state.intercept;
    hub.requests.length = 0;
    const [left] = readdirSync(join(cache, "tmp"));
    const [slug, host, , random] = (left as string).split("+");
    const parts = readdirSync(join(cache, "tmp", left as string, "parts")).sort();
    expect(parts).toEqual([
      expect.stringMatching(/model.safetensors.part$/),
      expect.stringMatching(/config.json.part$/),
    ]);
    // A folder that a running process owns: ours.
    const live = `${slug}+${host}+${process.ppid}+${random}`;
    mkdirSync(join(cache, "tmp", live, "parts"), { recursive: true });
    writeFileSync(join(cache, "tmp", live, "parts", parts[0] as string), "x");
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(rangesAsked()).toEqual(["bytes=60000-"]);
    expect(readdirSync(join(cache, "tmp"))).toEqual([live]);
  });

  test("an abort stops at once, with the signal's reason", async () => {
    state.intercept = (_, response, path) => isWeights(path) && sendBeginning(response, 60_000, "silence");
    const started = performance.now();
    const failed = resolve({ signal: AbortSignal.timeout(150) });
    await expect(failed).rejects.toMatchObject({ name: "TimeoutError" });
    // Far below the limit of a stall: it is the abort that ended it.
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("lies", () => {
  const cases: Record<string, [() => void, RegExp]> = {
    "other bytes than the listed sha256": [
      () => listed("model.safetensors", { lfs: lfs("0".repeat(64)) }),
      /model.safetensors: wrong hash/,
    ],
    "other bytes than the listed blob": [
      () => listed("config.json", { oid: "0".repeat(40) }),
      /config.json: wrong hash/,
    ],
    "more bytes than listed": [() => listed("config.json", { size: 1 }), /more than the 1 bytes/],
    "fewer bytes than listed": [() => listed("config.json", { size: 9 }), /after 2 of 9 bytes/],
    "no hash": [() => listed("model.safetensors", { lfs: lfs("nonsense") }), /no usable hash/],
    "no size": [() => listed("config.json", { size: -1 }), /no usable size/],
    "a text file beyond all texts": [() => listed("config.json", { size: 2 ** 30 }), /more than a text file/],
    "a path that climbs out": [() => listed("config.json", { path: "../config.json" }), /refused "..\/config.json"/],
    "a commit that is none": [() => Object.assign(state, { commit: "../../x" }), /names no commit/],
    "a listing that is no JSON": [() => answer("/api/", 200, "<html>"), /not valid JSON/],
    "a listing without end": [() => answer("/api/", 200, Buffer.alloc(33 * 2 ** 20, " ")), /longer than any listing/],
  };
  const lfs = (oid: string) => ({ oid, size: WEIGHTS.length, pointerSize: 130 });
  const listed = (name: string, fields: Record<string, unknown>) =>
    Object.assign(state, { listed: { [name]: fields } });

  test.each(Object.entries(cases))("%s", async (_, [lie, message]) => {
    lie();
    await expect(resolve()).rejects.toThrow(message);
    expect(existsSync(join(cache, "models"))).toBe(false);
  });

  test("a file with a wrong hash is not resumed but fetched anew", async () => {
    state.intercept = (_, response, path) =>
      isWeights(path) && response.end(Buffer.alloc(WEIGHTS.length)) !== undefined;
    await expect(resolve()).rejects.toThrow("wrong hash");
    delete state.intercept;
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(rangesAsked()).toEqual([]);
  });
});

function answer(under: string, status: number, body: string | Buffer = ""): void {
  state.intercept = (_, response, path) => path.startsWith(under) && response.writeHead(status).end(body) !== undefined;
}

describe("refusals", () => {
  test.each([
    [401, /refuses \(401\).*set HF_TOKEN/],
    [403, /refuses \(403\).*set HF_TOKEN/],
    [404, /no such model or revision/],
    [503, /answered 503/],
  ])("%i", async (status, message) => {
    answer("/api/", status);
    await expect(resolve()).rejects.toThrow(message);
  });

  test("a file that the hub lists and does not give", async () => {
    answer("/owner/", 404);
    await expect(resolve()).rejects.toThrow("config.json: the server answered 404");
  });

  test("a hub that nobody listens at does not answer", async () => {
    const gone = await serve(() => {});
    await gone.close();
    vi.stubEnv("HF_ENDPOINT", gone.address);
    await expect(resolve()).rejects.toThrow(/hf:owner\/name did not answer \(.*ECONNREFUSED/);
  });

  test("a silent hub costs three seconds, not more", async () => {
    state.intercept = () => true;
    const started = performance.now();
    await expect(resolveModel(REFERENCE, { cache })).rejects.toThrow("hf:owner/name did not answer within 3 s");
    const seconds = (performance.now() - started) / 1000;
    expect(seconds).toBeGreaterThan(2.9);
    // One second for a busy machine to notice.
    expect(seconds).toBeLessThan(4);
  });

  test("an endpoint that is no web address", async () => {
    vi.stubEnv("HF_ENDPOINT", "file:///etc");
    await expect(resolve()).rejects.toMatchObject({ kind: "usage" });
  });
});

describe("the token", () => {
  test("goes to the hub, and not along with a redirect or to another host's pages", async () => {
    const elsewhere = await serve((request, response) => {
      if (request.url?.includes("tree")) return void response.writeHead(200).end("[]");
      sendFile(request, response, WEIGHTS);
    });
    servers.push(elsewhere);
    vi.stubEnv("HF_TOKEN", "hf_secret");
    state.intercept = (_, response, path) => {
      if (isWeights(path)) response.writeHead(302, { location: `${elsewhere.address}/file` }).end();
      return isWeights(path);
    };
    expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
    expect(new Set(hub.requests.map(({ headers }) => headers.authorization))).toEqual(new Set(["Bearer hf_secret"]));
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    state.intercept = (request, response) => {
      if (!request.url?.includes("/tree/")) return false;
      response.writeHead(200, { link: `<${elsewhere.address}/tree>; rel="next"` }).end("[]");
      return true;
    };
    state.commit = "d".repeat(40);
    await expect(resolve({ update: true })).rejects.toThrow("no .safetensors");
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
    expect(treeOf(cache)).not.toContain("secret");
  });

  test("is not in an error", async () => {
    vi.stubEnv("HF_TOKEN", "hf_secret");
    answer("/api/", 403);
    await expect(resolve()).rejects.toThrow("HF_TOKEN may not read it");
    await expect(resolve()).rejects.not.toThrow("secret");
  });
});

test("all files are of one commit, and an update fetches only when there is another", async () => {
  const first = await resolve();
  hub.requests.length = 0;
  expect(await resolve({ update: true })).toEqual(first);
  expect(hub.requests).toHaveLength(1);
  const urls = hub.requests.map(({ url }) => url);
  state.commit = "e".repeat(40);
  await resolve({ update: true });
  expect(hub.requests.map(({ url }) => url).filter((url) => url?.includes("resolve"))).toEqual([
    `/owner/name/resolve/${state.commit}/config.json`,
    `/owner/name/resolve/${state.commit}/model.safetensors`,
  ]);
  expect(urls[0]).toContain("/revision/main");
});

test("only the top folder is used, unless the reference names another", async () => {
  state.files = { ...state.files, "onnx/model.safetensors": "other", "onnx/config.json": '{"a":1}' };
  expect(weightsIn((await resolve()).files)).toEqual(WEIGHTS);
  const other = await resolveWithin(`${REFERENCE}/onnx`, { cache }, PATIENT);
  expect(weightsIn(other.files).toString()).toBe("other");
  expect(readFileSync(other.files.get("config.json") as string, "utf8")).toBe('{"a":1}');
});

test("a full disk is one clear error, and nothing partial stays", async () => {
  const { restore } = await failingWrites("ENOSPC");
  try {
    await expect(resolve()).rejects.toThrow(
      `no space left on the disk of the cache ${cache}; what was partial is removed`,
    );
    expect(treeOf(cache)).toBe("");
  } finally {
    restore();
  }
});
