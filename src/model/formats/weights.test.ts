import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../runtime/tensor.js";
import {
  type Checkpoint,
  type ConvertOptions,
  convertWeights,
  openGguf,
  openSafetensors,
  openWeights,
  readSafetensors,
  readWeight,
  type WeightPlan,
  writeSafetensors,
} from "./index.js";

const fixtures = fileURLToPath(new URL("../../../test/fixtures/formats/", import.meta.url));
let folder: string;
let checkpoint: Checkpoint;

const counting = (...shape: number[]): Tensor => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i);
  return { dtype: "float32", shape, data };
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-weights-"));
  const path = join(folder, "source.safetensors");
  const odd = { dtype: "float32", shape: [3], data: Float32Array.of(1, Number.NaN, Number.NEGATIVE_INFINITY) } as const;
  const tensors = { matrix: counting(4, 6), other: counting(2, 6), vector: counting(6), experts: counting(2, 3, 4) };
  await writeSafetensors(path, { ...tensors, heads: counting(8, 2), scalar: counting(), none: counting(0, 6), odd });
  checkpoint = await openSafetensors([path]);
});
afterAll(async () => {
  await checkpoint.close();
  await rm(folder, { recursive: true });
});

/** What a plan of one weight gives. */
async function convert(entry: Omit<WeightPlan, "name">, options?: ConvertOptions): Promise<number[]> {
  const file = await convertWeights(checkpoint, [{ name: "w", ...entry }], join(folder, "one.safetensors"), options);
  expect(file.tensors.get("w")?.shape).toEqual(entry.shape);
  return [...(await readWeight(file, "w"))];
}

/** Values i -> value(row, column) of a matrix. */
function matrix(rows: number, columns: number, value: (row: number, column: number) => number): number[] {
  return Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
}

// Pieces of one byte are single rows (or heads): every seam between pieces is then met.
describe.each([undefined, 1, 50])("a plan, in pieces of %s bytes", (bytes) => {
  const options = bytes === undefined ? {} : { pieceBytes: bytes };

  it("copies", async () => {
    expect(await convert({ shape: [4, 6], from: "matrix" }, options)).toEqual(matrix(4, 6, (r, c) => r * 6 + c));
    expect(await convert({ shape: [6], from: "vector" }, options)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await convert({ shape: [], from: "scalar" }, options)).toEqual([0]);
    expect(await convert({ shape: [6, 4], from: "experts" }, options)).toEqual(matrix(6, 4, (r, c) => r * 4 + c));
  });

  it("transposes", async () => {
    const transposed = await convert({ shape: [6, 4], from: "matrix", transform: "transpose" }, options);
    expect(transposed).toEqual(matrix(6, 4, (r, c) => c * 6 + r));
  });

  it("takes rows, columns and experts", async () => {
    const block = await convert({ shape: [2, 3], from: "matrix", rows: [1, 3], columns: [2, 5] }, options);
    expect(block).toEqual(matrix(2, 3, (r, c) => (r + 1) * 6 + c + 2));
    const turned = await convert(
      { shape: [3, 2], from: "matrix", rows: [1, 3], columns: [2, 5], transform: "transpose" },
      options,
    );
    expect(turned).toEqual(matrix(3, 2, (r, c) => (c + 1) * 6 + r + 2));
    const expert = await convert({ shape: [4, 3], from: "experts", rows: [1, 2], transform: "transpose" }, options);
    expect(expert).toEqual(matrix(4, 3, (r, c) => 12 + c * 4 + r));
    expect(await convert({ shape: [2], from: "vector", rows: [3, 5] }, options)).toEqual([3, 4]);
  });

  it("stacks, takes rows across the seam, and transposes", async () => {
    const stacked = (r: number, c: number) => (r < 4 ? r : r - 4) * 6 + c;
    const from = ["matrix", "other"];
    expect(await convert({ shape: [6, 6], from }, options)).toEqual(matrix(6, 6, stacked));
    const part = await convert({ shape: [6, 2], from, rows: [3, 5], transform: "transpose" }, options);
    expect(part).toEqual(matrix(6, 2, (r, c) => stacked(c + 3, r)));
  });

  it("adds in float32", async () => {
    const sum = await convert({ shape: [6], from: "vector", add: 0.1 }, options);
    expect(sum).toEqual([0, 1, 2, 3, 4, 5].map((value) => Math.fround(value + 0.1)));
  });

  it("undoes the rotary order of heads", async () => {
    // Two heads of four rows: row 2j + k of a stored head is row 2k + j of the original.
    const original = matrix(8, 2, (r, c) => ((r & 4) + (r % 2) * 2 + ((r >> 1) & 1)) * 2 + c);
    const plan = { from: "heads", heads: 2 } as const;
    expect(await convert({ ...plan, shape: [8, 2], transform: "ropeInterleaved" }, options)).toEqual(original);
    const turned = await convert({ ...plan, shape: [2, 8], transform: "ropeInterleavedTranspose" }, options);
    expect(turned).toEqual(matrix(2, 8, (r, c) => original[c * 2 + r] as number));
    const bias = await convert(
      { shape: [4], from: "vector", rows: [2, 6], heads: 1, transform: "ropeInterleaved" },
      options,
    );
    expect(bias).toEqual([2, 4, 3, 5]);
  });

  it("gives back what a Llama conversion permuted", async () => {
    const gguf = await openGguf(join(fixtures, "small.gguf"));
    const { tensors } = await readSafetensors(join(fixtures, "small.expected.safetensors"));
    const plan = { name: "q", shape: [24, 5], from: "q.rotary", transform: "ropeInterleaved", heads: 3 } as const;
    const file = await convertWeights(gguf, [plan], join(folder, "rotary.safetensors"), options);
    expect(await readWeight(file, "q")).toEqual(tensors["q.rotary original"]?.data);
    await gguf.close();
  });
});

describe("the file", () => {
  const plan: WeightPlan[] = [
    { name: "vector", shape: [6], from: "vector" },
    { name: "long", shape: [4, 4], from: "matrix", columns: [0, 4] },
    { name: "matrix", shape: [4, 6], from: "matrix" },
    { name: "scalar", shape: [], from: "scalar" },
  ];

  it("is aligned as far as lengths allow, with its metadata, and opens again", async () => {
    const path = join(folder, "file.safetensors");
    const progress: [number, number][] = [];
    const file = await convertWeights(checkpoint, plan, path, {
      metadata: { made: "here" },
      onProgress: (done, total) => progress.push([done, total]),
    });
    const start = file.tensors.get("long")?.offset ?? 1;
    expect(start % 64).toBe(0);
    // 64 bytes, then 96, 24 and 4: each starts at a multiple of the power of two that divides its length.
    const offsets = ["long", "matrix", "vector", "scalar"].map((name) => (file.tensors.get(name)?.offset ?? 0) - start);
    expect(offsets).toEqual([0, 64, 160, 184]);
    expect(file).toMatchObject({ path, bytes: start + 188, metadata: { made: "here" } });
    expect((await readFile(path)).length).toBe(file.bytes);
    expect(await openWeights(path)).toEqual(file);
    expect(progress.at(-1)).toEqual([188, 188]);
    expect((await readSafetensors(path)).tensors.vector).toEqual(counting(6));
    await expect(readWeight(file, "vektor")).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(/nearest names are "vector"/),
    });
  });

  it("must hold float32 only", async () => {
    const opened = openWeights(join(fixtures, "dtypes.safetensors"));
    await expect(opened).rejects.toMatchObject({ kind: "failure", message: expect.stringMatching(/holds F32 only/) });
  });

  it("leaves nothing behind when the work is stopped, and keeps what was there", async () => {
    const place = await mkdtemp(join(folder, "stop-"));
    const path = join(place, "file.safetensors");
    const before = await convertWeights(checkpoint, plan, path);
    const controller = new AbortController();
    const stopped = convertWeights(checkpoint, plan, path, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
    expect(await readdir(place)).toEqual(["file.safetensors"]);
    expect(await openWeights(path)).toEqual(before);
  });

  it("refuses values that are not finite unless told otherwise", async () => {
    const refused = convert({ shape: [3], from: "odd" });
    await expect(refused).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/"odd": 2 values are NaN or infinite/),
    });
    const allowed = await convert({ shape: [3], from: "odd" }, { allowNonFinite: true });
    expect(allowed).toEqual([1, Number.NaN, Number.NEGATIVE_INFINITY]);
  });
});

describe("a plan that cannot be followed", () => {
  it.each<[string, Omit<WeightPlan, "name">, string, RegExp]>([
    [
      "names no tensor that exists",
      { shape: [6], from: "vektor" },
      "failure",
      /no tensor "vektor"; the nearest names are "vector"/,
    ],
    ["takes nothing", { shape: [6], from: [] }, "usage", /no tensor/],
    ["expects another shape", { shape: [6, 4], from: "matrix" }, "failure", /should be \[6,4\].*gives \[4,6\]/],
    ["stacks what does not fit", { shape: [6], from: ["matrix", "experts"] }, "failure", /cannot be stacked/],
    [
      "takes rows that are not there",
      { shape: [2, 6], from: "matrix", rows: [3, 5] },
      "failure",
      /\[3, 5\) is not inside the 4/,
    ],
    [
      "takes columns that are not there",
      { shape: [4, 2], from: "matrix", columns: [5, 7] },
      "failure",
      /columns of "w"/,
    ],
    ["cuts a vector", { shape: [2], from: "vector", columns: [0, 2] }, "failure", /only a matrix/],
    ["turns three dimensions", { shape: [4, 6], from: "experts", transform: "transpose" }, "failure", /only a matrix/],
    ["forgets the heads", { shape: [8, 2], from: "heads", transform: "ropeInterleaved" }, "usage", /heads missing/],
    [
      "has heads of an odd size",
      { shape: [6], from: "vector", transform: "ropeInterleaved", heads: 2 },
      "usage",
      /even size/,
    ],
    ["is empty", { shape: [0, 6], from: "none" }, "failure", /empty/],
  ])("%s", async (_, entry, kind, message) => {
    await expect(convert(entry)).rejects.toMatchObject({ kind, message: expect.stringMatching(message) });
  });

  it("has a name twice, or the reserved one", async () => {
    const entry = { name: "w", shape: [6], from: "vector" };
    const path = join(folder, "twice.safetensors");
    await expect(convertWeights(checkpoint, [entry, entry], path)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(/"w" here; a name can come once/),
    });
    const reserved = { ...entry, name: "__metadata__" };
    await expect(convertWeights(checkpoint, [reserved], path)).rejects.toMatchObject({ kind: "usage" });
  });

  it("wants a type that cannot be decoded", async () => {
    const gguf = await openGguf(join(fixtures, "small.gguf"));
    const converted = convertWeights(
      gguf,
      [{ name: "w", shape: [1, 256], from: "q6_k" }],
      join(folder, "k.safetensors"),
    );
    await expect(converted).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/Q6_K; weights are/),
    });
    await gguf.close();
  });
});
