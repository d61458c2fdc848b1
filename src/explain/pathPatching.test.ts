/** Path patching against clamps set one after the other, as its paper describes it, and sums that must come out whole. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { matmul, reduceSum, slice } from "../graph/index.js";
import { blend, type Clamp, type Metric, type Model, open, patch, type Recording } from "../model/index.js";
import {
  activationPatching,
  attributionPatching,
  compareMaps,
  logitDifference,
  pathAttribution,
  pathPatching,
} from "./index.js";

/** Recovered fractions of some tenths through two runs in float32. */
const tolerance = 1e-4;

describe.each(["llama-gqa", "llama-tied", "gpt2", "gpt2-odd"])("path patching in %s", (name) => {
  let model: Model;
  let metric: Metric;
  let tokens: { answer: number; wrong: number };
  let last: string;
  let source: { clean: Recording; corrupt: Recording };
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    const [a, b] = [await lastLogits(model, clean), await lastLogits(model, corrupt)];
    const change = a.map((x, i) => x - (b[i] as number));
    tokens = { answer: change.indexOf(Math.max(...change)), wrong: change.indexOf(Math.min(...change)) };
    metric = logitDifference(tokens.answer, tokens.wrong);
    last = `layers.${model.config.layers - 1}.residPost`;
    const all = ["embed", "layers.*.{attn.z,mlp.out}"];
    source = { clean: await model.record(clean, all), corrupt: await model.record(corrupt, all) };
  });
  afterAll(() => model.close());

  const run = (options: Partial<Parameters<typeof pathPatching>[1]> & { receivers: string | string[] }) =>
    pathPatching(model, { clean, corrupt, metric, by: "head", ...options });

  const difference = async (view: Model, ids: readonly number[]) => {
    const logits = await lastLogits(view, ids);
    return (logits[tokens.answer] as number) - (logits[tokens.wrong] as number);
  };

  /** Runs 1, 2 and 3 by the model's own clamps. `held`: sites frozen in run 2; the receivers are not among them. */
  const naive = async (sender: string, receivers: readonly string[], held: string, share = 1) => {
    const range = (await difference(model, clean)) - (await difference(model, corrupt));
    const frozen = model.sites(held).map((site) => patch(site.name, source.corrupt));
    const sent = model.with(...frozen, blend(sender, source.clean, share));
    const wholes = receivers.map((text) => text.replace(/\[.*/, ""));
    const received = await sent.record(corrupt, wholes);
    const given = receivers.map((text): Clamp => patch(text, received));
    return ((await difference(model.with(...given), corrupt)) - (await difference(model, corrupt))) / range / share;
  };

  it("agrees with clamps set by hand: heads to the queries of a head, to values, to the last stream", async () => {
    const layer = model.config.layers - 1;
    for (const receivers of [[`layers.${layer}.attn.q[head=1]`], [`layers.${layer}.attn.v`], [last]]) {
      for (const [freeze, held] of [
        [undefined, "layers.*.{attn.z,mlp.out}"],
        ["layers.*.attn.z", "layers.*.attn.z"],
      ] as const) {
        const map = await run({ receivers, ...(freeze === undefined ? {} : { freeze }) });
        expect(map.receivers).toEqual(receivers);
        expect(map.sites).toEqual(model.sites("layers.*.attn.z").map((site) => site.name));
        const wanted: number[] = [];
        for (const head of [0, 1]) wanted.push(await naive(`layers.0.attn.z[head=${head}]`, receivers, held));
        for (const head of [0, 1])
          expect(Math.abs((map.recovered[0]?.[head] as number) - (wanted[head] as number))).toBeLessThan(tolerance);
        if (receivers[0] === last)
          expect(Math.abs((map.recovered[0]?.[0] as number) - (wanted[1] as number))).toBeGreaterThan(20 * tolerance);
      }
    }
  });

  it("patches several receivers together, MLPs by position, and some positions", async () => {
    const layer = model.config.layers - 1;
    const receivers = [`layers.${layer}.attn.k[:, 4]`, `layers.${layer}.attn.k[:, 5]`, last];
    const map = await run({ senders: ["embed", "layers.0.mlp.out"], by: "position" as "head", receivers });
    expect(map.receivers).toEqual(receivers);
    const held = "layers.*.{attn.z,mlp.out}";
    expect(map.recovered[1]?.[4]).toBeCloseTo(await naive("layers.0.mlp.out[:, 4]", receivers, held), 4);
    expect(map.recovered[0]?.[4]).toBeCloseTo(await naive("embed[:, 4]", receivers, held), 4);
    expect(map.recovered[1]?.[3]).toBe(0); // the prompts are the same up to there
    const some = await run({ receivers: last, positions: [-1] });
    expect(some.recovered[0]?.[1]).toBeCloseTo(await naive("layers.0.attn.z[:, -1, 1]", [last], held), 4);
  });

  it("has direct effects on the last stream that add up to the whole where the metric is linear in it", async () => {
    const linear: Metric = (context) =>
      reduceSum(slice(matmul(context.last(last), context.weight("unembed.weight")), 1, 0, 3), [1]);
    const sum = async (options: { freeze?: string } = {}) => {
      const common = { metric: linear, receivers: last, ...options };
      const maps = [
        await run(common),
        await run({ ...common, senders: ["embed", "layers.*.mlp.out"], by: "site" as "head" }),
      ];
      return maps.flatMap(({ recovered }) => recovered.flat()).reduce((a, b) => a + b, 0);
    };
    expect(Math.abs((await sum()) - 1)).toBeLessThan(tolerance);
    // With the MLPs free, paths through them are counted at both ends.
    expect(Math.abs((await sum({ freeze: "layers.*.attn.z" })) - 1)).toBeGreaterThan(20 * tolerance);
    const gradients = await pathAttribution(model, { clean, corrupt, metric: linear, receivers: last });
    const patched = await run({ metric: linear, receivers: last });
    expect(compareMaps(gradients, patched).largestDifference).toBeLessThan(tolerance);
  });

  it("is activation patching where nothing is held and the last stream receives", async () => {
    const map = await run({ receivers: last, freeze: [] });
    const patched = await activationPatching(model, { clean, corrupt, metric, by: "head" });
    expect(compareMaps(map, patched).largestDifference).toBeLessThan(tolerance);
    const direct = compareMaps(await run({ receivers: last }), patched);
    expect(direct.largestDifference).toBeGreaterThan(20 * tolerance);
  });

  it("leaves senders after the receivers at exactly 0, and runs one graph in batches of any size", async () => {
    const totals: number[] = [];
    const receivers = "layers.1.attn.{q,k,v}";
    const map = await run({ receivers, onProgress: (_, total) => totals.push(total) });
    expect(totals[0]).toBe(model.config.heads);
    for (const line of map.recovered.slice(1)) expect(line).toEqual(line.map(() => 0));
    const before = model.statistics();
    const small = await run({ receivers, batchTokens: 18 });
    expect(model.statistics().sessionsOpened - before.sessionsOpened).toBeLessThanOrEqual(3);
    expect(compareMaps(map, small).largestDifference).toBeLessThan(tolerance);
    expect((await run({ receivers: "embed" })).recovered.flat().every((x) => x === 0)).toBe(true);
  });

  it("has a gradient that small patches approach", async () => {
    const layer = model.config.layers - 1;
    for (const receivers of [[`layers.${layer}.attn.q[head=1]`, `layers.${layer}.attn.v`], [last]]) {
      for (const [freeze, held] of [
        [undefined, "layers.*.{attn.z,mlp.out}"],
        ["layers.*.attn.z", "layers.*.attn.z"],
      ] as const) {
        const map = await pathAttribution(model, {
          clean,
          corrupt,
          metric,
          receivers,
          ...(freeze === undefined ? {} : { freeze }),
        });
        expect(map.receivers).toEqual(receivers);
        const sender = "layers.0.attn.z[head=1]";
        const small =
          ((await naive(sender, receivers, held, 0.01)) + (await naive(sender, receivers, held, -0.01))) / 2;
        // A hundredth of a patch moves logits that are rounded at 1e-6 of their size, over a difference of tenths.
        const close = 5e-4 + 0.02 * Math.abs(small);
        expect(Math.abs((map.recovered[0]?.[1] as number) - small)).toBeLessThan(close);
        if (receivers[0] === last) expect(Math.abs((map.recovered[0]?.[0] as number) - small)).toBeGreaterThan(close);
      }
    }
  });

  it("is attribution patching where nothing is held and the last stream receives, steps included", async () => {
    const common = { clean, corrupt, metric, by: "position" as const };
    const path = (steps: number) =>
      pathAttribution(model, { ...common, senders: "embed", receivers: last, freeze: [], steps });
    const estimate = await attributionPatching(model, { ...common, sites: "embed", steps: 16 });
    expect(compareMaps(await path(16), estimate).largestDifference).toBeLessThan(tolerance);
    expect(compareMaps(await path(1), estimate).largestDifference).toBeGreaterThan(20 * tolerance);
  });

  it("reads the metric through receivers", async () => {
    const map = await run({ receivers: "logits", freeze: [] });
    const patched = await activationPatching(model, { clean, corrupt, metric, by: "head" });
    expect(compareMaps(map, patched).largestDifference).toBeLessThan(tolerance);
    const gradients = await pathAttribution(model, { clean, corrupt, metric, receivers: ["finalNorm"] });
    const stream = await pathAttribution(model, { clean, corrupt, metric, receivers: last });
    expect(compareMaps(gradients, stream).largestDifference).toBeLessThan(tolerance); // the norm lies on the path of both
  });
});

describe("what path patching refuses", () => {
  let model: Model;
  beforeAll(async () => {
    model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
  });
  afterAll(() => model.close());

  const metric = logitDifference(1, 2);
  const rejects = (options: Partial<Parameters<typeof pathPatching>[1]>, message: string) =>
    expect(
      pathPatching(model, { clean, corrupt, metric, receivers: "layers.2.residPost", ...options }),
    ).rejects.toMatchObject({ kind: "usage", message: expect.stringContaining(message) });

  it("prompts of unequal length", () => rejects({ corrupt: [7, 8] }, "as many tokens"));
  it("no receivers", () => rejects({ receivers: [] }, "no receiver was named"));
  it("a receiver that does not exist", () => rejects({ receivers: "layers.9.attn.q" }, "layers 0 to 2"));
  it("a receiver that can only be recorded", () =>
    rejects({ receivers: "layers.1.attn.result" }, "nothing can be patched there"));
  it("a receiver out of range", () => rejects({ receivers: "layers.1.attn.q[head=7]" }, "out of range"));
  it("a part of a sender", () => rejects({ senders: "layers.*.attn.z[head=1]" }, "whole sites are needed"));
  it("a part of what is frozen", () => rejects({ freeze: "layers.*.attn.z[head=1]" }, "whole sites are needed"));
  it("senders without heads", () => rejects({ senders: "layers.*.mlp.out" }, 'has no dimension "head"'));
});
