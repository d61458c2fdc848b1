/**
 * The decoder against its reference implementation (PyTorch transformers) on tiny random checkpoints: every canonical site,
 * in one prompt and in a padded batch; clamps at every site, in prefill, batch and decode; greedy generation.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  add,
  type Clamp,
  type Model,
  mean,
  open,
  patch,
  project,
  type Recording,
  readSafetensors,
  scale,
  set,
  zero,
} from "../src/model/index.js";
import { row, type Tensor, tensor } from "../src/runtime/index.js";
import { worstRow } from "./support/agreement.js";

const folder = new URL("./fixtures/models/", import.meta.url).pathname;

/** Float32 sums in another order than PyTorch's, through at most three layers of norm-scaled values. */
const tolerance = 1e-4;

interface Case {
  readonly prompts: Record<string, number[]>;
  readonly batch: { rows: string[]; lengths: number[] };
  readonly sites: string[];
  readonly greedy: Record<string, { ids: number[]; gaps: number[] }>;
  readonly edits: {
    prefill: { prompt: string; position: number; logitsFrom: number; sites: Record<string, unknown> };
    batch: { rows: string[]; row: number; position: number; logitsFrom: number; sites: Record<string, unknown> };
    decode: {
      prompt: string;
      length: number;
      position: number;
      steps: number;
      sites: Record<string, { ids: number[]; gaps: number[] }>;
    };
  };
  readonly clamps: {
    name: string;
    run: string;
    prompt?: string;
    rows?: string[];
    length?: number;
    steps?: number;
    ids?: number[];
    clamps: { site: string; do: string; value?: number | string }[];
  }[];
}

const models = ["llama-gqa", "llama-tied", "llama-sharded", "gpt2", "gpt2-odd"];

describe.each(models)("%s", (name) => {
  const cases = JSON.parse(readFileSync(`${folder}${name}/cases.json`, "utf8")) as Case;
  const prompts = cases.batch.rows.map((key) => cases.prompts[key] as number[]);
  let model: Model;
  let reference: Record<string, Tensor>;
  let edits: Record<string, Tensor>;

  beforeAll(async () => {
    model = await open(`${folder}${name}`, { threads: 1 });
    reference = (await readSafetensors(`${folder}${name}/reference.safetensors`)).tensors;
    edits = (await readSafetensors(`${folder}${name}/edits.safetensors`)).tensors;
  });
  afterAll(() => model.close());

  /** Fixtures leave out sites that are another name of a value they hold. */
  const stored = (tensors: Record<string, Tensor>, key: string): Tensor | undefined => {
    const [run, site] = [key.slice(0, key.indexOf("/") + 1), key.slice(key.indexOf("/") + 1)];
    const layer = /^layers\.(\d+)\.residPre$/.exec(site)?.[1];
    const twin = layer === undefined ? site : layer === "0" ? "embed" : `layers.${Number(layer) - 1}.residPost`;
    return tensors[key] ?? tensors[run + twin];
  };

  const compareAll = (recording: Recording, run: string) => {
    const worst = cases.sites.map((site) => {
      const wanted = stored(reference, `${run}/${site}`);
      if (wanted === undefined) throw new Error(`the fixture lacks ${run}/${site}`);
      return { site, ...worstRow(recording.sites[site] as Tensor, wanted) };
    });
    expect(worst.filter(({ error }) => !(error <= tolerance))).toEqual([]);
  };

  it("has exactly the reference's sites", () => {
    expect(
      model
        .sites()
        .map((site) => site.name)
        .sort(),
    ).toEqual([...cases.sites].sort());
  });

  it.each(["A", "B"])("agrees at every site in prompt %s", async (prompt) => {
    compareAll(await model.record(cases.prompts[prompt] as number[], "**"), `prefill.${prompt}`);
  });

  it("agrees at every site in a left-padded batch, padding zeroed", async () => {
    compareAll(await model.record(prompts, "**"), "batch");
  });

  it("agrees when it records only a few sites", async () => {
    const recording = await model.record(cases.prompts.A as number[], ["layers.0.attn.pattern", "layers.1.residPost"]);
    expect(Object.keys(recording.sites)).toEqual(["layers.0.attn.pattern", "layers.1.residPost"]);
    for (const [site, value] of Object.entries(recording.sites)) {
      expect(worstRow(value, stored(reference, `prefill.A/${site}`) as Tensor).error).toBeLessThan(tolerance);
    }
  });

  it("continues greedily as the uncached reference does, alone and in a batch", async () => {
    const options = { maxTokens: 12 };
    const batch = await model.generateAll(prompts, options);
    for (const [r, key] of cases.batch.rows.entries()) {
      const { ids, gaps } = cases.greedy[key] as { ids: number[]; gaps: number[] };
      expect(Math.min(...gaps)).toBeGreaterThan(1e-4); // no ties: tokens must be equal
      expect((await model.generate(prompts[r] as number[], options)).ids).toEqual(ids);
      expect(batch[r]?.ids).toEqual(ids);
    }
  });

  const clampable = cases.sites.filter((site) => !site.endsWith("attn.result"));

  /** Noise at one position; for attention, at one query over the keys that it sees. */
  const noiseClamp = (site: string, noise: Tensor, position: number, rowSuffix = ":"): Clamp => {
    const attention = /\.(scores|pattern)$/.test(site);
    return attention
      ? add(`${site}[${rowSuffix}, :, ${position}, 0:${position + 1}]`, noise)
      : add(`${site}[${rowSuffix}, ${position}]`, noise);
  };

  it.each(clampable)("clamps %s in prefill", async (site) => {
    const { position, logitsFrom, prompt } = cases.edits.prefill;
    const noise = stored(edits, `edits.prefill/${site}/noise`) ?? (edits[`edits.prefill/${site}/noise`] as Tensor);
    const view = model.with(noiseClamp(site, noise, position));
    const { sites } = await view.record(cases.prompts[prompt] as number[], `logits[0, ${logitsFrom}:]`);
    const wanted = edits[`edits.prefill/${site}/logits`] as Tensor;
    const plain = await model.record(cases.prompts[prompt] as number[], `logits[0, ${logitsFrom}:]`);
    const name = `logits[0, ${logitsFrom}:]`;
    expect(worstRow(sites[name] as Tensor, wanted).error).toBeLessThan(tolerance);
    expect(worstRow(plain.sites[name] as Tensor, wanted).error).toBeGreaterThan(100 * tolerance);
  });

  it.each(clampable)("clamps %s in one row of a padded batch", async (site) => {
    const { position, row: index, logitsFrom, rows } = cases.edits.batch;
    const batch = rows.map((key) => cases.prompts[key] as number[]);
    const noise = edits[`edits.batch/${site}/noise`] as Tensor;
    const name = `logits[${index}, ${logitsFrom}:]`;
    const { sites } = await model.with(noiseClamp(site, noise, position, `${index}`)).record(batch, [name, "logits"]);
    expect(worstRow(sites[name] as Tensor, edits[`edits.batch/${site}/logits`] as Tensor).error).toBeLessThan(
      tolerance,
    );
    const others = rows.map((_, r) => r).filter((r) => r !== index);
    for (const r of others)
      expect(worstRow(row(sites.logits as Tensor, r), row(reference["batch/logits"] as Tensor, r)).error).toBeLessThan(
        tolerance,
      );
  });

  it.each(clampable)("clamps %s in decode", async (site) => {
    const { position, length, steps, prompt, sites } = cases.edits.decode;
    const noise = edits[`edits.decode/${site}/noise`] as Tensor;
    const view = model.with(noiseClamp(site, noise, position));
    const result = await view.generate((cases.prompts[prompt] as number[]).slice(0, length), {
      maxTokens: steps,
      logits: true,
    });
    const wanted = sites[site] as { ids: number[]; gaps: number[] };
    expect(Math.min(...wanted.gaps)).toBeGreaterThan(1e-4);
    expect(result.ids).toEqual(wanted.ids);
    const logits = edits[`edits.decode/${site}/logits`] as Tensor;
    result.logits?.forEach((step, i) => {
      expect(worstRow(step, row(logits, i)).error).toBeLessThan(tolerance);
    });
  });

  const makeClamp = ({ site, do: kind, value }: { site: string; do: string; value?: number | string }): Clamp => {
    const operand = typeof value === "string" ? (edits[value] as Tensor) : (value ?? 0);
    const makers: Record<string, () => Clamp> = {
      scale: () => scale(site, operand),
      add: () => add(site, operand),
      set: () => set(site, operand),
      patch: () => set(site, operand),
      mean: () => set(site, operand),
      zero: () => zero(site),
      project: () => project(site, operand),
    };
    return (makers[kind] as () => Clamp)();
  };

  it.each(cases.clamps.filter(({ run }) => run !== "decode"))(
    "composes clamps: $name",
    async ({ name: key, prompt, rows, clamps }) => {
      const view = model.with(...clamps.map(makeClamp));
      const batch =
        rows === undefined
          ? [cases.prompts[prompt as string] as number[]]
          : rows.map((r) => cases.prompts[r] as number[]);
      const { sites } = await view.record(batch, "logits");
      const wanted = edits[`clamps/${key}/logits`] as Tensor;
      const logits = sites.logits as Tensor;
      expect(worstRow(rows === undefined ? row(logits, 0) : logits, wanted).error).toBeLessThan(tolerance);
    },
  );

  it.each(cases.clamps.filter(({ run }) => run === "decode"))(
    "keeps clamps in force while generating: $name",
    async ({ name: key, prompt, length, steps, ids, clamps }) => {
      const view = model.with(...clamps.map(makeClamp));
      const result = await view.generate((cases.prompts[prompt as string] as number[]).slice(0, length), {
        maxTokens: steps as number,
        logits: true,
      });
      expect(result.ids).toEqual(ids);
      result.logits?.forEach((step, i) => {
        expect(worstRow(step, row(edits[`clamps/${key}/logits`] as Tensor, i)).error).toBeLessThan(tolerance);
      });
    },
  );

  it("changes nothing when a site is set to its own recorded value", async () => {
    const recording = await model.record(prompts, "**");
    for (const site of clampable) {
      const { sites } = await model.with(patch(site, recording)).record(prompts, "logits");
      expect(worstRow(sites.logits as Tensor, recording.sites.logits as Tensor).error, site).toBeLessThan(1e-5);
    }
  });

  it("gives another prompt's logits when its last residual stream is patched in", async () => {
    const { A, B } = cases.prompts as { A: number[]; B: number[] };
    const last = `layers.${model.config.layers - 1}.residPost`;
    const source = await model.record(B, [last, "logits"]);
    const { sites } = await model.with(patch(`${last}[:, -1]`, source)).record(A, "logits[:, -1]");
    const wanted = row(row(source.sites.logits as Tensor, 0), -1);
    expect(worstRow(row(sites["logits[:, -1]"] as Tensor, 0), wanted).error).toBeLessThan(tolerance);
  });

  it("takes the mean of a recording", async () => {
    const recording = await model.record(cases.prompts.A as number[], "layers.0.mlp.out");
    const { sites } = await model
      .with(mean("layers.0.mlp.out", recording))
      .record(cases.prompts.A as number[], "layers.0.mlp.out");
    const value = sites["layers.0.mlp.out"] as Tensor;
    const first = row(row(value, 0), 0);
    for (let s = 1; s < 9; s++) expect(row(row(value, 0), s).data).toEqual(first.data);
  });
});

it("reads tensors that a test can compare", () => {
  const a = tensor("float32", [2, 2], Float32Array.of(3, 4, 0, 5));
  const b = tensor("float32", [2, 2], Float32Array.of(3, 4, 0, 10));
  expect(worstRow(a, b)).toEqual({ error: 0.5, row: 1 });
});
