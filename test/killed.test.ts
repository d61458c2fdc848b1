/** A training run that is killed again and again, in mid-write too, ends in the bits of one that never was. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { random } from "../src/runtime/index.js";

const folder = mkdtempSync(join(tmpdir(), "killed-"));
afterAll(() => rmSync(folder, { recursive: true }));
const program = new URL("./fixtures/learn/killed.mjs", import.meta.url).pathname;
const [steps, every, kills] = [400, 2, 20];

interface Ended {
  /** The step that the run went on from, and the last one that it made. */
  readonly from: number;
  readonly last: number;
  readonly hash: string | undefined;
}

/** Runs, and kills the run some milliseconds after it has begun to train. */
function run(name: string, killAfter?: number): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, join(folder, name), `${steps}`, `${every}`]);
    let [text, errors] = ["", ""];
    let planned = false;
    child.stderr.on("data", (part) => {
      errors += part;
    });
    child.stdout.on("data", (part) => {
      text += part;
      if (killAfter === undefined || planned || !text.includes("step ")) return;
      planned = true;
      setTimeout(() => child.kill("SIGKILL"), killAfter);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code !== 0 && signal !== "SIGKILL") reject(new Error(errors));
      const made = [...text.matchAll(/^step (\d+)$/gm)].map(([, step]) => Number(step));
      resolve({
        from: Number(/^from (\d+)$/m.exec(text)?.[1]),
        last: made.at(-1) ?? 0,
        hash: /^hash (\w+)$/m.exec(text)?.[1],
      });
    });
  });
}

describe("a killed training run", () => {
  it(`goes on after ${kills} kills at random moments, repeats at most one interval, and ends in the same bits`, async () => {
    const whole = await run("whole");
    expect(whole).toMatchObject({ from: 0, last: steps });
    const draw = random(5);
    let [before, killed] = [0, 0];
    for (; killed < kills; killed++) {
      const { from, last, hash } = await run("killed", draw.uniform() * 60);
      expect(from).toBeGreaterThanOrEqual(before - every);
      if (hash !== undefined) break; // it was done before the kill
      before = Math.max(before, last);
    }
    expect(killed).toBe(kills);
    const rest = await run("killed");
    expect(rest.from).toBeGreaterThanOrEqual(before - every);
    expect(rest.last).toBe(steps);
    expect(rest.hash).toBe(whole.hash);
  }, 120_000);
});
