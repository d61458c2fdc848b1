/** Numbers of another type than the one that is wanted. */
import { join } from "node:path";
import { ggufValue, joinParts, makeGguf, makeModel, recordingFile, type Safetensors } from "../checkpoints.ts";
import { goodModel, type HostileCase } from "../machine.ts";
import { clampGood, modelFolder, recordFrom, written } from "./calls.ts";

const kind = "wrong dtypes";

/** Gives a tensor another type: as many numbers, all zero bytes. */
const retype = (name: string, dtype: string, bytes: number) => (file: Safetensors) => {
  const tensor = file.tensors[name] as Safetensors["tensors"][string];
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  file.tensors[name] = { dtype, shape: tensor.shape, data: Buffer.alloc(count * bytes) };
};

const one = (dtype: string, shape: number[], data: Buffer) => joinParts({ tensors: { v: { dtype, shape, data } } });

export const wrongDtypes: readonly HostileCase[] = [
  {
    kind,
    name: "an embedding of 8-bit floats",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { parts: retype("model.embed_tokens.weight", "F8_E4M3", 1) })),
    exit: 1,
    says: ["WORK/model", '"model.embed_tokens.weight" is stored as F8_E4M3', "weights are F32"],
  },
  {
    kind,
    name: "an embedding of 64-bit integers",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { parts: retype("model.embed_tokens.weight", "I64", 8) })),
    exit: 1,
    says: ["WORK/model", '"model.embed_tokens.weight" is stored as I64'],
  },
  {
    kind,
    name: "a product of 8-bit integers without scales",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { parts: retype("model.layers.1.mlp.up_proj.weight", "I8", 1) })),
    exit: 1,
    says: ["WORK/model", '"model.layers.1.mlp.up_proj.weight" is stored as I8'],
  },
  {
    kind,
    name: "a norm of booleans",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { parts: retype("model.norm.weight", "BOOL", 1) })),
    exit: 1,
    says: ["WORK/model", '"model.norm.weight" is stored as BOOL'],
  },
  {
    kind,
    name: "a dtype that nobody knows",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { header: (text) => text.replace('"F32"', '"F33"') })),
    exit: 1,
    says: ["WORK/model/model.safetensors", 'the unknown dtype "F33"'],
  },
  {
    kind,
    name: "a GGUF norm quantised in a way that is not read",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ tensors }) => {
            const norm = tensors.get("output_norm.weight") as { type: number; sizes: number[] };
            norm.type = 20;
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"output_norm.weight"', "IQ4_NL"],
  },
  {
    kind,
    name: "a GGUF tensor type that nobody knows",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ tensors }) => {
            (tensors.get("output_norm.weight") as { type: number }).type = 4;
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"output_norm.weight" has the unknown GGUF tensor type 4'],
  },
  {
    kind,
    name: "GGUF whose width is a text",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("llama.embedding_length", ggufValue.text("24"));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"llama.embedding_length" is "24"', "a whole number"],
  },
  {
    kind,
    name: "GGUF whose tokens are numbers",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("tokenizer.ggml.tokens", ggufValue.u32(5));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", "tokenizer.ggml.tokens", "a list should stand here"],
  },
  {
    kind,
    name: "8-bit floats given to --add",
    arrange: (place) =>
      clampGood(
        "--add",
        `layers.1.residPost=${written(place, "v.safetensors", one("F8_E5M2", [24], Buffer.alloc(24)))}:v`,
      ),
    exit: 1,
    says: ["WORK/v.safetensors", '"v" is F8_E5M2', "readable are"],
  },
  {
    kind,
    name: "a vector of another width given to --add",
    arrange: (place) =>
      clampGood(
        "--add",
        `layers.1.residPost=${written(place, "v.safetensors", one("F32", [25], Buffer.alloc(100)))}:v`,
      ),
    exit: 2,
    says: ["25 entries", "24 selected", "layers.1.residPost"],
  },
  {
    kind,
    name: "a recording of unsigned integers given to --patch",
    arrange: (place) => {
      const tensors = { "layers.1.residPost": { dtype: "U32", shape: [1, 2, 24], data: Buffer.alloc(192) } };
      const file = recordingFile(tensors);
      return clampGood("--patch", `layers.1.residPost=${written(place, "r.safetensors", file)}`);
    },
    exit: 1,
    says: ["WORK/r.safetensors", '"layers.1.residPost" is U32', "readable are"],
  },
  {
    kind,
    name: "prompts of fractions",
    arrange: (place) => ({
      args: ["lens", "--model", goodModel, "--prompts", written(place, "p.jsonl", '{"ids": [5.5]}\n')],
    }),
    exit: 2,
    says: ["line 1 of WORK/p.jsonl is not a prompt", '{"ids": [...]}'],
  },
  {
    kind,
    name: "a clamp whose value is a text",
    arrange: (place) =>
      clampGood("--clamps", written(place, "c.json", '[{"kind": "set", "site": "layers.0.residPost", "value": "8"}]')),
    exit: 2,
    says: ["clamp 0 of WORK/c.json", "value must be a number or a list of numbers"],
  },
];
