/** Activation patching against patching one activation at a time; one compiled graph for the whole sweep. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, lastLogits, logSoftmax, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { logSoftmax as logSoftmaxOf, slice, squeeze } from "../graph/index.js";
import { blend, type Model, open, scale } from "../model/index.js";
import { activationPatching, logitDifference } from "./index.js";

/** Logit differences of some units over a clean - corrupt difference of a tenth or more, in float32. */
const tolerance = 1e-4;

/** Two tokens whose logit difference the corruption changes by much, found by looking. */
async function tellingTokens(model: Model): Promise<{ answer: number; wrong: number }> {
  const [a, b] = [await lastLogits(model, clean), await lastLogits(model, corrupt)];
  const change = a.map((x, i) => x - (b[i] as number));
  return { answer: change.indexOf(Math.max(...change)), wrong: change.indexOf(Math.min(...change)) };
}

const worstDifference = (a: readonly number[][], b: readonly number[][]) =>
  Math.max(...a.flatMap((values, i) => values.map((x, j) => Math.abs(x - (b[i]?.[j] as number)))));

describe.each(["llama-gqa", "llama-tied", "gpt2", "gpt2-odd"])("patching in %s", (name) => {
  let model: Model;
  let tokens: { answer: number; wrong: number };
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    tokens = await tellingTokens(model);
  });
  afterAll(() => model.close());

  const run = (options: Partial<Parameters<typeof activationPatching>[1]> = {}) =>
    activationPatching(model, { clean, corrupt, metric: logitDifference(tokens.answer, tokens.wrong), ...options });

  /** The recovered fraction when one part alone is patched by the model's own clamp, measured on recorded logits. */
  const naive = async (site: string, suffix: string, view = model, share = 1) => {
    const metric = (logits: readonly number[]) => (logits[tokens.answer] as number) - (logits[tokens.wrong] as number);
    const source = await view.record(clean, site);
    const [atClean, atCorrupt] = [metric(await lastLogits(view, clean)), metric(await lastLogits(view, corrupt))];
    const patched = metric(await lastLogits(view.with(blend(site + suffix, source, share)), corrupt));
    return (patched - atCorrupt) / (atClean - atCorrupt) / share;
  };

  it("agrees with patching every position by itself", async () => {
    const map = await run();
    expect(map.by).toBe("position");
    expect(map.positions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(map.sites).toEqual(Array.from({ length: model.config.layers }, (_, i) => `layers.${i}.residPre`));
    expect(map.tokens.map(({ id }) => id)).toEqual(clean);
    expect(map.heads).toBeUndefined();
    const wanted: number[][] = [];
    for (const site of map.sites) {
      const line: number[] = [];
      for (const position of map.positions) line.push(await naive(site, `[:, ${position}]`));
      wanted.push(line);
    }
    expect(worstDifference(map.recovered, wanted)).toBeLessThan(tolerance);
    expect(worstDifference(map.recovered, [...wanted].reverse())).toBeGreaterThan(100 * tolerance);
  });

  it("agrees with patching every head by itself", async () => {
    const map = await run({ by: "head" });
    expect(map.heads).toEqual(Array.from({ length: model.config.heads }, (_, h) => h));
    const wanted: number[][] = [];
    for (const site of map.sites) {
      const line: number[] = [];
      for (const head of map.heads as number[]) line.push(await naive(site, `[:, :, ${head}]`));
      wanted.push(line);
    }
    expect(map.sites[0]).toBe("layers.0.attn.z");
    expect(worstDifference(map.recovered, wanted)).toBeLessThan(tolerance);
    const shifted = wanted.map(([first, ...rest]) => [...rest, first as number]);
    expect(worstDifference(map.recovered, shifted)).toBeGreaterThan(100 * tolerance);
  });

  it("states the metric of both prompts, and recovers all of it where everything is patched", async () => {
    const map = await run({ sites: `layers.${model.config.layers - 1}.residPost` });
    const [a, b] = [await lastLogits(model, clean), await lastLogits(model, corrupt)];
    const difference = (logits: number[]) => (logits[tokens.answer] as number) - (logits[tokens.wrong] as number);
    expect(map.metric.clean).toBeCloseTo(difference(a), 5);
    expect(map.metric.corrupt).toBeCloseTo(difference(b), 5);
    expect(map.recovered[0]?.[8]).toBeCloseTo(1, 5);
    expect(map.recovered[0]?.slice(0, 8).every((x) => Math.abs(x) < tolerance)).toBe(true);
  });

  it("leaves what is the same in both prompts at exactly 0, and runs nothing for it", async () => {
    const runs: number[] = [];
    const map = await run({ onProgress: (_, total) => runs.push(total) });
    const layers = model.config.layers;
    expect(runs[0]).toBe(1 + 5 * (layers - 1)); // the embedding differs at one position, later streams at it and after
    for (const line of map.recovered) expect(line.slice(0, 4)).toEqual([0, 0, 0, 0]);
    expect(map.recovered[0]?.slice(5)).toEqual([0, 0, 0, 0]);
  });

  it("takes some positions, negatives from the end, alone or for heads", async () => {
    const all = await run();
    const some = await run({ positions: [-1, 4] });
    expect(some.positions).toEqual([8, 4]);
    expect(
      worstDifference(
        some.recovered,
        all.recovered.map((line) => [line[8] as number, line[4] as number]),
      ),
    ).toBeLessThan(tolerance);
    const heads = await run({ by: "head", positions: [-1] });
    expect(heads.positions).toEqual([8]);
    expect(Math.abs((heads.recovered[1]?.[1] as number) - (await naive("layers.1.attn.z", "[:, -1, 1]")))).toBeLessThan(
      tolerance,
    );
  });

  it("compiles one graph for the sweep, however many batches it takes", async () => {
    const sizes: [number, number][] = [];
    let whole: Awaited<ReturnType<typeof run>> | undefined;
    for (const batchTokens of [1000, 36, 27, 9, 1]) {
      const before = model.statistics();
      const progress: number[] = [];
      const map = await run({
        batchTokens,
        by: "head",
        sites: "layers.*.attn.q",
        onProgress: (done) => progress.push(done),
      });
      const after = model.statistics();
      const total = model.config.layers * model.config.heads;
      sizes.push([batchTokens, after.runs - before.runs - 1]);
      expect(after.sessionsOpened - before.sessionsOpened).toBeLessThanOrEqual(2); // both prompts; the sweep
      expect(after.runs - before.runs).toBe(1 + Math.ceil(total / Math.max(1, Math.floor(batchTokens / 9))));
      expect(progress[progress.length - 1]).toBe(total);
      whole ??= map;
      expect(worstDifference(map.recovered, whole.recovered)).toBeLessThan(tolerance);
    }
    expect(new Set(sizes.map(([, batches]) => batches)).size).toBeGreaterThan(2);
  });

  it("patches attention patterns, in rows of queries or by head", async () => {
    const byQuery = await run({ sites: "layers.1.attn.pattern", positions: [8] });
    expect(
      Math.abs((byQuery.recovered[0]?.[0] as number) - (await naive("layers.1.attn.pattern", "[:, :, 8]"))),
    ).toBeLessThan(tolerance);
    const byHead = await run({ sites: "layers.1.attn.pattern", by: "head" });
    expect(
      Math.abs((byHead.recovered[0]?.[1] as number) - (await naive("layers.1.attn.pattern", "[:, 1]"))),
    ).toBeLessThan(tolerance);
  });

  it("patches heads at single positions, neurons, and whole sites", async () => {
    const { heads, mlpWidth } = model.config;
    const cells = await run({ by: "position x head", sites: "layers.1.attn.z", positions: [8, 4] });
    expect([cells.heads?.length, cells.recovered[0]?.length]).toEqual([heads, 2 * heads]);
    for (const [j, part] of [
      [1, "[:, 8, 1]"],
      [heads, "[:, 4, 0]"],
    ] as const)
      expect(Math.abs((cells.recovered[0]?.[j] as number) - (await naive("layers.1.attn.z", part)))).toBeLessThan(
        tolerance,
      );
    const neurons = await run({ by: "neuron", sites: "layers.1.mlp.act" });
    expect([neurons.neurons?.length, neurons.heads]).toEqual([mlpWidth, undefined]);
    expect(
      Math.abs((neurons.recovered[0]?.[5] as number) - (await naive("layers.1.mlp.act", "[:, :, 5]"))),
    ).toBeLessThan(tolerance);
    const whole = await run({ by: "site" });
    expect(whole.sites[0]).toBe("layers.0.mlp.out");
    expect(Math.abs((whole.recovered[0]?.[0] as number) - (await naive("layers.0.mlp.out", "")))).toBeLessThan(
      tolerance,
    );
  });

  it("goes a share of the way, and divides by it", async () => {
    const options = { sites: "layers.1.residPre", positions: [4, 8] };
    const [half, full] = [await run({ ...options, scale: 0.5 }), await run(options)];
    for (const [j, part] of ["[:, 4]", "[:, 8]"].entries()) {
      const wanted = await naive("layers.1.residPre", part, model, 0.5);
      expect(Math.abs((half.recovered[0]?.[j] as number) - wanted)).toBeLessThan(tolerance);
    }
    expect(worstDifference(half.recovered, full.recovered)).toBeGreaterThan(20 * tolerance); // the model is not linear
  });

  it("takes any metric of the logits", async () => {
    const { answer } = tokens;
    const map = await run({
      metric: ({ last }) => squeeze(slice(logSoftmaxOf(last("logits")), 1, answer, answer + 1), 1),
      sites: "layers.1.residPre",
    });
    expect(map.metric.clean).toBeCloseTo(logSoftmax(await lastLogits(model, clean))[answer] as number, 4);
    expect(map.metric.corrupt).toBeCloseTo(logSoftmax(await lastLogits(model, corrupt))[answer] as number, 4);
    expect(map.recovered[0]?.[4]).not.toBe(0);
  });

  it("patches a view with its own clamps", async () => {
    const view = model.with(scale("layers.0.mlp.out", 0.5));
    const metric = logitDifference(tokens.answer, tokens.wrong);
    const map = await activationPatching(view, { clean, corrupt, metric, sites: "layers.1.residPre", positions: [4] });
    expect(
      Math.abs((map.recovered[0]?.[0] as number) - (await naive("layers.1.residPre", "[:, 4]", view))),
    ).toBeLessThan(tolerance);
  });

  it("patches prompts of one token", async () => {
    const map = await run({ clean: [5], corrupt: [6] });
    expect(map.recovered.map((line) => line[0]?.toFixed(4))).toEqual(map.sites.map(() => "1.0000"));
  });
});

describe("what patching refuses", () => {
  let model: Model;
  const metric = logitDifference(1, 2);
  beforeAll(async () => {
    model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
  });
  afterAll(() => model.close());

  const rejects = async (options: Partial<Parameters<typeof activationPatching>[1]>, message: string) =>
    expect(activationPatching(model, { clean, corrupt, metric, ...options })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining(message),
    });

  it("prompts of unequal length, showing both", async () => {
    await rejects({ corrupt: [7, 8] }, 'corrupt has 2 (["#7","#8"])');
    await rejects({ corrupt: [7, 8] }, 'clean has 9 (["#5","#17"');
  });
  it("prompts that the metric does not tell apart", () => rejects({ corrupt: clean }, "nothing to recover"));
  it("a part of a site", () => rejects({ sites: "layers.*.mlp.act[:, :, 3]" }, "whole sites are needed"));
  it("a value before clamps", () => rejects({ sites: "layers.*.residPre@before" }, "before clamps"));
  it("a site that does not exist", () => rejects({ sites: "layers.*.residPer" }, "the nearest are"));
  it("a site that can't be clamped", () => rejects({ sites: "layers.0.attn.result" }, "clamp attn.z"));
  it("heads of a site without heads", () => rejects({ sites: "embed", by: "head" }, 'embed has no dimension "head"'));
  it("sites with other numbers of heads", () =>
    rejects({ sites: "layers.0.attn.{q,k}", by: "head" }, "layers.0.attn.q has 4 heads and layers.0.attn.k 2"));
  it("positions out of range", () => rejects({ positions: [9] }, "position 9 is out of range"));
  it("no positions", () => rejects({ positions: [] }, "no position was chosen"));
  it("tokens out of range", () => rejects({ metric: logitDifference(61, 2) }, "the answer 61 is not a token id"));
  it("a metric of another shape", () =>
    rejects({ metric: ({ last }) => last("logits") }, "a metric is one number a row"));
  it("batches of no tokens", () => rejects({ batchTokens: 0 }, "batchTokens must be a whole number of at least 1"));

  it("to go on after an abort", async () => {
    const controller = new AbortController();
    const done: number[] = [];
    const sweep = activationPatching(model, {
      clean,
      corrupt,
      metric,
      batchTokens: 18,
      signal: controller.signal,
      onProgress(count) {
        done.push(count);
        controller.abort();
      },
    });
    await expect(sweep).rejects.toMatchObject({ name: "AbortError" });
    expect(done).toHaveLength(1);
  });
});
