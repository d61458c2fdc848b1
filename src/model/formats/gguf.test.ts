import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Checkpoint, openGguf, openSafetensors, readSafetensors } from "./index.js";

const fixtures = fileURLToPath(new URL("../../../test/fixtures/formats/", import.meta.url));
let folder: string;
let checkpoint: Checkpoint;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patchclamp-gguf-"));
  checkpoint = await openGguf(join(fixtures, "small.gguf"));
});
afterAll(async () => {
  await checkpoint.close();
  await rm(folder, { recursive: true });
});

/** The bits of float32 values, all NaN made one: its sign and payload after arithmetic are the processor's affair. */
function bits(values: Float32Array): number[] {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return [...words].map((word, i) => (Number.isNaN(values[i]) ? 0x7fc00000 : word));
}

describe("metadata", () => {
  it("keeps every kind of value", () => {
    expect(Object.fromEntries(checkpoint.metadata)).toEqual(
      Object.fromEntries<unknown>([
        ["general.architecture", "llama"],
        ["number.u8", 255],
        ["number.i8", -128],
        ["number.u16", 65535],
        ["number.i16", -32768],
        ["number.u32", 2 ** 32 - 1],
        ["number.i32", -(2 ** 31)],
        ["number.u64", 2n ** 64n - 1n],
        ["number.u64.small", 2 ** 53 - 1],
        ["number.i64", -(2n ** 63n)],
        ["number.f32", Math.fround(0.1)],
        ["number.f64", 0.1],
        ["bool", true],
        ["text", "é 神\n"],
        ["__proto__", "only a name"],
        ["list.text", ["a", "", "é"]],
        ["list.number", [1, -2, 3]],
        ["list.real", [0.5, -0.25]],
        ["list.bool", [true, false]],
        ["list.nested", [[1, 2], [3]]],
      ]),
    );
  });
});

describe("tensors", () => {
  it("have their shape outermost first", () => {
    expect(checkpoint.tensors.get("f32")).toMatchObject({ dtype: "F32", shape: [3, 5], bytes: 60 });
    expect(checkpoint.tensors.get("q4_1")).toMatchObject({ dtype: "Q4_1", shape: [6, 128], bytes: 480 });
  });

  it.each(["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "i32"])(
    "%s decodes as the reference does, bit for bit",
    async (name) => {
      const { tensors } = await readSafetensors(join(fixtures, "small.expected.safetensors"));
      const expected = tensors[name];
      expect(expected?.dtype).toBe("float32");
      expect(bits(await checkpoint.read(name))).toEqual(bits(expected?.data as Float32Array));
    },
  );

  it("are read by rows", async () => {
    const all = await checkpoint.read("q4_1");
    expect(bits(await checkpoint.read("q4_1", [2, 5]))).toEqual(bits(all.slice(2 * 128, 5 * 128)));
    expect(await checkpoint.read("q4_1", [3, 3])).toHaveLength(0);
  });

  it("of other types are listed, and fail with their type when read", async () => {
    expect(checkpoint.tensors.get("q6_k")).toMatchObject({ dtype: "Q6_K", shape: [1, 256], bytes: 210 });
    await expect(checkpoint.read("q6_k")).rejects.toMatchObject({
      kind: "failure",
      message: expect.stringMatching(/Q6_K; readable are .*Q8_0/),
    });
  });
});

describe("files", () => {
  it("of version 2 read the same", async () => {
    const bytes = await readFile(join(fixtures, "small.gguf"));
    bytes.writeUInt32LE(2, 4);
    const path = join(folder, "version2.gguf");
    await writeFile(path, bytes);
    const second = await openGguf(path);
    expect([...second.tensors.keys()]).toEqual([...checkpoint.tensors.keys()]);
    expect(await second.read("f32")).toEqual(await checkpoint.read("f32"));
    await second.close();
  });

  it("are told apart from others", async () => {
    await expect(openGguf(join(fixtures, "dtypes.safetensors"))).rejects.toMatchObject({
      message: expect.stringMatching(/does not start with GGUF/),
    });
    await expect(openSafetensors([join(fixtures, "small.gguf")])).rejects.toMatchObject({
      message: expect.stringMatching(/not safetensors/),
    });
  });
});
