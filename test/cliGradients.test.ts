/** The gradient methods as a user runs them: their JSON by its schema, and their numbers equal to those of the library. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GraphResult, PatchResult, SaliencyResult } from "../src/cli/index.js";
import {
  activationPatching,
  attributionGraph,
  attributionPatching,
  type DifferentiableFunction,
  gradientTimesInput,
  graphFaithfulness,
  integratedGradients,
  logitDifference,
  meanEmbedding,
  modelFunction,
  promptBaseline,
  relevance,
  saliency,
  smoothGrad,
} from "../src/explain/index.js";
import { type Model, open, scale } from "../src/model/index.js";
import { call, callJson } from "./support/cli.js";

const folder = fileURLToPath(new URL("./fixtures/models/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "patchclamp-cli-"));
const home = join(work, "home");
const clean = [5, 17, 42, 3];
const corrupt = [5, 18, 42, 3];
const gqa = ["--model", `${folder}llama-gqa`, "--threads", "1"];
const pair = [...gqa, "--clean-ids", clean.join(), "--corrupt-ids", corrupt.join()];
const answers = ["--answer", "#25", "--wrong", "#6"];
const clamp = ["--scale", "layers.0.mlp.out=0.5"];
const file = (name: string) => join(work, name);
/** What JSON keeps of a value. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

let model: Model;
let clamped: Model;

beforeAll(async () => {
  model = await open(`${folder}llama-gqa`, { threads: 1, cache: home });
  clamped = model.with(scale("layers.0.mlp.out", 0.5));
});
afterAll(async () => {
  await model.close();
  rmSync(work, { recursive: true, force: true });
});

describe("saliency", () => {
  const of = "logit(#7)-0.5*logprob(#9)[-2]";
  const site = "layers.1.residPost";
  const ask = (...flags: string[]) =>
    callJson(["saliency", ...gqa, "--ids", clean.join(), "--of", of, ...flags], home) as Promise<SaliencyResult>;
  const numbers = ({ data }: { data: ArrayLike<number> }) => Array.from(data);
  let f: DifferentiableFunction;
  let inside: DifferentiableFunction;
  beforeAll(async () => {
    f = await modelFunction(model, clean, { of });
    inside = await modelFunction(clamped, clean, { of, at: site });
  });

  it("by gradient, unless another method is named", async () => {
    const { value, map } = await saliency(f);
    expect(await ask()).toEqual({
      model: model.identity,
      tokens: clean.map((id) => ({ id, text: `#${id}` })),
      method: "gradient",
      at: "embed",
      of,
      value,
      scores: numbers(map),
    });
  });

  it("at a site, under a clamp", async () => {
    const found = await ask("--method", "gradientTimesInput", "--at", site, ...clamp);
    const { value, sums } = await gradientTimesInput(inside);
    expect(found).toMatchObject({ method: "gradientTimesInput", at: site, value, scores: numbers(sums) });
    expect(value).not.toBe((await saliency(f)).value);
  });

  it("smoothed, with its noise", async () => {
    const flags = ["--method", "smooth", "--samples", "5", "--noise", "0.3", "--seed", "4"];
    const { map } = await smoothGrad(f, { samples: 5, noise: 0.3, seed: 4 });
    expect((await ask(...flags)).scores).toEqual(numbers(map));
    expect((await ask("--method", "smooth")).scores).toEqual(numbers((await smoothGrad(f)).map));
  });

  it("integrated from the mean embedding, zeros, and another prompt", async () => {
    const check = async (flags: readonly string[], baseline: Parameters<typeof integratedGradients>[1], g = f) => {
      const found = await ask("--method", "integrated", ...flags);
      const { value, baselineValue, sums, completeness, steps } = await integratedGradients(g, baseline);
      expect(found).toMatchObject({ value, baselineValue, scores: numbers(sums), completeness, steps });
      return found;
    };
    const mean = await check([], { baseline: await meanEmbedding(model, clean) });
    expect(mean.warning).toBeUndefined();
    expect(mean.completeness?.error).toBeLessThan(0.01); // the default tolerance
    await check(["--baseline", "zero", "--steps", "40"], { baseline: "zero", steps: 40 });
    await check(["--at", site, ...clamp], { baseline: "zero" }, inside);
    const text = await open(`${folder}llama-gguf`, { threads: 1, cache: home });
    const g = await modelFunction(text, "a the", { of: "logit( in)" });
    const other = await integratedGradients(g, { baseline: await promptBaseline(text, "b the") });
    const flags = ["--of", "logit( in)", "--method", "integrated", "--baseline-prompt", "b the", "--model"];
    const found = (await callJson(["saliency", "a the", ...flags, `${folder}llama-gguf`], home)) as SaliencyResult;
    await text.close();
    // the command runs on all cores: float32 rounding
    found.scores.forEach((score, i) => {
      expect(score).toBeCloseTo(other.sums.data[i] as number, 4);
    });
  });

  it("says where scores don't add up: what rounds is flat, and jumps", async () => {
    const found = await ask("--method", "integrated", "--quantize", "layers.0.residPost=2");
    expect(found.completeness?.error).toBeGreaterThan(0.1);
    expect(found).toMatchObject({ steps: 1024, warning: expect.stringMatching(/--baseline-prompt.*--steps/) });
  });

  it("as relevance, with what is conserved", async () => {
    const own = await relevance(clamped, clean, { of, at: site, rule: "detached" });
    const found = await ask("--method", "relevance", "--rule", "detached", ...clamp);
    expect(found).toMatchObject(
      plain({ value: own.value, scores: own.byToken, conservation: own.conservation }) as object,
    );
    expect(found.conservation?.map((entry) => entry.site)).toContain(site);
    const later = await ask("--method", "relevance", "--rule", "detached", "--at", site, ...clamp);
    const data = own.sites[site]?.data as Float32Array;
    const width = data.length / clean.length;
    later.scores.forEach((score, i) => {
      expect(score).toBe([...data.subarray(i * width, (i + 1) * width)].reduce((a, b) => a + b, 0));
    });
    expect((await ask("--method", "relevance")).scores).toEqual((await relevance(model, clean, { of })).byToken);
  });
});

describe("patch", () => {
  it("estimates the map that it would measure", async () => {
    const options = { clean, corrupt, metric: logitDifference(25, 6) };
    const command = ["patch", ...pair, ...answers, "--estimate", ...clamp];
    const byPosition = (await callJson([...command, "--steps", "4"], home)) as PatchResult;
    const own = await attributionPatching(clamped, { ...options, steps: 4, sites: "layers.*.residPre" });
    expect(byPosition).toMatchObject({ estimated: true, sites: own.sites, by: "position", metric: own.metric });
    expect(byPosition.recovered).toEqual(own.recovered);
    const byHead = (await callJson([...command, "--by", "head"], home)) as PatchResult;
    const heads = await attributionPatching(clamped, { ...options, by: "head" });
    expect(byHead).toMatchObject({ estimated: true, heads: [0, 1, 2, 3], recovered: heads.recovered });
  });

  it("takes any metric in place of two answers", async () => {
    const text = "logprob(#25) - 2*logit(#6)[-2]";
    const result = (await callJson(["patch", ...pair, "--metric", text], home)) as PatchResult;
    const own = await activationPatching(model, { clean, corrupt, metric: text });
    expect(result).toMatchObject({ estimated: false, metric: { text, ...own.metric }, recovered: own.recovered });
    expect(result.answer).toBeUndefined();
    const asked = (await callJson(["patch", ...pair, ...answers], home)) as PatchResult;
    expect(asked.metric.text).toBe("logit(#25) - logit(#6)");
  });

  it("takes from a file what each pair asks, and else what the flags do", async () => {
    const entry = { clean: { ids: clean }, corrupt: { ids: corrupt } };
    const entries = [entry, { ...entry, metric: "logit(#3)" }, { ...entry, answer: "#8", wrong: "#9" }];
    writeFileSync(file("pairs.jsonl"), entries.map((line) => JSON.stringify(line)).join("\n"));
    const textsOf = async (...flags: string[]) => {
      const args = ["patch", ...gqa, "--prompts", file("pairs.jsonl"), "--estimate", ...flags];
      const { results } = (await callJson(args, home)) as { results: PatchResult[] };
      return results.map(({ metric }) => metric.text);
    };
    expect(await textsOf(...answers)).toEqual(["logit(#25) - logit(#6)", "logit(#3)", "logit(#8) - logit(#9)"]);
    expect(await textsOf("--metric", "prob(#4)")).toEqual(["prob(#4)", "logit(#3)", "logit(#8) - logit(#9)"]);
  });
});

describe("graph", () => {
  const metric = logitDifference(25, 6);
  it("is the library's, with its faithfulness, under a clamp", async () => {
    const result = (await callJson(["graph", ...pair, ...answers, ...clamp, "--top", "40"], home)) as GraphResult;
    const own = await attributionGraph(clamped, { clean, corrupt, metric, top: 40 });
    const { faithfulness, metric: found } = await graphFaithfulness(clamped, own, { clean, corrupt, metric });
    const { nodes, edges, scored, kept } = own;
    expect(result).toMatchObject(plain({ nodes, edges, scored, kept, faithfulness, metric: found }) as object);
    expect(result).toMatchObject({ answer: { id: 25 }, wrong: { id: 6 } });
    expect(result.edges.length).toBeGreaterThan(10);
  });

  it("of sublayers, above a threshold, with the steps asked for", async () => {
    const flags = ["--nodes", "sublayers", "--threshold", "0.001", "--steps", "2", "--metric", "logit(#25)"];
    const result = (await callJson(["graph", ...pair, ...flags], home)) as GraphResult;
    const options = { clean, corrupt, metric: "logit(#25)", nodes: "sublayers" as const, steps: 2 };
    const { nodes, edges } = await attributionGraph(model, { ...options, threshold: 0.001 });
    expect(result).toMatchObject(plain({ nodes, edges }) as object);
    expect(new Set(result.nodes.map(({ kind }) => kind))).toEqual(new Set(["embed", "attention", "mlp", "logits"]));
  });

  it("is drawn with one line between two parts, whichever inputs it enters", async () => {
    const out = file("graph.svg");
    const { code, stdout } = await call(["graph", ...pair, ...answers, "--threshold", "0", "--out", out], home);
    expect(code).toBe(0);
    const { edges } = await attributionGraph(model, { clean, corrupt, metric, threshold: 0 });
    const ends = new Set(edges.map(({ from, to }) => `${from} ${to}`));
    const svg = readFileSync(out, "utf8");
    expect(svg.match(/<path d="M[^"]*" stroke="[^"]*" stroke-width="[^"]*"><title>/g)).toHaveLength(ends.size);
    expect(stdout).toMatch(
      new RegExp(`${edges.length} of ${edges.length} edges, with 100% of the scores\nmetric: .*100% of`),
    );
    const sum = edges.filter(({ from, to }) => from === "layers.0.mlp" && to === "layers.2.attn.h1");
    expect(sum).toHaveLength(3);
    const total = sum.reduce((all, { score }) => all + score, 0);
    const size = Math.abs(Number(total.toPrecision(3)));
    expect(svg).toMatch(new RegExp(`0\\.mlp → 2\\.h1\nestimated change of the metric: −?${size}\n`));
  });
});

describe("text", () => {
  const run = [...gqa, "--ids", clean.join(), "--of", "logit(#7)"];
  const shown: [name: string, args: string[], expected: RegExp][] = [
    [
      "saliency",
      ["saliency", ...run],
      /^Gradient: logit\(#7\)\nids 5, 17, 42, 3, at embed.*\n.*#17 █*.*\n.*length of/s,
    ],
    [
      "integrated",
      ["saliency", ...run, "--method", "integrated"],
      /\nscores add up to .*, the metric less the baseline's .*% apart \(\d+ points\)\n$/,
    ],
    [
      "relevance",
      ["saliency", ...run, "--method", "relevance"],
      /\nrelevance adds up to .* at embed; farthest from it at/,
    ],
    [
      "patch",
      ["patch", ...pair, ...answers, "--estimate"],
      /^Attribution patching: “#25” against.*recovered, estimated/s,
    ],
    ["graph", ["graph", ...pair, ...answers], /^Attribution graph: “#25” against “#6”\n.*→.*\nmetric: .* clean, /s],
  ];
  it.each(shown)("%s shows its result", async (_, args, expected) => {
    const { stdout, code } = await call(args, home);
    expect(code).toBe(0);
    expect(stdout).toMatch(expected);
  });

  it.each([".html", ".png"])("saliency and graphs are drawn as %s", async (extension) => {
    for (const args of [
      ["saliency", ...run],
      ["graph", ...pair, ...answers],
    ]) {
      const out = file(`${args[0]}${extension}`);
      expect(await call([...args, "--out", out], home)).toMatchObject({ code: 0, stderr: `wrote ${out}\n` });
      expect(readFileSync(out).length).toBeGreaterThan(1000);
    }
  });
});
