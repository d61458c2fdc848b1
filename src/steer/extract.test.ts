/** Steering vectors against the same directions computed by plain loops over activations that were recorded one by one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dot, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { folds } from "../linalg/index.js";
import { type Model, open, readSafetensors, recordedRow, writeSafetensors } from "../model/index.js";
import { random, toNumbers } from "../runtime/index.js";
import {
  loadSteering,
  type Positions,
  randomVector,
  type SteeringOptions,
  saveSteering,
  steeringVector,
  steeringVectors,
} from "./index.js";

/** Activations are float32 and directions are computed in float64 from them. */
const tolerance = 1e-5;

const draws = random(3);
const prompt = (length: number, mark: number) =>
  Array.from({ length }, (_, i) => (i % 2 === 1 ? mark : 10 + draws.integer(50)));
const positive = Array.from({ length: 8 }, (_, i) => prompt(4 + (i % 3), 3));
const negative = Array.from({ length: 8 }, (_, i) => prompt(4 + (i % 4), 7));

const places: Readonly<Record<string, (length: number) => number[]>> = {
  last: (length) => [length - 1],
  all: (length) => [...Array(length).keys()],
  "1": () => [1],
  "-2": (length) => [length - 2],
  range: (length) => [...Array(length).keys()].slice(1, -1),
};
const positionsOf: Readonly<Record<string, Positions>> = {
  last: "last",
  all: "all",
  "1": 1,
  "-2": -2,
  range: { from: 1, to: -1 },
};

/** The mean over places of a site's value, of one prompt run alone. */
async function activationOf(model: Model, ids: readonly number[], site: string, where: keyof typeof places) {
  const value = recordedRow(await model.record(ids, site), site);
  const size = value.data.length / ids.length;
  const numbers = toNumbers(value);
  const chosen = (places[where] as (length: number) => number[])(ids.length);
  return Array.from({ length: size }, (_, i) => mean(chosen.map((p) => numbers[p * size + i] as number)));
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const meanVector = (rows: readonly number[][]) =>
  (rows[0] as number[]).map((_, i) => mean(rows.map((x) => x[i] as number)));
const minus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x - (b[i] as number));
const length = (a: readonly number[]) => Math.sqrt(dot(a, a));
const cosine = (a: readonly number[], b: readonly number[]) => dot(a, b) / length(a) / length(b);
const furthest = (a: readonly number[], b: readonly number[]) => length(minus(a, b)) / length(b);

/** The direction in which the rows' squares are largest, by power iteration. */
function strongest(rows: readonly number[][]): number[] {
  let u = rows[0] as number[];
  for (let k = 0; k < 3000; k++) {
    const next = (rows[0] as number[]).map((_, i) => rows.reduce((sum, x) => sum + dot(x, u) * (x[i] as number), 0));
    u = next.map((x) => x / length(next));
  }
  return u;
}

/**
 * Gradient descent on weights and intercept of a probe; `slope`: derivative of a row's loss by its score.
 * Rows are centred first, which the intercept makes up for.
 */
function descended(
  given: number[][],
  labels: number[],
  penalty: number,
  slope: (score: number, label: number) => number,
) {
  const rows = given.map((x) => minus(x, meanVector(given)));
  let weights = (rows[0] as number[]).map(() => 0);
  let intercept = 0;
  const rate = 1 / (penalty + rows.reduce((sum, x) => sum + dot(x, x) + 1, 0));
  for (let k = 0; k < 20_000; k++) {
    const slopes = rows.map((x, i) => slope(dot(weights, x) + intercept, labels[i] as number));
    weights = weights.map(
      (w, j) =>
        w - rate * (penalty * w + rows.reduce((sum, x, i) => sum + (slopes[i] as number) * (x[j] as number), 0)),
    );
    intercept -= rate * slopes.reduce((a, b) => a + b, 0);
  }
  return weights;
}

describe.each(["llama-gqa", "gpt2-odd"])("steering vectors of %s", (name) => {
  let model: Model;
  const site = "layers.1.residPost";
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  const vector = async (options: Partial<SteeringOptions> & { site?: string } = {}) =>
    steeringVector(model, { site, positive, negative, ...options });
  const classes = async (at = site, where: keyof typeof places = "last") => ({
    plus: await Promise.all(positive.map((ids) => activationOf(model, ids, at, where))),
    minus: await Promise.all(negative.map((ids) => activationOf(model, ids, at, where))),
  });

  it.each(Object.keys(places))("are the difference of the classes' means, at %s", async (where) => {
    for (const at of [site, "layers.0.attn.z"]) {
      const found = await vector({ site: at, positions: positionsOf[where] as Positions, batchTokens: 13 });
      const own = await classes(at, where);
      const wanted = minus(meanVector(own.plus), meanVector(own.minus));
      expect(furthest([...found.vector.data], wanted)).toBeLessThan(tolerance);
      expect(found.norm).toBeCloseTo(length(wanted), 4);
      expect(found.activationNorm).toBeCloseTo(mean([...own.plus, ...own.minus].map(length)), 4);
      expect((found.means?.positive as number) - (found.means?.negative as number)).toBeCloseTo(length(wanted), 4);
      expect(found.vector.shape).toEqual(model.sites(at)[0]?.shape.slice(2));
    }
  });

  it("are the first component of the pairs' differences, which centring would miss", async () => {
    const own = await classes();
    const differences = own.plus.map((x, i) => minus(x, own.minus[i] as number[]));
    const found = [...(await vector({ method: "pca" })).vector.data];
    const wanted = strongest(differences);
    expect(1 - Math.abs(cosine(found, wanted))).toBeLessThan(tolerance);
    expect(dot(found, minus(meanVector(own.plus), meanVector(own.minus)))).toBeGreaterThan(0);
    const centred = strongest(differences.map((x) => minus(x, meanVector(differences))));
    expect(1 - Math.abs(cosine(found, centred))).toBeGreaterThan(100 * tolerance);
  });

  it("are the first component of all activations where the classes are not paired", async () => {
    const own = await classes();
    const all = [...own.plus, ...own.minus];
    const found = await vector({ method: "pca", paired: false });
    const wanted = strongest(all.map((x) => minus(x, meanVector(all))));
    expect(1 - Math.abs(cosine([...found.vector.data], wanted))).toBeLessThan(tolerance);
  });

  it("are the weights of a probe", async () => {
    const own = await classes();
    const rows = [...own.plus, ...own.minus];
    const labels = rows.map((_, i) => Number(i < positive.length));
    const spread = mean(rows.map((x) => length(minus(x, meanVector(rows))) ** 2));
    const ridge = descended(rows, labels, spread, (score, label) => score - label);
    const logistic = descended(rows, labels, 5, (score, label) => 1 / (1 + Math.exp(-score)) - label);
    const plain = minus(meanVector(own.plus), meanVector(own.minus));
    const found = {
      ridge: await vector({ method: "ridge" }),
      logistic: await vector({ method: "logistic", penalty: 5 }),
    };
    expect(1 - cosine([...found.ridge.vector.data], ridge)).toBeLessThan(tolerance);
    expect(1 - cosine([...found.logistic.vector.data], logistic)).toBeLessThan(tolerance);
    expect(1 - cosine([...found.ridge.vector.data], plain)).toBeGreaterThan(100 * tolerance); // another direction
  });

  it.each(["meanDifference", "pca", "logistic", "ridge"] as const)(
    "turn round with the classes: %s",
    async (method) => {
      const there = await vector({ method });
      const back = await vector({ method, positive: negative, negative: positive });
      expect(
        furthest(
          [...there.vector.data],
          [...back.vector.data].map((x) => -x),
        ),
      ).toBeLessThan(1e-4); // L-BFGS' tolerance
    },
  );

  it("have the length that was asked for", async () => {
    const gap = await vector({ method: "pca" });
    expect(gap.norm).toBeCloseTo((gap.means?.positive as number) - (gap.means?.negative as number), 4);
    expect((await vector({ scale: "unit" })).norm).toBeCloseTo(1, 5);
    const relative = await vector({ scale: "activation" });
    expect(relative.norm).toBeCloseTo(relative.activationNorm, 4);
    expect(relative.norm).not.toBeCloseTo(gap.norm, 1);
  });

  it("separate held-out prompts as often as vectors do that were fitted without them", async () => {
    const own = await classes();
    let right = 0;
    for (const { train, validation } of folds(8, { count: 5, order: "shuffled", seed: 4 })) {
      const centre = (rows: readonly number[][]) => meanVector([...train].map((i) => rows[i] as number[]));
      const [plus, less] = [centre(own.plus), centre(own.minus)];
      const middle = plus.map((x, i) => (x + (less[i] as number)) / 2);
      const side = (x: readonly number[]) => dot(minus(x, middle), minus(plus, less));
      for (const i of validation)
        right += Number(side(own.plus[i] as number[]) > 0) + Number(side(own.minus[i] as number[]) < 0);
    }
    expect((await vector({ seed: 4 })).separation).toEqual({ accuracy: right / 16, folds: 5 });
    expect((await vector({ positions: 1 })).separation?.accuracy).toBeGreaterThan(0.9); // the classes' own token
    const [even, odd] = [0, 1].map((part) => [...positive, ...negative].filter((_, i) => i % 2 === part));
    const mixed = await vector({ positive: even as number[][], negative: odd as number[][], positions: 1 });
    expect(mixed.separation?.accuracy).toBeLessThan(0.8); // chance is a half; sixteen prompts
    const single = { positive: positive.slice(0, 1), negative: negative.slice(0, 1) };
    expect((await vector(single)).separation).toBeUndefined();
  });

  it("of many sites come from one run", async () => {
    const before = model.statistics().runs;
    const done: number[] = [];
    const vectors = await steeringVectors(model, {
      sites: ["layers.*.residPost", "layers.0.mlp.act"],
      positive,
      negative,
      onProgress: (count, total) => done.push(count / total),
    });
    expect(model.statistics().runs - before).toBe(2);
    expect(done).toEqual([0.5, 1]);
    expect(vectors).toHaveLength(model.config.layers + 1);
    const [alone] = [await vector()];
    expect(vectors.find((each) => each.site === site)).toEqual(alone);
  });

  it("survive a file, in which they go by their sites", async () => {
    const folder = mkdtempSync(join(tmpdir(), "steer-"));
    const path = join(folder, "vectors.safetensors");
    const vectors = await steeringVectors(model, { sites: "layers.*.residPost", positive, negative });
    await saveSteering([...vectors, { ...randomVector(vectors[0] as (typeof vectors)[0]), site: "embed" }], path);
    const loaded = await loadSteering(path);
    expect(loaded.slice(0, -1)).toEqual(vectors);
    const { tensors, metadata } = await readSafetensors(path);
    expect(tensors[site]).toEqual((await vector()).vector);
    await expect(saveSteering([...vectors, ...vectors], path)).rejects.toThrow(/once/);
    const facts = JSON.parse(metadata.vectors as string) as object[];
    const damaged: [object, RegExp][] = [
      [{ site: "nowhere" }, /no float32 tensor "nowhere"/],
      [{ method: "magic" }, /method is none of/],
      [{ positions: "first" }, /positions must be/],
      [{ activationNorm: null }, /activationNorm is not a number/],
      [{ means: { positive: 1 } }, /negative is not a number/],
      [{ model: { name: 3 } }, /model is not/],
    ];
    for (const [change, message] of damaged) {
      await writeSafetensors(path, tensors, { ...metadata, vectors: JSON.stringify([{ ...facts[0], ...change }]) });
      await expect(loadSteering(path)).rejects.toThrow(message);
    }
    await writeSafetensors(path, tensors, { ...metadata, vectors: "{" });
    await expect(loadSteering(path)).rejects.toThrow(/damaged metadata/);
    await writeSafetensors(path, tensors, {});
    await expect(loadSteering(path)).rejects.toThrow(/no steering vectors/);
    rmSync(folder, { recursive: true });
  });

  it("have random twins of their own length", async () => {
    const own = await vector();
    const [one, again, other] = [randomVector(own, 1), randomVector(own, 1), randomVector(own, 2)];
    expect(one.norm).toBeCloseTo(own.norm, 4);
    expect(again).toEqual(one);
    expect(other.vector).not.toEqual(one.vector);
  });

  it.each([
    [{ positive: [] }, /positive must be a list/],
    [{ negative: [[]] }, /no tokens/],
    [{ positive: positive.slice(1), paired: true }, /no pairs/],
    [{ positive: [[1, 2]], negative: [[1, 2]] }, /same activations/],
    [{ method: "magic" as "pca" }, /method of a direction is one of/],
    [{ scale: "long" as "unit" }, /scale of a vector/],
    [{ positions: "first" as "last" }, /positions must be/],
    [{ positions: 12 }, /out of range: a prompt has/],
    [{ positions: { from: 3, to: 3 } }, /empty or out of range/],
    [{ site: "layers.*.residPost" }, /stands for/],
    [{ site: "layers.0.attn.pattern" }, /pairs of tokens/],
    [{ site: "layers.0.attn.result" }, /not clamped/],
    [{ batchTokens: 0 }, /batchTokens/],
    [{ signal: AbortSignal.abort() }, /abort/i],
  ])("refuse %o", async (options, message) => {
    await expect(vector(options)).rejects.toThrow(message);
  });
});
