/**
 * Bad input of eleven kinds through the built command: each case gives one clear error and leaves the cache, its inputs
 * and its targets as they were.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unknownArchitectures } from "./cases/architectures.ts";
import { archives } from "./cases/archives.ts";
import { pastContext } from "./cases/context.ts";
import { fullDisk } from "./cases/disk.ts";
import { brokenDownloads, killedDownloads } from "./cases/downloads.ts";
import { wrongDtypes } from "./cases/dtypes.ts";
import { hugeLengths } from "./cases/lengths.ts";
import { lyingHeaders } from "./cases/lies.ts";
import { nonFinite } from "./cases/nonFinite.ts";
import { absentSites } from "./cases/sites.ts";
import { truncated } from "./cases/truncated.ts";
import { type Bench, kinds, openBench } from "./machine.ts";

const cases = [
  ...truncated,
  ...lyingHeaders,
  ...hugeLengths,
  ...wrongDtypes,
  ...archives,
  ...unknownArchitectures,
  ...absentSites,
  ...nonFinite,
  ...pastContext,
  ...brokenDownloads,
  ...fullDisk,
];

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench?.close());

it.each(kinds)("there are at least five different cases of %s", (kind) => {
  const names = [...cases, ...killedDownloads].filter((entry) => entry.kind === kind).map(({ name }) => name);
  expect(names.length).toBeGreaterThanOrEqual(5);
  expect(new Set(names).size).toBe(names.length);
});

describe.concurrent.each(kinds)("%s", (kind) => {
  for (const hostile of cases.filter((entry) => entry.kind === kind)) it(hostile.name, () => bench.run(hostile));
  for (const killed of killedDownloads.filter((entry) => entry.kind === kind))
    it(killed.name, () => bench.runKilled(killed));
});
