/**
 * Gradients of models against PyTorch's on the tiny checkpoints: at every canonical site, in one prompt, in a left-padded
 * batch and with clamps in force; checkpoints, parts and values before clamps; a step along a gradient; wrong uses.
 */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { argMax, cast, gradients, pow, reduceSum, tanh, type Value } from "../src/graph/index.js";
import {
  add,
  type Clamp,
  clamp,
  type Gradients,
  type Model,
  parseSite,
  readSafetensors,
  recordedRow,
  scale,
  selectRecorded,
  set,
} from "../src/model/index.js";
import { type Tensor, tensorOf, toNumbers } from "../src/runtime/index.js";
import { worstGradient } from "./networks/compare.js";
import { sketch, sketchError } from "./support/sketch.js";
import { openTiny } from "./support/tinyModel.js";

const folder = new URL("./fixtures/gradients/", import.meta.url).pathname;

/** Float32 sums in another order than PyTorch's, forward and back through at most three layers. */
const tolerance = 1e-4;

interface ClampCase {
  readonly site: string;
  readonly do: "scale" | "add" | "set" | "tanh";
  readonly value?: number | string;
}
type Run = "plain" | "clamped";
interface ModelCase {
  readonly rows: string[];
  readonly clamps: ClampCase[];
  readonly metric: Record<Run, Record<string, number>>;
}
interface Cases {
  readonly prompts: Record<string, number[]>;
  readonly tokens: readonly [number, number];
  readonly models: Record<string, ModelCase>;
}

const cases = JSON.parse(readFileSync(`${folder}tiny.json`, "utf8")) as Cases;
const { tensors } = await readSafetensors(`${folder}tiny.safetensors`);
const metric = `logit(#${cases.tokens[0]}) - logit(#${cases.tokens[1]})`;

describe.each(Object.entries(cases.models))("%s", (name, { rows, clamps, metric: values }) => {
  const prompts = rows.map((key) => cases.prompts[key] as number[]);
  const clampedSites = clamps.map(({ site }) => parseSite(site).name);
  let models: Record<Run, Model>;
  let sites: string[];

  const makeClamp = ({ site, do: kind, value }: ClampCase): Clamp => {
    if (kind === "tanh") return clamp(site, (x) => tanh(x));
    const operand = typeof value === "string" ? (tensors[`${name}/${value}`] as Tensor) : (value as number);
    return { scale, add, set }[kind](site, operand);
  };

  beforeAll(async () => {
    const plain = await openTiny(name);
    models = { plain, clamped: plain.with(...clamps.map(makeClamp)) };
    sites = plain.sites().flatMap((site) => (site.name.endsWith("attn.result") ? [] : [site.name]));
  });

  /** What PyTorch gives; residPre is another name of the stream before it. */
  const wanted = (run: Run, prompt: string, site: string): Tensor => {
    const layer = /^layers\.(\d+)\.residPre$/.exec(site)?.[1];
    const twin = layer === undefined ? site : layer === "0" ? "embed" : `layers.${Number(layer) - 1}.residPost`;
    const found = tensors[`${name}/${run}/${prompt}/${twin}`];
    if (found === undefined) throw new Error(`the fixture lacks ${run}/${prompt}/${site}`);
    return found;
  };

  /** The worst error of each row and site. */
  const errors = (found: Gradients, run: Run, keys: readonly string[], at = sites) =>
    at.flatMap((site) =>
      keys.map((prompt, r) => ({
        site,
        prompt,
        ...worstGradient(recordedRow(found, site, r), wanted(run, prompt, site)),
      })),
    );
  const far = (...given: Parameters<typeof errors>) => errors(...given).filter(({ error }) => !(error <= tolerance));

  describe.each(["plain", "clamped"] as const)("%s", (run) => {
    it("agrees at every site in a single prompt", async () => {
      const [prompt] = prompts as [number[]];
      const found = await models[run].gradient(prompt, { of: metric, at: sites });
      expect(far(found, run, rows.slice(0, 1))).toEqual([]);
      expect(found.values[0]).toBeCloseTo(values[run][rows[0] as string] as number, 4); // float32 of logits near 10
    });

    it("agrees at every site in a left-padded batch, each row by its own metric", async () => {
      const found = await models[run].gradient(prompts, { of: metric, at: sites });
      expect(far(found, run, rows)).toEqual([]);
      rows.forEach((key, r) => {
        expect(found.values[r]).toBeCloseTo(values[run][key] as number, 4);
      });
    });

    it("agrees when it is asked for one site alone, and for the same of a function", async () => {
      const own = sites.filter((site) => /^layers\.1\.(attn\.scores|residPost)|^logits|^finalNorm/.test(site));
      for (const site of own)
        expect(far(await models[run].gradient(prompts, { of: metric, at: site }), run, rows, [site])).toEqual([]);
      const of = ({ metric: read }: { metric: (text: string) => Value }) => reduceSum(read(metric), 0);
      expect(far(await models[run].gradient(prompts, { of, at: own }), run, rows, own)).toEqual([]);
    });
  });

  it("agrees at values before clamps", async () => {
    const at = clampedSites.map((site) => `${site}@before`);
    expect(far(await models.clamped.gradient(prompts, { of: metric, at }), "clamped", rows, at)).toEqual([]);
    const { sites: found } = await models.clamped.gradient(prompts, { of: metric, at: [...at, ...clampedSites] });
    for (const { site, do: kind } of clamps.filter(({ do: kind }) => kind === "scale" || kind === "tanh")) {
      const after = found[parseSite(site).name] as Tensor;
      expect(worstGradient(found[`${parseSite(site).name}@before`] as Tensor, after).error, kind).toBeGreaterThan(0.1);
    }
  });

  it("is far from the gradient of another metric, and from the one without the clamps", async () => {
    const other = await models.plain.gradient(prompts, { of: `logit(#${cases.tokens[0]})`, at: sites });
    expect(errors(other, "plain", rows).filter(({ error }) => error < 100 * tolerance)).toEqual([]);
    const upstream = sites.filter((site) => site.startsWith("layers.0.") && !site.includes("attn.v"));
    const plain = await models.plain.gradient(prompts, { of: metric, at: upstream });
    expect(errors(plain, "clamped", rows, upstream).filter(({ error }) => error < 100 * tolerance)).toEqual([]);
  });

  it("gives the same gradients from checkpoints", async () => {
    const kept = await models.clamped.gradient(prompts, { of: metric, at: sites });
    const recomputed = await models.clamped.gradient(prompts, {
      of: metric,
      at: sites,
      checkpoint: "layers.*.residPost",
    });
    for (const site of sites) {
      // A checkpoint is read whole, so the last layer's products are of all rows and not of one: float32 sums in another
      // order, up to 3e-6 of a row here (as with weights in another layout).
      expect(worstGradient(recomputed.sites[site] as Tensor, kept.sites[site] as Tensor).error, site).toBeLessThan(
        1e-5,
      );
    }
    // float32 of a number below 10
    for (const [row, value] of recomputed.values.entries()) expect(value).toBeCloseTo(kept.values[row] as number, 4);
  });

  it("gives parts of gradients", async () => {
    const parts = [
      "layers.0.residPost[:, -1]",
      "layers.0.residPost[:, 1:3, 5]",
      "layers.1.attn.z[0, :, 1]",
      "layers.1.attn.pattern[:, 1, -1, 0:2]",
      "layers.0.attn.z@before[:, 2]",
    ];
    const whole = await models.clamped.gradient(prompts, { of: metric, at: parts.map((part) => parseSite(part).name) });
    const found = await models.clamped.gradient(prompts, { of: metric, at: parts });
    expect(Object.keys(found.sites)).toEqual(parts);
    for (const part of parts) {
      const cut = selectRecorded(whole, parseSite(part));
      expect(Math.max(...toNumbers(cut).map(Math.abs)), part).toBeGreaterThan(0);
      expect(found.sites[part]?.shape).toEqual(cut.shape);
      expect(worstGradient(found.sites[part] as Tensor, cut).error, part).toBeLessThan(1e-6);
    }
  });

  it("agrees at every weight, by a function traced on top of the model", async () => {
    const names = [...models.plain.weights.shapes.keys()];
    const [prompt] = prompts as [number[]];
    const found = await models.plain.compute(prompt, (context) => {
      const slopes = gradients(reduceSum(context.metric(metric), 0), names.map(context.weight));
      return Object.fromEntries(names.map((weight, i) => [`slope of ${weight}`, slopes[i] as Value]));
    });
    const numbers = new Map(names.map((weight) => [weight, toNumbers(found[`slope of ${weight}`] as Tensor)]));
    const { tied, width, vocabulary } = models.plain.config;
    if (tied) {
      const [embed, unembed] = ["embed.weight", "unembed.weight"].map((key) => numbers.get(key) as Float64Array);
      numbers.set(
        "embed.weight",
        (embed as Float64Array).map((x, i) => {
          const [token, channel] = [Math.floor(i / width), i % width];
          return x + ((unembed as Float64Array)[channel * vocabulary + token] as number);
        }),
      );
      numbers.delete("unembed.weight");
    }
    const prefix = `${name}/weights/`;
    const wanted = Object.keys(tensors).filter((key) => key.startsWith(prefix));
    expect([...numbers.keys()].sort()).toEqual(wanted.map((key) => key.slice(prefix.length)).sort());
    const worst = [...numbers].map(([weight, own]) => {
      const reference = toNumbers(tensors[prefix + weight] as Tensor);
      return { weight, error: sketchError(sketch(own), reference), norm: reference.at(-1) as number };
    });
    // The bias of keys moves all scores of a query alike, so its gradient is a rounding of zero.
    const largest = Math.max(...worst.map(({ norm }) => norm));
    expect(worst.filter(({ error, norm }) => !(error * norm <= tolerance * Math.max(norm, 1e-3 * largest)))).toEqual(
      [],
    );
  });

  it("predicts what a small step against it does to the metric", async () => {
    const [prompt] = prompts as [number[]];
    const site = "layers.0.residPost[:, 1]";
    const gradient = (await models.clamped.gradient(prompt, { of: metric, at: site })).sites[site] as Tensor;
    const slope = toNumbers(gradient).reduce((sum, x) => sum + x * x, 0);
    /** The metric half a step to either side: what is of second order in the step cancels. */
    const fall = async (size: number) => {
      const [up, down] = await Promise.all(
        [size / 2, -size / 2].map(async (half) => {
          const step = tensorOf(
            "float32",
            gradient.shape.slice(1),
            toNumbers(gradient).map((x) => x * half),
          );
          const { metric: value } = await models.clamped
            .with(add(site, step))
            .compute(prompt, (context) => ({ metric: context.metric(metric) }));
          return toNumbers(value as Tensor)[0] as number;
        }),
      );
      return (up as number) - (down as number);
    };
    // The change predicted is `share` of a unit of the metric. Float32 leaves 1e-6 of logits near 10 in the difference;
    // the third derivative leaves an error that grows with the square of the step.
    const errors = [];
    for (const share of [0.1, 0.03, 0.01]) errors.push(Math.abs((await fall(share / slope)) / share - 1));
    expect(errors[1]).toBeLessThan(0.01);
    expect(errors[2]).toBeLessThan(5e-3);
  });
});

describe("wrong uses", () => {
  const prompt = cases.prompts.A as number[];
  let model: Model;
  beforeAll(async () => {
    model = await openTiny("llama-gqa");
  });

  it.each([
    ["layers.0.attn.result", metric, /layers\.0\.attn\.result.*computed aside.*attn\.z or attn\.out/],
    ["layers.2.attn.q", "layers.1.mlp.act[:, -1, 3]", /does not depend on layers\.2\.attn\.q.*an earlier site/],
    ["layers.1.mlp.act", "layers.1.mlp.act[:, -1, 400]", /index 400 of the metric's layers\.1\.mlp\.act.*: 40/],
    ["layers.9.residPost", metric, /layers\.9\.residPost.*layers/],
    ["embed", "logit(#999)", /999/],
    ["embed", "logit(#7)[40]", /position 40 of logits is out of range: the prompt has 9 tokens/],
    ["embed", "layers.1.mlp.act[:, -1]", /one element.*1 indices more/],
  ])("says what is wrong at %s of %s", async (at, of, message) => {
    await expect(model.gradient(prompt, { of, at })).rejects.toThrow(message);
  });

  it("says that a metric is one number a row", async () => {
    const message = /one number a row, shape \[batch\] or \[\]; this one has shape \[batch, 61\].*reduceSum/;
    await expect(model.gradient(prompt, { of: ({ last }) => last("logits"), at: "embed" })).rejects.toThrow(message);
  });

  it("says that whole numbers carry no gradient", async () => {
    const of = ({ last }: { last: (site: string) => Value }) => cast(argMax(last("logits"), 1), "float32");
    await expect(model.gradient(prompt, { of, at: "embed" })).rejects.toThrow(/does not depend on embed/);
  });

  it("refuses to hold more than it may, and a part as a checkpoint", async () => {
    const options = { of: metric, at: "layers.*.residPost" };
    await expect(model.gradient(prompt, { ...options, maxBytes: 100 })).rejects.toThrow(/2592 bytes.*maxBytes/);
    await expect(model.gradient(prompt, { ...options, checkpoint: "embed[:, 1]" })).rejects.toThrow(
      /"embed\[:, 1\]" selects a part: a checkpoint keeps a whole site/,
    );
  });

  it("tells a gradient that is nothing from one that is zero", async () => {
    // Position 2 of the metric sees nothing later: the gradient there is zero, and the site is still connected.
    const { sites } = await model.gradient(prompt, { of: "2 * layers.1.residPost[:, 2, 0]", at: "embed" });
    const norms = Array.from({ length: 9 }, (_, s) =>
      Math.hypot(...toNumbers(sites.embed as Tensor).subarray(24 * s, 24 * (s + 1))),
    );
    expect(norms.map((x) => x > 0)).toEqual([true, true, true, ...Array(6).fill(false)]);
  });

  it("differentiates a function that no text says", async () => {
    // The derivative of the sum of squares is twice the value.
    const site = "layers.1.residPost";
    const of = ({ site: read }: { site: (name: string) => Value }) => reduceSum(pow(read(site), 2), [1, 2]);
    const { sites, values } = await model.gradient(prompt, { of, at: site });
    const recorded = (await model.record(prompt, site)).sites[site] as Tensor;
    const twice = tensorOf(
      "float32",
      recorded.shape,
      toNumbers(recorded).map((x) => 2 * x),
    );
    expect(worstGradient(sites[site] as Tensor, twice).error).toBeLessThan(1e-6);
    expect(values[0]).toBeCloseTo(
      toNumbers(recorded).reduce((sum, x) => sum + x * x, 0),
      2,
    );
  });
});
