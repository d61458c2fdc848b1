/** Every clamp on a tiny checkpoint: what it does to the part that it names, in what order, and what it refuses. */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { multiIndices, offsetIn } from "../../test/support/selection.js";
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
import { elementCount, type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
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
  recordedRow,
  scale,
  set,
  zero,
} from "./index.js";

const { A, B, C } = tinyPrompts;
const batch = [A, C, B];
const act = "layers.1.mlp.act";
const post = "layers.1.residPost";
let model: Model;
beforeAll(async () => {
  model = await openTiny();
});

/** A site of prompt A (or a batch), with clamps. */
async function valueOf(
  site: string,
  clamps: readonly Clamp[] = [],
  prompts: number[] | number[][] = A,
): Promise<Tensor> {
  return (await model.with(...clamps).record(prompts, site)).sites[site] as Tensor;
}

/** The same tensor with each element passed through `f`, in float32. */
function mapped(value: Tensor, f: (x: number, index: readonly number[]) => number): Tensor {
  const data = Array.from(value.data, Number);
  return tensorOf(
    "float32",
    value.shape,
    multiIndices(value.shape).map((index, i) => Math.fround(f(data[i] as number, index))),
  );
}

const numbersFrom = (count: number, f: (i: number) => number) => Array.from({ length: count }, (_, i) => f(i));

/** Float32 arithmetic in the same order is the same to the last bit. */
const expectSame = (actual: Tensor, wanted: Tensor) => expect(actual).toEqual(wanted);
/** Sums in another order: a few units in the last place of float32. */
const expectClose = (actual: Tensor, wanted: Tensor, within = 1e-6) =>
  expect(worstRow(actual, wanted).error).toBeLessThan(within);

describe("order", () => {
  it("of clamps on one site is the order given", async () => {
    const plain = await valueOf(act);
    expectSame(
      await valueOf(act, [add(act, 1), scale(act, 2)]),
      mapped(plain, (x) => Math.fround(x + 1) * 2),
    );
    expectSame(
      await valueOf(act, [scale(act, 2), add(act, 1)]),
      mapped(plain, (x) => x * 2 + 1),
    );
    expectSame(
      await valueOf(act, [set(act, 3), add(act, 1), scale(act, 2)]),
      mapped(plain, () => 8),
    );
    expectSame(
      await valueOf(act, [add(act, 1), set(act, 3)]),
      mapped(plain, () => 3),
    );
  });

  it("holds across views and across names of one value", async () => {
    const plain = await valueOf(post);
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
    const embed = await valueOf("embed");
    expectSame(await valueOf("layers.0.residPost", both), embed);
    expectSame(await valueOf("layers.0.residPost", [...both].reverse()), embed);
  });
});

describe("@before", () => {
  it("is the value before all clamps of the site, the site the value after them", async () => {
    const plain = await valueOf(act);
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
    expect(worstRow(before, await valueOf(act)).error).toBeGreaterThan(1e-3);
    expectSame(before, await valueOf(act, [zero("layers.0.mlp.act")]));
    expectSame(await valueOf(`${act}@before`), await valueOf(act));
  });

  it("can be asked for in part", async () => {
    const part = `${act}@before[:, -1, 3]`;
    const { data } = await valueOf(part, [set(act, 1)]);
    expect(data[0]).toBe((await valueOf(act)).data[8 * 40 + 3]);
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
    const plain = await valueOf(site);
    expectSame(
      await valueOf(site, [set(text, 7)]),
      mapped(plain, (x, index) => (selected(index) ? 7 : x)),
    );
  });

  it("count each row's own tokens in a padded batch", async () => {
    const plain = await valueOf(act, [], batch);
    const lengths = [9, 4, 6];
    const first = (r: number) => 9 - (lengths[r] as number);
    expectSame(
      await valueOf(act, [set(`${act}[:, 1]`, 7)], batch),
      mapped(plain, (x, [r = 0, c]) => (c === first(r) + 1 ? 7 : x)),
    );
    expectSame(
      await valueOf(act, [set(`${act}[1:, -2:]`, 7)], batch),
      mapped(plain, (x, [r = 0, c = 0]) => (r >= 1 && c >= 7 ? 7 : x)),
    );
    expectSame(
      await valueOf(act, [set(act, 7)], batch),
      mapped(plain, (_, [r = 0, c = 0]) => (c >= first(r) ? 7 : 0)),
    );
  });

  it("combine, each clamp with its own", async () => {
    const plain = await valueOf(act);
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
    expectSame(await valueOf(act, clamps), wanted);
  });

  it("of one row leave the others as they are", async () => {
    const clamps = [add("layers.0.residPost[row=1]", 0.5), set("layers.1.attn.z[row=1, head=0]", 0)];
    const [plain, clamped] = [await valueOf("logits", [], batch), await valueOf("logits", clamps, batch)];
    const moved = multiIndices([3, 9, 61]).filter(
      (index) => plain.data[offsetIn(plain.shape, index)] !== clamped.data[offsetIn(plain.shape, index)],
    );
    expect(new Set(moved.map(([row]) => row))).toEqual(new Set([1]));
    const single = clamps.map((own) => ({ ...own, reference: { ...own.reference, named: {} } }));
    expect(single).toHaveLength(2);
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
    const clamped = await valueOf(act, [set(`${act}[row=0, position=1:]`, values)], batch);
    expect(toNumbers(clamped).slice(40, 48)).toEqual(new Float64Array(8));
    expect(clamped.data[8 * 40]).toBe(7);
    await expect(valueOf(act, [set(`${act}[:, 5]`, 0)], batch)).rejects.toThrow(
      /index 5 is out of range in layers\.1\.mlp\.act, whose shape is \[row 3, position 9, neuron 40\], row 1 of which has 4 tokens/,
    );
  });
});

describe("values", () => {
  it("align as NumPy aligns shapes", async () => {
    const plain = await valueOf(act);
    const perNeuron = numbersFrom(40, (n) => n / 8);
    const perPosition = tensorOf(
      "float32",
      [9, 1],
      numbersFrom(9, (p) => p),
    );
    expectSame(
      await valueOf(act, [set(act, perNeuron)]),
      mapped(plain, (_, [, , n = 0]) => n / 8),
    );
    expectSame(
      await valueOf(act, [set(act, perPosition)]),
      mapped(plain, (_, [, p = 0]) => p),
    );
    expectSame(
      await valueOf(act, [add(`${act}[:, :, 1:4]`, [10, 20, 30])]),
      mapped(plain, (x, [, , n = 0]) => (n >= 1 && n < 4 ? x + n * 10 : x)),
    );
    const perRow = tensorOf("float32", [3, 1], [1, 2, 3]);
    const rows = await valueOf("layers.1.attn.z", [set("layers.1.attn.z[:, -1, 0]", perRow)], batch);
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
      () => set(`${act}[:, 0, 0]`, [[1], [2]].flat()),
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
    await expect(valueOf("logits", [make()])).rejects.toThrow(message);
  });

  it("must be finite, and a clamp that makes others is found where it shows", async () => {
    expect(() => add(act, [0, Number.NaN])).toThrow(
      "the value for layers.1.mlp.act is NaN at element 1; it must be finite",
    );
    await expect(valueOf("logits", [scale(post, 3e38), scale(post, 3e38)])).rejects.toThrow(
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

describe("mean", () => {
  it("is over the real tokens of all rows, without padding", async () => {
    const recording = await model.record(batch, act);
    const rows = await Promise.all(batch.map((ids) => valueOf(act, [], ids)));
    const all = rows.flatMap((value) =>
      numbersFrom(value.shape[1] as number, (p) => Array.from(value.data.slice(p * 40, (p + 1) * 40), Number)),
    );
    expect(all).toHaveLength(19);
    const wanted = numbersFrom(40, (n) => all.reduce((total, token) => total + (token[n] as number), 0) / all.length);
    const clamped = await valueOf(act, [mean(act, recording)]);
    expectClose(
      clamped,
      mapped(clamped, (_, [, , n = 0]) => wanted[n] as number),
    );
    const one = await valueOf(act, [mean(`${act}[:, 2, 5]`, recording)]);
    expect(one.data[2 * 40 + 5]).toBeCloseTo(wanted[5] as number, 6); // float32
    expect(one.data[2 * 40 + 6]).toBe((await valueOf(act)).data[2 * 40 + 6]);
    const range = await valueOf(act, [mean(`${act}[0:1, 3:5, 7:9]`, recording)]);
    expect(range.data[4 * 40 + 8]).toBeCloseTo(wanted[8] as number, 6); // float32
    expect(range.data[4 * 40 + 9]).toBe((await valueOf(act)).data[4 * 40 + 9]);
  });

  it("needs the whole site, and one whose rows and columns are not both tokens", async () => {
    const part = await model.record(A, `${act}[:, -1]`);
    await expect(valueOf(act, [mean(act, part)])).rejects.toThrow(/the recording has no site "layers\.1\.mlp\.act"/);
    const pattern = await model.record(A, "layers.1.attn.pattern");
    await expect(valueOf(act, [mean("layers.1.attn.pattern", pattern)])).rejects.toThrow(/has no mean over tokens/);
  });
});

describe("patch", () => {
  let source: Recording;
  beforeAll(async () => {
    source = await model.record(batch, "**");
  });
  const row = (value: Tensor, r: number, from: number) => {
    const size = elementCount(value.shape.slice(2));
    const columns = value.shape[1] as number;
    return value.data.slice((r * columns + from) * size, (r + 1) * columns * size);
  };

  it("takes the recording's own last token into the prompt's", async () => {
    const recorded = source.sites[post] as Tensor;
    const clamped = await valueOf(post, [patch(`${post}[0, -1]`, await model.record(C, post))], B);
    const from = await valueOf(post, [], C);
    expect(clamped.data.slice(5 * 24)).toEqual(from.data.slice(3 * 24));
    expect(recorded.shape).toEqual([3, 9, 24]);
  });

  it("patches one recorded row into every row", async () => {
    const one = await model.record(C, post);
    const clamped = await valueOf(post, [patch(`${post}[:, -1]`, one)], batch);
    const wanted = (one.sites[post] as Tensor).data.slice(-24);
    for (const r of [0, 1, 2]) expect(row(clamped, r, 8)).toEqual(wanted);
  });

  it("patches rows of one batch into the same rows of another, padded as they are", async () => {
    const turned = [A.map((id) => id + 1), C.map((id) => id + 1), B.map((id) => id + 1)];
    const clamped = await valueOf(post, [patch(post, source)], turned);
    expectSame(clamped, source.sites[post] as Tensor);
    const two = await valueOf(post, [patch(`${post}[1:]`, source)], turned);
    const plain = await valueOf(post, [], turned);
    expect(row(two, 0, 0)).toEqual(row(plain, 0, 0));
    expect(row(two, 1, 5)).toEqual(row(source.sites[post] as Tensor, 1, 5));
    expect(row(two, 2, 3)).toEqual(row(source.sites[post] as Tensor, 2, 3));
  });

  it("patches attention of rows of unequal length, whole and for one query", async () => {
    const pattern = "layers.1.attn.pattern";
    const turned = batch.map((ids) => ids.map((id) => id + 1));
    const [plain, recorded] = [await valueOf(pattern, [], turned), source.sites[pattern] as Tensor];
    expect(worstRow(plain, recorded).error).toBeGreaterThan(1e-3);
    expectSame(await valueOf(pattern, [patch(pattern, source)], turned), recorded);
    const last = await valueOf(pattern, [patch(`${pattern}[:, :, -1]`, source)], turned);
    expectSame(
      last,
      mapped(plain, (x, index) => (index[2] === 8 ? (recorded.data[offsetIn(recorded.shape, index)] as number) : x)),
    );
  });

  it("refuses a recording of other rows, of another length, or of a part", async () => {
    await expect(valueOf(post, [patch(post, source)], [A, C])).rejects.toThrow(
      /3 entries along row does not fit the 2 selected/,
    );
    await expect(valueOf(post, [patch(post, await model.record(C, post))], B)).rejects.toThrow(
      /4 entries along position does not fit the 6 selected/,
    );
    const part = await model.record(A, `${post}[:, -1]`);
    await expect(valueOf(post, [patch(`${post}[:, -1]`, part)])).rejects.toThrow(
      /the recording has no site "layers\.1\.residPost"; the nearest are layers\.1\.residPost\[:, -1\]/,
    );
  });
});

describe("blend", () => {
  it("patches exactly at 1, leaves exactly at 0, and moves in between", async () => {
    const source = await model.record(
      A.map((id) => id + 1),
      post,
    );
    const [plain, other] = [await valueOf(post), source.sites[post] as Tensor];
    expectSame(await valueOf(post, [blend(post, source, 1)]), other);
    expectSame(await valueOf(post, [blend(post, source, 0)]), plain);
    const at = (index: readonly number[]) => other.data[offsetIn(other.shape, index)] as number;
    expectClose(
      await valueOf(post, [blend(post, source, 0.25)]),
      mapped(plain, (x, index) => 0.75 * x + 0.25 * at(index)),
    );
    const third = tensorOf(
      "float32",
      [1, 9, 1],
      numbersFrom(9, (p) => (p === 3 ? 1 : 0)),
    );
    const single = await valueOf(post, [blend(post, source, third)]);
    expectSame(
      single,
      mapped(plain, (x, index) => (index[1] === 3 ? at(index) : x)),
    );
  });
});

describe("project", () => {
  const directions = tensorOf(
    "float32",
    [2, 24],
    numbersFrom(48, (i) => Math.sin(i * i + 1)),
  );
  const alongFirst = (value: Tensor) =>
    numbersFrom(9, (p) =>
      numbersFrom(24, (i) => (value.data[p * 24 + i] as number) * (directions.data[i] as number)).reduce(
        (a, b) => a + b,
        0,
      ),
    );

  it("splits a value into what lies in the span and the rest", async () => {
    const plain = await valueOf(post);
    const rest = await valueOf(post, [project(post, directions)]);
    const span = await valueOf(post, [project(post, directions, { keep: "span" })]);
    expectClose(
      mapped(rest, (x, index) => x + (span.data[offsetIn(span.shape, index)] as number)),
      plain,
    );
    for (const overlap of alongFirst(rest)) expect(Math.abs(overlap)).toBeLessThan(1e-4); // vectors of norm about 10, float32
    const kept = alongFirst(span);
    alongFirst(plain).forEach((overlap, p) => {
      expect(kept[p]).toBeCloseTo(overlap, 3);
    });
    expect(Math.max(...alongFirst(plain).map(Math.abs))).toBeGreaterThan(0.1);
  });

  it("does not change with the directions' length or order", async () => {
    const other = tensorOf(
      "float32",
      [2, 24],
      numbersFrom(48, (i) => 100 * Math.sin(((i + 24) % 48) ** 2 + 1)),
    );
    expectClose(await valueOf(post, [project(post, other)]), await valueOf(post, [project(post, directions)]), 1e-5);
  });

  it("acts on the selected part alone, on vectors of the last dimension", async () => {
    const z = "layers.1.attn.z";
    const plain = await valueOf(z);
    const clamped = await valueOf(z, [project(`${z}[head=1]`, [1, 0, 0, 0, 0, 0, 0, 0])]);
    expectSame(
      clamped,
      mapped(plain, (x, [, , h, e]) => (h === 1 && e === 0 ? 0 : x)),
    );
  });

  it.each<[string, number[] | Tensor, string]>([
    [
      "zero",
      numbersFrom(24, () => 0),
      "direction 0 for layers.1.residPost is zero or lies in the span of those before it",
    ],
    [
      "dependent",
      tensorOf(
        "float32",
        [2, 24],
        numbersFrom(48, (i) => (i % 24) * (i < 24 ? 1 : -3)),
      ),
      "direction 1 for layers.1.residPost is zero or lies in the span",
    ],
    ["more than fit", tensorOf("float32", [3, 2], [1, 0, 0, 1, 1, 1]), "direction 2 for layers.1.residPost"],
    [
      "of three dimensions",
      tensorOf(
        "float32",
        [1, 1, 24],
        numbersFrom(24, () => 1),
      ),
      "must have shape [size] or [count, size]",
    ],
  ])("refuses directions that are %s", (_, given, message) => {
    expect(() => project(post, given)).toThrow(message);
  });

  it("refuses directions of another size when it runs, naming the site", async () => {
    await expect(valueOf(post, [project(post, [1, 2, 3])])).rejects.toThrow(
      /layers\.1\.residPost.*float32\[batch, seq, 24\]/,
    );
  });
});

describe("quantize", () => {
  const f = Math.fround;
  const half = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  /** q = round((x - min) / step), x' = q step + min over one group of values, in float32. */
  const rounded = (values: readonly number[], bits: number): number[] => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const step = f(f(high - low) / (2 ** bits - 1));
    return values.map((x) => f(f(half(f(f(x - low) / Math.max(step, f(1e-30)))) * step) + low));
  };
  const byGroups = (value: Tensor, size: number, bits: number) => {
    const data = Array.from(value.data, Number);
    const groups = numbersFrom(data.length / size, (g) => rounded(data.slice(g * size, (g + 1) * size), bits));
    return tensorOf("float32", value.shape, groups.flat());
  };

  it.each([1, 3, 8])("rounds each vector to %s bits", async (bits) => {
    const plain = await valueOf("layers.1.attn.v");
    // one step may fall on the other side of a half where the runtime orders the arithmetic otherwise: none does here
    expectClose(await valueOf("layers.1.attn.v", [quantize("layers.1.attn.v", bits)]), byGroups(plain, 8, bits));
  });

  it("rounds a token's heads together where asked", async () => {
    const k = "layers.1.attn.k";
    const together = await valueOf(k, [quantize(k, 4, { per: "site" })]);
    expectClose(together, byGroups(await valueOf(k), 16, 4));
    expect(worstRow(together, byGroups(await valueOf(k), 8, 4)).error).toBeGreaterThan(1e-3);
  });

  it("takes a token's own scores together where heads come first", async () => {
    const scores = "layers.1.attn.scores";
    const [plain, together] = [await valueOf(scores), await valueOf(scores, [quantize(scores, 3, { per: "site" })])];
    const query = 4;
    const own = numbersFrom(4 * 9, (i) => plain.data[(Math.floor(i / 9) * 9 + query) * 9 + (i % 9)] as number);
    const wanted = rounded(own, 3);
    wanted.forEach((x, i) => {
      expect(together.data[(Math.floor(i / 9) * 9 + query) * 9 + (i % 9)]).toBeCloseTo(x, 5); // float32
    });
  });

  it("keeps a constant vector, and the part that is not selected", async () => {
    expectSame(
      await valueOf(act, [set(act, 0.3), quantize(act, 2)]),
      mapped(await valueOf(act), () => 0.3),
    );
    const plain = await valueOf(act);
    const part = await valueOf(act, [quantize(`${act}[:, -1]`, 1)]);
    expect(part.data.slice(0, 8 * 40)).toEqual(plain.data.slice(0, 8 * 40));
    expect(new Set(part.data.slice(8 * 40)).size).toBe(2);
  });

  it.each([0, 17, 2.5, Number.NaN])("refuses %s bits", (bits) => {
    expect(() => quantize(act, bits)).toThrow("bits must be a whole number from 1 to 16");
  });
});

describe("clamp", () => {
  it("takes any function of the value, and only its selected part takes effect", async () => {
    const plain = await valueOf(act);
    expectSame(
      await valueOf(act, [clamp(`${act}[:, 2:]`, (x) => relu(sub(x, 0.1)))]),
      mapped(plain, (x, [, p = 0]) => (p >= 2 ? Math.max(f32(x - f32(0.1)), 0) : x)),
    );
  });

  it("tells the function where it is: site, layer, positions", async () => {
    const seen: unknown[] = [];
    const clamped = await valueOf(
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
      /the function clamped at layers\.1\.mlp\.act returned float32\[batch, seq\]; it must return the site's own float32\[batch, seq, 40\]/,
    ],
    ["another type", (x) => less(x, 0), /the function clamped at layers\.1\.mlp\.act returned bool/],
  ])("refuses a function that returns %s", async (_, fn, message) => {
    await expect(valueOf(act, [clamp(act, fn)])).rejects.toThrow(message);
  });
});

const f32 = Math.fround;
