/** Files that end too early. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { copyModel, fixture, makeGguf, makeModel } from "../checkpoints.ts";
import { goodModel, type HostileCase } from "../machine.ts";
import { clampGood, modelFolder, recordFrom, written } from "./calls.ts";

const kind = "truncated";
const half = (file: Buffer) => file.subarray(0, file.length / 2);
const recordingOf = () => readFileSync(join(fixture("llama-gqa"), "reference.safetensors"));

export const truncated: readonly HostileCase[] = [
  {
    kind,
    name: "safetensors of no bytes",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { bytes: () => Buffer.alloc(0) })),
    exit: 1,
    says: ["WORK/model/model.safetensors", "0 bytes are too short for a safetensors file"],
  },
  {
    kind,
    name: "safetensors that end in their header",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { bytes: (file) => file.subarray(0, 200) })),
    exit: 1,
    says: ["WORK/model/model.safetensors", "bytes 0-7 claim a header of", "at most 192 are possible"],
  },
  {
    kind,
    name: "safetensors that end in their weights",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { bytes: half })),
    exit: 1,
    says: ["WORK/model/model.safetensors", "its tensors end at byte 77595, the file at 38797"],
  },
  {
    kind,
    name: "a checkpoint without one of its shards",
    arrange: (place) => {
      const folder = copyModel("llama-sharded", modelFolder(place));
      rmSync(join(folder, "model-00002-of-00002.safetensors"));
      return recordFrom(place, folder);
    },
    exit: 1,
    says: ["WORK/model/model.safetensors.index.json", 'should be in "model-00002-of-00002.safetensors"', "no shard"],
  },
  {
    kind,
    name: "a configuration cut in the middle",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { configText: '{"model_type": "lla' })),
    exit: 1,
    says: ["WORK/model/config.json", "is not JSON"],
  },
  {
    kind,
    name: "a configuration of no bytes",
    arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { configText: "" })),
    exit: 1,
    says: ["WORK/model/config.json", "is not JSON"],
  },
  {
    kind,
    name: "a tokenizer cut in the middle",
    arrange: (place) =>
      recordFrom(
        place,
        makeModel(modelFolder(place), { files: { "tokenizer.json": '{"model": {"type": "BPE", "vo' } }),
      ),
    exit: 1,
    says: ["WORK/model/tokenizer.json", "is not JSON"],
  },
  {
    kind,
    name: "GGUF that ends in its keys",
    arrange: (place) =>
      recordFrom(place, makeGguf(join(place.work, "m.gguf"), { bytes: (file) => file.subarray(0, 500) })),
    exit: 1,
    says: ["WORK/m.gguf", "the file ends inside", "at byte"],
  },
  {
    kind,
    name: "GGUF that ends in its weights",
    arrange: (place) => recordFrom(place, makeGguf(join(place.work, "m.gguf"), { bytes: half })),
    exit: 1,
    says: ["WORK/m.gguf", "ends at byte", "the file at"],
  },
  {
    kind,
    name: "GGUF of four bytes",
    arrange: (place) => recordFrom(place, written(place, "m.gguf", "GGUF")),
    exit: 1,
    says: ["WORK/m.gguf", "the file ends inside", "the version", "at byte 4"],
  },
  {
    kind,
    name: "a recording cut in the middle, given to --patch",
    arrange: (place) =>
      clampGood("--patch", `layers.1.residPost=${written(place, "r.safetensors", half(recordingOf()))}`),
    exit: 1,
    says: ["WORK/r.safetensors", "its tensors end at byte", "the file at"],
  },
  {
    kind,
    name: "a recording of no bytes, given to --mean",
    arrange: (place) => clampGood("--mean", `layers.1.residPost=${written(place, "r.safetensors", "")}`),
    exit: 1,
    says: ["WORK/r.safetensors", "0 bytes are too short"],
  },
  {
    kind,
    name: "clamps cut in the middle",
    arrange: (place) => clampGood("--clamps", written(place, "clamps.json", '[{"kind": "zero", "si')),
    exit: 2,
    says: ["WORK/clamps.json", "is not JSON"],
  },
  {
    kind,
    name: "prompts cut in the middle of a line",
    arrange: (place) => ({
      args: ["lens", "--model", goodModel, "--prompts", written(place, "p.jsonl", '{"ids": [5, 7]}\n{"ids": [5')],
    }),
    exit: 2,
    says: ["line 2 of WORK/p.jsonl", "is not JSON"],
  },
];
