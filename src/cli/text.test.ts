/** Text in and out of a command line: values of options, clamps as data, prompts in files, and what a terminal is shown. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { clampFromFlag, clampsFromFile } from "./clampSpec.js";
import { siteLabels } from "./pictures.js";
import { readPrompts } from "./prompts.js";
import { alignColumns, canvasOf, formatBytes, formatProbability, jsonLine, withoutControls } from "./terminal.js";
import { byteCount, finiteNumber, numberList, wholeNumber } from "./values.js";

const work = mkdtempSync(join(tmpdir(), "patchclamp-text-"));
const file = (name: string) => join(work, name);
writeFileSync(file("a:b"), "");
writeFileSync(file("a:b:c"), "");
writeFileSync(file("plain"), "");
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("values", () => {
  it("are numbers as people write them", () => {
    expect(["1", "-3", "+.5", "1e-3", "2.E2"].map(finiteNumber)).toEqual([1, -3, 0.5, 0.001, 200]);
    for (const text of ["", "1e999", "Infinity", "0x10", "1,5", "1e", "--1"])
      expect(() => finiteNumber(text)).toThrow("must be a number");
    expect(numberList("5, 7,9")).toEqual([5, 7, 9]);
    for (const text of ["", "5,,7", "-1", "1.5"]) expect(() => numberList(text)).toThrow("whole numbers");
    expect(wholeNumber(-5)("-3")).toBe(-3);
    for (const text of ["-6", "1.0", "1e3", "99999999999999999999"])
      expect(() => wholeNumber(-5)(text)).toThrow("whole number of at least -5");
    expect(["12", "1.5kB", "2 GiB", "3m"].map(byteCount)).toEqual([12, 1500, 2 ** 31, 3e6]);
    for (const text of ["", "4 XB", "-1"]) expect(() => byteCount(text)).toThrow("number of bytes");
  });
});

describe("a clamp from a flag", () => {
  it("splits the site from what follows at the = after its suffix", () => {
    expect(clampFromFlag("set", "layers.5.attn.z[head=3, position=-1]=-2e-3")).toEqual({
      kind: "set",
      site: "layers.5.attn.z[head=3, position=-1]",
      value: -0.002,
    });
    expect(clampFromFlag("zero", "layers.5.attn.z[head=3]")).toEqual({ kind: "zero", site: "layers.5.attn.z[head=3]" });
    expect(clampFromFlag("quantize", "embed=4")).toEqual({ kind: "quantize", site: "embed", bits: 4 });
  });

  it("splits FILE:name at the last colon that leaves a file", () => {
    const named = (text: string) => {
      const { file: path, tensor, factor } = clampFromFlag("add", `embed=${text}`);
      return [path, tensor, factor];
    };
    expect(named(`${file("plain")}:x`)).toEqual([file("plain"), "x", undefined]);
    expect(named(`${file("plain")}:x:y*-.5`)).toEqual([file("plain"), "x:y", -0.5]);
    expect(named(`${file("a:b")}:x`)).toEqual([file("a:b"), "x", undefined]);
    expect(named(`${file("a:b:c")}:x`)).toEqual([file("a:b:c"), "x", undefined]);
    expect(named(`${file("a:b")}:c`)).toEqual([file("a:b"), "c", undefined]);
    expect(clampFromFlag("patch", `embed=${file("a:b:c")}`)).toEqual({
      kind: "patch",
      site: "embed",
      file: file("a:b:c"),
    });
  });

  it("is refused where it is none", () => {
    for (const text of ["", "=3", "embed", "embed=", "embed=x", "em[bed=3", "embed[:]3"])
      expect(() => clampFromFlag("set", text)).toThrow("is not of the form 'site=NUMBER|FILE:name[*factor]'");
    expect(() => clampFromFlag("zero", "embed=3")).toThrow("is not of the form 'site'");
    expect(() => clampFromFlag("quantize", "embed=2.5")).toThrow("is not of the form 'site=BITS'");
    expect(() => clampFromFlag("set", `embed=1e999`)).toThrow("value must be a number");
    expect(() => clampFromFlag("set", `embed=${file("none")}:x`)).toThrow("there is no file");
  });

  it("or from a file is read or refused in one line, whatever it holds", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        writeFileSync(file("any.json"), text);
        try {
          expect(Array.isArray(clampsFromFile(file("any.json")))).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ name: "PatchclampError" });
          expect((error as Error).message).not.toContain("\n");
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("prompts", () => {
  const read = async (name: string, text: string) => {
    writeFileSync(file(name), text);
    const sources = { argument: undefined, prompts: file(name) };
    return (await readPrompts(sources, Readable.from([]), new AbortController().signal)).inputs;
  };

  it("are lines unless the name or the first line says JSON", async () => {
    expect(await read("a.txt", '\ufeffone\n\n  two\n{"prompt": "x"}\n')).toEqual([
      { text: "one" },
      { text: "  two" },
      { text: '{"prompt": "x"}' },
    ]);
    expect(await read("b.txt", '"Hello," she said.\n')).toEqual([{ text: '"Hello," she said.' }]);
    expect(await read("c.txt", '{"prompt": "x"}\n{"ids": [1, 2]}\n"y"\n')).toEqual([
      { text: "x" },
      { ids: [1, 2] },
      { text: "y" },
    ]);
    await expect(read("d.jsonl", "one\n")).rejects.toThrow("line 1 of");
    await expect(read("e.txt", '"x"\n3\n')).rejects.toThrow(/line 2 of .* is not a prompt/);
    await expect(read("f.jsonl", '{"ids": [1.5]}\n')).rejects.toThrow("is not a prompt");
  });
});

describe("what is shown", () => {
  it("holds no control characters but newline and tab", () => {
    expect(withoutControls("a\tb\n\u001b[31m\u009b\u007fü")).toBe("a\tb\n\\x1b[31m\\x9b\\x7fü");
  });

  it("is short and aligned", () => {
    expect([0, 999, 1000, 98_900_000, 123e9, 5e15].map(formatBytes)).toEqual([
      "0 B",
      "999 B",
      "1.00 kB",
      "98.9 MB",
      "123 GB",
      "5000 TB",
    ]);
    expect([1, 0.63249, 0.000412].map(formatProbability)).toEqual(["100%", "63.2%", "0.0412%"]);
    expect(
      alignColumns([
        ["a", "bbb"],
        ["aaa", "b", ""],
      ]),
    ).toBe("a    bbb\naaa  b\n");
  });

  it("never says a number that JSON has no word for", () => {
    expect(jsonLine({ a: [1, null] })).toBe('{"a":[1,null]}\n');
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => jsonLine({ a: { kl: bad } })).toThrow('"kl" is');
  });

  it("has the width of the terminal, and colour only where there is one", () => {
    const stream = (properties: object) => properties as Parameters<typeof canvasOf>[0];
    expect(canvasOf(stream({ columns: 10 })).width).toBe(24);
    expect(canvasOf(stream({ columns: 132 })).width).toBe(132);
  });

  it("labels sites by their layers where nothing else tells them apart", () => {
    expect(siteLabels(["embed", "layers.0.residPost", "layers.1.residPost"])).toEqual(["embed", "0", "1"]);
    expect(siteLabels(["layers.0.attn.z", "layers.0.mlp.out"])).toEqual(["0.attn.z", "0.mlp.out"]);
    expect(siteLabels(["logits"])).toEqual(["logits"]);
  });
});
