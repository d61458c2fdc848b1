/** Batches made in a worker are those made here. Runs the built package, as workers do. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import type { Batches } from "./batches.js";
import type { Prefetched } from "./prefetch.js";

const built = new URL("../../dist/data/index.js", import.meta.url).href;
const { prefetch } = (await import(built)) as typeof import("./index.js");
const module = new URL("../../test/fixtures/data/squares.mjs", import.meta.url);
const { default: squares } = (await import(module.href)) as {
  default: (options: object) => Promise<Batches>;
};

const open: Prefetched[] = [];
function opened(...call: Parameters<typeof prefetch>): Prefetched {
  const made = prefetch(...call);
  open.push(made);
  return made;
}
afterEach(() => Promise.all(open.splice(0).map(({ close }) => close())));

describe("prefetch", () => {
  it("gives the same batches, bit for bit, in any order of steps", async () => {
    const options = { count: 20, size: 6 };
    const here = await squares(options);
    const there = opened(module, options, { ahead: 2 });
    for (const step of [0, 1, 2, 3, 9, 8, 0, 100]) expect(await there.batches(step)).toEqual(here(step));
    const several = await Promise.all([4, 40, 5].map((step) => there.batches(step)));
    expect(several.map(({ x }) => x)).toEqual([4, 40, 5].map((step) => here(step).x));
  });

  it("moves no memory that the module still needs, and no more than a batch", async () => {
    const there = opened(module, { count: 4, size: 2 });
    for (const step of [0, 1, 2]) {
      const { view } = await there.batches(step);
      expect([...(view?.data ?? [])].map(Number)).toEqual([0, step]);
      expect(view?.data.buffer.byteLength).toBe(8);
    }
  });

  it("fails with the batch that fails, and not with the others", async () => {
    const there = opened(module, { count: 4, size: 2, failsAt: 1 });
    expect(Object.keys(await there.batches(0)).sort()).toEqual(["label", "view", "x"]);
    await expect(there.batches(1)).rejects.toThrow(/squares\.mjs: no such batch$/);
    expect((await there.batches(2)).x?.shape).toEqual([2, 1]);
  });

  it.each([
    ["another export", "data:text/javascript,export default 3", /its default export is no function/],
    ["no module", "file:///nowhere/at/all.mjs", /all\.mjs: Cannot find module/],
    ["an end of the thread", "data:text/javascript,process.exit(3); export default 3", /the worker .* ended/],
    [
      "an error outside batches",
      "data:text/javascript,setTimeout(() => { throw new Error('late') }); export default () => new Promise(() => {})",
      /: late$/,
    ],
  ])("says what is wrong with %s", async (_, address, message) => {
    await expect(opened(address).batches(0)).rejects.toThrow(message);
  });

  it("closes while it is waited for, and stays closed", async () => {
    const there = opened("data:text/javascript,export default () => new Promise(() => {})");
    const waiting = expect(there.batches(0)).rejects.toThrow(/is closed/);
    await there.close();
    await waiting;
    await expect(there.batches(7)).rejects.toThrow(/is closed/);
    await there.close();
  });

  it("refuses what is no step", async () => {
    const there = opened(module, { count: 4, size: 2 });
    await expect(there.batches(-1)).rejects.toThrow(/step must be a whole number of at least 0, not -1/);
    expect(() => prefetch(module, {}, { ahead: 0.5 })).toThrow(/ahead must be a whole number/);
  });

  it("keeps no process alive that is done", async () => {
    const program = `import(${JSON.stringify(built)}).then(async ({ prefetch }) => {
      const { batches } = prefetch(${JSON.stringify(module.href)}, { count: 9, size: 3 });
      console.log((await batches(0)).x.shape.join());
    })`;
    const { stdout } = await promisify(execFile)(process.execPath, ["-e", program], { timeout: 20_000 });
    expect(stdout.trim()).toBe("3,1");
  });
});
