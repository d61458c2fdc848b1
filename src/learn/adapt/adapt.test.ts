/** What holds of every adapter: nothing changes before training, what is frozen stays, gradients are derivatives. */
import { describe, expect, it } from "vitest";
import { openTiny, scratch } from "../../../test/support/tinyModel.js";
import { cast, evaluate, type Graph, type Value } from "../../graph/index.js";
import type { Tokenizer } from "../../model/index.js";
import { random, type Tensor, tensor, toNumbers } from "../../runtime/index.js";
import { adamW, sgd } from "../optimizers/index.js";
import { train } from "../train.js";
import {
  type Adapter,
  type AdapterConfig,
  applyAdapter,
  combineAdapters,
  createAdapter,
  exampleBatches,
  exampleRows,
  languageModelStep,
  loraPlus,
  orderedBatches,
  readAdapter,
  type TokenRow,
  writeAdapter,
} from "./index.js";

/** Rows that repeat a few tokens: something to learn. */
const rows: TokenRow[] = Array.from({ length: 6 }, (_, i) => {
  const ids = Array.from({ length: 9 }, (_, k) => 5 + ((i + k) % 3) * 7);
  return { ids, counted: ids.map((_, k) => k > i) };
});
const batch = { size: 4, context: 8 };
const data = exampleBatches(rows, { ...batch, seed: 3 });

/** An adapter whose tensors have moved off their start. */
function moved({ config, tensors }: Adapter, size = 0.1): Adapter {
  const draw = random(9);
  const changed = Object.entries(tensors).map(([name, x]) => {
    const own = name.endsWith(".squares") ? x.data : x.data.map((value) => value + size * draw.normal());
    return [name, tensor("float32", x.shape, Float32Array.from(own))] as const;
  });
  return { config, tensors: Object.fromEntries(changed) };
}

const distanceOf = (a: Float32Array, b: Float32Array) => Math.max(...a.map((x, k) => Math.abs(x - (b[k] as number))));

/** A loss in float64, so that its rounding does not swallow a small difference. */
const exact = (graph: Graph): Graph => ({
  ...graph,
  outputs: new Map([["loss", cast(graph.outputs.get("loss") as Value, "float64")]]),
});

const configs: Record<string, AdapterConfig> = {
  lora: { kind: "lora", rank: 2, alpha: 4 },
  "rank-stabilised lora": { kind: "lora", rank: 3, alpha: 4, rankStabilised: true, targets: "layers.*.attn.*.weight" },
  dora: { kind: "lora", rank: 2, alpha: 4, magnitude: true, targets: ["layers.*.attn.o", "layers.1.mlp.up"] },
  ia3: { kind: "ia3", targets: ["layers.*.attn.k", "layers.*.attn.v", "layers.*.mlp.down"] },
  vera: { kind: "vera", rank: 4, targets: "layers.*.mlp.*" },
  weights: { kind: "weights", targets: ["layers.0.mlp.up.weight", "finalNorm.weight"] },
  biases: { kind: "weights", targets: "**.bias" },
};

describe.each(Object.entries(configs))("%s", (name, config) => {
  const modelName = name === "biases" ? "gpt2" : "llama-gqa";

  it("changes nothing before it is trained, bit for bit, in the step and in the view", async () => {
    const model = await openTiny(modelName);
    const adapter = await createAdapter(model, config);
    const options = { batch, optimizer: adamW() };
    const none = { config: { kind: "weights", targets: "embed.weight" } as const, tensors: {} };
    const plain = await createAdapter(model, none.config);
    const loss = (own: Adapter) =>
      languageModelStep(model, { ...options, adapter: own }).evaluate(own.tensors, [data(0)]);
    expect(await loss(adapter)).toBe(await loss(plain));
    expect(await loss(moved(adapter))).not.toBe(await loss(plain));
    const view = await applyAdapter(model, adapter);
    for (const [weight, value] of view.weights.replaced) {
      const first = (await model.weights.get(weight)).data;
      // DoRA divides columns by their length and multiplies by it: their last bits may change.
      if (name === "dora") expect(distanceOf(value.data as Float32Array, first), weight).toBeLessThan(1e-6);
      else expect(value.data, weight).toEqual(first);
    }
  });

  it("has the same loss in the step as the view that it becomes", async () => {
    const model = await openTiny(modelName);
    const adapter = moved(await createAdapter(model, config));
    const inStep = await languageModelStep(model, { adapter, batch, optimizer: adamW() }).evaluate(adapter.tensors, [
      data(0),
    ]);
    const view = await applyAdapter(model, adapter);
    const plain = await createAdapter(view, { kind: "weights", targets: "finalNorm.weight" });
    const inView = await languageModelStep(view, { adapter: plain, batch, optimizer: adamW() }).evaluate(
      plain.tensors,
      [data(0)],
    );
    expect(Math.abs(inStep - inView)).toBeLessThan(2e-6 * inView); // float32, in another order
  });

  it("learns, and leaves every other weight as it was", async () => {
    const model = await openTiny(modelName);
    const adapter = await createAdapter(model, config);
    const {
      step,
      evaluate: lossOf,
      ...own
    } = languageModelStep(model, {
      adapter,
      batch,
      optimizer: adamW({ rate: 0.02, decay: 0 }),
    });
    const before = await lossOf(adapter.tensors, [data(0)]);
    const { parameters } = await train(step, data, { steps: 25 });
    expect(await lossOf(parameters, [data(0)])).toBeLessThan(0.9 * before);
    const view = await applyAdapter(model, own.adapter(parameters));
    const touched = new Set(view.weights.replaced.keys());
    for (const weight of model.weights.shapes.keys()) {
      const [first, last] = [await model.weights.get(weight), await view.weights.get(weight)];
      if (touched.has(weight)) expect(last.data, weight).not.toEqual(first.data);
      else expect(last.data, weight).toEqual(first.data);
    }
  });

  it("has gradients that are derivatives", async () => {
    const model = await openTiny(modelName);
    const adapter = moved(await createAdapter(model, config));
    const { step } = languageModelStep(model, { adapter, batch, optimizer: sgd({ rate: 1 }) });
    const { parameters } = await train(step, data, { steps: 1 });
    const weights = Object.fromEntries(
      await Promise.all(
        [...model.weights.shapes.keys()].map(async (key) => [key, await model.weights.get(key)] as const),
      ),
    );
    const feeds = Object.fromEntries(Object.entries(data(0)).map(([key, x]) => [`batch.${key}`, x] as const));
    const lossAt = (key: string, at: number, value: number) => {
      const own = Object.entries(adapter.tensors).map(([other, x]) => {
        const values = Float64Array.from(x.data);
        if (other === key) values[at] = value;
        return [`parameters.${other}`, { dtype: "float64", shape: x.shape, data: values } as Tensor] as const;
      });
      const made = evaluate(exact(step.graph), { ...feeds, ...Object.fromEntries(own) }, weights);
      return Number(made.loss?.data[0]);
    };
    const names = Object.keys(adapter.tensors).filter((key) => !/^shared\.|squares$/.test(key));
    // DoRA's gradient takes the length of its columns for a constant: only that of the magnitude is a derivative.
    for (const key of (name === "dora" ? [names.at(-1)] : [names[0], names.at(-1)]) as string[]) {
      const x = adapter.tensors[key] as Tensor<"float32">;
      const last = parameters[key] as Tensor<"float32">;
      const at = x.data.length >> 1;
      const [value, h] = [x.data[at] as number, 1e-4];
      const slope = (lossAt(key, at, value + h) - lossAt(key, at, value - h)) / (2 * h);
      // p - (p - g) in float32 for p of about 1: 6e-8 of rounding each.
      expect(Math.abs(value - (last.data[at] as number) - slope), key).toBeLessThan(3e-7 + 1e-4 * Math.abs(slope));
    }
  });
});

describe("adapters together", () => {
  it("add up, subtract and scale", async () => {
    const model = await openTiny();
    const make = async (seed: number, targets: string, rank: number) =>
      moved(await createAdapter(model, { kind: "lora", rank, alpha: 3, targets }, { seed }));
    const [a, b] = [await make(1, "layers.*.attn.q", 2), await make(2, "layers.*.attn.*", 3)];
    const inTurn = await applyAdapter(await applyAdapter(model, a), b, { scale: -0.5 });
    const both = await applyAdapter(model, combineAdapters([{ adapter: a }, { adapter: b, scale: -0.5 }]));
    for (const name of ["layers.0.attn.q.weight", "layers.2.attn.o.weight"]) {
      const [x, y] = [await inTurn.weights.get(name), await both.weights.get(name)];
      const distance = Math.max(...x.data.map((value, k) => Math.abs(value - (y.data[k] as number))));
      expect(distance).toBeLessThan(1e-6); // sums in another order
      expect(x.data).not.toEqual((await model.weights.get(name)).data);
    }
    const undone = await applyAdapter(await applyAdapter(model, a), a, { scale: -1 });
    const first = await model.weights.get("layers.0.attn.q.weight");
    const back = (await undone.weights.get("layers.0.attn.q.weight")).data;
    expect(Math.max(...back.map((x, k) => Math.abs(x - (first.data[k] as number))))).toBeLessThan(1e-6);
    const dora = await createAdapter(model, { kind: "lora", rank: 1, alpha: 1, magnitude: true });
    expect(() => combineAdapters([{ adapter: a }, { adapter: dora }])).toThrow(/only plain low-rank.*not DoRA/);
  });

  it("of GPT-2 share a module: their pairs become blocks", async () => {
    const model = await openTiny("gpt2");
    const targets = ["layers.*.attn.q", "layers.*.attn.v", "layers.0.mlp.up"];
    for (const magnitude of [false, true]) {
      const adapter = moved(await createAdapter(model, { kind: "lora", rank: 2, alpha: 3, targets, magnitude }));
      await writeAdapter(`${scratch}/blocks`, model, adapter);
      const again = await readAdapter(`${scratch}/blocks`, model);
      expect(again.tensors["layers.0.attn.q.loraA"]?.shape).toEqual([24, 4]);
      const [own, other] = [await applyAdapter(model, adapter), await applyAdapter(model, again)];
      for (const name of ["layers.0.attn.q.weight", "layers.0.attn.k.weight", "layers.2.attn.v.weight"]) {
        const [x, y] = [await own.weights.get(name), await other.weights.get(name)];
        // A product without a magnitude of its own is divided by its length and multiplied by it.
        expect(Math.max(...x.data.map((value, k) => Math.abs(value - (y.data[k] as number)))), name).toBeLessThan(1e-6);
      }
    }
  });
});

describe("the step", () => {
  it("gives the same numbers however a batch is cut, masks and all", async () => {
    const model = await openTiny();
    const adapter = moved(await createAdapter(model, { kind: "lora", rank: 2, alpha: 4 }));
    const losses = async (accumulate: number) => {
      const { step } = languageModelStep(model, { adapter, batch, accumulate, optimizer: sgd({ rate: 0.1 }) });
      return (await train(step, data, { steps: 3 })).history.get("loss") as number[];
    };
    const [whole, cut] = [await losses(1), await losses(4)];
    whole.forEach((loss, i) => {
      expect(Math.abs(loss - (cut[i] as number))).toBeLessThan(2e-6 * loss); // float32 sums in another order
    });
  });

  it("drops in training and not in evaluation", async () => {
    const model = await openTiny();
    const adapter = moved(await createAdapter(model, { kind: "lora", rank: 2, alpha: 4, dropout: 0.5 }));
    const still = { ...adapter, config: { kind: "lora", rank: 2, alpha: 4 } as const };
    const step = (own: Adapter) => languageModelStep(model, { adapter: own, batch, optimizer: sgd({ rate: 0.1 }) });
    const loss = async (own: Adapter, seed: number) =>
      (await train(step(own).step, data, { steps: 1, seed })).history.get("loss")?.[0] as number;
    expect(await step(adapter).evaluate(adapter.tensors, [data(0)])).toBe(
      await step(still).evaluate(adapter.tensors, [data(0)]),
    );
    expect(await loss(adapter, 1)).not.toBe(await loss(still, 1));
    expect(await loss(adapter, 1)).not.toBe(await loss(adapter, 2));
    expect(await loss(adapter, 1)).toBe(await loss(adapter, 1));
  });

  it("moves the zero matrices of LoRA+ faster", async () => {
    const model = await openTiny();
    const adapter = await createAdapter(model, { kind: "lora", rank: 2, alpha: 4, targets: "layers.0.attn.q" });
    const optimizer = loraPlus((rate) => sgd({ rate }), { rate: 0.01, ratio: 8 });
    const { step } = languageModelStep(model, { adapter, batch, optimizer });
    const plain = languageModelStep(model, { adapter, batch, optimizer: sgd({ rate: 0.01 }) }).step;
    const ends = await Promise.all([step, plain].map(async (own) => (await train(own, data, { steps: 1 })).parameters));
    const [fast, slow] = ends.map((end) => end["layers.0.attn.q.loraB"]?.data as Float32Array);
    fast?.forEach((x, k) => {
      expect(Math.abs(x - 8 * (slow?.[k] as number))).toBeLessThan(1e-6 * Math.abs(x) + 1e-12);
    });
  });

  it("trains the one matrix of a tied model, and its view has both", async () => {
    const model = await openTiny("llama-tied");
    const adapter = await createAdapter(model, { kind: "weights", targets: "**" });
    expect(Object.keys(adapter.tensors)).not.toContain("unembed.weight");
    const own = languageModelStep(model, { adapter, batch, optimizer: sgd({ rate: 0.1 }) });
    const { parameters } = await train(own.step, data, { steps: 2 });
    const view = await applyAdapter(model, own.adapter(parameters));
    const [embed, unembed] = [await view.weights.get("embed.weight"), await view.weights.get("unembed.weight")];
    expect(unembed.data[1]).toBe(embed.data[embed.shape[1] as number]);
    expect(embed.data).not.toEqual((await model.weights.get("embed.weight")).data);
  });

  it("says what is wrong", async () => {
    const model = await openTiny();
    await expect(createAdapter(model, { kind: "lora", rank: 0, alpha: 1 })).rejects.toThrow(/rank is a whole number/);
    await expect(createAdapter(model, { kind: "lora", rank: 1, alpha: 1, targets: "layers.*.atn.q" })).rejects.toThrow(
      /no product "layers\.\*\.atn\.q"; the nearest are layers\.0\.attn\.q/,
    );
    await expect(createAdapter(model, { kind: "weights", targets: "nothing" })).rejects.toThrow(/no weight "nothing"/);
    const adapter = await createAdapter(model, { kind: "ia3" });
    expect(() => languageModelStep(model, { adapter, batch: { size: 1, context: 129 }, optimizer: adamW() })).toThrow(
      /rows of 129 tokens are longer than the model's context, 128/,
    );
    const weights = await createAdapter(model, { kind: "weights", targets: "finalNorm.weight" });
    await expect(writeAdapter(`${scratch}/none`, model, weights)).rejects.toThrow(/no place in PEFT's format/);
  });
});

describe("examples", () => {
  const read = async () => (await openTiny("llama-gguf")).tokenizer;
  const counted = (row: TokenRow, tokenizer: Tokenizer) => tokenizer.decode(row.ids.filter((_, i) => row.counted[i]));

  it("of text are one stream, cut into rows that share a token", async () => {
    const tokenizer = await read();
    const texts = ["the and the", "and and", "the the the and"];
    const made = exampleRows(
      texts.map((text) => ({ text })),
      tokenizer,
      4,
    );
    const whole = texts.flatMap((text) => [...tokenizer.encode(text).map(({ id }) => id), tokenizer.eos[0] as number]);
    expect(made.flatMap(({ ids }, i) => (i === 0 ? ids : ids.slice(1)))).toEqual(whole);
    expect(made.every(({ ids }) => ids.length <= 5)).toBe(true);
  });

  it("of prompts count the completion and its end alone", async () => {
    const tokenizer = await read();
    const [row] = exampleRows([{ prompt: "the and", completion: " the" }], tokenizer, 64) as [TokenRow];
    const completion = tokenizer.encode(" the", { bos: false }).map(({ id }) => id);
    expect(row.ids.filter((_, i) => row.counted[i])).toEqual([...completion, tokenizer.eos[0]]);
    const { ids, targets, share } = exampleBatches([row], { size: 2, context: 16 })(0);
    expect(ids.shape).toEqual([2, 16]);
    const own = [...targets.data].filter((target) => target !== -100n).map(Number);
    expect(own).toEqual([...completion, tokenizer.eos[0], ...completion, tokenizer.eos[0]]);
    expect(share.data[0]).toBeCloseTo(2 / own.length, 6);
  });

  it("of conversations count the assistant's turns alone", async () => {
    const tokenizer = await read();
    const chatting: Tokenizer = {
      ...tokenizer,
      chat: (messages, { addGenerationPrompt = true } = {}) =>
        messages.map(({ role, content }) => `<${role}>${content}.`).join("") +
        (addGenerationPrompt ? "<assistant>" : ""),
    };
    const messages = [
      { role: "user", content: "the" },
      { role: "assistant", content: "and" },
      { role: "user", content: "the the" },
      { role: "assistant", content: "and and" },
    ];
    const [row] = exampleRows([{ messages }], chatting, 64) as [TokenRow];
    expect(counted(row, tokenizer)).toBe("and.and and.");
    expect(() => exampleRows([{ messages: messages.slice(0, 1) }], chatting, 64)).toThrow(
      /no turn of role "assistant"/,
    );
  });

  it("come in every epoch once, and in order for validation", () => {
    const batches = exampleBatches(rows, { size: 3, context: 8, seed: 1 });
    const firsts = [0, 1].flatMap((step) => [...batches(step).targets.data]).filter((target) => target !== -100n);
    const all = rows.flatMap(({ ids, counted: own }) => ids.filter((_, i) => i > 0 && own[i]));
    expect(firsts.map(Number).sort()).toEqual([...all].sort());
    const ordered = [...orderedBatches(rows, { size: 4, context: 8 })];
    expect(ordered.length).toBe(2);
    expect(
      toNumbers(ordered[1]?.ids as Tensor)
        .slice(16)
        .every((id) => id === 0),
    ).toBe(true);
  });
});
