import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Dtype, Tensor } from "../../runtime/tensor.js";
import { writeAtomically } from "./files.js";
import { openSafetensors, readSafetensors, writeSafetensors } from "./index.js";

const fixtures = fileURLToPath(new URL("../../../test/fixtures/formats/", import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-formats-"));
});
afterAll(() => rm(folder, { recursive: true }));

const float32 = (values: number[], shape: readonly number[] = [values.length]): Tensor => {
  return { dtype: "float32", shape, data: Float32Array.from(values) };
};

describe("a file that Python wrote", () => {
  it("gives every element type natively, BF16 as float32", async () => {
    const { tensors, metadata } = await readSafetensors(join(fixtures, "dtypes.safetensors"));
    expect(metadata).toEqual({ "made by": "safetensors", constructor: "é" });
    const found = Object.fromEntries(Object.entries(tensors).map(([k, t]) => [k, [t.dtype, t.shape, [...t.data]]]));
    expect(found).toEqual(
      Object.fromEntries([
        ["f64", ["float64", [2, 2], [1.5, -2.25, 1e300, 5e-324]]],
        ["f32", ["float32", [4], [0.1, -0, 3e38, 1e-45].map(Math.fround)]],
        ["f16", ["float16", [6], [0x3c00, 0xbe00, 0x7bff, 1, 0x7c00, 0x7e00]]],
        // The nearest bfloat16 of 3e38 and of the subnormal 1e-40 have the upper words 0x7f62 and 0x0001.
        ["bf16", ["float32", [5], [1, -3.140625, 226 * 2 ** 120, 2 ** -133, Number.POSITIVE_INFINITY]]],
        ["i64", ["int64", [2], [2n ** 62n + 1n, -1n]]],
        ["i32", ["int32", [2, 1], [2 ** 31 - 1, -(2 ** 31)]]],
        ["i16", ["int16", [2], [32767, -32768]]],
        ["i8", ["int8", [3], [127, -128, 3]]],
        ["u8", ["uint8", [3], [255, 0, 7]]],
        ["bool", ["bool", [3], [1, 0, 1]]],
        ["empty", ["float32", [0, 3], []]],
        ["scalar", ["float32", [], [2.5]]],
        ["__proto__", ["float32", [1], [1]]],
        ["unicode é 神", ["float32", [1], [2]]],
      ]),
    );
  });

  it("opens as a checkpoint of float32 values", async () => {
    const checkpoint = await openSafetensors([join(fixtures, "dtypes.safetensors")]);
    expect(checkpoint.tensors.get("i32")).toMatchObject({ name: "i32", dtype: "I32", shape: [2, 1], bytes: 8 });
    expect([...(await checkpoint.read("i16"))]).toEqual([32767, -32768]);
    expect([...(await checkpoint.read("i32", [1, 2]))]).toEqual([-(2 ** 31)]);
    expect([...(await checkpoint.read("scalar"))]).toEqual([2.5]);
    await expect(checkpoint.read("i32", [1, 3])).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(/\[1, 3\).*\[2, 1\]/),
    });
    await expect(checkpoint.read("scalar", [0, 1])).rejects.toMatchObject({ kind: "usage" });
    await expect(checkpoint.read("i23")).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(/nearest names are "i/),
    });
    await checkpoint.close();
    await expect(checkpoint.read("i16")).rejects.toMatchObject({ kind: "failure" });
  });

  it("names a type that it cannot read", async () => {
    const path = join(fixtures, "u16.safetensors");
    await expect(readSafetensors(path)).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/"u16" is U16; readable are/),
    });
    const checkpoint = await openSafetensors([path]);
    expect([...(await checkpoint.read("f32"))]).toEqual([1]);
    await expect(checkpoint.read("u16")).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/U16; readable are F32/),
    });
    await checkpoint.close();
  });
});

describe("shards", () => {
  const shards = ["1", "2"].map((i) => join(fixtures, `model-0000${i}-of-00002.safetensors`));
  const index = join(fixtures, "model.safetensors.index.json");
  const [first, second] = shards as [string, string];

  it("are one checkpoint", async () => {
    const checkpoint = await openSafetensors([...shards, index]);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(["a", "b", "c"]);
    expect(checkpoint.metadata.get("format")).toBe("pt");
    expect([...(await checkpoint.read("a", [1, 2]))]).toEqual([3, 4, 5]);
    expect([...(await checkpoint.read("b"))]).toEqual([1, 1, 1, 1]);
    expect([...(await checkpoint.read("c"))]).toEqual([0, 1, 2, 3]);
    await checkpoint.close();
  });

  it("must be complete, apart, and where the index says", async () => {
    await expect(openSafetensors([first, index])).rejects.toMatchObject({
      message: expect.stringMatching(/"c" should be in .*no shard that was given/),
    });
    await expect(openSafetensors([first, first])).rejects.toMatchObject({
      message: expect.stringMatching(/"\w" is also in/),
    });
    await expect(openSafetensors([index])).rejects.toMatchObject({ kind: "usage" });
    const swapped = join(folder, "swapped.json");
    await writeFile(swapped, JSON.stringify({ weight_map: { c: "../model-00001-of-00002.safetensors" } }));
    await expect(openSafetensors([...shards, swapped])).rejects.toMatchObject({
      message: expect.stringMatching(/"c" should be in "\.\.\/model-00001/),
    });
    await writeFile(swapped, "{");
    await expect(openSafetensors([second, swapped])).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/not JSON/),
    });
    await writeFile(swapped, "[1]");
    await expect(openSafetensors([second, swapped])).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/no weight_map/),
    });
  });
});

describe("writing", () => {
  const arrays: { [D in Dtype]: Tensor<D> } = {
    float32: { dtype: "float32", shape: [2, 1], data: Float32Array.of(1.5, -0) },
    float64: { dtype: "float64", shape: [1], data: Float64Array.of(5e-324) },
    float16: { dtype: "float16", shape: [1], data: Uint16Array.of(0x3c00) },
    int64: { dtype: "int64", shape: [1], data: BigInt64Array.of(-(2n ** 63n)) },
    int32: { dtype: "int32", shape: [1], data: Int32Array.of(-1) },
    int16: { dtype: "int16", shape: [1], data: Int16Array.of(-2) },
    int8: { dtype: "int8", shape: [3], data: Int8Array.of(-3, 0, 3) },
    uint8: { dtype: "uint8", shape: [0], data: new Uint8Array() },
    bool: { dtype: "bool", shape: [], data: Uint8Array.of(1) },
  };

  it("returns what was written", async () => {
    const path = join(folder, "all.safetensors");
    await writeSafetensors(path, arrays, { note: "é", __proto__x: "y" });
    expect(await readSafetensors(path)).toEqual({ tensors: arrays, metadata: { note: "é", __proto__x: "y" } });
  });

  it("writes views of larger buffers, and names that objects treat in their own way", async () => {
    const path = join(folder, "names.safetensors");
    const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    const names = ["10", "2", "__proto__", "b"];
    await writeSafetensors(
      path,
      Object.fromEntries(names.map((name) => [name, { dtype: "float32", shape: [2], data: view }])),
    );
    const { tensors } = await readSafetensors(path);
    expect(Object.keys(tensors).sort()).toEqual(names);
    for (const tensor of Object.values(tensors)) expect([...tensor.data]).toEqual([1, 2]);
  });

  it("lays bytes out as other readers need them", async () => {
    const path = join(folder, "layout.safetensors");
    await writeSafetensors(path, { "10": arrays.int8, "2": float32([1]), a: arrays.float64 }, { k: "v" });
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE(0));
    const text = bytes.toString("utf8", 8, 8 + length);
    // Names sorted in the header; data by element size, so that each tensor is aligned to its element; data section at a
    // multiple of 64 behind spaces.
    expect(text.trimEnd()).toBe(
      '{"10":{"dtype":"I8","shape":[3],"data_offsets":[12,15]},"2":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},' +
        '"__metadata__":{"k":"v"},"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
    );
    expect([(8 + length) % 64, bytes.length]).toEqual([0, 8 + length + 15]);
  });

  it("leaves the target and the folder as they were when it fails", async () => {
    const place = await mkdtemp(join(folder, "atomic-"));
    const path = join(place, "file.safetensors");
    await writeSafetensors(path, { a: float32([1]) });
    const interrupted = writeAtomically(path, async (handle) => {
      await handle.write(new Uint8Array(1000));
      expect(await readdir(place)).toHaveLength(2);
      throw new Error("interrupted");
    });
    await expect(interrupted).rejects.toThrow("interrupted");
    expect(await readdir(place)).toEqual(["file.safetensors"]);
    expect([...((await readSafetensors(path)).tensors.a?.data ?? [])]).toEqual([1]);
    const overFolder = writeSafetensors(place, { a: float32([1]) });
    await expect(overFolder).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/cannot write it/),
    });
    expect(await readdir(folder)).not.toContainEqual(expect.stringMatching(/^\.patchclamp-/));
    await expect(writeSafetensors(join(place, "no", "x"), {})).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/ENOENT/),
    });
  });

  it.each<[string, Record<string, Tensor>, RegExp]>([
    ["a shape that does not fit", { a: float32([1, 2], [3]) }, /"a" has the shape \[3\] and 2 values/],
    ["a negative shape", { a: float32([1, 2], [-1, -2]) }, /shape \[-1, -2\]/],
    [
      "data of another type",
      { a: { dtype: "float32", shape: [1], data: Float64Array.of(1) } as unknown as Tensor },
      /Float64Array/,
    ],
    ["the reserved name", { __metadata__: float32([1]) }, /reserves/],
    ["half a surrogate pair", { "\ud800": float32([1]) }, /not valid Unicode/],
  ])("refuses %s", async (_, tensors, message) => {
    await expect(writeSafetensors(join(folder, "refused"), tensors)).rejects.toMatchObject({
      kind: "usage",
      message: expect.stringMatching(message),
    });
  });
});

describe("paths", () => {
  it("must name regular files", async () => {
    await expect(readSafetensors(folder)).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/not a regular file/),
    });
    await expect(readSafetensors(join(folder, "none"))).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/ENOENT/),
    });
  });
});
