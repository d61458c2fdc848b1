/** What looks like bad input and is none: damage that can be made good, leftovers, and a prompt that fills the context. */
import { readdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bench, goodModel, openBench } from "./machine.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench?.close());

const generate = { args: ["generate", "--model", goodModel, "--ids", "5,7", "--max-tokens", "3"] };

it("converted weights that are damaged are made anew", async () => {
  const place = bench.place();
  const folder = join(place.home, "weights");
  const before = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
  for (const name of before.keys()) truncateSync(join(folder, name), 100);
  const { code, stderr } = await bench.call(generate, place);
  expect(code, stderr).toBe(0);
  expect(stderr).toContain("converting again");
  const whole = readdirSync(folder).filter((name) => readFileSync(join(folder, name)).length > 100);
  expect(whole).toHaveLength(1);
  expect(readFileSync(join(folder, whole[0] as string))).toEqual(before.get(whole[0] as string));
});

it("a conversion removes what a killed one left, and no file that may be another's", async () => {
  const place = bench.place();
  const folder = join(place.home, "weights");
  const old = join(folder, ".patchclamp-00000000-0000-0000-0000-000000000000");
  const fresh = join(folder, ".patchclamp-11111111-1111-1111-1111-111111111111");
  const theirs = join(folder, "theirs");
  for (const path of [old, fresh, theirs]) writeFileSync(path, "x");
  for (const path of [old, theirs]) utimesSync(path, 1, 1);
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors")))
    truncateSync(join(folder, name), 100);
  expect((await bench.call(generate, place)).code).toBe(0);
  const left = readdirSync(folder).filter((name) => !name.endsWith(".safetensors"));
  expect(left.sort()).toEqual([".patchclamp-11111111-1111-1111-1111-111111111111", "theirs"]);
});

it("a continuation that fills the context is no error, and leaves nothing among temporary files", async () => {
  const place = bench.place();
  const ids = Array.from({ length: 126 }, (_, i) => i % 60).join(",");
  const args = ["generate", "--model", goodModel, "--ids", ids, "--max-tokens", "64", "--json"];
  const { code, stdout, stderr } = await bench.call({ args }, place);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ finish: "context" });
  expect(readdirSync(join(place.folder, "tmp"))).toEqual([]);
});
