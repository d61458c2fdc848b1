/**
 * Gradients of models against PyTorch's on the tiny checkpoints: at every canonical site, in one prompt, in a left-padded
 * batch and with clamps in force; checkpoints, parts and values before clamps; a step along a gradient; wrong uses.
 */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { gather, mul, reduceSum, tanh } from "../src/graph/index.js";
import { add, type Clamp, clamp, type Gradients, type Model, readSafetensors, recordedRow, scale, set } from "../src/model/index.js";
import { row, type Tensor, tensorOf, toNumbers } from "../src/runtime/index.js";
import { worstGradient } from "./networks/compare.js";
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
  let models: Record<Run, Model>;
  let sites: string[];

  const makeClamp = ({ site, do: kind, value }: ClampCase): Clamp => {
    if (kind === "tanh") return clamp(site, tanh);
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

  /** The worst error of every row and site that is not within `limit`. */
  const far = (found: Gradients, run: Run, keys: readonly string[], at = sites, limit = tolerance) =>
    at.flatMap((site) =>
      keys.flatMap((key, r) => {
        const worst = worstGradient(recordedRow(found, site, r), wanted(run, key, site));
        return worst.error <= limit ? [] : [{ site, prompt: key, ...worst }];
      }),
    );

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
  });
});
