/** The committed tiny checkpoints, opened with a cache folder that lives as long as the test file. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { type Model, type OpenOptions, open } from "../../src/model/index.js";

export const tinyFolder = new URL("../fixtures/models/", import.meta.url).pathname;

/** A folder of this test file's own; also its cache (`PATCHCLAMP_HOME`). */
export const scratch = mkdtempSync(join(tmpdir(), "patchclamp-test-"));
process.env.PATCHCLAMP_HOME = join(scratch, "home");

const opened: Model[] = [];
afterAll(async () => {
  for (const model of opened) await model.close();
  rmSync(scratch, { recursive: true });
});

/** A model of `test/fixtures/models`, or of another folder; closed after the file's tests. */
export async function openTiny(name = "llama-gqa", options: OpenOptions = {}): Promise<Model> {
  const model = await open(name.startsWith("/") ? name : `${tinyFolder}${name}`, { threads: 1, ...options });
  opened.push(model);
  return model;
}

/** The prompts that the tiny models' answers are about, by name: A of 9 tokens, B of 6, C of 4. */
export const tinyPrompts = (
  JSON.parse(readFileSync(`${tinyFolder}llama-gqa/cases.json`, "utf8")) as {
    prompts: Record<"A" | "B" | "C", number[]>;
  }
).prompts;
