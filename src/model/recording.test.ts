/** Recordings: to a file and back, selected as a clamp would, and what is refused. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { mapped } from "../../test/support/selection.js";
import { openTiny, scratch, tinyPrompts } from "../../test/support/tinyModel.js";
import { PatchclampError } from "../errors.js";
import { type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import {
  lengthsOf,
  loadRecording,
  meanOverTokens,
  parseSite,
  type Recording,
  readSafetensors,
  recorded,
  recordedRow,
  saveRecording,
  selectRecorded,
  writeSafetensors,
} from "./index.js";

const { A, B, C } = tinyPrompts;
const post = "layers.1.residPost";
const pattern = "layers.1.attn.pattern";
const part = `${post}[:, -1, 2:5]`;
let single: Recording;
let batch: Recording;
beforeAll(async () => {
  const model = await openTiny();
  single = await model.record(A, [post, pattern]);
  batch = await model.record([A, C, B], [post, pattern, part, `${post}@before`]);
});

describe("files", () => {
  it("hold everything that a recording is", async () => {
    const path = join(scratch, "batch.safetensors");
    await saveRecording(batch, path);
    const back = await loadRecording(path);
    expect({ ...back.sites }).toEqual(batch.sites);
    expect(Object.keys(back.sites).sort()).toEqual([post, pattern, part, `${post}@before`].sort());
    expect(back.tokens).toEqual(batch.tokens);
    expect(back.model).toEqual(batch.model);
  });

  it("say what Python needs: lengths, and on which side the padding is", async () => {
    const path = join(scratch, "metadata.safetensors");
    await saveRecording(batch, path);
    const { metadata } = await readSafetensors(path);
    expect(metadata).toMatchObject({ format: "patchclamp recording 1", padding: "left", lengths: "[9,4,6]" });
  });

  it("keep tokens that are not valid text by themselves", async () => {
    const path = join(scratch, "bytes.safetensors");
    const tokens = [
      [
        { id: 3, text: "\ufffd", start: 0, end: 1, bytes: [0xe2, 0x82] },
        { id: 4, text: 'a "b"\n', start: 1, end: 7 },
      ],
    ];
    await saveRecording({ ...single, tokens }, path);
    expect((await loadRecording(path)).tokens).toEqual(tokens);
  });

  const good = {
    format: "patchclamp recording 1",
    tokens: "[[]]",
    model: '{"name":"a","source":"b","hash":"c","precision":"float32"}',
  };

  it.each<[string, Record<string, string | undefined>, RegExp]>([
    [
      "another format",
      { format: "other 1" },
      /is not a recording: its metadata says format "other 1", not "patchclamp recording 1"/,
    ],
    ["no format", { format: undefined }, /is not a recording: its metadata says format ""/],
    ["no tokens", { tokens: undefined }, /has damaged metadata \(tokens or model\)/],
    ["tokens cut short", { tokens: "[[{" }, /has damaged metadata/],
    [
      "tokens that are no list",
      { tokens: "{}" },
      /damaged metadata .*tokens are not lists of \{ id, text, start, end \}/,
    ],
    ["a row that is no list", { tokens: "[3]" }, /tokens are not lists/],
    ["a token that is nothing", { tokens: "[[null]]" }, /tokens are not lists/],
    ["a token without an id", { tokens: '[[{"text":"a","start":0,"end":1}]]' }, /tokens are not lists/],
    ["a token with a negative place", { tokens: '[[{"id":1,"text":"a","start":-1,"end":1}]]' }, /tokens are not lists/],
    ["no model", { model: undefined }, /has damaged metadata/],
    ["a model that is nothing", { model: "null" }, /the model is not \{ name, source, hash, precision \}/],
    ["a model without a hash", { model: '{"name":"a","source":"b","precision":"c"}' }, /the model is not/],
  ])("with %s are refused", async (name, change, message) => {
    const path = join(scratch, `${name.replaceAll(" ", "-")}.safetensors`);
    const metadata = Object.entries({ ...good, ...change }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    await writeSafetensors(path, { x: tensorOf("float32", [1], [1]) }, Object.fromEntries(metadata));
    const loaded = loadRecording(path);
    await expect(loaded).rejects.toThrow(message);
    await expect(loaded).rejects.toThrow(path);
    await expect(loaded).rejects.toBeInstanceOf(PatchclampError);
  });

  it("are recordings where all is well", async () => {
    const path = join(scratch, "good.safetensors");
    await writeSafetensors(path, { x: tensorOf("float32", [1], [1]) }, good);
    expect((await loadRecording(path)).tokens).toEqual([[]]);
  });
});

describe("recorded", () => {
  it("finds a site by its name or TransformerLens', a part by the name that it was asked for", () => {
    const value = batch.sites[post];
    expect(recorded(batch, post)).toBe(value);
    expect(recorded(batch, "blocks.1.hook_resid_post")).toBe(value);
    expect(recorded(batch, "blocks.1.hook_resid_post@before")).toBe(batch.sites[`${post}@before`]);
    expect(recorded(batch, part).shape).toEqual([3, 3]);
  });

  it.each(["layers.1.residMid", "toString", "constructor", "__proto__"])("names the nearest for %s", (site) => {
    expect(() => recorded(single, site)).toThrow(`the recording has no site "${site}"; the nearest are layers.1.`);
  });

  it("says where nothing was recorded", () => {
    expect(() => recorded({ ...single, sites: {} }, post)).toThrow(`the recording has no site "${post}"; it is empty`);
  });
});

describe("padding", () => {
  it("is zero, and lengths say where it ends", () => {
    expect(lengthsOf(batch)).toEqual([9, 4, 6]);
    const value = batch.sites[post] as Tensor;
    const zeroed = mapped(value, (x, [r = 0, c = 0]) => (c < 9 - (lengthsOf(batch)[r] as number) ? 0 : x));
    expect(value).toEqual(zeroed);
    expect(toNumbers(value).filter((x) => x === 0)).toHaveLength((5 + 3) * 24);
  });

  it("is not part of a row", () => {
    const row = recordedRow(batch, post, 1);
    expect(row.shape).toEqual([4, 24]);
    expect(row.data).toEqual((batch.sites[post] as Tensor).data.slice((9 + 5) * 24, 18 * 24));
    expect(recordedRow(batch, pattern, -1).shape).toEqual([4, 6, 6]);
    expect(recordedRow(single, "blocks.1.hook_resid_post").data).toEqual((single.sites[post] as Tensor).data);
    expect(() => recordedRow(batch, post, 3)).toThrow("index 3 is out of range in layers.1.residPost");
  });

  it("enters no mean", () => {
    const value = toNumbers(batch.sites[post] as Tensor);
    const { shape, data } = meanOverTokens(batch, post);
    expect(shape).toEqual([1, 1, 24]);
    const sum = value.reduce((total, x, i) => (i % 24 === 7 ? total + x : total), 0);
    expect(data[7]).toBeCloseTo(sum / 19, 6); // float32
  });
});

describe("selectRecorded", () => {
  const select = (recording: Recording, text: string) => selectRecorded(recording, parseSite(text));

  it("takes parts as a clamp would: positions count real tokens, indexed dimensions are dropped", () => {
    expect(select(batch, `${post}[:, -1, 2:5]`)).toEqual(batch.sites[part]);
    expect(select(batch, `${post}[:, 3]`).shape).toEqual([3, 24]);
    expect(select(batch, `${post}[1, 0]`).data).toEqual((batch.sites[post] as Tensor).data.slice(14 * 24, 15 * 24));
    expect(select(batch, `${post}[2]`).shape).toEqual([6, 24]);
    expect(select(single, `${pattern}[head=1, position=-1]`).shape).toEqual([1, 9]);
  });

  it("refuses rows together whose part is not of one size", () => {
    expect(() => select(batch, `${post}[:, 2:]`)).toThrow("has another length in every row");
    expect(() => select(batch, `${post}[:, 4]`)).toThrow("row 1 of which has 4 tokens");
  });

  it("needs the whole site", () => {
    const cut: Recording = { ...batch, sites: { [post]: batch.sites[part] as Tensor } };
    const message = "the recording holds only a part of layers.1.residPost (shape [3, 3]); record the whole site";
    expect(() => select(cut, post)).toThrow(message);
    expect(() => meanOverTokens(cut, post)).toThrow(message);
    const narrow: Recording = {
      ...single,
      sites: { [pattern]: tensorOf("float32", [1, 1, 9, 2], new Array(18).fill(0)) },
    };
    expect(() => select(narrow, pattern)).toThrow("the recording holds only a part of layers.1.attn.pattern");
  });

  it("has no mean of what has no position of its own", () => {
    expect(() => meanOverTokens(single, pattern)).toThrow("layers.1.attn.pattern has no mean over tokens");
  });
});
