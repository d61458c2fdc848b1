/**
 * Bad input of eleven kinds through the built command: each case gives one clear error and leaves the cache, its inputs
 * and its targets as they were.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unknownArchitectures } from "./cases/architectures.ts";
import { archives } from "./cases/archives.ts";
import { pastContext } from "./cases/context.ts";
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
];

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

for (const kind of kinds)
  describe.concurrent(kind, () => {
    for (const hostile of cases.filter((entry) => entry.kind === kind)) it(hostile.name, () => bench.run(hostile));
  });
