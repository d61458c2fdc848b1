/** Attribution patching against gradients and activations multiplied by hand, and against the patching that it estimates. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clean, corrupt, lastLogits, modelsFolder } from "../../test/fixtures/explain/byHand.js";
import { matmul, reduceSum, slice } from "../graph/index.js";
import { type Metric, type Model, open, patch, recorded } from "../model/index.js";
import { type Tensor, toNumbers } from "../runtime/index.js";
import {
  activationPatching,
  attributionPatching,
  compareMaps,
  logitDifference,
  type PatchingMap,
  type PatchingUnit,
} from "./index.js";

/** Recovered fractions of some tenths, sums of a few hundred float32 products. */
const tolerance = 1e-4;

/** A metric that the corruption changes by much: the tokens whose logits move most, found by looking. */
async function tellingMetric(model: Model) {
  const [a, b] = [await lastLogits(model, clean), await lastLogits(model, corrupt)];
  const change = a.map((x, i) => x - (b[i] as number));
  const [most, least] = [Math.max(...change), Math.min(...change)];
  const [answer, wrong] = [change.indexOf(most), change.indexOf(least)];
  return {
    metric: logitDifference(answer, wrong),
    text: `logit(#${answer}) - logit(#${wrong})`,
    range: most - least,
  };
}

const worst = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number))));

describe.each(["llama-gqa", "llama-tied", "gpt2", "gpt2-odd"])("attribution patching in %s", (name) => {
  let model: Model;
  let metric: Metric;
  let text: string;
  let range: number;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
    ({ metric, text, range } = await tellingMetric(model));
  });
  afterAll(() => model.close());

  const run = <By extends PatchingUnit = "position">(
    options: Partial<Parameters<typeof attributionPatching<By>>[1]> = {},
  ) => attributionPatching<By>(model, { clean, corrupt, metric, ...options });

  /** (clean - corrupt) x gradient, and its sum over the elements that `covers` accepts (indices in the site's order). */
  const byHand = async (site: string, covers: (...indices: number[]) => boolean) => {
    const gradient = (await model.gradient(corrupt, { of: text, at: site })).sites[site] as Tensor;
    const [a, b] = [recorded(await model.record(clean, site), site), recorded(await model.record(corrupt, site), site)];
    let sum = 0;
    toNumbers(gradient).forEach((g, at) => {
      const indices = gradient.shape.map(
        (size, d) => Math.floor(at / gradient.shape.slice(d + 1).reduce((x, y) => x * y, 1)) % size,
      );
      if (covers(...indices)) sum += g * (Number(a.data[at]) - Number(b.data[at]));
    });
    return sum / range;
  };

  it("is the difference times the gradient, by position", async () => {
    const sites = ["layers.*.residPre", "layers.1.attn.pattern", "layers.0.mlp.out"];
    const map = await run({ sites });
    expect(map.positions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(map.sites).toContain("layers.1.attn.pattern");
    for (const [i, site] of map.sites.entries()) {
      const wanted: number[] = [];
      for (const p of map.positions)
        wanted.push(await byHand(site, (_, second, third) => (site.endsWith("pattern") ? third : second) === p));
      expect(worst(map.recovered[i] as number[], wanted)).toBeLessThan(tolerance);
      const shifted = [...wanted.slice(1), wanted[0] as number];
      expect(worst(map.recovered[i] as number[], shifted)).toBeGreaterThan(20 * tolerance); // it could fail
    }
  });

  it("is the difference times the gradient, by head, head and position, neuron and site", async () => {
    const byHead = await run({ by: "head", positions: [-1, 4] });
    expect(byHead.heads).toHaveLength(model.config.heads);
    const inHead = (head: number) => (_: number, p: number, h: number) => h === head && (p === 4 || p === 8);
    expect(byHead.recovered[1]?.[1]).toBeCloseTo(await byHand("layers.1.attn.z", inHead(1)), 4);
    const both = await run({ by: "position x head" });
    const { heads } = model.config;
    expect(both.recovered[1]).toHaveLength(9 * heads);
    const cell = await byHand("layers.1.attn.z", (_, p, h) => p === 8 && h === 1);
    expect(both.recovered[1]?.[8 * heads + 1]).toBeCloseTo(cell, 4);
    const byNeuron = await run({ by: "neuron" });
    expect(byNeuron.neurons).toHaveLength(model.config.mlpWidth);
    expect(byNeuron.recovered[0]?.[3]).toBeCloseTo(await byHand("layers.0.mlp.act", (_, __, n) => n === 3), 4);
    const bySite = await run({ by: "site" });
    expect(bySite.recovered[0]).toHaveLength(1);
    expect(bySite.recovered[0]?.[0]).toBeCloseTo(await byHand("layers.0.mlp.out", () => true), 4);
  });

  it("takes all of the layers' sites in one graph, by default", async () => {
    const before = model.statistics();
    const map = await run();
    const after = model.statistics();
    expect(after.runs - before.runs).toBe(1);
    expect(after.sessionsOpened - before.sessionsOpened).toBe(1);
    expect(map.sites).toEqual(model.sites("layers.**").flatMap((site) => (site.clampable ? [site.name] : [])));
    expect(map.sites.length).toBeGreaterThan(12 * model.config.layers);
    const same = await activationPatching(model, { clean, corrupt, metric, sites: "layers.1.residPre" });
    expect(map.metric.clean).toBeCloseTo(same.metric.clean, 5);
    expect(map.metric.corrupt).toBeCloseTo(same.metric.corrupt, 5);
  });

  it.each(["position", "head", "position x head", "neuron", "site"] as const)(
    "is the limit of small patches, by %s, and only near whole ones",
    async (by) => {
      const sites = by === "neuron" ? "layers.0.mlp.act" : by === "position" ? "layers.*.residPre" : "layers.*.attn.z";
      const estimate = await run({ by, sites });
      const patched = (scale: number) => activationPatching(model, { clean, corrupt, metric, by, scale, sites });
      const [forward, backward, whole] = [await patched(0.003), await patched(-0.003), await patched(1)];
      // Both ways, so that the metric's curvature along the patch cancels.
      const mean = forward.recovered.map((line, i) =>
        line.map((x, j) => (x + (backward.recovered[i]?.[j] as number)) / 2),
      );
      const small = { ...forward, recovered: mean };
      // Three thousandths of a patch move logits that are rounded at 1e-7 of their size.
      expect(compareMaps(estimate, small).pearson).toBeGreaterThan(0.999);
      const size = Math.max(...estimate.recovered.flat().map(Math.abs));
      const error = (map: PatchingMap<PatchingUnit>) => compareMaps(estimate, map).largestDifference / size;
      expect(error(small)).toBeLessThan(0.02);
      if (by === "position") expect(error(whole)).toBeGreaterThan(2 * error(small));
    },
  );

  it("is exact where the metric is linear in the site", async () => {
    const last = `layers.${model.config.layers - 1}`;
    const linear: Metric = ({ last: at, weight }) => {
      const column = weight("unembed.weight");
      return reduceSum(slice(matmul(at(`${last}.residPost`), column), 1, 0, 3), [1]);
    };
    const options = { clean, corrupt, metric: linear, sites: `${last}.{mlp.out,residPost}`, scale: 1 };
    const comparison = compareMaps(await attributionPatching(model, options), await activationPatching(model, options));
    expect(comparison.largestDifference).toBeLessThan(tolerance);
    const early = { ...options, sites: "layers.0.residPre" };
    const coarse = compareMaps(await attributionPatching(model, early), await activationPatching(model, early));
    expect(coarse.largestDifference).toBeGreaterThan(20 * tolerance);
  });

  it("adds up to the whole difference at the embedding, with steps", async () => {
    const sum = async (steps: number, batchTokens = 256) => {
      const map = await run({ sites: "embed", steps, batchTokens });
      return (map.recovered[0] as number[]).reduce((a, b) => a + b, 0);
    };
    const fine = await sum(128);
    expect(Math.abs(fine - 1)).toBeLessThan(2e-3); // the trapezoid rule's error falls with the square of the steps
    expect(Math.abs((await sum(1)) - 1)).toBeGreaterThan(0.02);
    expect(await sum(128, 9)).toBeCloseTo(fine, 4); // one point of the path a batch
    expect(await sum(128, 100)).toBeCloseTo(fine, 4);
  });

  describe("through the softmax as it is", () => {
    /** What a patch changes in the pattern, times the gradient at the pattern. */
    const softmaxByHand = async (part: string, layer: number) => {
      const pattern = `layers.${layer}.attn.pattern`;
      const site = part.replace(/\[.*/, "");
      const gradient = toNumbers((await model.gradient(corrupt, { of: text, at: pattern })).sites[pattern] as Tensor);
      const view = model.with(patch(part, await model.record(clean, site)));
      const [a, b] = [
        recorded(await view.record(corrupt, pattern), pattern),
        recorded(await model.record(corrupt, pattern), pattern),
      ];
      return gradient.reduce((sum, g, i) => sum + g * (Number(a.data[i]) - Number(b.data[i])), 0) / range;
    };

    it.each(["q", "k"])("patches each position of %s", async (part) => {
      const map = await run({ sites: `layers.1.attn.${part}`, exactSoftmax: true });
      const wanted: number[] = [];
      for (const p of map.positions) wanted.push(await softmaxByHand(`layers.1.attn.${part}[:, ${p}]`, 1));
      expect(worst(map.recovered[0] as number[], wanted)).toBeLessThan(tolerance);
      const plain = await run({ sites: `layers.1.attn.${part}` });
      expect(worst(plain.recovered[0] as number[], wanted)).toBeGreaterThan(2 * tolerance);
    });

    it.each(["q", "k", "scores"])("patches each head of %s, all positions or some, and each cell", async (part) => {
      const sites = `layers.1.attn.${part}`;
      const dimensions = (head: number, position: string) =>
        `${sites}[head=${head}${position === "" ? "" : `, position=${position}`}]`;
      const heads = await run({ by: "head", sites, exactSoftmax: true });
      expect(heads.recovered[0]?.[1]).toBeCloseTo(await softmaxByHand(dimensions(1, ""), 1), 4);
      const some = await run({ by: "head", sites, positions: [4, 5, 6, 7], exactSoftmax: true });
      expect(some.recovered[0]?.[0]).toBeCloseTo(await softmaxByHand(dimensions(0, "4:8"), 1), 4);
      const cells = await run({ by: "position x head", sites, exactSoftmax: true });
      const count = cells.heads?.length as number;
      expect(cells.recovered[0]?.[5 * count + 1]).toBeCloseTo(await softmaxByHand(dimensions(1, "5"), 1), 4);
    });
  });

  it("reads the metric through sites that it would read past", async () => {
    for (const of of [metric, text]) {
      const ends = await run({ sites: ["finalNorm", "logits"], metric: of });
      const patched = await activationPatching(model, { clean, corrupt, metric, sites: "{finalNorm,logits}" });
      expect(compareMaps(ends, patched).largestDifference).toBeLessThan(tolerance); // the logits are linear in both
      expect(ends.recovered[0]?.[8]).toBeCloseTo(1, 3);
    }
    const element = "layers.1.mlp.out[:, -1, 3]";
    const asText = await run({ sites: "layers.1.{mlp.out,residPost}", metric: element });
    expect(asText.recovered[0]?.[8]).toBeCloseTo(1, 4);
    expect(asText.recovered[1]).toEqual(asText.positions.map(() => 0)); // it comes after
    const asFunction: Metric = ({ at }) => reduceSum(at("layers.1.mlp.out", -1), [1]);
    const whole = await run({ sites: "layers.1.mlp.out", metric: asFunction });
    expect(whole.recovered[0]?.[8]).toBeCloseTo(1, 4);
  });
});

describe("what attribution patching and comparison refuse", () => {
  const metric = logitDifference(1, 2);
  let model: Model;
  beforeAll(async () => {
    model = await open(`${modelsFolder}llama-gqa`, { threads: 1 });
  });
  afterAll(() => model.close());

  type Options = Partial<Parameters<typeof attributionPatching<PatchingUnit>>[1]>;
  const rejects = (options: Options, message: string) =>
    expect(attributionPatching<PatchingUnit>(model, { clean, corrupt, metric, ...options })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining(message),
    });

  it("prompts of unequal length", () => rejects({ corrupt: [7, 8] }, "as many tokens"));
  it("prompts that the metric does not tell apart", () => rejects({ corrupt: clean }, "nothing to recover"));
  it("a unit that does not exist", () => rejects({ by: "layer" as PatchingUnit, sites: "embed" }, 'not "layer"'));
  it("steps that are none", () => rejects({ steps: 0 }, "steps must be a whole number of at least 1, not 0"));
  it("no sites", () => rejects({ sites: [] }, "no site was named"));
  it("a site that can only be recorded", () =>
    rejects({ sites: "layers.0.attn.result" }, "nothing can be patched there"));
  it("other numbers of heads", () =>
    rejects({ sites: "layers.0.attn.{q,k}", by: "head" }, "layers.0.attn.q has 4 heads and layers.0.attn.k 2"));
  it("neurons of a site without", () => rejects({ sites: "embed", by: "neuron" }, 'embed has no dimension "neuron"'));
  it("positions out of range", () => rejects({ positions: [9] }, "position 9 is out of range"));
  it("a metric's position out of range", () =>
    rejects(
      { metric: ({ at }) => reduceSum(at("layers.1.mlp.out", 9), [1]) },
      "position 9 of layers.1.mlp.out is out of range: the prompt has 9 tokens",
    ));
  it("a patch of no size", async () => {
    await expect(activationPatching(model, { clean, corrupt, metric, scale: 0 })).rejects.toThrow(/scale must be/);
  });
  it("maps of other cells", async () => {
    const [a, b] = [
      await attributionPatching(model, { clean, corrupt, metric, sites: "embed" }),
      await attributionPatching(model, { clean, corrupt, metric, sites: "layers.1.residPre" }),
    ];
    expect(() => compareMaps(a, b)).toThrow(/not of the same cells: 1 sites by position/);
  });
  it("to go on after an abort", async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const options = { clean, corrupt, metric, steps: 8, batchTokens: 9, onProgress, signal: controller.signal };
    await expect(attributionPatching(model, options)).rejects.toMatchObject({ name: "AbortError" });
  });
});
