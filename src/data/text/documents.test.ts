/** Texts from files and registries: what is read, and what bad data says. */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makePackage } from "../../../test/fixtures/sources/archives.ts";
import {
  fakeCommand,
  npmThatDelivers,
  removeTemporaryFolders,
  temporaryFolder,
} from "../../../test/fixtures/sources/machine.ts";
import type { Tensor } from "../../runtime/index.js";
import type { TextCorpus } from "./corpora.js";
import {
  encodeDocuments,
  joinDocuments,
  pack,
  readCorpus,
  readDocuments,
  readLines,
  readText,
  textCorpora,
  tokenBatches,
  tokenRows,
} from "./index.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => {
  vi.unstubAllEnvs();
  removeTemporaryFolders();
});

/** Writes a file and returns its path. */
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("readText and readLines", () => {
  it("read UTF-8 with any line ends, and drop the byte order mark", async () => {
    const path = file("a.txt", "\ufeffa\r\nbé\n\nlast");
    expect(await readText(path)).toBe("a\nbé\n\nlast");
    expect(await all(readLines(path))).toEqual(["a", "bé", "", "last"]);
    expect(await all(readLines(file("b.txt", "one\ntwo\r\n")))).toEqual(["one", "two"]);
  });

  it("join what chunks cut: characters, line ends and lines", async () => {
    // Chunks hold 2^20 bytes: the first ends within a character, the second between "\r" and "\n".
    const first = `${"x".repeat(2 ** 20 - 1)}é`;
    const second = "y".repeat(2 ** 20 - 1 - 1 - 1);
    const lines = [first + second, "z".repeat(3 * 2 ** 20), "end"];
    expect(await all(readLines(file("c.txt", lines.join("\r\n"))))).toEqual(lines);
  });

  it("say what is wrong with a file", async () => {
    const [absent, empty, latin] = [
      join(folder, "no"),
      file("e.txt", ""),
      file("l.txt", Buffer.from("caf\xe9s", "latin1")),
    ];
    const cut = file("cut.txt", Buffer.from("é").subarray(0, 1));
    await expect(readText(absent)).rejects.toThrow(/can't read .*no: ENOENT/);
    await expect(all(readLines(absent))).rejects.toThrow(/there is no file .*no$/);
    await expect(all(readLines(folder))).rejects.toThrow(/there is no file/);
    await expect(readText(file("blank.txt", " \n"))).rejects.toThrow(/blank\.txt holds no text/);
    for (const read of [readText, (path: string) => all(readLines(path))]) {
      await expect(read(empty)).rejects.toThrow(/e\.txt holds no text/);
      await expect(read(latin)).rejects.toThrow(/l\.txt is not UTF-8 text/);
      await expect(read(cut)).rejects.toThrow(/cut\.txt is not UTF-8 text/);
    }
  });
});

describe("readDocuments", () => {
  it("reads a folder's files in order, and nothing else in it", async () => {
    file("b.txt", "second\nfile");
    file("a.jsonl", '{"text": "first", "id": 1}\n\n{"text": ""}\n');
    file("c.json", "[]");
    mkdirSync(join(folder, "d.txt"));
    expect(await all(readDocuments(folder))).toEqual([
      { name: "a.jsonl:1", text: "first" },
      { name: "a.jsonl:3", text: "" },
      { name: "b.txt", text: "second\nfile" },
    ]);
  });

  it("takes lines for documents, and other fields, where told to", async () => {
    const lines = await all(readDocuments(file("a.txt", "one\n\ntwo"), { lines: true }));
    expect(lines).toEqual([
      { name: "a.txt:1", text: "one" },
      { name: "a.txt:3", text: "two" },
    ]);
    const [row] = await all(readDocuments(file("b.jsonl", '{"story": "x"}'), { field: "story" }));
    expect(row?.text).toBe("x");
  });

  it("reads on only when asked to", async () => {
    const path = file("a.jsonl", '{"text": "good"}\nnot json');
    const documents = readDocuments(path);
    expect((await documents.next()).value).toEqual({ name: "a.jsonl:1", text: "good" });
    await expect(documents.next()).rejects.toThrow(/a\.jsonl, line 2 is not JSON/);
  });

  it.each([
    ['{"body": "x", "title": "y"}', /a\.jsonl, line 1 has no text in "text"; its fields are "body", "title"$/],
    ['{"text": 3}', /has no text in "text"; its fields are "text"$/],
    ["{}", /its fields are none$/],
    ["[1]", /line 1 is no object with a "text"/],
    ["null", /line 1 is no object with a "text"/],
    ["\n \n", /a\.jsonl holds no text/],
  ])("refuses the row %s", async (row, message) => {
    await expect(all(readDocuments(file("a.jsonl", row)))).rejects.toThrow(message);
  });

  it("refuses a place without documents", async () => {
    await expect(all(readDocuments(join(folder, "no")))).rejects.toThrow(/there is no file or folder/);
    await expect(all(readDocuments(folder))).rejects.toThrow(/holds no \.txt or \.jsonl files/);
  });
});

describe("readCorpus", () => {
  const find = (name: string) => textCorpora.find((corpus) => corpus.name === name) as TextCorpus;

  it("reads Brown's words and tags", () => {
    const text = "\n\n\tThe/at and\\/or/cc 1\\/2/cd ``/`` no/at ./.\n\n\n\tIt's/pps+bez\n";
    expect(find("brown").read("ca01", text)).toEqual({
      name: "ca01",
      text: "The and\\/or 1\\/2 `` no .\nIt's",
      tagged: [
        ["The", "at"],
        ["and\\/or", "cc"],
        ["1\\/2", "cd"],
        ["``", "``"],
        ["no", "at"],
        [".", "."],
        ["It's", "pps+bez"],
      ],
    });
  });

  /** Puts a package with these files where npm would answer. */
  function deliver(files: Readonly<Record<string, string>>): void {
    const archive = file("package.tgz", makePackage(files));
    fakeCommand(join(folder, "bin"), "npm", npmThatDelivers(archive));
    vi.stubEnv("PATH", join(folder, "bin"));
  }

  it("refuses files that are not the corpus, and a name that is none", async () => {
    deliver({ "data/data.txt": "Call me Ahab." });
    const hash = createHash("sha256")
      .update(`data.txt\0${createHash("sha256").update("Call me Ahab.").digest("hex")}\n`)
      .digest("hex");
    await expect(readCorpus("moby-dick", { cache: join(folder, "cache") })).rejects.toThrow(
      `is not the corpus "moby-dick" that this version knows: its hash is ${hash}, not ${find("moby-dick").hash}`,
    );
    await expect(readCorpus("mobydick")).rejects.toThrow(/no corpus "mobydick"; the nearest are moby-dick/);
    deliver({ "other.txt": "x" });
    await expect(readCorpus("moby-dick", { cache: join(folder, "fresh") })).rejects.toThrow(
      /data\/data\.txt: no such file/,
    );
    rmSync(join(folder, "fresh"), { recursive: true, force: true });
    await expect(readCorpus("moby-dick", { cache: join(folder, "fresh"), offline: true })).rejects.toThrow(/offline/);
  });

  it("knows licence, source, size and hash of each", () => {
    for (const { licence, reference, documents, bytes, characters, hash } of textCorpora) {
      expect(licence).not.toBe("");
      expect(reference).toMatch(/^npm:.*@\d/); // a version, as the hash is of one
      expect(Math.min(documents, bytes, characters)).toBeGreaterThan(0);
      expect(hash).toMatch(/^[0-9a-f]{64}$/);
    }
  });
});

describe("streams of tokens", () => {
  const documents = [[1, 2, 3], [], [4, 5, 6, 7, 8]];

  it("join documents by the token that ends them", () => {
    expect([...joinDocuments(documents, 0)]).toEqual([1, 2, 3, 0, 0, 4, 5, 6, 7, 8, 0]);
    const long = Array.from({ length: 5 }, (_, i) => new Int32Array(60_000).fill(i + 1));
    const joined = joinDocuments(long, 9);
    expect([joined.length, joined[60_000], joined[60_001], joined.at(-2)]).toEqual([300_005, 9, 2, 5]);
  });

  it("pack documents into rows in which every token but the first is a target once", async () => {
    const rows = await all(pack(documents, { context: 3, end: 0 }));
    expect(rows.map((row) => [...row])).toEqual([
      [1, 2, 3, 0],
      [0, 0, 4, 5],
      [5, 6, 7, 8],
    ]);
    await expect(all(pack(documents, { context: 0, end: 0 }))).rejects.toThrow(/pack: context must be/);
  });

  it("stream from a file through a tokenizer into rows", async () => {
    const path = file("a.jsonl", '{"text": "ab"}\n{"text": "cde"}\n');
    const tokenizer = { encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0) - 96) };
    const rows = await all(pack(encodeDocuments(readDocuments(path), tokenizer), { context: 2, end: 0 }));
    expect(rows.map((row) => [...row])).toEqual([
      [1, 2, 0],
      [0, 3, 4],
      [4, 5, 0],
    ]);
  });

  it("make batches of rows from random places, each target the token after", () => {
    const stream = Int32Array.from({ length: 50 }, (_, i) => i);
    const one = tokenBatches(stream, { size: 40, context: 8, seed: 2 });
    const { ids, targets } = one(7);
    expect([ids?.dtype, ids?.shape, targets?.shape]).toEqual(["int64", [40, 8], [40, 8]]);
    const [from, to] = [ids?.data as BigInt64Array, targets?.data as BigInt64Array];
    expect([...to]).toEqual([...from].map((id) => id + 1n));
    expect(one(7)).toEqual(tokenBatches(stream, { size: 40, context: 8, seed: 2 })(7));
    expect(one(8)).not.toEqual(one(7));
    const last = [...Array(40).keys()].flatMap((step) => [...((one(step).targets as Tensor).data as BigInt64Array)]);
    // The last row of all is reached: 1,600 draws of 42 places miss one with a chance of e^-38.
    expect(last.includes(49n)).toBe(true);
    expect(() => tokenBatches(stream, { size: 1, context: 50 })).toThrow(/50 tokens; rows of 50 need at least 51/);
    expect(() => tokenBatches(stream, { size: 0, context: 5 })).toThrow(/tokenBatches: size must be/);
  });

  it("cut rows one after the other for validation", () => {
    const stream = Int32Array.from({ length: 10 }, (_, i) => i);
    expect([...tokenRows(stream, { context: 3 }).ids.data].map(Number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(tokenRows(stream, { context: 3, most: 2 }).targets.shape).toEqual([2, 3]);
    expect(() => tokenRows(stream, { context: 10 })).toThrow(/10 tokens; a row of 10 needs 11/);
  });
});
