/** Clamps on a tiny checkpoint: in what order they act, on which part, with which values, and what they refuse. */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { mapped, multiIndices, numbersFrom, offsetIn } from "../../test/support/selection.js";
import { openTiny, tinyPrompts } from "../../test/support/tinyModel.js";
import {
  add as addValues,
  cast,
  equal,
  less,
  mul,
  reduceSum,
  relu,
  sub,
  unsqueeze,
  type Value,
  where,
} from "../graph/index.js";
import { type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { add, type Clamp, clamp, type Model, recordedRow, scale, set, zero } from "./index.js";

const f32 = Math.fround;
const { A, B, C } = tinyPrompts;
const batch = [A, C, B];
const act = "layers.1.mlp.act";
const post = "layers.1.residPost";
let model: Model;
beforeAll(async () => {
  model = await openTiny();
});

/** A site of prompt A (or a batch), with clamps. */
async function recordOf(
  site: string,
  clamps: readonly Clamp[] = [],
  prompts: number[] | number[][] = A,
): Promise<Tensor> {
  return (await model.with(...clamps).record(prompts, site)).sites[site] as Tensor;
}

/** Float32 arithmetic in the same order is the same to the last bit. */
const expectSame = (actual: Tensor, wanted: Tensor) => expect(actual).toEqual(wanted);
/** Sums in another order: a few units in the last place of float32. */
const expectClose = (actual: Tensor, wanted: Tensor, within = 1e-6) =>
  expect(worstRow(actual, wanted).error).toBeLessThan(within);

describe("order", () => {
  it("of clamps on one site is the order given", async () => {
    const plain = await recordOf(act);
    expectSame(
      await recordOf(act, [add(act, 1), scale(act, 2)]),
      mapped(plain, (x) => Math.fround(x + 1) * 2),
    );
    expectSame(
      await recordOf(act, [scale(act, 2), add(act, 1)]),
      mapped(plain, (x) => x * 2 + 1),
    );
    expectSame(
      await recordOf(act, [set(act, 3), add(act, 1), scale(act, 2)]),
      mapped(plain, () => 8),
    );
    expectSame(
      await recordOf(act, [add(act, 1), set(act, 3)]),
      mapped(plain, () => 3),
    );
  });

  it("holds across views and across names of one value", async () => {
    const plain = await recordOf(post);
    const twin = "layers.2.residPre";
    const there = "blocks.1.hook_resid_post";
    const view = model.with(add(post, 1)).with(scale(twin, 2), add(there, 0.5));
    const { sites } = await view.record(A, [post, twin, there]);
    expect(Object.keys(sites)).toEqual([post, twin]);
    const wanted = mapped(plain, (x) => Math.fround(Math.fround(x + 1) * 2) + 0.5);
    expectSame(sites[post] as Tensor, wanted);
    expectSame(sites[twin] as Tensor, wanted);
  });

  it("of different sites is the order of computation", async () => {
    const both = [zero("layers.0.mlp.out"), zero("layers.0.attn.out")];
    const embed = await recordOf("embed");
    expectSame(await recordOf("layers.0.residPost", both), embed);
    expectSame(await recordOf("layers.0.residPost", [...both].reverse()), embed);
  });
});

describe("@before", () => {
  it("is the value before all clamps of the site, the site the value after them", async () => {
    const plain = await recordOf(act);
    const { sites } = await model.with(add(act, 1), scale(act, 2)).record(A, [act, `${act}@before`]);
    expectSame(sites[`${act}@before`] as Tensor, plain);
    expectSame(
      sites[act] as Tensor,
      mapped(plain, (x) => Math.fround(x + 1) * 2),
    );
  });

  it("feels clamps of earlier sites, and is the site's own value where nothing is clamped", async () => {
    const { sites } = await model
      .with(zero("layers.0.mlp.act"), set(act, 1))
      .record(A, ["layers.0.mlp.out", `${act}@before`]);
    expect(toNumbers(sites["layers.0.mlp.out"] as Tensor).every((x) => x === 0)).toBe(true);
    const before = sites[`${act}@before`] as Tensor;
    expect(worstRow(before, await recordOf(act)).error).toBeGreaterThan(1e-3);
    expectSame(before, await recordOf(act, [zero("layers.0.mlp.act")]));
    expectSame(await recordOf(`${act}@before`), await recordOf(act));
    const earlier = [zero("layers.0.mlp.act")];
    expectSame(await recordOf(`${act}@before`, earlier), await recordOf(act, earlier));
  });

  it("can be asked for in part", async () => {
    const part = `${act}@before[:, -1, 3]`;
    const { data } = await recordOf(part, [set(act, 1)]);
    expect(data[0]).toBe((await recordOf(act)).data[8 * 40 + 3]);
  });
});

describe("parts", () => {
  type Selected = (index: readonly number[]) => boolean;
  const position: (d: number, at: number) => Selected = (d, at) => (index) => index[d] === at;

  it.each<[string, Selected]>([
    [act, () => true],
    [`${act}[0]`, () => true],
    [`${act}[:, 2]`, position(1, 2)],
    [`${act}[:, -1]`, position(1, 8)],
    [`${act}[position=-9]`, position(1, 0)],
    [`${act}[:, :, 39]`, position(2, 39)],
    [`${act}[neuron=-40]`, position(2, 0)],
    [`${act}[:, 1:3, -3:]`, ([, p = 0, n = 0]) => p >= 1 && p < 3 && n >= 37],
    [`${act}[row=0, position=-2:, neuron=:5]`, ([, p = 0, n = 0]) => p >= 7 && n < 5],
    ["layers.1.attn.z[head=2]", position(2, 2)],
    ["layers.1.attn.z[:, -1, -1, 3]", ([, p, h, e]) => p === 8 && h === 3 && e === 3],
    ["layers.1.attn.k[head=1]", position(2, 1)],
    ["layers.1.attn.scores[head=1]", position(1, 1)],
    ["layers.1.attn.pattern[:, 2, -1]", ([, h, q]) => h === 2 && q === 8],
    ["layers.1.attn.pattern[key=0]", position(3, 0)],
    ["layers.1.attn.pattern[head=0, position=5, key=1:-4]", ([, h, q, k = 0]) => h === 0 && q === 5 && k >= 1 && k < 5],
    ["logits[token=60]", position(2, 60)],
  ])("%s is exactly what is clamped", async (text, selected) => {
    const site = text.replace(/\[.*/, "");
    const plain = await recordOf(site);
    expectSame(
      await recordOf(site, [set(text, 7)]),
      mapped(plain, (x, index) => (selected(index) ? 7 : x)),
    );
  });

  it("count each row's own tokens in a padded batch", async () => {
    const plain = await recordOf(act, [], batch);
    const lengths = [9, 4, 6];
    const first = (r: number) => 9 - (lengths[r] as number);
    expectSame(
      await recordOf(act, [set(`${act}[:, 1]`, 7)], batch),
      mapped(plain, (x, [r = 0, c]) => (c === first(r) + 1 ? 7 : x)),
    );
    expectSame(
      await recordOf(act, [set(`${act}[1:, -2:]`, 7)], batch),
      mapped(plain, (x, [r = 0, c = 0]) => (r >= 1 && c >= 7 ? 7 : x)),
    );
    expectSame(
      await recordOf(act, [set(act, 7)], batch),
      mapped(plain, (_, [r = 0, c = 0]) => (c >= first(r) ? 7 : 0)),
    );
  });

  it("combine, each clamp with its own", async () => {
    const plain = await recordOf(act);
    const clamps = [
      set(`${act}[:, 0]`, 1),
      add(`${act}[:, :, 5]`, 10),
      scale(`${act}[:, -1, 5]`, 3),
      zero(`${act}[:, 4, 6]`),
    ];
    const wanted = mapped(plain, (x, [, p, n]) => {
      const start = p === 0 ? 1 : x;
      const added = n === 5 ? Math.fround(start + 10) : start;
      if (p === 4 && n === 6) return 0;
      return p === 8 && n === 5 ? added * 3 : added;
    });
    expectSame(await recordOf(act, clamps), wanted);
  });

  it("of one row leave the others as they are", async () => {
    const clamps = [add("layers.0.residPost[row=1]", 0.5), set("layers.1.attn.z[row=1, head=0]", 0)];
    const [plain, clamped] = [await recordOf("logits", [], batch), await recordOf("logits", clamps, batch)];
    const moved = multiIndices([3, 9, 61]).filter(
      (index) => plain.data[offsetIn(plain.shape, index)] !== clamped.data[offsetIn(plain.shape, index)],
    );
    expect(new Set(moved.map(([row]) => row))).toEqual(new Set([1]));
    const alone = await model
      .with(add("layers.0.residPost", 0.5), set("layers.1.attn.z[head=0]", 0))
      .record(C, "logits");
    const batched = await model.with(...clamps).record(batch, "logits");
    // padding changes the order of sums in the attention of a row
    expectClose(recordedRow(batched, "logits", 1), recordedRow(alone, "logits"), 1e-5);
  });

  it("that only other rows lack are no error", async () => {
    const values = tensorOf(
      "float32",
      [8, 1],
      numbersFrom(8, (i) => i),
    );
    const clamped = await recordOf(act, [set(`${act}[row=0, position=1:]`, values)], batch);
    expect(toNumbers(clamped).slice(40, 48)).toEqual(new Float64Array(8));
    expect(clamped.data[8 * 40]).toBe(7);
    await expect(recordOf(act, [set(`${act}[:, 5]`, 0)], batch)).rejects.toThrow(
      /index 5 is out of range in layers\.1\.mlp\.act, whose shape is \[row 3, position 9, neuron 40\], row 1 of which has 4 tokens/,
    );
  });
});

describe("values", () => {
  it("align as NumPy aligns shapes", async () => {
    const plain = await recordOf(act);
    const perNeuron = numbersFrom(40, (n) => n / 8);
    const perPosition = tensorOf(
      "float32",
      [9, 1],
      numbersFrom(9, (p) => p),
    );
    expectSame(
      await recordOf(act, [set(act, perNeuron)]),
      mapped(plain, (_, [, , n = 0]) => n / 8),
    );
    expectSame(
      await recordOf(act, [set(act, perPosition)]),
      mapped(plain, (_, [, p = 0]) => p),
    );
    expectSame(
      await recordOf(act, [add(`${act}[:, :, 1:4]`, [10, 20, 30])]),
      mapped(plain, (x, [, , n = 0]) => (n >= 1 && n < 4 ? x + n * 10 : x)),
    );
    const perRow = tensorOf("float32", [3, 1], [1, 2, 3]);
    const rows = await recordOf("layers.1.attn.z", [set("layers.1.attn.z[:, -1, 0]", perRow)], batch);
    expect([0, 1, 2].map((r) => rows.data[offsetIn(rows.shape, [r, 8, 0, 5])])).toEqual([1, 2, 3]);
  });

  it.each<[string, () => Clamp, RegExp]>([
    [
      "too many",
      () =>
        set(
          act,
          numbersFrom(41, () => 0),
        ),
      /a value with 41 entries along neuron does not fit the 40 selected in layers\.1\.mlp\.act/,
    ],
    [
      "too few",
      () => add(`${act}[:, :, 1:4]`, [1, 2]),
      /a value with 2 entries along neuron does not fit the 3 selected/,
    ],
    [
      "a position too few",
      () =>
        set(
          act,
          tensorOf(
            "float32",
            [8, 1],
            numbersFrom(8, () => 0),
          ),
        ),
      /8 entries along position does not fit the 9 selected/,
    ],
    [
      "a dimension too many",
      () => set(`${act}[:, 0, 0]`, [1, 2]),
      /a value with 2 entries along row does not fit the 1 selected/,
    ],
    [
      "dimensions that an index dropped",
      () => set(`${act}[0, 0, 0]`, [1, 2]),
      /a value of shape \[2\] does not fit the 0 selected dimensions of layers\.1\.mlp\.act/,
    ],
    [
      "an index out of range",
      () => zero(`${act}[:, :, 40]`),
      /index 40 is out of range in layers\.1\.mlp\.act, whose shape is \[row 1, position 9, neuron 40\]/,
    ],
    ["a row out of range", () => zero(`${act}[1]`), /index 1 is out of range in layers\.1\.mlp\.act, whose shape is/],
  ])("are refused where they do not fit: %s", async (_, make, message) => {
    await expect(recordOf("logits", [make()])).rejects.toThrow(message);
  });

  it("must be finite, and a clamp that makes others is found where it shows", async () => {
    expect(() => add(act, [0, Number.NaN])).toThrow(
      "the value for layers.1.mlp.act is NaN at element 1; it must be finite",
    );
    await expect(recordOf("logits", [scale(post, 3e38), scale(post, 3e38)])).rejects.toThrow(
      /logits holds .* at element \d+: a weight or a clamp/,
    );
  });
});

describe("sites", () => {
  it("select many at once", async () => {
    const view = model.with(zero("layers.*.mlp.out"), zero("layers.{0,1,2}.attn.out"));
    const { sites } = await view.record(A, ["embed", "layers.2.residPost"]);
    expectSame(sites["layers.2.residPost"] as Tensor, sites.embed as Tensor);
  });

  it.each([
    [
      "layers.1.attn.result",
      /can be recorded and not clamped: .*clamp attn\.z \(before the output projection\) or attn\.out/,
    ],
    ["layers.1.mlp.acts", /there is no site "layers\.1\.mlp\.acts"; the nearest are layers\.1\.mlp\.act/],
    ["layers.3.mlp.act", /the model has layers 0 to 2/],
    ["layers.1.residPost@before", /is what a clamp receives; clamp the site itself/],
    ["hook_embed", /TransformerLens/],
  ])("that can't be clamped are refused at once: %s", (site, message) => {
    expect(() => model.with(zero(site))).toThrow(message);
  });
});

describe("clamp", () => {
  it("takes any function of the value, and only its selected part takes effect", async () => {
    const plain = await recordOf(act);
    expectSame(
      await recordOf(act, [clamp(`${act}[:, 2:]`, (x) => relu(sub(x, 0.1)))]),
      mapped(plain, (x, [, p = 0]) => (p >= 2 ? Math.max(f32(x - f32(0.1)), 0) : x)),
    );
  });

  it("tells the function where it is: site, layer, positions", async () => {
    const seen: unknown[] = [];
    const clamped = await recordOf(
      "layers.2.residPost",
      [
        clamp("blocks.*.hook_resid_post", (x, { site, layer, positions }) => {
          seen.push([site, layer, positions.dtype, positions.shape]);
          const first = unsqueeze(equal(positions, 0), -1);
          return where(
            first,
            addValues(mul(x, 0), layer ?? -1),
            addValues(mul(x, 0), unsqueeze(cast(positions, "float32"), -1)),
          );
        }),
      ],
      batch,
    );
    expect(seen).toEqual([0, 1, 2].map((i) => [`layers.${i}.residPost`, i, "int64", ["batch", "seq"]]));
    const firsts = [0, 5, 3];
    expectSame(
      clamped,
      mapped(clamped, (_, [r = 0, c = 0]) =>
        c < (firsts[r] as number) ? 0 : c === firsts[r] ? 2 : c - (firsts[r] as number),
      ),
    );
    await model.with(clamp("embed", (x, { layer }) => addValues(x, layer === undefined ? 1 : 2))).record(A, "embed");
  });

  it.each<[string, (x: Value) => Value, RegExp]>([
    [
      "another shape",
      (x) => reduceSum(x, -1),
      /at layers\.1\.mlp\.act: the function returned float32\[batch, seq\]; it must return the site's own float32\[batch, seq, 40\]/,
    ],
    ["a shape that would broadcast", (x) => reduceSum(x, -1, { keepDims: true }), /returned float32\[batch, seq, 1\]/],
    ["another type", (x) => less(x, 0), /at layers\.1\.mlp\.act: the function returned bool/],
  ])("refuses a function that returns %s", async (_, fn, message) => {
    await expect(recordOf(act, [clamp(act, fn)])).rejects.toThrow(message);
  });
});
