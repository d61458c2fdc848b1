/** Models of a kind that is not read, or not read yet. */
import { join } from "node:path";
import { ggufValue, makeGguf, makeModel } from "../checkpoints.ts";
import type { HostileCase } from "../machine.ts";
import { modelFolder, recordFrom } from "./calls.ts";

const kind = "unknown architectures";
const known = "known ones are llama, gpt2";

/** A case of one changed configuration. */
const configured = (
  name: string,
  config: Record<string, unknown>,
  says: readonly string[],
  from = "llama-gqa",
): HostileCase => ({
  kind,
  name,
  arrange: (place) => recordFrom(place, makeModel(modelFolder(place), { from, config })),
  exit: 1,
  says: ["WORK/model/config.json", ...says],
});

/** A case of one changed key of GGUF; undefined takes it out. */
const keyed = (
  name: string,
  key: string,
  value: ReturnType<typeof ggufValue.u32> | undefined,
  says: readonly string[],
): HostileCase => ({
  kind,
  name,
  arrange: (place) =>
    recordFrom(
      place,
      makeGguf(join(place.work, "m.gguf"), {
        parts: ({ keys }) => {
          if (value === undefined) keys.delete(key);
          else keys.set(key, value);
        },
      }),
    ),
  exit: 1,
  says: ["WORK/m.gguf", ...says],
});

export const unknownArchitectures: readonly HostileCase[] = [
  configured("a model_type that is not read", { model_type: "mamba" }, ['the architecture "mamba"', known]),
  configured("a model_type near a known one", { model_type: "lama" }, ['"lama"', "the nearest of these is llama"]),
  configured("no model_type", { model_type: null }, ["the architecture missing", known]),
  configured("a model_type that is a list", { model_type: ["llama"] }, ['the architecture ["llama"]', known]),
  configured("a model_type that objects have", { model_type: "__proto__" }, ['the architecture "__proto__"', known]),
  configured("scaled rotary positions", { rope_scaling: { rope_type: "yarn", factor: 4 } }, ["yarn", "not supported"]),
  configured("an activation that is not read", { hidden_act: "gelu_10" }, [
    '"hidden_act" is "gelu_10"',
    "supported here: silu",
  ]),
  configured(
    "GPT-2 with cross attention",
    { add_cross_attention: true },
    ['"add_cross_attention" is true', "not supported"],
    "gpt2",
  ),
  keyed("a GGUF architecture that is not read", "general.architecture", ggufValue.text("rwkv7"), [
    'the architecture "rwkv7"',
    known,
  ]),
  keyed("GGUF without an architecture", "general.architecture", undefined, ["the architecture missing", known]),
  keyed("a GGUF architecture that is a number", "general.architecture", ggufValue.u32(3), [
    "the architecture 3",
    known,
  ]),
  keyed("a GGUF mixture of experts", "llama.expert_count", ggufValue.u32(8), [
    '"llama.expert_count" is 8',
    "not supported",
  ]),
  keyed("a GGUF rotary scaling that is not read", "llama.rope.scaling.type", ggufValue.text("yarn"), [
    '"llama.rope.scaling.type" is "yarn"',
  ]),
  keyed("a GGUF way to cut words that is not known", "tokenizer.ggml.pre", ggufValue.text("klingon"), [
    "tokenizer.ggml.pre",
    '"klingon" is not known',
    "known are",
  ]),
  keyed("a GGUF tokenizer that is not read", "tokenizer.ggml.model", ggufValue.text("rwkv"), [
    "tokenizer.ggml.model",
    '"rwkv" is not supported',
    "known are gpt2, llama",
  ]),
  {
    kind,
    name: "weights without a configuration",
    arrange: (place) =>
      recordFrom(
        place,
        makeGguf(join(place.work, "model.safetensors"), { bytes: () => Buffer.from("\x02\0\0\0\0\0\0\0{}", "latin1") }),
      ),
    exit: 1,
    says: ["WORK", "has no config.json"],
  },
];
