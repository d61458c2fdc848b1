/** The ready-made clamps with numbers of their own: mean, patch, blend, project, quantize. */
import { beforeAll, describe, expect, it } from "vitest";
import { worstRow } from "../../test/support/agreement.js";
import { mapped, numbersFrom, offsetIn } from "../../test/support/selection.js";
import { openTiny, tinyPrompts } from "../../test/support/tinyModel.js";
import { elementCount, type Tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { blend, type Clamp, type Model, mean, patch, project, quantize, type Recording, scale, set } from "./index.js";

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

describe("mean", () => {
  it("is over the real tokens of all rows, without padding", async () => {
    const recording = await model.record(batch, act);
    const rows = await Promise.all(batch.map((ids) => recordOf(act, [], ids)));
    const all = rows.flatMap((value) =>
      numbersFrom(value.shape[1] as number, (p) => Array.from(value.data.slice(p * 40, (p + 1) * 40), Number)),
    );
    expect(all).toHaveLength(19);
    const wanted = numbersFrom(40, (n) => all.reduce((total, token) => total + (token[n] as number), 0) / all.length);
    const clamped = await recordOf(act, [mean(act, recording)]);
    expectClose(
      clamped,
      mapped(clamped, (_, [, , n = 0]) => wanted[n] as number),
    );
    const one = await recordOf(act, [mean(`${act}[:, 2, 5]`, recording)]);
    expect(one.data[2 * 40 + 5]).toBeCloseTo(wanted[5] as number, 6); // float32
    expect(one.data[2 * 40 + 6]).toBe((await recordOf(act)).data[2 * 40 + 6]);
    const range = await recordOf(act, [mean(`${act}[0:1, 3:5, 7:9]`, recording)]);
    expect(range.data[4 * 40 + 8]).toBeCloseTo(wanted[8] as number, 6); // float32
    expect(range.data[4 * 40 + 9]).toBe((await recordOf(act)).data[4 * 40 + 9]);
  });

  it("needs the whole site, and one whose rows and columns are not both tokens", async () => {
    const part = await model.record(A, `${act}[:, -1]`);
    await expect(recordOf(act, [mean(act, part)])).rejects.toThrow(/the recording has no site "layers\.1\.mlp\.act"/);
    const pattern = await model.record(A, "layers.1.attn.pattern");
    await expect(recordOf(act, [mean("layers.1.attn.pattern", pattern)])).rejects.toThrow(/has no mean over tokens/);
  });
});

describe("patch", () => {
  it("takes a range of positions where keys stay whole, in a batch of unequal rows too", async () => {
    const scores = "layers.1.attn.scores";
    const prompts = [A, C];
    const recording = await model.record(prompts, scores);
    const own = recording.sites[scores] as Tensor;
    const [, heads = 0, columns = 0] = own.shape;
    const clamps = [scale(scores, 2), patch(`${scores}[:, 0, 1:3]`, recording)];
    const patched = await recordOf(scores, clamps, prompts);
    const first = prompts.map((ids) => columns - ids.length + 1); // the column of position 1
    expectSame(
      patched,
      mapped(own, (x, [row = 0, head, query = 0]) => {
        const inside = head === 0 && query >= (first[row] as number) && query < (first[row] as number) + 2;
        return inside ? x : 2 * x;
      }),
    );
    expect(heads).toBeGreaterThan(1);
  });

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
    const clamped = await recordOf(post, [patch(`${post}[0, -1]`, await model.record(C, post))], B);
    const from = await recordOf(post, [], C);
    expect(clamped.data.slice(5 * 24)).toEqual(from.data.slice(3 * 24));
    expect(recorded.shape).toEqual([3, 9, 24]);
  });

  it("patches one recorded row into every row", async () => {
    const one = await model.record(C, post);
    const clamped = await recordOf(post, [patch(`${post}[:, -1]`, one)], batch);
    const wanted = (one.sites[post] as Tensor).data.slice(-24);
    for (const r of [0, 1, 2]) expect(row(clamped, r, 8)).toEqual(wanted);
  });

  it("patches rows of one batch into the same rows of another, padded as they are", async () => {
    const turned = [A.map((id) => id + 1), C.map((id) => id + 1), B.map((id) => id + 1)];
    const clamped = await recordOf(post, [patch(post, source)], turned);
    expectSame(clamped, source.sites[post] as Tensor);
    const two = await recordOf(post, [patch(`${post}[1:]`, source)], turned);
    const plain = await recordOf(post, [], turned);
    expect(row(two, 0, 0)).toEqual(row(plain, 0, 0));
    expect(row(two, 1, 5)).toEqual(row(source.sites[post] as Tensor, 1, 5));
    expect(row(two, 2, 3)).toEqual(row(source.sites[post] as Tensor, 2, 3));
  });

  it("patches attention of rows of unequal length, whole and for one query", async () => {
    const pattern = "layers.1.attn.pattern";
    const turned = batch.map((ids) => ids.map((id) => id + 1));
    const [plain, recorded] = [await recordOf(pattern, [], turned), source.sites[pattern] as Tensor];
    expect(worstRow(plain, recorded).error).toBeGreaterThan(1e-3);
    expectSame(await recordOf(pattern, [patch(pattern, source)], turned), recorded);
    const last = await recordOf(pattern, [patch(`${pattern}[:, :, -1]`, source)], turned);
    expectSame(
      last,
      mapped(plain, (x, index) => (index[2] === 8 ? (recorded.data[offsetIn(recorded.shape, index)] as number) : x)),
    );
  });

  it("refuses a recording of other rows, of another length, or of a part", async () => {
    await expect(recordOf(post, [patch(post, source)], [A, C])).rejects.toThrow(
      /3 entries along row does not fit the 2 selected/,
    );
    await expect(recordOf(post, [patch(post, await model.record(C, post))], B)).rejects.toThrow(
      /4 entries along position does not fit the 6 selected/,
    );
    const part = await model.record(A, `${post}[:, -1]`);
    await expect(recordOf(post, [patch(`${post}[:, -1]`, part)])).rejects.toThrow(
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
    const [plain, other] = [await recordOf(post), source.sites[post] as Tensor];
    expectSame(await recordOf(post, [blend(post, source, 1)]), other);
    expectSame(await recordOf(post, [blend(post, source, 0)]), plain);
    const at = (index: readonly number[]) => other.data[offsetIn(other.shape, index)] as number;
    expectClose(
      await recordOf(post, [blend(post, source, 0.25)]),
      mapped(plain, (x, index) => 0.75 * x + 0.25 * at(index)),
    );
    const third = tensorOf(
      "float32",
      [1, 9, 1],
      numbersFrom(9, (p) => (p === 3 ? 1 : 0)),
    );
    const single = await recordOf(post, [blend(post, source, third)]);
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
    const plain = await recordOf(post);
    const rest = await recordOf(post, [project(post, directions)]);
    const span = await recordOf(post, [project(post, directions, { keep: "span" })]);
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
    expectClose(await recordOf(post, [project(post, other)]), await recordOf(post, [project(post, directions)]), 1e-5);
  });

  it("acts on the selected part alone, on vectors of the last dimension", async () => {
    const z = "layers.1.attn.z";
    const plain = await recordOf(z);
    const clamped = await recordOf(z, [project(`${z}[head=1]`, [1, 0, 0, 0, 0, 0, 0, 0])]);
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
    await expect(recordOf(post, [project(post, [1, 2, 3])])).rejects.toThrow(
      /layers\.1\.residPost.*float32\[batch, seq, 24\]/,
    );
  });
});

describe("quantize", () => {
  const half = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  /** q = round((x - min) / step), x' = q step + min over one group of values, in float32. */
  const rounded = (values: readonly number[], bits: number): number[] => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const step = f32(f32(high - low) / (2 ** bits - 1));
    return values.map((x) => f32(f32(half(f32(f32(x - low) / Math.max(step, f32(1e-30)))) * step) + low));
  };
  const byGroups = (value: Tensor, size: number, bits: number) => {
    const data = Array.from(value.data, Number);
    const groups = numbersFrom(data.length / size, (g) => rounded(data.slice(g * size, (g + 1) * size), bits));
    return tensorOf("float32", value.shape, groups.flat());
  };

  it.each([1, 3, 8])("rounds each vector to %s bits", async (bits) => {
    const plain = await recordOf("layers.1.attn.v");
    // one step may fall on the other side of a half where the runtime orders the arithmetic otherwise: none does here
    expectClose(await recordOf("layers.1.attn.v", [quantize("layers.1.attn.v", bits)]), byGroups(plain, 8, bits));
  });

  it("rounds a token's heads together where asked", async () => {
    const k = "layers.1.attn.k";
    const together = await recordOf(k, [quantize(k, 4, { per: "site" })]);
    expectClose(together, byGroups(await recordOf(k), 16, 4));
    expect(worstRow(together, byGroups(await recordOf(k), 8, 4)).error).toBeGreaterThan(1e-3);
  });

  it("takes a token's own scores together where heads come first", async () => {
    const scores = "layers.1.attn.scores";
    const [plain, together] = [await recordOf(scores), await recordOf(scores, [quantize(scores, 3, { per: "site" })])];
    const query = 4;
    const own = numbersFrom(4 * 9, (i) => plain.data[(Math.floor(i / 9) * 9 + query) * 9 + (i % 9)] as number);
    const wanted = rounded(own, 3);
    wanted.forEach((x, i) => {
      expect(together.data[(Math.floor(i / 9) * 9 + query) * 9 + (i % 9)]).toBeCloseTo(x, 5); // float32
    });
  });

  it("keeps a constant vector, and the part that is not selected", async () => {
    expectSame(
      await recordOf(act, [set(act, 0.3), quantize(act, 2)]),
      mapped(await recordOf(act), () => 0.3),
    );
    const plain = await recordOf(act);
    const part = await recordOf(act, [quantize(`${act}[:, -1]`, 1)]);
    expect(part.data.slice(0, 8 * 40)).toEqual(plain.data.slice(0, 8 * 40));
    expect(new Set(toNumbers(part).slice(8 * 40)).size).toBe(2);
  });

  it.each([0, 17, 2.5, Number.NaN])("refuses %s bits", (bits) => {
    expect(() => quantize(act, bits)).toThrow("bits must be a whole number from 1 to 16");
  });
});
