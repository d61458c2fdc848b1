/**
 * Random edits of the committed models through the whole path, from opening to a recording: each works or fails with the
 * project's own error, soon and in bounded memory. Edits are seeded: a failure names its number, and can be run again.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { messageOf, PatchclampError } from "../../src/errors.ts";
import { open, type Prompt } from "../../src/model/index.ts";
import { type Random, random } from "../../src/runtime/index.ts";
import { fixture } from "./checkpoints.ts";

const root = mkdtempSync(join(tmpdir(), "patchclamp-fuzz-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The committed models have no tokenizer.json. Of this one, they know the first ids: punctuation, digits and capitals. */
const tokenizer = new URL("../fixtures/tokenizer/smollm.tokenizer.json", import.meta.url);
const rounds = 500;
/** Longest that one round may take (milliseconds): a good one takes some thirty. */
const patience = 5000;
/** Growth of the process that the rounds of a file may cause (bytes). */
const memory = 500e6;

/** Numbers that lengths are wrong about. */
const extremes = [0n, 1n, 2n ** 31n - 1n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** Where to edit: mostly in the head of a file, where its lengths and names are. */
function placeIn(bytes: Buffer, draws: Random): number {
  const whole = draws.integer(4) === 0;
  return draws.integer(Math.max(1, whole ? bytes.length : Math.min(bytes.length, 4000)));
}

const edits: readonly ((bytes: Buffer, at: number, draws: Random) => Buffer)[] = [
  (bytes, at, draws) => replaced(bytes, at, Buffer.of(draws.integer(256))),
  (bytes, at, draws) => replaced(bytes, at, Buffer.from(String(draws.integer(10)))),
  (bytes, at, draws) => {
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(extremes[draws.integer(extremes.length)] as bigint);
    return replaced(bytes, at, number.subarray(0, draws.integer(2) === 0 ? 4 : 8));
  },
  (bytes, at, draws) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + draws.integer(40))]),
  (bytes, at, draws) => Buffer.concat([bytes.subarray(0, at + 1 + draws.integer(40)), bytes.subarray(at)]),
  (bytes, at) => bytes.subarray(0, at),
];

function replaced(bytes: Buffer, at: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + by.length)]);
}

function mutated(original: Buffer, draws: Random): Buffer {
  let bytes = original;
  for (let count = 1 + draws.integer(3); count > 0; count--) {
    const edit = edits[draws.integer(edits.length)] as (typeof edits)[number];
    bytes = edit(bytes, placeIn(bytes, draws), draws);
  }
  return bytes;
}

/** "works", "is refused", or what went wrong in another way than it should. */
async function tryModel(path: string, prompt: Prompt, cache: string): Promise<string> {
  const began = performance.now();
  let outcome = "works";
  try {
    const model = await open(path, { cache, offline: true, threads: 1 });
    try {
      await model.record(prompt, ["layers.*.residPost", "logits"]);
    } finally {
      await model.close();
    }
  } catch (error) {
    if (!(error instanceof PatchclampError)) return `${error instanceof Error ? error.stack : error}`;
    if (messageOf(error).length > 5000) return `a message of ${messageOf(error).length} characters`;
    outcome = "is refused";
  }
  const milliseconds = performance.now() - began;
  return milliseconds > patience ? `takes ${milliseconds} ms` : outcome;
}

it.each([
  ["llama-gqa", "model.safetensors", 1],
  ["llama-gqa", "config.json", 2],
  ["gpt2", "model.safetensors", 3],
  ["gpt2", "config.json", 4],
  ["llama-gqa", "tokenizer.json", 7],
  ["llama-gguf", "model.gguf", 5],
  ["llama-gguf-quantized", "model.gguf", 6],
])("%s: %s with random edits", async (model, file, seed) => {
  const original = readFileSync(file === "tokenizer.json" ? tokenizer : join(fixture(model), file));
  const before = process.memoryUsage().rss;
  const tally = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const folder = join(root, `${seed}-${round}`);
    mkdirSync(folder);
    for (const name of file.endsWith(".gguf") ? [file] : ["config.json", "model.safetensors"])
      writeFileSync(join(folder, name), readFileSync(join(fixture(model), name)));
    writeFileSync(join(folder, file), mutated(original, random(seed, round)));
    const prompt = file === "tokenizer.json" ? "AB,19!" : [5, 7];
    const outcome = await tryModel(folder, prompt, join(folder, "cache"));
    expect(["works", "is refused"], `seed ${seed}, round ${round}: ${folder}`).toContain(outcome);
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
    rmSync(folder, { recursive: true });
  }
  // Else the edits are too wild, or too tame, to say anything.
  expect([...tally.keys()].sort()).toEqual(["is refused", "works"]);
  expect(process.memoryUsage().rss - before).toBeLessThan(memory);
});
