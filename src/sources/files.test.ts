/** Datasets come as models do, from the same places and under the same rules, but whole. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Files, makePackage, makeWheel, makeZip, wheelEntries } from "../../test/fixtures/sources/archives.ts";
import {
  fakeCommand,
  npmThatDelivers,
  pipThatDelivers,
  removeTemporaryFolders,
  temporaryFolder,
  treeOf,
} from "../../test/fixtures/sources/machine.ts";
import { type Server, serveHub } from "../../test/fixtures/sources/servers.ts";
import { cachedData, cachedModels, resolveFiles, resolveModel } from "./index.js";

const DATA: Files = {
  "readme.txt": "top",
  "texts/b.txt": "second",
  "texts/a.txt": "first",
  "texts/more/c.txt": "deeper",
  "model.safetensors": Buffer.alloc(9),
};

vi.setConfig({ testTimeout: 20_000 });

let cache: string;
const servers: Server[] = [];
beforeEach(() => {
  cache = join(temporaryFolder(), "cache");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server.close()));
  removeTemporaryFolders();
});

/** Puts a command in place of everything on PATH. */
function command(name: string, script: (archive: string) => string, archive: Buffer): void {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "archive"), archive);
  fakeCommand(join(folder, "bin"), name, script(join(folder, "archive")));
  vi.stubEnv("PATH", join(folder, "bin"));
}
async function hub(files: Files): Promise<Server> {
  const server = await serveHub({ files, commit: "c".repeat(40) });
  servers.push(server);
  vi.stubEnv("HF_ENDPOINT", server.address);
  return server;
}

/** A place that holds files, and its reference. A wheel's files lie in a folder of the package's name. */
const places: Readonly<Record<string, (files: Files) => Promise<string>>> = {
  npm: async (files) => {
    command("npm", npmThatDelivers, makePackage(files));
    return "npm:tiny-data@1.0.0";
  },
  pypi: async (files) => {
    command("python3", pipThatDelivers, makeWheel(files));
    return "pypi:tiny-data";
  },
  hf: async (files) => {
    await hub(files);
    return "hf:datasets/owner/tiny-data";
  },
};

/** What the files hold, by name. */
const contentsOf = ({ files }: { readonly files: ReadonlyMap<string, string> }) =>
  Object.fromEntries([...files].map(([name, path]) => [name, readFileSync(path, "utf8")]));

describe.each(Object.entries(places))("%s", (_, put) => {
  test("brings a folder's own files, unchanged, in the order of their names", async () => {
    const reference = await put(DATA);
    const found = await resolveFiles(`${reference}/texts`, { cache });
    expect([...found.files.keys()]).toEqual(["a.txt", "b.txt"]);
    expect(contentsOf(found)).toEqual({ "a.txt": "first", "b.txt": "second" });
    expect(found).toMatchObject({ source: `${reference}/texts`, name: `${reference}/texts` });
    // Made once with Python's hashlib over the lines that `modelHash` describes.
    expect(found.hash).toBe("0e6b6dde10bc5247c3313baaa6313ed7ff18e2157f2dd172e926018ea7c0cb5b");
  });

  test("brings one file, and that file alone", async () => {
    const reference = await put(DATA);
    const found = await resolveFiles(`${reference}/texts/more/c.txt`, { cache });
    expect(contentsOf(found)).toEqual({ "c.txt": "deeper" });
  });

  test("says what there is where the path leads nowhere", async () => {
    const reference = await put(DATA);
    for (const path of ["text", "exts", "texts/c.txt"])
      await expect(resolveFiles(`${reference}/${path}`, { cache })).rejects.toThrow(
        /no such file, nor a folder that holds any; it has .*texts\/a\.txt/,
      );
    expect(await cachedData({ cache })).toEqual([]);
    await expect(resolveFiles(`${reference}/../x`, { cache })).rejects.toThrow(/is not a reference/);
  });

  test("lies in the cache apart from models, is asked once, and mends what is damaged", async () => {
    const reference = `${await put(DATA)}/texts`;
    const first = await resolveFiles(reference, { cache });
    expect(await resolveFiles(reference, { cache, offline: true })).toEqual(first);
    expect([await cachedModels({ cache }), await cachedData({ cache })]).toEqual([
      [],
      [expect.objectContaining({ source: reference, files: ["a.txt", "b.txt"], bytes: 11, hash: first.hash })],
    ]);
    expect(readdirSync(cache)).toEqual(["data"]);
    appendFileSync(first.files.get("a.txt") as string, "!");
    await expect(resolveFiles(reference, { cache, offline: true })).rejects.toThrow(
      /is damaged in the cache .* network/,
    );
    expect(contentsOf(await resolveFiles(reference, { cache }))).toEqual({ "a.txt": "first", "b.txt": "second" });
  });
});

test("files of a place without a path are those of its own folder", async () => {
  const found = await resolveFiles(await (places.npm as (files: Files) => Promise<string>)(DATA), { cache });
  expect([...found.files.keys()].sort()).toEqual(["model.safetensors", "package.json", "readme.txt"]);
});

test("a model and a dataset of one place don't take each other's place", async () => {
  const reference = await (places.npm as (files: Files) => Promise<string>)({ ...DATA, "config.json": "{}" });
  const [data, model] = [await resolveFiles(reference, { cache }), await resolveModel(reference, { cache })];
  expect(dirname(data.files.get("config.json") as string)).not.toBe(dirname(model.files.get("config.json") as string));
  expect([...model.files.keys()].sort()).toEqual(["config.json", "model.safetensors"]);
  expect((await resolveFiles(reference, { cache, offline: true })).files).toEqual(data.files);
});

test("datasets of the hub have addresses of their own", async () => {
  const server = await hub(DATA);
  await resolveFiles("hf:datasets/owner/tiny-data/readme.txt", { cache });
  const paths = server.requests.map(({ url = "" }) => url.split("?")[0] as string);
  expect(paths.every((path) => /^(\/api)?\/datasets\/owner\/tiny-data\//.test(path))).toBe(true);
  server.requests.length = 0;
  await resolveFiles("hf:owner/tiny-data/readme.txt", { cache });
  expect(server.requests.some(({ url = "" }) => url.includes("datasets"))).toBe(false);
});

test("an archive that would write elsewhere is refused", async () => {
  command("npm", npmThatDelivers, makePackage({ "../../evil.txt": "x", "a.txt": "y" }));
  await expect(resolveFiles("npm:tiny-data", { cache })).rejects.toThrow(/refused .*'\.\.' segment/);
  expect(treeOf(cache)).not.toContain("evil");
  expect(existsSync(join(cache, "data"))).toBe(false);
});

test("a wheel whose list of hashes says otherwise is refused", async () => {
  command("python3", pipThatDelivers, makeZip(wheelEntries({ "a.txt": "x" }, { "a.txt": "A".repeat(43) })));
  await expect(resolveFiles("pypi:tiny-data/a.txt", { cache })).rejects.toThrow(/another hash than the wheel's RECORD/);
});

describe("files of the user's own", () => {
  let folder: string;
  beforeEach(() => {
    folder = temporaryFolder();
    writeFileSync(join(folder, "b.txt"), "second");
    writeFileSync(join(folder, "a.txt"), "first");
    writeFileSync(join(folder, ".hidden"), "x");
    mkdirSync(join(folder, "more"));
  });

  test("are used where they lie, under the hash that a download of them has", async () => {
    const found = await resolveFiles(folder, { cache });
    expect([...found.files]).toEqual([
      ["a.txt", join(folder, "a.txt")],
      ["b.txt", join(folder, "b.txt")],
    ]);
    expect(found.hash).toBe("0e6b6dde10bc5247c3313baaa6313ed7ff18e2157f2dd172e926018ea7c0cb5b");
    expect(contentsOf(await resolveFiles(join(folder, "b.txt"), { cache }))).toEqual({ "b.txt": "second" });
    symlinkSync(folder, join(folder, "link"));
    expect((await resolveFiles(join(folder, "link"), { cache })).hash).toBe(found.hash);
  });

  test("are hashed once, and again when they change", async () => {
    await resolveFiles(folder, { cache });
    const kept = treeOf(cache);
    expect(kept.match(/hashes\/.*json/g)?.length).toBe(2);
    await resolveFiles(folder, { cache });
    expect(treeOf(cache)).toBe(kept);
    writeFileSync(join(folder, "a.txt"), "other");
    expect((await resolveFiles(folder, { cache })).hash).not.toBe(
      "0e6b6dde10bc5247c3313baaa6313ed7ff18e2157f2dd172e926018ea7c0cb5b",
    );
  });

  test("must be there", async () => {
    await expect(resolveFiles(join(folder, "no"), { cache })).rejects.toThrow(/there is no file or folder .*no$/);
    await expect(resolveFiles(join(folder, "more"), { cache })).rejects.toThrow(/the folder .* holds no files/);
    await expect(resolveFiles("/dev/null", { cache })).rejects.toThrow(/is no regular file/);
    await expect(resolveFiles(folder, { cache, offline: true, update: true })).rejects.toThrow(/exclude each other/);
    await expect(resolveFiles("ftp:x/y", { cache })).rejects.toThrow(/unknown source 'ftp:'/);
  });
});
