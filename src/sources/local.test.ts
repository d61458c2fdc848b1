/** Models that lie in the user's own folders. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeTemporaryFolders, temporaryFolder, treeOf } from "../../test/fixtures/sources/machine.ts";
import { resolveModel } from "./index.js";
import { selectFiles } from "./select.js";

let folder: string;
let cache: string;

beforeEach(() => {
  folder = temporaryFolder();
  cache = join(temporaryFolder(), "cache");
  writeFileSync(join(folder, "config.json"), "{}");
  writeFileSync(join(folder, "model.safetensors"), "weights");
  writeFileSync(join(folder, "other.gguf"), "other");
});
afterEach(removeTemporaryFolders);

test("a folder is used in place", async () => {
  const before = treeOf(folder);
  const model = await resolveModel(folder, { cache, offline: true });
  expect(Object.fromEntries(model.files)).toEqual({
    "config.json": join(folder, "config.json"),
    "model.safetensors": join(folder, "model.safetensors"),
  });
  expect(model).toMatchObject({ source: folder, name: folder });
  expect(treeOf(folder)).toBe(before);
});

test("a file is used with the configuration beside it; relative paths work", async () => {
  const model = await resolveModel(relative(process.cwd(), join(folder, "other.gguf")), { cache });
  expect([...model.files.keys()]).toEqual(["config.json", "other.gguf"]);
  expect(model.source).toBe(join(folder, "other.gguf"));
});

test("links are followed to the real file", async () => {
  const snapshot = temporaryFolder();
  symlinkSync(join(folder, "other.gguf"), join(snapshot, "m.gguf"));
  const model = await resolveModel(snapshot, { cache });
  expect(model.files.get("m.gguf")).toBe(join(folder, "other.gguf"));
});

test("the hash is that of the contents, and is remembered until the file changes", async () => {
  const path = join(folder, "model.safetensors");
  const first = await resolveModel(folder, { cache });
  expect(treeOf(cache)).toBe("nothing");
  await first.remember?.();
  const kept = readdirSync(join(cache, "hashes")).map((name) => join(cache, "hashes", name));
  expect(kept).toHaveLength(2);
  // Forge what is remembered: if it is used, the hash changes.
  const forged = kept.find((name) => readFileSync(name, "utf8").includes("model.safetensors")) as string;
  writeFileSync(
    forged,
    readFileSync(forged, "utf8").replace(/"sha256":"[0-9a-f]{64}"/, `"sha256":"${"0".repeat(64)}"`),
  );
  expect((await resolveModel(folder, { cache })).hash).not.toBe(first.hash);
  utimesSync(path, 1, 1);
  expect((await resolveModel(folder, { cache })).hash).toBe(first.hash);
  writeFileSync(path, "changed");
  expect((await resolveModel(folder, { cache })).hash).not.toBe(first.hash);
});

test("a cache that cannot be written to, and one that holds nonsense, only cost time", async () => {
  const { hash, remember } = await resolveModel(folder, { cache });
  await remember?.();
  for (const name of readdirSync(join(cache, "hashes"))) writeFileSync(join(cache, "hashes", name), "{");
  expect((await resolveModel(folder, { cache })).hash).toBe(hash);
  const blocked = join(folder, "config.json");
  const again = await resolveModel(folder, { cache: blocked });
  expect(again.hash).toBe(hash);
  await again.remember?.();
});

test.each(["pytorch_model.bin", "model.pth", "run.py"])("%s is not a model file", async (name) => {
  writeFileSync(join(folder, name), "x");
  await expect(resolveModel(join(folder, name), { cache })).rejects.toThrow("expected .safetensors or .gguf");
});

test("a folder named like a file of weights is not read as one", async () => {
  const tricky = temporaryFolder();
  mkdirSync(join(tricky, "model.safetensors"));
  await expect(resolveModel(tricky, { cache })).rejects.toThrow("no .safetensors or .gguf file");
});

describe("the choice of files", () => {
  const names = (paths: string[], wanted?: string) => [...selectFiles(paths, "place", wanted).keys()];

  test("pieces of split weights belong together, with their index", () => {
    const pieces = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const index = "model.safetensors.index.json";
    expect(names([...pieces, index, "config.json"])).toEqual(["config.json", index, ...pieces]);
    const gguf = ["q4-00001-of-00002.gguf", "q4-00002-of-00002.gguf"];
    expect(names([...gguf, "q8.gguf"], "q4-00001-of-00002.gguf")).toEqual(gguf);
  });

  test("the usual name wins over copies, whole weights over pieces, safetensors over gguf", () => {
    expect(names(["consolidated.safetensors", "model.safetensors", "x.gguf"])).toEqual(["model.safetensors"]);
    const both = ["model-00001-of-00001.safetensors", "model.safetensors", "model.safetensors.index.json"];
    expect(names(both)).toEqual(["model.safetensors"]);
  });

  test("the shallowest folder with weights is the model", () => {
    expect(names(["p/config.json", "p/m.safetensors", "p/2_Dense/model.safetensors", "config.json"])).toEqual([
      "p/config.json",
      "p/m.safetensors",
    ]);
  });

  test("two models of equal standing need a choice, by a file or a folder", () => {
    const two = ["a/model.safetensors", "b/model.safetensors"];
    expect(() => names(two)).toThrow("place holds several models: a/model.safetensors, b/model.safetensors; name one");
    expect(names(two, "b")).toEqual(["b/model.safetensors"]);
    expect(names(two, "a/model.safetensors")).toEqual(["a/model.safetensors"]);
    expect(() => names(two, "model.safetensors")).toThrow("several models");
    expect(() => names(["x.safetensors", "y.safetensors"])).toThrow("several models");
    expect(() => names(two, "c")).toThrow("no .safetensors or .gguf file under 'c'");
    expect(() => names(["config.json"], "config.json")).toThrow("holds no weights");
  });
});
