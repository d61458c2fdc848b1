/**
 * Whole networks written with the table of operations (networks/), against the same in PyTorch: values of every named site,
 * and gradients at inputs, at sites and of every weight.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, mul, reduceSum, type Value } from "../src/graph/index.js";
import {
  createNetwork,
  type Network,
  type NetworkCall,
  type NetworkContext,
  readSafetensors,
} from "../src/model/index.js";
import {
  createRuntime,
  elementCount,
  normals,
  type Tensor,
  tensor,
  tensorOf,
  toNumbers,
} from "../src/runtime/index.js";
import { bert } from "./networks/bert.js";
import { denoiser } from "./networks/denoiser.js";
import type { NetworkForm } from "./networks/layers.js";
import { lstm } from "./networks/lstm.js";
import { mixture } from "./networks/mixture.js";
import { resNet } from "./networks/resNet.js";
import { uNet } from "./networks/uNet.js";
import { vit } from "./networks/vit.js";
import { sketch } from "./support/sketch.js";

/** Every network is written here; GPT-2 and Llama are the project's own decoder (agreement.test.ts, gradients.test.ts). */
const forms: Readonly<Record<string, NetworkForm>> = {
  resNet: resNet(false),
  resNetTraining: resNet(true),
  vit,
  bert,
  mixture,
  uNet,
  lstm,
  denoiser,
};

/** Float32 against PyTorch's float64 through at most a dozen layers; a sketch's estimate is within 18%. */
const tolerance = 1e-4;

interface Numbers {
  readonly shape: readonly number[];
  readonly stream?: number;
  readonly shift?: number;
  readonly scale?: number;
  readonly values?: readonly number[];
}
interface NetworkCase {
  readonly weights: Readonly<Record<string, Numbers>>;
  readonly inputs: Readonly<Record<string, Numbers>>;
  readonly sites: readonly string[];
  readonly outputs: readonly string[];
  readonly loss: number;
}

const folder = new URL("./fixtures/gradients/", import.meta.url).pathname;
const { seed, networks } = JSON.parse(readFileSync(`${folder}networks.json`, "utf8")) as {
  seed: number;
  networks: Record<string, NetworkCase>;
};
const { tensors } = await readSafetensors(`${folder}networks.safetensors`);

/** Numbers as the fixture states them: whole ones, or float32 ones of a seeded stream. */
function made({ shape, stream = 0, shift = 0, scale = 1, values }: Numbers): Tensor {
  if (values !== undefined) return tensorOf("int64", shape, values);
  const [factor, offset] = [Math.fround(scale), Math.fround(shift)];
  const numbers = normals(elementCount(shape), seed, stream).map((x) => Math.fround(factor * x) + offset);
  return tensor("float32", shape, numbers);
}

const allMade = (given: Readonly<Record<string, Numbers>>) =>
  Object.fromEntries(Object.entries(given).map(([name, numbers]) => [name, made(numbers)]));

const norm = (values: Float64Array) => Math.hypot(...values);

/** The distance of a tensor from the fixture's, which may be a sketch, and the norm of the latter. */
function distance(own: Tensor, key: string): { difference: number; norm: number } {
  const whole = tensors[key];
  const reference = toNumbers((whole ?? tensors[`${key} (sketch)`]) as Tensor);
  if (whole !== undefined) {
    if (own.shape.join() !== whole.shape.join())
      throw new Error(`${key} is [${own.shape.join()}], PyTorch's [${whole.shape.join()}]`);
    const values = toNumbers(own);
    return { difference: norm(values.map((x, i) => x - (reference[i] as number))), norm: norm(reference) };
  }
  const projected = sketch(toNumbers(own));
  const last = reference.length - 1;
  const squares = reference.subarray(0, last).map((x, p) => (x - (projected[p] as number)) ** 2);
  return { difference: Math.sqrt(squares.reduce((a, b) => a + b, 0) / last), norm: reference[last] as number };
}

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

it("has a form for every network of the fixture", () => {
  expect(Object.keys(forms).sort()).toEqual(Object.keys(networks).sort());
});

describe.each(Object.entries(networks))("%s", (name, { weights, inputs, sites, outputs, loss }) => {
  const { build, inputs: types } = forms[name] as NetworkForm;
  const weightSites = Object.keys(weights).filter((weight) => !weight.includes("running_"));
  const factor = (output: string) => `factor of ${output}`;
  const feeds = allMade(inputs);
  outputs.forEach((output, i) => {
    const { shape } = tensors[`${name}/value/${output}`] as Tensor;
    feeds[factor(output)] = made({ shape, stream: 2000 + i });
  });
  let network: Network;

  beforeAll(() => {
    const definition = {
      weights: allMade(weights),
      // Weights are named as sites too, so that gradients can be taken at them.
      build: (context: NetworkContext) =>
        build({ ...context, weight: (weight) => context.site(`weights.${weight}`, context.weight(weight)) }),
    };
    // The factors have the outputs' own shapes, symbols included.
    const { graph } = createNetwork({ ...definition, inputs: types }, { runtime });
    const factors = outputs.map((output) => [factor(output), graph.sites.get(output) as Value] as const);
    network = createNetwork({ ...definition, inputs: { ...types, ...Object.fromEntries(factors) } }, { runtime });
  });

  /** What the fixture differentiates: the sum of every output times seeded numbers. */
  const of = ({ site }: NetworkCall): Value =>
    outputs
      .map((output) => {
        const product = mul(site(output), site(factor(output)));
        return reduceSum(product, [...product.shape.keys()]);
      })
      .reduce((a, b) => add(a, b));

  /** Names of what is further from the fixture than the tolerance. Zero in theory may be a rounding of the largest. */
  const far = (kind: "value" | "gradient", found: Readonly<Record<string, Tensor>>) => {
    const distances = Object.entries(found).map(([site, own]) => ({
      site,
      ...distance(own, `${name}/${kind}/${site}`),
    }));
    const largest = Math.max(...distances.map((entry) => entry.norm));
    return distances.filter((entry) => !(entry.difference <= tolerance * Math.max(entry.norm, 1e-2 * largest)));
  };

  it("has PyTorch's values at every named site", async () => {
    expect(far("value", await network.record(feeds, [...sites, ...outputs]))).toEqual([]);
  });

  it("has PyTorch's gradients at inputs, sites and of every weight", async () => {
    const floats = Object.keys(inputs).filter((input) => feeds[input]?.dtype === "float32");
    const at = [...new Set([...sites, ...outputs, ...floats, ...weightSites.map((weight) => `weights.${weight}`)])];
    const { value, sites: found } = await network.gradient(feeds, { of, at });
    expect(Object.keys(found)).toEqual(at);
    expect(far("gradient", found)).toEqual([]);
    expect(toNumbers(value)[0]).toBeCloseTo(loss, 3); // a sum of some hundred numbers near 1
  });
  it("is far from PyTorch's gradients where something else is differentiated", async () => {
    const other = ({ site }: NetworkCall): Value => {
      const first = site(outputs[0] as string);
      return reduceSum(mul(first, first), [...first.shape.keys()]);
    };
    const [input] = Object.keys(inputs).filter((key) => feeds[key]?.dtype === "float32");
    const at = [...sites.slice(0, 1), ...(input === undefined ? [] : [input])];
    const { sites: found } = await network.gradient(feeds, { of: other, at });
    for (const [site, own] of Object.entries(found)) {
      const { difference, norm: size } = distance(own, `${name}/gradient/${site}`);
      expect(difference, site).toBeGreaterThan(100 * tolerance * size);
    }
  });
});
