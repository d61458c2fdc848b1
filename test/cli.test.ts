/** Every command as a user runs it: its JSON by its schema, and its numbers equal to those of the library. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type {
  AblateResult,
  AttentionResult,
  AttributeResult,
  ClampResult,
  GenerateResult,
  LensResult,
  PatchResult,
} from "../src/cli/index.js";
import {
  ablate,
  activationPatching,
  attentionPatterns,
  clampEffect,
  directLogitAttribution,
  logitDifference,
  logitLens,
} from "../src/explain/index.js";
import {
  add,
  type Clamp,
  loadRecording,
  type Model,
  mean,
  open,
  patch,
  project,
  quantize,
  type Recording,
  readSafetensors,
  saveRecording,
  scale,
  set,
  writeSafetensors,
  zero,
} from "../src/model/index.js";
import { tensorOf } from "../src/runtime/index.js";
import { call, callJson } from "./support/cli.js";

const folder = fileURLToPath(new URL("./fixtures/models/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "patchclamp-cli-"));
const home = join(work, "home");
const ids = [5, 17, 42, 3];
const other = [5, 18, 42, 3];
const run = ["--model", `${folder}llama-gqa`, "--ids", ids.join(), "--threads", "1"];
const reader = ["--model", `${folder}llama-gguf`, "--threads", "1"];
const file = (name: string) => join(work, name);
/** What JSON keeps of a value. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

let model: Model;
let text: Model;
let recording: Recording;

beforeAll(async () => {
  model = await open(`${folder}llama-gqa`, { threads: 1, cache: home });
  text = await open(`${folder}llama-gguf`, { threads: 1, cache: home });
  recording = await model.record(other, ["layers.*.residPost", "layers.1.attn.z"]);
  await saveRecording(recording, file("other.safetensors"));
  const vector = Array.from({ length: 24 }, (_, i) => Math.sin(i));
  await writeSafetensors(file("a:b.safetensors"), { "dir:1": tensorOf("float32", [24], vector) });
});
afterAll(async () => {
  await model.close();
  await text.close();
  rmSync(work, { recursive: true, force: true });
});

describe("numbers of the library", () => {
  it("lens", async () => {
    const result = (await callJson(["lens", ...run, "--top", "3", "--target", "#7"], home)) as LensResult;
    const { layers } = await logitLens(model, ids, { top: 3, target: 7 });
    expect(result.layers).toEqual(plain(layers));
    expect(result.layers.map(({ site }) => site)).toEqual(["embed", ...[0, 1, 2].map((i) => `layers.${i}.residPost`)]);
    expect(result).toMatchObject({ model: model.identity, tokens: ids.map((id) => ({ id, text: `#${id}` })) });
  });

  it("lens under a clamp is another lens", async () => {
    const clamp = ["--set", "layers.0.mlp.act[:, -1, 3]=-8e0"];
    const result = (await callJson(["lens", ...run, ...clamp], home)) as LensResult;
    const clamped = model.with(set("layers.0.mlp.act[:, -1, 3]", -8));
    expect(result.layers).toEqual(plain((await logitLens(clamped, ids)).layers));
    expect(result.layers).not.toEqual(plain((await logitLens(model, ids)).layers));
  });

  it("record", async () => {
    const sites = ["layers.*.residPost", "layers.1.mlp.act[:, -1]"];
    const out = file("recorded.safetensors");
    const result = await callJson(["record", ...run, "--sites", ...sites, "--out", out], home);
    const own = await model.record(ids, sites);
    const written = await loadRecording(out);
    expect({ ...written.sites }).toEqual({ ...own.sites });
    expect(written.tokens).toEqual(own.tokens);
    expect(result).toMatchObject({
      file: out,
      sites: { "layers.0.residPost": [1, 4, 24], "layers.1.mlp.act[:, -1]": [1, 40] },
    });
  });

  it("gradient", async () => {
    const out = file("gradient.safetensors");
    const at = ["layers.*.residPost", "layers.1.mlp.act[:, -1]"];
    const of = "logit(#7)-0.5*logprob(#9)[-2]";
    const clamp = ["--scale", "layers.0.mlp.out=0.5"];
    const result = await callJson(["gradient", ...run, ...clamp, "--of", of, "--at", ...at, "--out", out], home);
    const clamped = model.with(scale("layers.0.mlp.out", 0.5));
    const own = await clamped.gradient(ids, { of, at });
    const written = await loadRecording(out);
    expect({ ...written.sites }).toEqual({ ...own.sites });
    expect((await model.gradient(ids, { of, at })).sites).not.toEqual(own.sites);
    expect(result).toMatchObject({
      file: out,
      value: own.values[0],
      sites: { "layers.0.residPost": [1, 4, 24], "layers.1.mlp.act[:, -1]": [1, 40] },
    });
    const checkpointed = ["--checkpoint", "layers.*.residPost"];
    await callJson(["gradient", ...run, ...clamp, "--of", of, "--at", ...at, "--out", out, ...checkpointed], home);
    const again = (await loadRecording(out)).sites["layers.0.residPost"]?.data as Float32Array;
    const first = own.sites["layers.0.residPost"]?.data as Float32Array;
    // recomputed in another order: float32 rounding
    for (const [i, x] of first.entries()) expect(again[i]).toBeCloseTo(x, 6);
  });

  it("clamp", async () => {
    const result = (await callJson(
      ["clamp", ...run, "--zero", "layers.1.attn.z[head=2]", "--top", "4"],
      home,
    )) as ClampResult;
    const effect = await clampEffect(model, model.with(zero("layers.1.attn.z[head=2]")), ids, { top: 4 });
    const { before, after, kl, movers } = effect;
    expect(result).toMatchObject(plain({ before: { top: before }, after: { top: after }, kl, movers }) as object);
    expect(result.kl).toBeGreaterThan(0);
  });

  it("generate", async () => {
    const flags = ["--max-tokens", "6", "--temperature", "1.5", "--top-k", "20", "--top-p", "0.9", "--seed", "3"];
    const result = (await callJson(["generate", ...run, ...flags], home)) as GenerateResult;
    const own = await model.generate(ids, { maxTokens: 6, temperature: 1.5, topK: 20, topP: 0.9, seed: 3 });
    expect(result).toMatchObject({ ids: own.ids, text: own.text, finish: own.finish });
  });

  it("attention", async () => {
    const result = (await callJson(["attention", ...run, "--layer", "1", "--head", "0,3"], home)) as AttentionResult;
    const own = await attentionPatterns(model, ids, { layers: [1], heads: [0, 3] });
    expect(result.heads.map(({ layer, head }) => [layer, head])).toEqual([
      [1, 0],
      [1, 3],
    ]);
    result.heads.forEach(({ pattern }, i) => {
      expect(pattern.flat()).toEqual(Array.from(own.heads[i]?.pattern.data ?? [], Number));
      for (const row of pattern) expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 5); // float32 softmax
    });
  });

  it("attribute", async () => {
    const result = (await callJson(
      ["attribute", ...run, "--target", "#7", "--versus", "#9", "--position", "-2"],
      home,
    )) as AttributeResult;
    const own = await directLogitAttribution(model, ids, { target: 7, versus: 9, position: -2 });
    expect(result).toMatchObject({ total: own.total, position: own.position, target: { id: 7 }, versus: { id: 9 } });
    expect(result.terms).toEqual(plain(own.terms));
  });

  it("ablate", async () => {
    writeFileSync(file("reference.jsonl"), '{"ids": [5, 18, 42, 3]}\n\n{"ids": [9, 33]}\n');
    const flags = ["--sites", "layers.*.mlp.out", "layers.0.attn.z[head=1]", "--how", "mean"];
    const result = (await callJson(
      ["ablate", ...run, ...flags, "--reference-prompts", file("reference.jsonl")],
      home,
    )) as AblateResult;
    const own = await ablate(model, ids, {
      sites: ["layers.*.mlp.out", "layers.0.attn.z[head=1]"],
      how: "mean",
      reference: [other, [9, 33]],
    });
    expect(result.sites).toEqual(plain(own.sites));
    expect(result.sites).toHaveLength(4);
  });

  it("patch", async () => {
    const flags = ["--clean-ids", ids.join(), "--corrupt-ids", other.join(), "--answer", "#25", "--wrong", "#6"];
    const command = ["patch", "--model", `${folder}llama-gqa`, "--threads", "1", ...flags];
    const byPosition = (await callJson(command, home)) as PatchResult;
    const byHead = (await callJson([...command, "--by", "head"], home)) as PatchResult;
    const options = { clean: ids, corrupt: other, metric: logitDifference(25, 6) };
    const own = await activationPatching(model, options);
    expect(byPosition).toMatchObject({
      metric: own.metric,
      recovered: own.recovered,
      sites: own.sites,
      by: "position",
    });
    expect(byHead.recovered).toEqual((await activationPatching(model, { ...options, by: "head" })).recovered);
    // patching the whole residual stream at the only position that differs, before the first layer, restores everything
    expect(byPosition.recovered[0]?.[1]).toBeCloseTo(1, 4); // float32 logits over a difference of order 1
  });

  it("sites", async () => {
    const sites = (await callJson(
      ["sites", "blocks.0.attn.hook_z", "--model", `${folder}llama-gqa`],
      home,
    )) as unknown[];
    expect(sites).toEqual([
      { name: "layers.0.attn.z", shape: ["batch", "seq", 4, 8], aliases: ["blocks.0.attn.hook_z"] },
    ]);
    const all = (await callJson(["sites", "--model", `${folder}llama-gqa`], home)) as { name: string }[];
    expect(all.map(({ name }) => name)).toEqual(model.sites().map(({ name }) => name));
  });
});

describe("clamps", () => {
  const logitsUnder = async (...flags: string[]) => {
    const out = file("clamped.safetensors");
    await callJson(["record", ...run, "--sites", "logits", "embed", "--out", out, ...flags], home);
    return (await readSafetensors(out)).tensors;
  };
  const recordingFile = () => file("other.safetensors");
  const kinds: [name: string, flags: () => string[], clamps: () => Clamp[]][] = [
    ["set", () => ["--set", "layers.1.residPost[:, -1, 4:9]=+.5e1"], () => [set("layers.1.residPost[:, -1, 4:9]", 5)]],
    [
      "add FILE:name*factor, with colons in both",
      () => ["--add", `layers.0.residPost=${file("a:b.safetensors")}:dir:1*-0.5`],
      () => [
        add(
          "layers.0.residPost",
          Array.from({ length: 24 }, (_, i) => -0.5 * Math.fround(Math.sin(i))),
        ),
      ],
    ],
    ["scale", () => ["--scale", "layers.2.mlp.out=-1.5"], () => [scale("layers.2.mlp.out", -1.5)]],
    ["zero", () => ["--zero", "layers.*.attn.z[head=3]"], () => [zero("layers.*.attn.z[head=3]")]],
    [
      "mean",
      () => ["--mean", `layers.1.attn.z[head=0]=${recordingFile()}`],
      () => [mean("layers.1.attn.z[head=0]", recording)],
    ],
    [
      "patch",
      () => ["--patch", `layers.1.residPost[:, 1]=${recordingFile()}`],
      () => [patch("layers.1.residPost[:, 1]", recording)],
    ],
    [
      "patch from another site",
      () => ["--patch", `layers.0.residPost=${recordingFile()}:layers.1.residPost`],
      () => [
        patch("layers.0.residPost", {
          ...recording,
          sites: { "layers.0.residPost": recording.sites["layers.1.residPost"] as never },
        }),
      ],
    ],
    [
      "project",
      () => ["--project", `layers.1.residPost=${file("a:b.safetensors")}:dir:1`],
      () => [
        project(
          "layers.1.residPost",
          Array.from({ length: 24 }, (_, i) => Math.fround(Math.sin(i))),
        ),
      ],
    ],
    ["quantize", () => ["--quantize", "layers.1.mlp.act=3"], () => [quantize("layers.1.mlp.act", 3)]],
  ];
  it.each(kinds)("%s", async (_, flags, clamps) => {
    const own = await model.with(...clamps()).record(ids, "logits");
    const untouched = await model.record(ids, "logits");
    const found = (await logitsUnder(...flags())).logits;
    expect(found).toEqual(own.sites.logits);
    expect(found).not.toEqual(untouched.sites.logits);
  });

  it("apply in the order of the command line, those of a file where it stands", async () => {
    writeFileSync(file("clamps.json"), JSON.stringify([{ kind: "add", site: "embed", value: 1 }]));
    const flags = { set: ["--set", "embed=1"], file: ["--clamps", file("clamps.json")], scale: ["--scale", "embed=2"] };
    const value = async (...order: (keyof typeof flags)[]) =>
      Array.from((await logitsUnder(...order.flatMap((name) => flags[name]))).embed?.data as Float32Array);
    expect(new Set(await value("set", "file", "scale"))).toEqual(new Set([4]));
    expect(new Set(await value("set", "scale", "file"))).toEqual(new Set([3]));
    expect(new Set(await value("scale", "file", "set"))).toEqual(new Set([1]));
  });

  it("of a file find their files beside it", async () => {
    const entry = { kind: "add", site: "layers.0.residPost", file: "a:b.safetensors", tensor: "dir:1", factor: 2 };
    writeFileSync(file("relative.json"), JSON.stringify([entry]));
    const own = await model
      .with(
        add(
          "layers.0.residPost",
          Array.from({ length: 24 }, (_, i) => 2 * Math.fround(Math.sin(i))),
        ),
      )
      .record(ids, "logits");
    expect((await logitsUnder("--clamps", file("relative.json"))).logits).toEqual(own.sites.logits);
  });
});

describe("prompts", () => {
  const tokensOf = (value: unknown) =>
    ((value as { results?: LensResult[] }).results ?? [value as LensResult]).map(({ tokens }) =>
      tokens.map(({ id }) => id),
    );
  const idsOf = (prompt: string, bos?: boolean) =>
    text.tokens(prompt, bos === undefined ? {} : { bos }).map(({ id }) => id);

  it("from the argument, standard input, and -", async () => {
    const lens = (...args: string[]) => callJson(["lens", ...args, ...reader], home, { input: "the and\n" });
    for (const args of [["the and"], ["-"], []]) expect(tokensOf(await lens(...args))).toEqual([idsOf("the and")]);
  });

  it("from a file of lines, of JSONL, and of pairs", async () => {
    writeFileSync(file("lines.txt"), "the and\n\n in a\r\n");
    writeFileSync(file("prompts.jsonl"), '"the and"\n{"prompt": " in a"}\n{"ids": [5, 6]}\n');
    const lines = await callJson(["lens", "--prompts", file("lines.txt"), ...reader], home);
    expect(tokensOf(lines)).toEqual([idsOf("the and"), idsOf(" in a")]);
    const entries = await callJson(["lens", "--prompts", file("prompts.jsonl"), ...reader], home);
    expect(tokensOf(entries)).toEqual([idsOf("the and"), idsOf(" in a"), [5, 6]]);
    writeFileSync(
      file("pairs.jsonl"),
      '{"clean": "a the", "corrupt": "b the", "answer": "c"}\n{"clean": {"ids": [4, 5]}, "corrupt": {"ids": [6, 5]}}',
    );
    const pairs = (await callJson(
      ["patch", "--prompts", file("pairs.jsonl"), "--answer", "#9", "--wrong", "d", ...reader],
      home,
    )) as {
      results: PatchResult[];
    };
    expect(pairs.results.map(({ answer, wrong }) => [answer?.text, wrong?.id])).toEqual([
      ["c", 6],
      ["g", 6],
    ]);
  });

  it("several into one recording", async () => {
    const args = ["record", "--prompts", "-", "--sites", "embed", "--out", file("batch.safetensors"), ...reader];
    const result = await callJson(args, home, { input: "the and\na\n" });
    expect(tokensOf(result)).toEqual([idsOf("the and"), idsOf("a")]);
    expect((await loadRecording(file("batch.safetensors"))).tokens).toEqual([text.tokens("the and"), text.tokens("a")]);
  });

  it("with the special tokens and the chat template that were asked for", async () => {
    const lens = async (...args: string[]) => tokensOf(await callJson(["lens", "the", ...reader, ...args], home))[0];
    expect(await lens()).toEqual(idsOf("the"));
    expect(await lens("--bos")).toEqual(idsOf("the", true));
    expect(await lens("--no-bos")).toEqual(idsOf("the", false));
    const chat = (system?: string) =>
      idsOf(text.tokenizer.chat([{ role: "user", content: "the" }], system === undefined ? {} : { system }), false);
    expect(await lens("--chat")).toEqual(chat());
    expect(await lens("--system", "and")).toEqual(chat("and"));
  });
});

describe("text", () => {
  it("generate prints the continuation and nothing else", async () => {
    const { stdout, stderr, code } = await call(["generate", "the", "--max-tokens", "12", ...reader], home);
    const own = await text.generate("the", { maxTokens: 12 });
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${own.text}\n` });
    expect(stderr).toBe("tokens: the\n");
  });

  it("generate never prints the beginning of a stop text", async () => {
    const whole = (await text.generate("the", { maxTokens: 12 })).text;
    const stop = whole.slice(4, 9); // across tokens, most of which are single characters
    const { stdout } = await call(["generate", "the", "--max-tokens", "12", ...reader, "--stop", stop, "unseen"], home);
    expect(stdout).toBe(`${whole.slice(0, whole.indexOf(stop))}\n`);
  });

  const shown: [command: string, args: string[], expected: RegExp][] = [
    ["lens", [...run, "--target", "#7"], /Logit lens: ids 5, 17, 42, 3\n.*embed.*Rank of/s],
    [
      "clamp",
      [...run, "--zero", "layers.1.mlp.out"],
      /tokens: #5 \| #17 \| #42 \| #3\n.*KL\(before \|\| after\): [\d.e-]+ nats/s,
    ],
    [
      "record",
      [...run, "--sites", "embed", "--out", file("shown.safetensors")],
      /^embed {2}\[1, 4, 24\]\n1 tensors of 4 tokens/,
    ],
    [
      "gradient",
      [...run, "--of", "logit(#7)", "--at", "embed", "--out", file("shown.safetensors")],
      /^metric: -?\d+\.\d+\nembed {2}\[1, 4, 24\]\n1 tensors of 4 tokens/,
    ],
    ["attention", [...run, "--layer", "2", "--head", "1"], /Attention of layer 2, head 1/],
    ["attribute", [...run, "--target", "#7", "--top", "4"], /4 of 16 terms.*layers\.\d\./s],
    [
      "ablate",
      [...run, "--sites", "layers.*.mlp.out", "--how", "zero"],
      /zero ablation of 3 sites.*layers\.2\.mlp\.out/s,
    ],
    ["sites", ["--model", `${folder}llama-gqa`, "logits"], /^logits {2}\[batch, seq, 61\] {2}scores/],
    ["models", [], /smollm2 .*Apache-2\.0/],
  ];
  it.each(shown)("%s shows its result", async (command, args, expected) => {
    const { stdout, code } = await call([command, ...args], home);
    expect(code).toBe(0);
    expect(stdout).toMatch(expected);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(100); // the width without a terminal
  });
});

describe("pictures", () => {
  it.each([
    [".html", "<!doctype html>"],
    [".svg", "<svg"],
    [".png", "\u0089PNG"],
  ])("%s", async (extension, beginning) => {
    const out = file(`picture${extension}`);
    const { code, stderr } = await call(["lens", ...run, "--target", "#7", "--out", out], home);
    expect({ code, stderr }).toEqual({ code: 0, stderr: `wrote ${out}\n` });
    expect(readFileSync(out, "latin1").slice(0, beginning.length).toLowerCase()).toBe(beginning.toLowerCase());
    if (extension === ".html") expect(readFileSync(out, "utf8").match(/<svg/g)).toHaveLength(2);
  });
});

describe("the cache", () => {
  it("is listed and cleared, and nothing else in its folder is touched", async () => {
    const own = file("own");
    await callJson(["sites", "--model", `${folder}llama-gqa`], own);
    writeFileSync(join(own, "weights", "mine.safetensors"), "");
    const list = (await callJson(["cache"], own)) as { weights: { source: string; bytes: number }[]; bytes: number };
    expect(list.weights).toMatchObject([{ source: `${folder}llama-gqa` }]);
    expect(list.bytes).toBe(list.weights[0]?.bytes);
    expect(await callJson(["cache", "clear", "--models"], own)).toMatchObject({ weights: [], bytes: 0 });
    expect(await callJson(["cache", "clear"], own)).toMatchObject({ weights: list.weights, bytes: list.bytes });
    expect(readdirSync(join(own, "weights"))).toEqual(["mine.safetensors"]);
    expect(await callJson(["cache"], own)).toMatchObject({ weights: [], models: [], bytes: 0 });
  });

  it("is what models and pull speak of", async () => {
    expect(await callJson(["models"], home)).toMatchObject({
      others: [],
      models: expect.arrayContaining([expect.objectContaining({ name: "smollm2", cached: [] })]),
    });
    const pulled = await callJson(["pull", `${folder}llama-gqa`], home);
    expect(pulled).toMatchObject({ model: { source: `${folder}llama-gqa`, hash: model.identity.hash } });
  });
});
