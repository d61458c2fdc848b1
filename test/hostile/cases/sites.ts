/** Sites and parts of sites that the model does not have. */
import { join } from "node:path";
import { fixture, recordingFile } from "../checkpoints.ts";
import { type Call, goodModel, type HostileCase } from "../machine.ts";
import { clampGood, recordFrom, written } from "./calls.ts";

const kind = "absent sites";

/** A call that is wrong, and what its message says. */
const wrong = (name: string, call: () => Call, ...says: readonly string[]): HostileCase => ({
  kind,
  name,
  arrange: call,
  exit: 2,
  says,
});

/** The same, for a site that is to be recorded from the good model. */
const unrecordable = (name: string, site: string, ...says: readonly string[]): HostileCase => ({
  kind,
  name,
  arrange: (place) => {
    const { args } = recordFrom(place, goodModel);
    return { args: args.map((word) => (word === "logits" ? site : word)) };
  },
  exit: 2,
  says,
});

export const absentSites: readonly HostileCase[] = [
  unrecordable("a misspelt name", "layers.0.residPots", 'no site "layers.0.residPots"', "the nearest are", "residPost"),
  unrecordable("a layer out of range", "layers.3.residPost", 'no site "layers.3.residPost"', "layers 0 to 2"),
  unrecordable("a layer far out of range", "layers.99999999999999999999.residPost", "layers 0 to 2"),
  unrecordable(
    "a head out of range",
    "layers.0.attn.z[head=4]",
    "index 4 is out of range in layers.0.attn.z",
    "head 4",
  ),
  unrecordable("a position out of range", "layers.0.residPost[:, 2]", "index 2 is out of range", "2 tokens"),
  unrecordable("a negative position out of range", "layers.0.residPost[:, -3]", "index -3 is out of range", "2 tokens"),
  unrecordable("an empty range", "layers.0.residPost[:, 1:1]", "the range 1:1 is empty or out of range"),
  unrecordable("more indices than dimensions", "layers.0.residPost[0, 0, 0, 0]", "layers.0.residPost"),
  unrecordable("a glob that matches nothing", "layers.*.moe.*", 'no site "layers.*.moe.*"', "the nearest are"),
  unrecordable(
    "a TransformerLens name of another value",
    "blocks.0.attn.hook_attn_scores",
    "TransformerLens",
    "scores after the mask",
  ),
  unrecordable("a TransformerLens name out of range", "blocks.7.hook_resid_pre", "layers 0 to 2"),
  unrecordable("a dimension that the site does not have", "layers.0.residPost[head=1]", "head"),
  unrecordable("brackets that do not close", "layers.0.residPost[:, 1", "layers.0.residPost[:, 1"),
  wrong(
    "the gated branch in GPT-2",
    () => ({ args: ["clamp", "--model", fixture("gpt2"), "--ids", "5,7", "--zero", "layers.0.mlp.up"] }),
    'this model has no site "layers.0.mlp.up"',
  ),
  wrong(
    "a clamp of attn.result",
    () => clampGood("--zero", "layers.0.attn.result[head=1]"),
    "recorded and not clamped",
    "attn.z",
    "attn.out",
  ),
  wrong(
    "a clamp of a value before clamps",
    () => clampGood("--zero", "layers.0.residPost@before"),
    "clamp the site itself",
  ),
  wrong(
    "a clamp of a neuron out of range",
    () => clampGood("--set", "layers.0.mlp.act[:, -1, 40]=8"),
    "index 40 is out of range",
    "40",
  ),
  wrong(
    "a list of sites that matches nothing",
    () => ({ args: ["sites", "--model", goodModel, "encoder.*"] }),
    'no site "encoder.*"',
    "nearest",
  ),
  {
    kind,
    name: "a recording without the site",
    arrange: (place) => {
      const tensors = { "layers.0.residPost": { dtype: "F32", shape: [1, 2, 24], data: Buffer.alloc(192) } };
      const file = recordingFile(tensors);
      return clampGood("--mean", `layers.1.mlp.out=${written(place, "r.safetensors", file)}`);
    },
    exit: 2,
    says: ['the recording has no site "layers.1.mlp.out"', "the nearest are layers.0.residPost"],
  },
  {
    kind,
    name: "a file without the tensor",
    arrange: () =>
      clampGood("--add", `layers.1.residPost=${join(fixture("llama-gqa"), "model.safetensors")}:model.norm`),
    exit: 2,
    says: ["llama-gqa/model.safetensors", 'has no tensor "model.norm"', "the nearest are model.norm.weight"],
  },
];
