/** What is swept away, what is kept for a resumption, and what belongs to somebody who still works. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeTemporaryFolders, temporaryFolder } from "../../test/fixtures/sources/machine.ts";
import { openTemporary, releaseTemporary, sweepTemporary } from "./temporary.js";

const DAY = 24 * 3600;

let cache: string;
let host: string;
let dead: number;

beforeEach(async () => {
  cache = temporaryFolder();
  host = (await openTemporary(cache, "probe")).split("+")[1] as string;
  dead = spawnSync(process.execPath, ["-e", ""]).pid;
});
afterEach(removeTemporaryFolders);

/** Makes a folder as a download would, `age` seconds old, with or without a part. */
function leave(slug: string, owner: number, part: boolean, age = 0, on = host): string {
  const name = `${slug}+${on}+${owner}+abc`;
  const folder = join(cache, "tmp", name);
  mkdirSync(join(folder, "parts"), { recursive: true });
  if (part) writeFileSync(join(folder, "parts", "x.part"), "part");
  const time = Date.now() / 1000 - age;
  for (const path of [...(part ? ["parts/x.part"] : []), "parts", ""]) utimesSync(join(folder, path), time, time);
  return name;
}

const left = () => readdirSync(join(cache, "tmp")).filter((name) => !name.startsWith("probe"));

test("only what is alive, or dead but fresh and resumable, outlives a sweep", async () => {
  const kept = [
    leave("alive", process.pid, false),
    leave("dead-with-parts", dead, true),
    leave("released", 0, true),
    leave("elsewhere", dead, false, 0, "otherhost"),
  ];
  leave("dead-without-parts", dead, false);
  leave("dead-and-old", dead, true, 2 * DAY);
  leave("alive-but-old", process.pid, true, 2 * DAY);
  leave("elsewhere-and-old", 1, true, 2 * DAY, "otherhost");
  mkdirSync(join(cache, "tmp", "something else"));
  await sweepTemporary(cache);
  expect(left().sort()).toEqual(kept.sort());
});

test("a dead download's parts are taken over, by one of two", async () => {
  leave("model", dead, true);
  writeFileSync(join(cache, "tmp", `model+${host}+${dead}+abc`, "leftover"), "");
  const opened = await Promise.all([openTemporary(cache, "model"), openTemporary(cache, "model")]);
  const parts = opened.map((folder) => readdirSync(join(folder, "parts")).length).sort();
  expect(parts).toEqual([0, 1]);
  for (const folder of opened) expect(readdirSync(folder)).toEqual(["parts"]);
});

test("a live download's folder, and another model's, are left alone", async () => {
  leave("model", process.pid, true);
  leave("other", dead, true);
  expect(readdirSync(join(await openTemporary(cache, "model"), "parts"))).toEqual([]);
});

test("a released folder has nothing but parts, and one without parts is gone", async () => {
  const folder = await openTemporary(cache, "model");
  writeFileSync(join(folder, "parts", "x.part"), "part");
  mkdirSync(join(folder, "files"));
  await releaseTemporary(cache, "model", folder);
  expect(left()).toHaveLength(1);
  const again = await openTemporary(cache, "model");
  expect(readdirSync(again)).toEqual(["parts"]);
  expect(readdirSync(join(again, "parts"))).toEqual(["x.part"]);
  await releaseTemporary(cache, "empty", await openTemporary(cache, "empty"));
  expect(left()).toHaveLength(1);
});
