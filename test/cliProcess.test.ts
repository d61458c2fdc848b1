/** The process around a command: help, exit codes and messages, Ctrl-C, readers that go away. */
import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { schemas } from "../src/cli/index.js";
import { commands } from "../src/cli/program.js";
import { call, commandFile, type Ended, ended, start, violations } from "./support/cli.js";

const folder = fileURLToPath(new URL("./fixtures/models/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "patchclamp-cli-"));
const home = join(work, "home");
const gqa = ["--model", `${folder}llama-gqa`, "--threads", "1"];
const gguf = ["--model", `${folder}llama-gguf`, "--threads", "1"];
const run = [...gqa, "--ids", "5,17,42,3"];
const pair = [...gqa, "--clean-ids", "5,17,42,3", "--corrupt-ids", "5,18,42,3"];
const saliency = ["saliency", ...run, "--of", "logit(#7)"];
const file = (name: string) => join(work, name);

/** What later tests stand on must have worked. */
async function prepare(args: readonly string[]): Promise<void> {
  const { code, stderr } = await call(args, home);
  if (code !== 0) throw new Error(`${args[0]} failed while preparing: ${stderr}`);
}

beforeAll(async () => {
  for (const model of [gqa, gguf]) await prepare(["sites", ...model]); // converts: later calls have nothing to say
  writeFileSync(file("notJson.json"), "{");
  writeFileSync(file("kind.json"), '[{"kind": "zero", "site": "embed"}, {"kind": "sett", "site": "embed"}]');
  writeFileSync(file("fields.json"), '[{"kind": "set", "site": "embed", "bits": 3}]');
  writeFileSync(file("value.json"), '[{"kind": "set", "site": "embed", "value": [1, null]}]');
  writeFileSync(file("bad.jsonl"), '{"prompt": "a"}\n{"promt": "b"}\n');
  writeFileSync(file("pairs.jsonl"), '{"clean": "a", "corrupt": "b"}\n');
  writeFileSync(file("empty.txt"), "\n");
  writeFileSync(file("two.txt"), "a\nb\n");
  await prepare(["record", ...run, "--sites", "embed", "--out", file("embed.safetensors")]);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("help", () => {
  it.each(commands.map(({ name }) => name))("of %s has an example", async (name) => {
    const { code, stdout, stderr } = await call([name, "--help"], home);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(new RegExp(`Usage: patchclamp ${name}.*Example:\n  patchclamp ${name}`, "s"));
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(160);
  });

  it("lists every command, also without a word", async () => {
    const { code, stdout } = await call([], home);
    expect(code).toBe(0);
    for (const { name, summary } of commands)
      expect(stdout).toContain(`${name} `.padEnd(10) + (stdout.includes(summary) ? "" : summary));
    expect((await call(["--help"], home)).stdout).toBe(stdout);
  });

  it("has a schema for every command, which schema prints", async () => {
    const names = commands.map(({ name }) => name).filter((name) => name !== "schema");
    expect(Object.keys(schemas)).toEqual(expect.arrayContaining(names));
    expect(JSON.parse((await call(["schema"], home)).stdout)).toEqual(schemas);
    expect(JSON.parse((await call(["schema", "cache", "clear"], home)).stdout)).toEqual(schemas["cache clear"]);
  });

  it("knows the version", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect((await call(["--version"], home)).stdout).toBe(`${version}\n`);
  });
});

describe("what is wrong is one line, and nothing is on standard output", () => {
  const usage: [args: string[], message: RegExp][] = [
    [["lense"], /unknown command 'lense'.*Did you mean lens/],
    [["lens", "--modle", "x"], /unknown option '--modle'.*Did you mean --model/],
    [["lens", ...run, "--top", "0"], /'--top <count>' argument '0' is invalid.*at least 1/],
    [["lens", ...run, "--threads", "2.5"], /--threads.*'2.5'.*whole number/],
    [["lens", ...run, "--weights", "melted"], /mapped, fed, baked/],
    [["lens", ...gqa, "--ids", "5,x"], /'5,x'.*5,7,9/],
    [["lens", ...gqa, "--ids", "5,61"], /61.*ids go from 0 to 60/],
    [["lens", "the", ...run], /prompt once, not as PROMPT and --ids/],
    [["lens", ...gguf], /no prompt was given, and standard input is empty/],
    [["lens", "the", ...gqa], /came without a tokenizer/],
    [["lens", ...run, "--bos"], /token ids are run as they are/],
    [["lens", "the", ...gguf, "--target", "zq"], /"zq" is 2 tokens, not one: "z" #28 \+ "q" #19/],
    [["lens", ...run, "--target", "#61"], /61/],
    [["lens", ...run, "--model", "nope"], /'nope' is no short name, file or folder/],
    [["lens", ...run, "--out", "x.gif"], /x\.gif.*\.html, \.png or \.svg/],
    [["lens", ...gguf, "--prompts", file("two.txt"), "--out", file("x.png")], /2 figures.*\.html/],
    [["lens", ...gguf, "--prompts", file("bad.jsonl")], /line 2 of .*bad\.jsonl is not a prompt/],
    [["lens", ...gguf, "--prompts", file("empty.txt")], /holds no prompts/],
    [["record", ...run, "--sites", "layers.9.residPost", "--out", file("x.safetensors")], /layers 0 to 2/],
    [
      ["record", ...run, "--sites", "embed[:, 9]", "--out", file("x.safetensors")],
      /9 is out of range in embed.*position 4/,
    ],
    [["record", ...run, "--sites", "embed", "--out", file("x.npy")], /must end in \.safetensors/],
    [["record", ...run, "--out", file("x.safetensors")], /'--sites <globs\.\.\.>' not specified/],
    [
      ["record", ...run, "--sites", "embed", "--out", file("x.safetensors"), "--max-bytes", "383"],
      /384 B.*383 B.*--max-bytes 384/,
    ],
    [
      ["gradient", ...run, "--of", "logit(", "--at", "embed", "--out", file("x.safetensors")],
      /"logit\(" is not a metric .*logit\(TOKEN\)/,
    ],
    [
      ["gradient", ...run, "--of", "logit(#7)", "--at", "layers.1.attn.result", "--out", file("x.safetensors")],
      /does not depend on layers\.1\.attn\.result.*attn\.z or attn\.out/,
    ],
    [
      ["gradient", "the", ...gguf, "--of", "logit(zq)", "--at", "embed", "--out", file("x.safetensors")],
      /"zq" is 2 tokens, not one/,
    ],
    [
      ["gradient", ...run, "--of", "logit(#7)[9]", "--at", "embed", "--out", file("x.safetensors")],
      /position 9 of logits is out of range: the prompt has 4 tokens/,
    ],
    [["clamp", ...run], /no clamp was given/],
    [["clamp", ...run, "--set", "embed"], /--set "embed" is not of the form 'site=NUMBER/],
    [["clamp", ...run, "--set", "embed=eight"], /--set "embed=eight" is not of the form/],
    [
      ["clamp", ...run, "--set", `embed=${file("embed.safetensors")}:embedd`],
      /no tensor "embedd"; the nearest are embed/,
    ],
    [["clamp", ...run, "--quantize", "embed=40"], /bits must be a whole number from 1 to 16/],
    [["clamp", ...run, "--zero", "layers.0.attn.result"], /can be recorded and not clamped/],
    [["clamp", ...run, "--zero", "embed[head=1]"], /no dimension called "head"/],
    [["clamp", ...run, "--patch", `layers.0.residPost=${file("embed.safetensors")}`], /the recording has no site/],
    [["clamp", ...run, "--clamps", file("notJson.json")], /notJson\.json is not JSON/],
    [
      ["clamp", ...run, "--clamps", file("kind.json")],
      /clamp 1 of .*kind\.json has the kind "sett"; the nearest are set/,
    ],
    [
      ["clamp", ...run, "--clamps", file("fields.json")],
      /set takes kind, site, value; or kind, site, file, tensor, factor\?; it has kind, site, bits/,
    ],
    [["clamp", ...run, "--clamps", file("value.json")], /value must be a number or a list of numbers, not \[1,null\]/],
    [["generate", ...run, "--temperature", "-1"], /temperature must be 0 or more/],
    [["attention", ...run, "--layer", "3"], /no layer 3: the model has layers 0 to 2/],
    [["attention", ...run, "--layer", "0", "--out", file("x.png")], /4 figures/],
    [
      ["ablate", ...run, "--sites", "embed", "--how", "zero", "--reference-prompts", file("two.txt")],
      /mean or resample, not zero/,
    ],
    [["patch", ...gqa, "--clean-ids", "5,6", "--answer", "#1", "--wrong", "#2"], /--corrupt or --corrupt-ids/],
    [["patch", ...gqa, "--clean-ids", "5,6", "--corrupt-ids", "5", "--answer", "#1", "--wrong", "#2"], /2.*1|tokens/],
    [["patch", ...pair, "--answer", "#1"], /give --answer and --wrong, one token each, or --metric/],
    [["patch", ...pair, "--answer", "#1", "--metric", "logit(#1)"], /one token each, or --metric/],
    [["patch", ...pair, "--metric", "logit("], /"logit\(" is not a metric/],
    [["patch", ...pair, "--metric", "logit(#1)", "--ids", "5"], /unknown option '--ids'/],
    [["patch", ...pair, "--metric", "logit(#1)", "--steps", "3"], /--steps goes with --estimate/],
    [["patch", ...gguf, "--prompts", file("pairs.jsonl"), "--answer", "#1"], /line 1 of .*pairs\.jsonl needs "answer"/],
    [["graph", ...pair, "--metric", "logit(#1)", "--top", "3", "--threshold", "1"], /--top.*--threshold/],
    [["graph", ...pair, "--metric", "logit(#1)", "--threshold", "-1"], /--threshold.*'-1'.*at least 0/],
    [
      ["graph", ...pair, "--metric", "logit(#1)", "--threshold", "1e9"],
      /path from embed to logits: .*lower --threshold/,
    ],
    [["graph", ...pair, "--metric", "embed[:, 0, 0]"], /tell the answers apart|depend/],
    [["graph", ...pair, "--metric", "logit(#1)", "--corrupt-ids", "5"], /as many tokens/],
    [["graph", ...pair, "--metric", "logit(#1)", "--nodes", "neurons"], /components, sublayers/],
    [["saliency", ...run], /'--of <metric>' not specified/],
    [[...saliency, "--method", "lime"], /gradientTimesInput, smooth, integrated, relevance/],
    [[...saliency, "--samples", "3"], /--samples goes with --method smooth, not gradient/],
    [[...saliency, "--method", "smooth", "--baseline-prompt", "a"], /--baseline-prompt goes with --method integrated/],
    [
      [...saliency, "--method", "integrated", "--baseline-prompt", "a", "--baseline", "zero"],
      /--baseline or --baseline-prompt, one of them/,
    ],
    [
      [...saliency, "--method", "integrated", "--at", "layers.1.residPost", "--baseline", "mean"],
      /baseline of embed, not of layers\.1\.residPost/,
    ],
    [[...saliency, "--at", "layers.1.mlp.act[:, -1]"], /no value for each of the 4 tokens/],
    [[...saliency, "--at", "layers.1.attn.pattern"], /no value for each of the 4 tokens/],
    [[...saliency, "--at", "layers.*.residPost"], /stands for 3 sites/],
    [["schema", "lense"], /nearest are lens/],
  ];
  const failed: [args: string[], message: RegExp][] = [
    [["lens", "--prompts", file("missing.txt"), ...gguf], /cannot read .*missing\.txt/],
    [["lens", ...run, "--out", join(work, "no", "x.html")], /there is no folder .*no/],
    [["clamp", ...run, "--set", `embed=${file("missing.safetensors")}:a`], /there is no file .*missing\.safetensors/],
    [["clamp", ...run, "--patch", `embed=${file("missing.safetensors")}`], /there is no file .*missing\.safetensors/],
    [["clamp", ...run, "--mean", `embed=${file("notJson.json")}`], /notJson\.json/],
    [["clamp", ...run, "--scale", "logits=3e38"], /is not finite, or too large/],
    [["pull", "pypi:patchclamp-no-such-model", "--offline"], /offline forbids/],
  ];
  const onlyLine = ({ stderr }: Ended) => {
    const lines = stderr.split("\n").filter((line) => !line.startsWith("the recording will hold"));
    expect(lines).toHaveLength(2); // the second is what follows the newline
    expect(lines[0]).toMatch(/^patchclamp: /);
    expect(stderr).not.toMatch(/ {4}at |this is a bug/);
    return lines[0] as string;
  };
  it.each(usage)("2: %j", async (args, message) => {
    const result = await call([...args, "--json"], home);
    expect(onlyLine(result)).toMatch(message);
    expect(result).toMatchObject({ code: 2, stdout: "" });
  });
  it.each(failed)("1: %j", async (args, message) => {
    const result = await call([...args, "--json"], home);
    expect(onlyLine(result)).toMatch(message);
    expect(result).toMatchObject({ code: 1, stdout: "" });
  });

  it("but for --debug, which shows the stack", async () => {
    const { code, stderr } = await call(["lens", ...run, "--model", "nope", "--debug"], home);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^patchclamp: 'nope'.*\n.*\n {4}at /);
  });

  it("and control characters in it are shown", async () => {
    const { stderr } = await call(["lens", ...run, "--model", "no\u001b[31mpe"], home);
    expect(stderr).toContain("no\\x1b[31mpe");
  });
});

describe("ends early", () => {
  const many = Array.from({ length: 3000 }, () => "the and\n").join("");
  /** Starts a call over many prompts and waits for the first result. */
  const started = async (args: readonly string[]) => {
    const child = start([...args, "--prompts", "-"], home);
    child.stdin?.on("error", () => {});
    child.stdin?.end(many);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    return child;
  };

  it("on Ctrl-C, with 130 and nothing partial", async () => {
    const out = mkdtempSync(join(work, "out-"));
    const child = await started(["lens", ...gguf, "--out", join(out, "x.html")]);
    const end = ended(child);
    child.kill("SIGINT");
    const { code, stderr } = await end;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(readdirSync(out)).toEqual([]);
  });

  it("on Ctrl-C while it waits for standard input", async () => {
    const child = start(["lens", ...gguf, "-"], home);
    await sleep(1000); // nothing tells when it has begun to wait; a late start only makes the test weaker
    const end = ended(child);
    child.kill("SIGINT");
    expect(await end).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  it("on Ctrl-C in a download, whose client ends too", async () => {
    const bin = file("bin");
    mkdirSync(bin);
    // a pip that says a line, leaves its process id, and never comes to an end
    writeFileSync(join(bin, "python3"), `#!/bin/sh\necho starting\necho $$ > ${file("pid")}\nexec sleep 60\n`);
    chmodSync(join(bin, "python3"), 0o755);
    const environment = { PATH: `${bin}:${process.env.PATH}` };
    const child = start(["pull", "pypi:patchclamp-no-such-model"], file("download"), { environment });
    const end = ended(child);
    while (!existsSync(file("pid"))) await sleep(20);
    child.kill("SIGINT");
    expect(await end).toEqual({ code: 130, stdout: "", stderr: "" });
    const pid = Number(readFileSync(file("pid"), "utf8"));
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(readdirSync(file("download"))).toEqual([]);
  });

  it.skipIf(process.platform !== "linux")("where standard output is a full disk, with 1 and the reason", async () => {
    const args = [process.execPath, commandFile, "models"].map((word) => `'${word}'`).join(" ");
    const child = spawn("sh", ["-c", `${args} > /dev/full`], { stdio: "pipe" });
    const { code, stderr } = await ended(child);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^patchclamp: cannot write to standard output \(.*ENOSPC.*\n$/);
  });

  it("and quietly, when nobody reads what it prints", async () => {
    const child = await started(["generate", "--max-tokens", "4", ...gguf]);
    child.stdout?.destroy();
    const errors: string[] = [];
    child.stderr?.setEncoding("utf8").on("data", (text: string) => errors.push(text));
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect(code).toBe(0);
    expect(errors.join("").split("\n").length).toBeLessThan(2900); // it ended: every prompt would have said its tokens
    expect(errors.join("")).not.toContain("patchclamp:");
  });
});

describe("the schema checker", () => {
  const schema = schemas.pull;
  const valid = { model: { name: "a", source: "b", hash: "c" }, bytes: 1, files: [] };
  it.each([
    [{ ...valid, bytes: null }, "$.bytes is no integer"],
    [{ ...valid, more: 1 }, "$ has more"],
    [{ model: valid.model, bytes: 1 }, "$ has no files"],
    [{ ...valid, files: [{ name: "x", bytes: "1" }] }, "$.files[0].bytes is no integer"],
  ])("finds what breaks it: %j", (value, message) => {
    expect(violations(valid, schema as object)).toEqual([]);
    expect(violations(value, schema as object)).toEqual([expect.stringContaining(message)]);
  });
});
