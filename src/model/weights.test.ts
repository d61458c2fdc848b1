/** Weights: three ways to reach the runtime that mean the same, and views with other values. */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { numbersFrom } from "../../test/support/selection.js";
import { openTiny, tinyFolder, tinyPrompts } from "../../test/support/tinyModel.js";
import { type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { type ClampValue, type Model, open, set } from "./index.js";

const { A, B, C } = tinyPrompts;
const logitsOf = async (model: Model) => (await model.record([A, C, B], "logits")).sites.logits as Tensor;
const distance = (a: Tensor, b: Tensor) => worstRow(a, b).error;
const transposed = ({ shape, data }: Tensor<"float32">) => {
  const [rows = 0, columns = 0] = shape;
  return tensorOf(
    "float32",
    [columns, rows],
    numbersFrom(data.length, (i) => data[(i % rows) * columns + Math.floor(i / rows)] as number),
  );
};

describe("modes", () => {
  it.each(["llama-gqa", "llama-tied", "gpt2"])("give the same logits and the same tokens (%s)", async (name) => {
    const mapped = await openTiny(name);
    const wanted = await logitsOf(mapped);
    const greedy = (await mapped.generateAll([A, C, B], { maxTokens: 8 })).map(({ ids }) => ids);
    for (const weights of ["fed", "baked"] as const) {
      const model = await openTiny(name, { weights });
      // kernels differ by how a weight is laid out: 4e-6 on one product
      expect(distance(await logitsOf(model), wanted), weights).toBeLessThan(1e-5);
      expect((await model.generateAll([A, C, B], { maxTokens: 8 })).map(({ ids }) => ids)).toEqual(greedy);
      expect(await model.weights.get("finalNorm.weight")).toEqual(await mapped.weights.get("finalNorm.weight"));
    }
  });

  it.each(["mapped", "fed", "baked"] as const)("take replaced weights and clamps alike (%s)", async (weights) => {
    const model = await openTiny("llama-gqa", { weights });
    const zeros = new Float32Array(40 * 24);
    const view = model.withWeights({ "layers.1.mlp.down.weight": zeros }).with(set("layers.0.mlp.out", 0));
    const { sites } = await view.record(A, ["layers.1.mlp.out", "layers.0.mlp.out"]);
    for (const value of Object.values(sites)) expect(toNumbers(value).every((x) => x === 0)).toBe(true);
    const steps = await view.generate(C, { maxTokens: 3, logits: true });
    const again = await (await openTiny())
      .with(set("layers.0.mlp.out", 0), set("layers.1.mlp.out", 0))
      .generate(C, { maxTokens: 3, logits: true });
    steps.logits?.forEach((step, i) => {
      expect(distance(step, again.logits?.[i] as Tensor)).toBeLessThan(1e-5);
    });
  });

  it("are three", async () => {
    await expect(open(`${tinyFolder}llama-gqa`, { weights: "near" as never })).rejects.toThrow(
      'weights must be mapped, fed or baked, not "near"',
    );
  });
});

describe("withWeights", () => {
  let model: Model;
  let plain: Tensor;
  beforeAll(async () => {
    model = await openTiny();
    plain = await logitsOf(model);
  });

  it("replaces a weight in that view alone, and shows it", async () => {
    const doubled = (await model.weights.get("finalNorm.weight")).data.map((x) => 2 * x);
    const view = model.withWeights({ "finalNorm.weight": doubled });
    expect((await view.weights.get("finalNorm.weight")).data).toEqual(doubled);
    const wanted = tensorOf(
      "float32",
      plain.shape,
      toNumbers(plain).map((x) => 2 * x),
    );
    expect(distance(await logitsOf(view), wanted)).toBeLessThan(1e-6); // doubling is exact, its order in sums is not
    expect(await logitsOf(model)).toEqual(plain);
    expect((await model.weights.get("finalNorm.weight")).data).not.toEqual(doubled);
  });

  it("gives the same logits for the model's own values", async () => {
    const own: Record<string, Tensor> = {};
    for (const name of model.weights.shapes.keys()) own[name] = await model.weights.get(name);
    expect(distance(await logitsOf(model.withWeights(own)), plain)).toBeLessThan(1e-5); // fed against mapped
  });

  it("adds to what an earlier view replaced, the last value of a name winning", async () => {
    const down = "layers.0.mlp.down.weight";
    const zeros = new Float32Array(40 * 24);
    const [first, second] = ["finalNorm.weight", down];
    const ones = numbersFrom(24, () => 1);
    const chained = model
      .withWeights({ [first]: numbersFrom(24, () => 5) })
      .withWeights({ [second]: zeros })
      .withWeights({ [first]: ones });
    expect(await logitsOf(chained)).toEqual(await logitsOf(model.withWeights({ [first]: ones, [second]: zeros })));
  });

  it.each<[string, Record<string, ClampValue>, string]>([
    [
      "an unknown name",
      { "layers.0.mlp.downs.weight": 1 },
      'the model has no weight "layers.0.mlp.downs.weight"; the nearest are layers.0.mlp.down.weight',
    ],
    ["too few values", { "finalNorm.weight": [1, 2] }, "finalNorm.weight has shape [24]; the values given have [2]"],
    ["a number", { "finalNorm.weight": 1 }, "finalNorm.weight has shape [24]; the values given have []"],
    [
      "another shape of as many",
      { "layers.0.mlp.down.weight": tensorOf("float32", [24, 40], new Array(960).fill(0)) },
      "has shape [40, 24]; the values given have [24, 40]",
    ],
    [
      "a value that is not finite",
      { "finalNorm.weight": numbersFrom(24, (i) => (i === 3 ? Number.NaN : 1)) },
      "the value for finalNorm.weight is NaN at element 3; it must be finite",
    ],
    [
      "half precision",
      { "finalNorm.weight": { dtype: "float16", shape: [24], data: new Uint16Array(24) } },
      "widen it to float32 first",
    ],
  ])("refuses %s", (_, weights, message) => {
    expect(() => model.withWeights(weights)).toThrow(message);
  });

  it("names the nearest for a weight that is asked for", async () => {
    await expect(model.weights.get("finalNorm.bias")).rejects.toThrow(
      'the model has no weight "finalNorm.bias"; the nearest are finalNorm.weight',
    );
  });
});

describe("a tied model", () => {
  let model: Model;
  let embed: Tensor<"float32">;
  beforeAll(async () => {
    model = await openTiny("llama-tied");
    const own = await model.weights.get("embed.weight");
    embed = tensorOf(
      "float32",
      own.shape,
      numbersFrom(own.data.length, (i) => Math.sin(i + 1) / 5),
    );
  });

  it("sets the unembedding with the embedding, and the other way round", async () => {
    const unembed = transposed(embed);
    const [one, other] = [
      model.withWeights({ "embed.weight": embed }),
      model.withWeights({ "unembed.weight": unembed }),
    ];
    expect(await one.weights.get("unembed.weight")).toEqual(unembed);
    expect(await other.weights.get("embed.weight")).toEqual(embed);
    expect(await logitsOf(one)).toEqual(await logitsOf(other));
    const { sites } = await one.record(B, ["embed", "finalNorm", "logits"]);
    const width = embed.shape[1] as number;
    expect((sites.embed as Tensor).data.slice(0, width)).toEqual(
      embed.data.slice((B[0] as number) * width, ((B[0] as number) + 1) * width),
    );
    const norm = toNumbers(sites.finalNorm as Tensor).slice(0, width);
    const score = (id: number) => norm.reduce((sum, x, i) => sum + x * (embed.data[id * width + i] as number), 0);
    expect((sites.logits as Tensor).data[7]).toBeCloseTo(score(7), 5); // a float32 sum
  });

  it("takes both as they are where both are given", async () => {
    const own = await model.weights.get("unembed.weight");
    const view = model.withWeights({ "embed.weight": embed, "unembed.weight": own });
    expect(await view.weights.get("unembed.weight")).toEqual(own);
    expect(await view.weights.get("embed.weight")).toEqual(embed);
  });

  it("is not what an untied model is", async () => {
    const untied = await openTiny();
    const own = await untied.weights.get("unembed.weight");
    const view = untied.withWeights({ "embed.weight": new Float32Array(61 * 24) });
    expect(await view.weights.get("unembed.weight")).toEqual(own);
  });
});
