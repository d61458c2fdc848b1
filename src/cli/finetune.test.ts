/** `finetune` on a tiny model: what it prints and writes, Ctrl-C and the way back, and what it refuses. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { violations } from "../../test/support/cli.js";
import { openTiny, scratch, tinyFolder } from "../../test/support/tinyModel.js";
import type { OpenOptions } from "../model/index.js";
import type { JsonSchema } from "./jsonSchema.js";
import { runProgram } from "./program.js";
import { createProgress } from "./progress.js";
import { type FinetuneResult, type LensResult, schemas } from "./schemas.js";
import type { OutputStream } from "./terminal.js";

// The worker is a file of the built package: here the model runs in this thread.
vi.mock("../model/index.js", async (original) => {
  const room = await original<typeof import("../model/index.js")>();
  return { ...room, open: (name: string, options: OpenOptions) => room.open(name, { ...options, worker: false }) };
});

const model = ["--model", `${tinyFolder}llama-gguf`, "--threads", "1"];
const file = (name: string) => join(scratch, name);
const teach = (...words: readonly string[]) => ["finetune", ...words, ...model, "--batch", "4", "--context", "16"];

beforeAll(() => {
  writeFileSync(file("text.txt"), "the rat and the hen ate the tea\n".repeat(40));
  writeFileSync(file("held.txt"), "the hen and the rat ate the tea\n".repeat(4));
  const lines = ["the rat", "the hen", "the tea"].map((prompt) =>
    JSON.stringify({ prompt, completion: " ate and ate" }),
  );
  writeFileSync(file("pairs.jsonl"), `${lines.join("\n")}\n`);
  writeFileSync(file("odd.jsonl"), '{"text": "the"}\n{"prompt": "the"}\n');
});

/** Runs a command here; `stopAt`: Ctrl-C once progress speaks of that step. */
async function run(words: readonly string[], { stopAt = "" }: { readonly stopAt?: string } = {}) {
  const stop = new AbortController();
  const output = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr", isTTY: boolean) =>
    ({
      isTTY,
      write(text: string, done?: () => void) {
        output[name] += text;
        if (stopAt !== "" && text.includes(stopAt)) stop.abort();
        done?.();
        return true;
      },
    }) as unknown as OutputStream;
  // A clock that runs fast, so that progress shows every step.
  let time = 0;
  const progress = createProgress(stream("stderr", true), () => {
    time += 1000;
    return time;
  });
  const work = runProgram(words, {
    stdin: Readable.from([]),
    stdout: stream("stdout", false),
    progress,
    signal: stop.signal,
    whole: (own) => own(),
  });
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { ...output, error };
}

async function result(words: readonly string[]): Promise<FinetuneResult> {
  const { stdout, error } = await run([...words, "--json"]);
  if (error !== undefined) throw error;
  const value: unknown = JSON.parse(stdout);
  expect(violations(value, schemas.finetune as JsonSchema)).toEqual([]);
  return value as FinetuneResult;
}

const lens = async (...words: string[]) => {
  const { stdout, error } = await run(["lens", "the hen", ...words, "--json"]);
  if (error !== undefined) throw error;
  return (JSON.parse(stdout) as LensResult).layers.at(-1)?.positions.at(-1)?.top[0]?.probability as number;
};

describe("finetune", () => {
  it.each(["lora", "dora", "ia3", "vera"])("writes a %s that other commands take", async (kind) => {
    const out = file(kind);
    const words = teach(
      file("text.txt"),
      "--out",
      out,
      "--kind",
      kind,
      "--steps",
      "30",
      "--rate",
      "0.03",
      "--rank",
      "4",
    );
    const made = await result([...words, "--validate", file("held.txt")]);
    expect(made).toMatchObject({ kind, steps: 30, out });
    expect(made.loss.last).toBeLessThan(0.8 * made.loss.first);
    expect(made.validation?.after).toBeLessThan(0.8 * (made.validation?.before as number));
    expect(existsSync(join(out, "training"))).toBe(false);
    expect(await lens(...model, "--adapter", out)).not.toBeCloseTo(await lens(...model), 3);
  });

  it("shows loss, speed and the time left, and says what it wrote", async () => {
    const { stdout, stderr, error } = await run(teach(file("pairs.jsonl"), "--out", file("shown"), "--steps", "8"));
    expect(error).toBeUndefined();
    expect(stderr).toMatch(/training: 5 of 8, \d+ s left, loss \d\.\d{3}, \d+ tokens\/s/);
    expect(stdout).toMatch(/^loss: .* nats a token\n8 steps of \d+ numbers.*\nwrote an adapter to .*--adapter/);
  });

  it("is stopped by Ctrl-C and goes on as if it had not been, bit for bit", async () => {
    const words = (out: string) => teach(file("text.txt"), "--out", file(out), "--steps", "12", "--dropout", "0.1");
    await result(words("whole"));
    const stopped = await run(words("parts"), { stopAt: "training: 1 of 12" });
    expect(stopped.error).toMatchObject({ name: "AbortError" });
    expect(stopped.stderr).toMatch(/stopped after step 1 of 12: go on with --resume/);
    expect(existsSync(join(file("parts"), "adapter_model.safetensors"))).toBe(false);
    expect((await run(words("parts"))).error).toMatchObject({
      message: expect.stringMatching(/holds a run that was stopped: go on with --resume/),
    });
    expect((await run([...words("parts"), "--resume", "--rank", "9"])).error).toMatchObject({
      message: expect.stringMatching(/holds a run with --rank 8: resume it with the same/),
    });
    await result([...words("parts"), "--resume"]);
    const bytes = (out: string) => readFileSync(join(file(out), "adapter_model.safetensors"));
    expect(bytes("parts").equals(bytes("whole"))).toBe(true);
  });

  it("trains weights into a checkpoint that opens", async () => {
    const still = await result(teach(file("text.txt"), "--out", file("still"), "--all", "--steps", "2", "--rate", "0"));
    expect(still).toMatchObject({ kind: "weights", loss: {} });
    const words = ["--train", "layers.1.mlp.{gate,up,down}.weight", "--steps", "5", "--rate", "0.01"];
    await result(teach(file("text.txt"), "--out", file("moved"), ...words));
    const [first, same, moved] = [
      await openTiny("llama-gguf"),
      await openTiny(file("still")),
      await openTiny(file("moved")),
    ];
    expect(same.config).toEqual(first.config);
    for (const name of first.weights.shapes.keys()) {
      const own = (await first.weights.get(name)).data;
      expect((await same.weights.get(name)).data, name).toEqual(own);
      const other = (await moved.weights.get(name)).data;
      if (/^layers\.1\.mlp\.(gate|up|down)\.weight$/.test(name)) expect(other, name).not.toEqual(own);
      else expect(other, name).toEqual(own);
    }
  });

  it.each([
    [["text.txt", "--all", "--targets", "layers.**"], /give one of --targets .*, --train and --all/],
    [["odd.jsonl"], /line 2 of .*odd\.jsonl is no example: expected \{"text"/],
    [["absent.txt"], /absent\.txt/],
    [["text.txt", "--targets", "layers.*.atn.q"], /no product "layers\.\*\.atn\.q"/],
  ])("refuses %j", async ([name = "", ...words], message) => {
    const { error } = await run(teach(file(name), "--out", file("none"), ...words));
    expect((error as Error).message).toMatch(message);
    expect(existsSync(file("none"))).toBe(false);
  });

  it("says that a folder holds no adapter", async () => {
    await expect(lens(...model, "--adapter", file("nowhere"))).rejects.toThrow(
      /can't read .*nowhere\/adapter_config\.json.*an adapter is a folder/,
    );
  });
});
