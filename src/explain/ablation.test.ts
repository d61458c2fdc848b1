/** Ablation against the model's own clamps one site at a time, and against what PyTorch computed without a head. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  clean,
  divergence,
  lastLogits,
  logSoftmax,
  modelsFolder,
  ranking,
  reordered,
} from "../../test/fixtures/explain/byHand.js";
import { type Clamp, type Model, mean, open, readSafetensors, recorded, set, zero } from "../model/index.js";
import { row, type Tensor } from "../runtime/index.js";
import { type AblationOptions, ablate } from "./index.js";

/** Logits of some units, rounded in float32 sums of 20 to 30 products. */
const tolerance = 1e-5;
const references = [
  [9, 33, 50, 14, 26, 7],
  [44, 8, 31, 19],
];

describe.each(["llama-gqa", "llama-tied", "gpt2", "gpt2-odd"])("ablation in %s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(modelsFolder + name, { threads: 1 });
  });
  afterAll(() => model.close());

  /** Every reported number against the logits under one clamp. */
  const agrees = async (options: AblationOptions, clamps: Record<string, Clamp>, prompt = clean) => {
    const { sites, tokens, how } = await ablate(model, prompt, options);
    expect(tokens.map(({ id }) => id)).toEqual(prompt);
    expect(how).toBe(options.how);
    expect(sites.map(({ site }) => site)).toEqual(Object.keys(clamps));
    const original = await lastLogits(model, prompt);
    const likeliest = ranking(original)[0] as number;
    for (const { site, kl, before, after, top } of sites) {
      const logits = await lastLogits(model.with(clamps[site] as Clamp), prompt);
      const probabilities = logSoftmax(logits).map(Math.exp);
      const wanted = divergence(original, logits);
      expect(wanted).toBeGreaterThan(100 * tolerance * tolerance); // the clamp does something
      expect(Math.abs(kl - wanted), site).toBeLessThan(tolerance * Math.max(1, wanted));
      expect(before.id).toBe(likeliest);
      expect(before.probability).toBeCloseTo(Math.exp(logSoftmax(original)[likeliest] as number), 5);
      expect(Math.abs(after - (probabilities[likeliest] as number)), site).toBeLessThan(tolerance);
      expect(top.map(({ id }) => id)).toEqual(ranking(logits).slice(0, options.top ?? 5));
      expect(Math.abs((top[0]?.probability as number) - Math.max(...probabilities))).toBeLessThan(tolerance);
    }
    return sites;
  };

  it("sets each site to zero by itself", async () => {
    const sites = ["layers.0.attn.out", "layers.0.mlp.out", "layers.1.mlp.act"];
    const found = await agrees({ sites, how: "zero" }, Object.fromEntries(sites.map((site) => [site, zero(site)])));
    expect(new Set(found.map(({ kl }) => kl.toFixed(4))).size).toBe(3); // three sites, three effects
  });

  it("sets parts of sites to zero: heads, neurons, positions, several of one site", async () => {
    const sites = [
      "layers.0.attn.z[head=1]",
      "layers.0.attn.z[:, :, 0]",
      "layers.0.attn.z",
      "layers.1.mlp.act[:, -1, 0:20]",
      "layers.1.mlp.act[neuron=4:30]",
      "layers.0.residPost[:, 2:5]",
      "layers.1.attn.pattern[:, 0, 8, 2]",
    ];
    await agrees({ sites, how: "zero", top: 3 }, Object.fromEntries(sites.map((site) => [site, zero(site)])));
  });

  it("takes globs and other names, each site once", async () => {
    const { sites } = await ablate(model, clean, { sites: ["layers.*.mlp.out", "blocks.0.hook_mlp_out"], how: "zero" });
    expect(sites.map(({ site }) => site)).toEqual(
      Array.from({ length: model.config.layers }, (_, i) => `layers.${i}.mlp.out`),
    );
  });

  it("sets sites and parts to their mean over the prompt's own tokens", async () => {
    const recording = await model.record(clean, ["layers.0.mlp.out", "layers.1.attn.z"]);
    await agrees(
      { sites: ["layers.0.mlp.out", "layers.1.attn.z[head=1]"], how: "mean" },
      {
        "layers.0.mlp.out": mean("layers.0.mlp.out", recording),
        "layers.1.attn.z[head=1]": mean("layers.1.attn.z[head=1]", recording),
      },
    );
  });

  it("sets sites to their mean over reference prompts of other lengths", async () => {
    const recording = await model.record(references, "layers.0.mlp.out");
    const [found] = await agrees(
      { sites: "layers.0.mlp.out", how: "mean", reference: references },
      { "layers.0.mlp.out": mean("layers.0.mlp.out", recording) },
    );
    const own = await ablate(model, clean, { sites: "layers.0.mlp.out", how: "mean" });
    expect(Math.abs((own.sites[0]?.kl as number) - (found?.kl as number))).toBeGreaterThan(100 * tolerance);
  });

  it("resamples from the prompt's other tokens: two of them swap", async () => {
    const prompt = [17, 42];
    const site = "layers.0.mlp.out";
    const own = recorded(await model.record(prompt, site), site);
    await agrees({ sites: site, how: "resample" }, { [site]: set(site, reordered(own, [1, 0])) }, prompt);
  });

  it("resamples from reference tokens: the only one there is takes every place", async () => {
    const site = "layers.0.mlp.out";
    const only = recorded(await model.record([33], site), site);
    await agrees(
      { sites: [site, `${site}[position=3]`], how: "resample", reference: [[33]] },
      { [site]: set(site, only), [`${site}[position=3]`]: set(`${site}[:, 3:4]`, only) },
    );
  });

  it("resamples the same for the same seed, otherwise for another, never from padding", async () => {
    const kl = async (options: Partial<AblationOptions>) => {
      const { sites } = await ablate(model, clean, { sites: "layers.*.mlp.out", how: "resample", ...options });
      return sites.map((site) => site.kl);
    };
    for (const reference of [undefined, references]) {
      const given = reference === undefined ? {} : { reference };
      const first = await kl({ ...given, seed: 3 });
      expect(await kl({ ...given, seed: 3 })).toEqual(first);
      expect(await kl({ ...given, seed: 4 })).not.toEqual(first);
    }
    // One long and many short rows: most columns are padding, whose zeros would look like an ablation by zero.
    const site = "embed";
    const short = Array.from({ length: 8 }, () => [17]);
    const rows = [...short, [17, 17, 17, 17, 17, 17]];
    const { sites } = await ablate(model, [17, 17, 17], { sites: site, how: "resample", reference: rows });
    const onlyRotary = model.config.positions.kind === "rotary";
    if (onlyRotary) expect(sites[0]?.kl).toBeLessThan(tolerance); // every embedding drawn is the one replaced
  });

  it("compiles one graph for all sites, however many batches they take", async () => {
    const results: number[][] = [];
    for (const batchTokens of [1000, 18, 1]) {
      const before = model.statistics();
      const done: number[] = [];
      const sites = ["layers.*.attn.z[head=0]", "layers.*.attn.z[head=1]"];
      const found = await ablate(model, clean, { sites, how: "zero", batchTokens, onProgress: (n) => done.push(n) });
      const after = model.statistics();
      expect(after.sessionsOpened - before.sessionsOpened).toBeLessThanOrEqual(2); // the original; the sweep
      expect(after.runs - before.runs).toBe(1 + done.length);
      expect(done[done.length - 1]).toBe(2 * model.config.layers);
      results.push(found.sites.map(({ kl }) => kl));
    }
    for (const kls of results)
      kls.forEach((kl, i) => {
        expect(Math.abs(kl - (results[0]?.[i] as number))).toBeLessThan(tolerance);
      });
  });

  it.each([
    [{ sites: "layers.0.attn.result", how: "zero" }, "clamp attn.z"],
    [
      { sites: "layers.0.attn.pattern", how: "mean" },
      "belongs to pairs of tokens: it can be ablated by zero, not by mean",
    ],
    [{ sites: "layers.0.mlp.out", how: "nothing" }, 'by zero, mean or resample, not "nothing"'],
    [{ sites: "layers.0.mlp.uot", how: "zero" }, "the nearest are"],
    [{ sites: "layers.0.mlp.act[:, 9]", how: "zero" }, "index 9 is out of range"],
    [{ sites: "layers.0.mlp.act[head=1]", how: "zero" }, 'no dimension called "head"'],
    [{ sites: "layers.0.mlp.out@before", how: "zero" }, "before clamps"],
    [{ sites: [], how: "zero" }, "no site was given"],
    [{ sites: "embed", how: "zero", top: 99 }, "top must be a whole number"],
  ])("refuses %j", async (options, message) => {
    await expect(ablate(model, clean, options as AblationOptions)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining(message),
    });
  });

  it("refuses to resample one token from itself", async () => {
    await expect(ablate(model, [5], { sites: "embed", how: "resample" })).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringContaining("has no other to resample from"),
    });
  });
});

it.each(["llama-gqa", "gpt2"])("loses in %s what PyTorch's model without that head loses", async (name) => {
  const model = await open(modelsFolder + name, { threads: 1 });
  const reference = (await readSafetensors(`${modelsFolder}${name}/reference.safetensors`)).tensors;
  const edits = (await readSafetensors(`${modelsFolder}${name}/edits.safetensors`)).tensors;
  const last = (logits: Tensor) => [...(row(logits, -1).data as Float32Array)];
  const wanted = divergence(
    last(row(reference["prefill.A/logits"] as Tensor, 0)),
    last(edits["clamps/zero-head/logits"] as Tensor),
  );
  const { sites } = await ablate(model, clean, { sites: "layers.0.attn.z[:, :, 1]", how: "zero" });
  expect(Math.abs((sites[0]?.kl as number) - wanted)).toBeLessThan(1e-4 * wanted); // two libraries' float32 logits
  const other = await ablate(model, clean, { sites: "layers.0.attn.z[:, :, 0]", how: "zero" });
  expect(Math.abs((other.sites[0]?.kl as number) - wanted)).toBeGreaterThan(1e-2 * wanted);
  await model.close();
});
