/** Files whose headers or configurations say what is not so. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  copyModel,
  fixture,
  ggufValue,
  joinParts,
  makeGguf,
  makeModel,
  readParts,
  recordingFile,
} from "../checkpoints.ts";
import type { HostileCase, Place } from "../machine.ts";
import { clampGood, modelFolder, recordFrom, written } from "./calls.ts";

const kind = "lying headers";

/** A recording of one site with other metadata. */
function recordingWith(place: Place, metadata: Record<string, string>): string {
  const tensors = { "layers.1.residPost": { dtype: "F32", shape: [1, 2, 24], data: Buffer.alloc(192) } };
  return written(place, "r.safetensors", recordingFile(tensors, metadata));
}

const tokenizer = (name: string) =>
  readFileSync(new URL(`../../fixtures/tokenizer/${name}.tokenizer.json`, import.meta.url));

export const lyingHeaders: readonly HostileCase[] = [
  {
    kind,
    name: "a shape that its bytes cannot hold",
    arrange: (place) =>
      recordFrom(place, makeModel(modelFolder(place), { header: (text) => text.replace("[61,24]", "[62,24]") })),
    exit: 1,
    says: ["WORK/model/model.safetensors", "[62, 24]", "cannot hold exactly"],
  },
  {
    kind,
    name: "offsets that overlap",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), {
          header: (text) =>
            text.replace(
              /"data_offsets":\[([1-9]\d*),(\d+)\]/,
              (_, from, to) => `"data_offsets":[${from - 4},${to - 4}]`,
            ),
        }),
      ),
    exit: 1,
    says: ["WORK/model/model.safetensors", "starts at byte", "the tensor before it ends at"],
  },
  {
    kind,
    name: "a tensor twice in one file",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), {
          header: (text) => text.replace("{", '{"model.norm.weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'),
        }),
      ),
    exit: 1,
    says: ["WORK/model/model.safetensors", "has a name twice"],
  },
  {
    kind,
    name: "a tensor in two shards",
    arrange: (place) => {
      const folder = copyModel("llama-sharded", modelFolder(place));
      const second = readParts(join(folder, "model-00002-of-00002.safetensors"));
      const first = readParts(join(folder, "model-00001-of-00002.safetensors"));
      const [name, tensor] = Object.entries(first.tensors)[0] as [string, (typeof first.tensors)[string]];
      second.tensors[name] = tensor;
      written({ ...place, work: folder }, "model-00002-of-00002.safetensors", joinParts(second));
      return recordFrom(place, folder);
    },
    exit: 1,
    says: ["WORK/model/model-00002-of-00002.safetensors", "is also in", "model-00001-of-00002.safetensors"],
  },
  {
    kind,
    name: "a width that the weights do not have",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { hidden_size: 32 } })),
    exit: 1,
    says: ["WORK/model", "should be [61,32]", "the checkpoint's tensor gives [61,24]"],
  },
  {
    kind,
    name: "a layer that the weights do not have",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { num_hidden_layers: 4 } })),
    exit: 1,
    says: ["WORK/model", 'no tensor "model.layers.3.', "the nearest names are"],
  },
  {
    kind,
    name: "heads of keys that do not divide the heads",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { num_key_value_heads: 3 } })),
    exit: 1,
    says: ["WORK/model/config.json", "4 heads do not divide into 3 groups of keys and values"],
  },
  {
    kind,
    name: "heads of an odd size",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { head_dim: 7 } })),
    exit: 1,
    says: ["WORK/model/config.json", "an even head size, not 7"],
  },
  {
    kind,
    name: "a width that does not divide into heads",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { from: "gpt2", config: { n_head: 5 } })),
    exit: 1,
    says: ["WORK/model/config.json", "the width 24 does not divide into 5 heads"],
  },
  {
    kind,
    name: "a configuration that is a list",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { configText: "[]" })),
    exit: 1,
    says: ["WORK/model/config.json", "is not a JSON object"],
  },
  {
    kind,
    name: "layers as text",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { config: { num_hidden_layers: "3" } })),
    exit: 1,
    says: ["WORK/model/config.json", '"num_hidden_layers" is "3"', "a whole number from 1 to"],
  },
  {
    kind,
    name: "an index that lists a tensor in another shard",
    arrange: (place) => {
      const folder = copyModel("llama-sharded", modelFolder(place));
      const index = JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8"));
      index.weight_map["model.norm.weight"] = "model-00001-of-00002.safetensors";
      written({ ...place, work: folder }, "model.safetensors.index.json", JSON.stringify(index));
      return recordFrom(place, folder);
    },
    exit: 1,
    says: ["WORK/model/model.safetensors.index.json", '"model.norm.weight" should be in "model-00001-of-00002'],
  },
  {
    kind,
    name: "a tokenizer with more tokens than the embedding",
    arrange: (place) => ({
      args: [
        "lens",
        "--model",
        makeModel(modelFolder(place), { files: { "tokenizer.json": tokenizer("smollm") } }),
        "The capital of France",
      ],
    }),
    exit: 1,
    says: ["WORK/model", "its tokenizer gives", "its embedding holds 61 tokens"],
    // The model itself is good, and is kept.
    mayAdd: /^home\/(hashes|weights)\//,
  },
  {
    kind,
    name: "a tokenizer that gives one id to two tokens",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), {
          files: { "tokenizer.json": JSON.stringify({ model: { type: "BPE", vocab: { a: 0, b: 0 }, merges: [] } }) },
        }),
      ),
    exit: 1,
    says: ["tokenizer.json", "model.vocab", "0"],
  },
  {
    kind,
    name: "a GGUF tensor outside of the file",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ tensors }) => {
            (tensors.get("output_norm.weight") as { offset: number }).offset = 32_000_000;
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", '"output_norm.weight"', "ends at byte", "the file at"],
  },
  {
    kind,
    name: "a GGUF tensor twice",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ tensors, extraTensors }) => {
            extraTensors.push(["output_norm.weight", tensors.get("output_norm.weight") as never]);
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", 'the tensor name "output_norm.weight" comes twice'],
  },
  {
    kind,
    name: "a GGUF vocabulary that is not the embedding's",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("llama.vocab_size", ggufValue.u32(77));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", "[77,"],
  },
  {
    kind,
    name: "GGUF with an end-of-text token outside of its vocabulary",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "m.gguf"), {
          parts: ({ keys }) => {
            keys.set("tokenizer.ggml.eos_token_id", ggufValue.u32(4000));
          },
        }),
      ),
    exit: 1,
    says: ["WORK/m.gguf", "tokenizer.ggml.eos_token_id", "4000 is not in the vocabulary"],
  },
  {
    kind,
    name: "a recording whose rows of tokens are not those of its tensors",
    arrange: (place) =>
      clampGood("--patch", `layers.1.residPost=${recordingWith(place, { tokens: "[[],[],[],[],[],[]]" })}`),
    exit: 2,
    says: ["layers.1.residPost", "part"],
  },
  {
    kind,
    name: "a recording whose tokens are numbers",
    arrange: (place) => clampGood("--mean", `layers.1.residPost=${recordingWith(place, { tokens: "7" })}`),
    exit: 1,
    says: ["WORK/r.safetensors", "tokens"],
  },
  {
    kind,
    name: "a recording that is none",
    arrange: () => clampGood("--mean", `layers.1.residPost=${join(fixture("llama-gqa"), "model.safetensors")}`),
    exit: 1,
    says: ["llama-gqa/model.safetensors is not a recording", "patchclamp recording 1"],
  },
];
