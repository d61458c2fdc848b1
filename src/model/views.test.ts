/**
 * Views: further clamps and weights on one opened model. They change nothing of each other, and other numbers or indices
 * of the same form need no other session.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { numbersFrom } from "../../test/support/selection.js";
import { openTiny, tinyPrompts } from "../../test/support/tinyModel.js";
import { add as addValues, cast, greater, less, mul, relu, sub, unsqueeze, type Value, where } from "../graph/index.js";
import { type Tensor, tensorOf } from "../runtime/index.js";
import {
  add,
  blend,
  type Clamp,
  clamp,
  type Model,
  mean,
  patch,
  project,
  quantize,
  type Recording,
  scale,
  set,
  zero,
} from "./index.js";

const { A, B, C } = tinyPrompts;
const act = "layers.1.mlp.act";
const post = "layers.1.residPost";
let model: Model;
let one: Recording;
let other: Recording;
beforeAll(async () => {
  model = await openTiny("llama-gqa", { maxSessions: 12 });
  one = await model.record(
    A.map((id) => id + 1),
    [act, post],
  );
  other = await model.record(B, [act, post]);
});

const vector = (seed: number) => numbersFrom(24, (i) => Math.sin(seed * (i + 1)));
const weights = (at: number) =>
  tensorOf(
    "float32",
    [1, 9, 1],
    numbersFrom(9, (p) => (p === at ? 1 : 0)),
  );

/** Two clamps of one form, and one of another. */
const forms: Record<string, () => [Clamp, Clamp, Clamp]> = {
  "set, a number at an index": () => [
    set(`${act}[:, -1, 3]`, 8),
    set(`${act}[:, 2, -17]`, -1),
    set(`${act}[:, -1]`, 8),
  ],
  "set, a range": () => [set(`${act}[:, 1:3]`, 1), set(`${act}[:, -4:]`, 2), set(`${act}[:, 1:3, 0]`, 1)],
  "add, a vector": () => [add(post, vector(1)), add(`${post}[:, -1]`, vector(2)), add(post, 0.5)],
  "scale, rows": () => [scale(`${post}[0]`, 2), scale(`${post}[row=-1]`, -3), scale(`${post}[channel=1]`, 2)],
  "zero, a head": () => [zero("layers.1.attn.z[head=1]"), zero("layers.1.attn.z[:, 4, -1]"), zero("layers.1.attn.z")],
  "zero, keys": () => [
    zero("layers.1.attn.pattern[key=0]"),
    zero("layers.1.attn.pattern[:, :, 3, 1:]"),
    zero("layers.1.attn.pattern"),
  ],
  mean: () => [mean(act, one), mean(`${act}[:, 3]`, other), mean(`${act}[neuron=3]`, one)],
  patch: () => [patch(`${post}[:, -1]`, one), patch(`${post}[:, 0]`, other), patch(post, one)],
  blend: () => [blend(post, one, weights(1)), blend(post, one, weights(7)), blend(post, one, 0.5)],
  project: () => [
    project(post, vector(1)),
    project(`${post}[:, -1]`, vector(2)),
    project(post, tensorOf("float32", [2, 24], [...vector(1), ...vector(2)])),
  ],
  quantize: () => [quantize(act, 4), quantize(`${act}[:, 1:]`, 8), quantize(`${act}[:, :, 0:4]`, 4)],
  "a function's numbers": () => [
    clamp(act, (x) => relu(sub(mul(x, 2), 0.5))),
    clamp(`${act}[:, 3]`, (x) => relu(sub(mul(x, -1), 7))),
    clamp(act, (x) => relu(addValues(mul(x, 2), 0.5))),
  ],
  "a function's whole numbers": () => [
    clamp(post, (x, { positions }) => where(unsqueeze(less(positions, 3), -1), mul(x, 2), x)),
    clamp(post, (x, { positions }) => where(unsqueeze(less(positions, 5), -1), mul(x, 3), x)),
    clamp(post, (x, { positions }) => where(unsqueeze(greater(positions, 3), -1), mul(x, 2), x)),
  ],
  "a function of positions": () => [
    clamp(post, (x, { positions }) => mul(x, unsqueeze(cast(positions, "float32"), -1))),
    clamp(`${post}[:, 2:]`, (x, { positions }) => mul(x, unsqueeze(cast(positions, "float32"), -1))),
    clamp(post, (x, { positions }) => addValues(x, unsqueeze(cast(positions, "float32"), -1))),
  ],
};

describe("sessions", () => {
  const opened = () => model.statistics().sessionsOpened;

  it.each(Object.entries(forms))("%s: other numbers and indices open none, another form does", async (_, make) => {
    const fresh = await openTiny();
    const [first, same, different] = make();
    const results: Tensor[] = [];
    const logits = async (own: Clamp) => {
      const before = fresh.statistics().sessionsOpened;
      results.push((await fresh.with(own).record(A, "logits[:, -1]")).sites["logits[:, -1]"] as Tensor);
      return fresh.statistics().sessionsOpened - before;
    };
    expect(await logits(first)).toBe(1);
    expect(await logits(same)).toBe(0);
    expect(await logits(different)).toBe(1);
    const [a, b] = results as [Tensor, Tensor];
    expect(a).not.toEqual(b);
  });

  it("of generation are as many: one for the prompt, one for all steps", async () => {
    const run = (own: Clamp) => model.with(own).generate(C, { maxTokens: 3 });
    await run(add(`${post}[:, -1]`, vector(3)));
    const before = opened();
    await run(add(`${post}[:, 1]`, vector(4)));
    expect(opened() - before).toBe(0);
    await run(add(`${post}[:, 1, 0]`, 2));
    expect(opened() - before).toBe(2);
  });

  it("serve other prompts, other batches, and other indices of what is recorded", async () => {
    await model.record(A, `${act}[:, -1, 3]`);
    const before = opened();
    await model.record([A, C], `${act}[:, 0, -1]`);
    expect(opened() - before).toBe(0);
  });

  it("are shared by the sites of one recording whatever order they were asked for in another view", async () => {
    const view = model.with(set(act, 1)).with(add(post, 2));
    await view.record(A, [post]);
    const before = opened();
    await model.with(set(act, 3), add(post, 4)).record(B, [post]);
    expect(opened() - before).toBe(0);
  });
});

describe("views", () => {
  it("are immutable: the model and every earlier view stay as they are", async () => {
    const plain = await model.record(A, "logits");
    const first = model.with(add(post, 1));
    const before = await first.record(A, "logits");
    const second = first.with(zero(act)).withWeights({ "finalNorm.weight": numbersFrom(24, () => 1) });
    expect(
      worstRow((await second.record(A, "logits")).sites.logits as Tensor, plain.sites.logits as Tensor).error,
    ).toBeGreaterThan(1e-3);
    expect(await model.record(A, "logits")).toEqual(plain);
    expect(await first.record(A, "logits")).toEqual(before);
    expect(before).not.toEqual(plain);
  });

  it("don't disturb each other when they are used at once", async () => {
    const views = [
      model,
      model.with(add(post, 1)),
      model.with(add(post, -1)),
      model.with(zero("layers.0.attn.z[head=2]")),
    ];
    const call = async (view: Model) => ({
      recording: await view.record([A, C], ["logits", post]),
      generation: (await view.generate(B, { maxTokens: 8, logits: true })).logits,
      drawn: (await view.generate(C, { maxTokens: 8, temperature: 1, seed: 3 })).ids,
    });
    const alone = [];
    for (const view of views) alone.push(await call(view));
    expect(await Promise.all(views.map(call))).toEqual(alone);
    expect(new Set(alone.map(({ generation }) => String(generation?.[0]?.data[0]))).size).toBe(4);
  });

  it("may be made and used twice from one clamp", async () => {
    const own = add(post, vector(5));
    const results = await Promise.all([model.with(own), model.with(own)].map((view) => view.record(A, "logits")));
    expect(results[0]).toEqual(results[1]);
    const twice = await model.with(own, own).record(A, post);
    const wanted = await model
      .with(
        add(
          post,
          vector(5).map((x) => 2 * x),
        ),
      )
      .record(A, post);
    expect(worstRow(twice.sites[post] as Tensor, wanted.sites[post] as Tensor).error).toBeLessThan(1e-6); // float32
  });
});

describe("recording", () => {
  it("says what it would hold, and refuses more than allowed", async () => {
    expect(model.recordingBytes([A], ["embed"])).toBe(9 * 24 * 4);
    expect(model.recordingBytes([A, C], ["embed", `${act}[:, -1]`])).toBe(4 * (2 * 9 * 24 + 2 * 40));
    expect(model.recordingBytes([A], ["layers.*.attn.pattern"])).toBe(4 * 3 * 4 * 81);
    await expect(model.record(A, "embed", { maxBytes: 863 })).rejects.toThrow(
      /the recording would hold .* more than the .* allowed/,
    );
    expect((await model.record(A, "embed", { maxBytes: 864 })).sites.embed?.data).toHaveLength(216);
  });

  it("refuses no sites, no prompt, and no such prompt", async () => {
    await expect(model.record(A, [])).rejects.toThrow("no site was asked for");
    await expect(model.record([], "embed")).rejects.toThrow("no prompt was given");
    await expect(model.record([1, 61], "embed")).rejects.toThrow("61 is not a token id; ids go from 0 to 60");
    await expect(model.record("text", "embed")).rejects.toThrow("came without a tokenizer");
  });
});

describe("compute", () => {
  it("refuses an output that has the name of an input of the model", async () => {
    await expect(model.compute(A, ({ site }) => ({ ids: site("embed") }))).rejects.toThrow(
      'the output "ids" has the name of an input',
    );
  });

  it("reads the last token's value without the others", async () => {
    const { last, whole } = await model.compute([A, C], ({ last: at, site }) => ({
      last: at("logits"),
      whole: site("logits"),
    }));
    const rows = [0, 1].map((r) => whole?.data.slice((r * 9 + 8) * 61, (r + 1) * 9 * 61));
    rows.forEach((row, r) => {
      const own = tensorOf("float32", [61], Array.from(last?.data.slice(r * 61, (r + 1) * 61) ?? [], Number));
      expect(worstRow(own, tensorOf("float32", [61], Array.from(row ?? [], Number))).error).toBeLessThan(1e-6); // float32
    });
  });
});

describe("a function with a key", () => {
  it("is traced once for a view and for shapes of inputs, whatever the prompts and numbers", async () => {
    const view = model.with(scale(act, 2));
    let traced = 0;
    const shifted = async (on: Model, prompt: number[], shift: Tensor, key?: string) => {
      const outputs = await on.compute(
        prompt,
        ({ last }, inputs) => {
          traced += 1;
          return { y: addValues(last("logits"), inputs.shift as Value) };
        },
        { inputs: { shift }, ...(key === undefined ? {} : { key }) },
      );
      return outputs.y as Tensor;
    };
    const scalar = (x: number) => tensorOf("float32", [], [x]);
    const first = await shifted(view, A, scalar(1), "shifted");
    const again = await shifted(view, B, scalar(3), "shifted");
    expect(traced).toBe(1);
    expect(again).toEqual(await shifted(view, B, scalar(3)));
    expect(first).toEqual(await shifted(view, A, scalar(1)));
    expect(first).not.toEqual(again);
    expect(traced).toBe(3); // without a key, every call
    const wide = tensorOf("float32", [61], new Array(61).fill(3));
    const wider = await shifted(view, B, wide, "shifted"); // the runtime fuses this sum into the product before it
    expect(worstRow(wider, again).error).toBeLessThan(1e-6);
    expect(await shifted(model, B, scalar(3), "shifted")).not.toEqual(again);
    expect(traced).toBe(5);
  });
});
