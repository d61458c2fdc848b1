/** NaN and infinity in weights of every format, and in what clamps bring. */
import { join } from "node:path";
import { joinParts, makeGguf, makeModel, recordingFile, type Safetensors } from "../checkpoints.ts";
import type { HostileCase, Place } from "../machine.ts";
import { clampGood, modelFolder, recordFrom, written } from "./calls.ts";

const kind = "NaN weights";
const name = "model.layers.1.mlp.down_proj.weight";

/** Stores a weight in another type, with one value at the end that is not finite. */
const poison = (dtype: string, bytes: number, bits: bigint) => (file: Safetensors) => {
  const tensor = file.tensors[name] as Safetensors["tensors"][string];
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  const data = Buffer.alloc(count * bytes);
  const word = Buffer.alloc(8);
  word.writeBigUInt64LE(bits);
  word.copy(data, data.length - bytes, 0, bytes);
  file.tensors[name] = { dtype, shape: tensor.shape, data };
};

const poisoned = (title: string, dtype: string, bytes: number, bits: bigint): HostileCase => ({
  kind,
  name: title,
  arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { parts: poison(dtype, bytes, bits) })),
  exit: 1,
  says: ["WORK/model/model.safetensors", `"${name}"`, "1 values are NaN or infinite"],
});

/** A GGUF model with these two bytes written into the first block of a tensor. */
const poisonedGguf = (title: string, from: string, tensor: string, half: number, count: number): HostileCase => ({
  kind,
  name: title,
  arrange: (place) =>
    recordFrom(
      place,
      makeGguf(join(place.work, "m.gguf"), {
        from,
        parts: ({ tensors, data }) => {
          const { offset, type } = tensors.get(tensor) as { offset: number; type: number };
          if (type === 0) data.writeUInt16LE(half, offset + 2);
          else data.writeUInt16LE(half, offset);
        },
      }),
    ),
  exit: 1,
  says: ["WORK/m.gguf", `"${tensor}"`, `${count} values are NaN or infinite`],
});

/** A file with one vector of the residual stream's width, the value at place 3 not finite. */
function vector(place: Place, dtype: string, bytes: number, bits: number): string {
  const data = Buffer.alloc(24 * bytes);
  data.writeUIntLE(bits, 3 * bytes, bytes);
  return written(place, "v.safetensors", joinParts({ tensors: { v: { dtype, shape: [24], data } } }));
}

const file32 = (place: Place, value: number) => {
  const data = Buffer.from(new Float32Array(48).fill(1).buffer);
  data.writeFloatLE(value, 40);
  const tensors = { "layers.1.residPost": { dtype: "F32", shape: [1, 2, 24], data } };
  return written(place, "r.safetensors", recordingFile(tensors));
};

export const nonFinite: readonly HostileCase[] = [
  poisoned("NaN in float32", "F32", 4, 0x7fc00000n),
  poisoned("infinity in float32", "F32", 4, 0xff800000n),
  poisoned("NaN in float16", "F16", 2, 0x7e00n),
  poisoned("infinity in float16", "F16", 2, 0x7c00n),
  poisoned("NaN in bfloat16", "BF16", 2, 0xffc1n),
  poisoned("infinity in bfloat16", "BF16", 2, 0x7f80n),
  poisoned("NaN in float64", "F64", 8, 0x7ff8000000000000n),
  poisoned("a float64 that float32 does not hold", "F64", 8, 0x7fe0000000000000n),
  poisonedGguf("NaN in a GGUF norm", "llama-gguf", "output_norm.weight", 0x7fc0, 1),
  poisonedGguf("a NaN scale of a GGUF block", "llama-gguf-quantized", "blk.0.attn_v.weight", 0x7e00, 32),
  poisonedGguf("an infinite scale of a GGUF block", "llama-gguf-quantized", "blk.0.ffn_down.weight", 0x7c00, 32),
  {
    kind,
    name: "NaN given to --add",
    arrange: (place) => clampGood("--add", `layers.1.residPost=${vector(place, "F32", 4, 0x7fc00000)}:v`),
    exit: 2,
    says: ["layers.1.residPost", "NaN at element 3", "must be finite"],
  },
  {
    kind,
    name: "infinity in half precision given to --set",
    arrange: (place) => clampGood("--set", `layers.1.residPost=${vector(place, "F16", 2, 0x7c00)}:v`),
    exit: 2,
    says: ["WORK/v.safetensors", '"v"', "float16", "float32"],
  },
  {
    kind,
    name: "a factor that leaves float32",
    arrange: (place) => clampGood("--add", `layers.1.residPost=${vector(place, "F32", 4, 0x7f000000)}:v*1e10`),
    exit: 2,
    says: ["layers.1.residPost", "Infinity at element 3", "must be finite"],
  },
  {
    kind,
    name: "a number that float32 does not hold",
    arrange: () => clampGood("--set", "layers.1.residPost=1e39"),
    exit: 2,
    says: ["layers.1.residPost", "Infinity", "must be finite"],
  },
  {
    kind,
    name: "a recording that holds NaN, given to --patch",
    arrange: (place) => clampGood("--patch", `layers.1.residPost=${file32(place, Number.NaN)}`),
    exit: 2,
    says: ["layers.1.residPost", "NaN", "must be finite"],
  },
  {
    kind,
    name: "a recording that holds infinity, given to --mean",
    arrange: (place) => clampGood("--mean", `layers.1.residPost=${file32(place, Number.NEGATIVE_INFINITY)}`),
    exit: 2,
    says: ["layers.1.residPost", "-Infinity", "must be finite"],
  },
  {
    kind,
    name: "finite clamps whose effect is not",
    arrange: () => clampGood("--scale", "layers.0.residPost=3e38", "--scale", "layers.1.residPost=3e38"),
    exit: 1,
    says: ["not finite, or too large"],
  },
];
