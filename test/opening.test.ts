/**
 * Opening under adverse conditions: two processes at once, a cache that can't be written, models in a worker thread, and
 * sessions that come and go. Runs the built package, as a user's program would.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Model, open, scale, type Tensor } from "patchclamp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const fixture = new URL("./fixtures/models/llama-gqa", import.meta.url).pathname;
const command = new URL("../dist/cli/main.js", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "patchclamp-opening-"));
const ids = [5, 17, 42, 3, 28];

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const logitsOf = async (model: Model) => (await model.record(ids, "logits")).sites.logits as Tensor;

/** Runs the command with a cache of its own. */
const record = (cache: string, out: string, env: Record<string, string> = {}) =>
  promisify(execFile)(
    process.execPath,
    [command, "record", "--model", fixture, "--ids", ids.join(), "--sites", "logits", "--out", out, "--json"],
    { env: { ...process.env, PATCHCLAMP_HOME: cache, ...env } },
  );

describe("the cache of weights", () => {
  it("ends with one good file when two processes open a model at once", async () => {
    const cache = join(folder, "two");
    const outs = ["a", "b", "c", "d"].map((name) => join(folder, `${name}.safetensors`));
    await Promise.all(outs.map((out) => record(cache, out)));
    expect(readdirSync(join(cache, "weights"))).toHaveLength(1);
    const [first, ...others] = outs.map((out) => readFileSync(out));
    for (const other of others) expect(other.equals(first as Buffer)).toBe(true);
  });

  it("goes to a temporary folder when the cache can't be written, and says nothing on standard output but the result", async () => {
    const blocked = join(folder, "not-a-folder");
    writeFileSync(blocked, "");
    const temporary = mkdtempSync(join(folder, "tmp-"));
    const { stdout } = await record(join(blocked, "cache"), join(folder, "e.safetensors"), { TMPDIR: temporary });
    expect(Object.keys(JSON.parse(stdout))).toContain("sites");
    expect(readdirSync(join(temporary, `patchclamp-${userInfo().username}`, "weights"))).toHaveLength(1);
  });
});

describe("a model in a worker thread", () => {
  let local: Model;
  let remote: Model;

  beforeAll(async () => {
    local = await open(fixture, { cache: join(folder, "worker"), threads: 1 });
    remote = await open(fixture, { cache: join(folder, "worker"), threads: 1, worker: true });
  });
  afterAll(async () => {
    await local.close();
    await remote.close();
  });

  it("gives the same numbers, plain and clamped", async () => {
    const clamp = scale("layers.1.mlp.act[:, -1]", 3);
    expect((await logitsOf(remote)).data).toEqual((await logitsOf(local)).data);
    expect((await logitsOf(remote.with(clamp))).data).toEqual((await logitsOf(local.with(clamp))).data);
  });

  it("generates the same tokens: the cache moves there and back", async () => {
    const options = { maxTokens: 150 }; // past the cache's first growth, up to the context of 128
    const [there, here] = [await remote.generate(ids, options), await local.generate(ids, options)];
    expect(there.ids).toEqual(here.ids);
    expect(there.finish).toBe("context");
  });

  it("feeds replaced weights to the worker", async () => {
    const name = "layers.0.mlp.down.weight";
    const { shape, data } = await local.weights.get(name);
    const doubled = { [name]: { dtype: "float32" as const, shape, data: data.map((x) => 2 * x) } };
    const [there, here] = [await logitsOf(remote.withWeights(doubled)), await logitsOf(local.withWeights(doubled))];
    expect(there.data).toEqual(here.data);
    expect(there.data).not.toEqual((await logitsOf(local)).data);
    const tripled = { [name]: { dtype: "float32" as const, shape, data: data.map((x) => 3 * x) } };
    expect((await logitsOf(remote.withWeights(tripled))).data).toEqual(
      (await logitsOf(local.withWeights(tripled))).data,
    );
  });

  it("takes up again what its worker has forgotten", async () => {
    const small = await open(fixture, { cache: join(folder, "worker"), threads: 1, worker: true, maxSessions: 1 });
    const views = [0.5, 1.5, 2.5].map(
      (factor) => (model: Model) => model.with(scale(`layers.${factor | 0}.attn.out`, factor)),
    );
    const kept = views.map((view) => view(small)); // a kept view sends its graph once, until it is forgotten
    const wanted: Tensor["data"][] = [];
    for (const view of views) wanted.push((await logitsOf(view(local))).data);
    const together = await Promise.all(kept.map(logitsOf));
    expect(together.map(({ data }) => data)).toEqual(wanted);
    await logitsOf(kept[2] as Model);
    const { sessionsOpened } = small.statistics();
    for (const [i, view] of kept.entries()) expect((await logitsOf(view)).data).toEqual(wanted[i]);
    expect(small.statistics()).toMatchObject({ sessionsOpened: sessionsOpened + 3, sessionsOpen: 1 });
    await small.close();
  });

  it("leaves this thread free while it runs", async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    await remote.generate(ids, { maxTokens: 60 });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(3);
  });

  it("reports errors as a local model does, and fails cleanly once closed", async () => {
    const other = await open(fixture, { cache: join(folder, "worker"), threads: 1, worker: true });
    await logitsOf(other);
    await other.close();
    await expect(logitsOf(other)).rejects.toThrow(/closed/);
  });
});

describe("sessions", () => {
  it("are bounded in number, and programs whose session was closed run again", async () => {
    const model = await open(fixture, { cache: join(folder, "sessions"), threads: 1, maxSessions: 2 });
    const plain = await logitsOf(model);
    for (const site of ["layers.0.attn.out", "layers.1.attn.out", "layers.2.attn.out"])
      await logitsOf(model.with(scale(site, 0.5)));
    expect(model.statistics().sessionsOpen).toBe(2);
    expect((await logitsOf(model)).data).toEqual(plain.data);
    expect(model.statistics().sessionsOpened).toBe(5);
    await model.close();
    expect(model.statistics().sessionsOpen).toBe(0);
  });

  it("are shared by calls of one structure", async () => {
    const model = await open(fixture, { cache: join(folder, "sessions"), threads: 1 });
    for (let i = 0; i < 4; i++) await logitsOf(model.with(scale(`layers.1.mlp.act[:, ${i}, ${i + 3}]`, i)));
    expect(model.statistics().sessionsOpened).toBe(1);
    await model.close();
  });
});
