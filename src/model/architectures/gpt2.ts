/** GPT-2-shaped models (Radford et al. 2019): layer norms, learned positions, one product for queries, keys and values. */
import type { DecoderConfig } from "../decoder/config.js";
import { type Architecture, type Origin, planWeights, splitWeightName } from "./architecture.js";
import { choice, divides, type Fields, layerCount, positive, size, unsupportedUnless } from "./fields.js";

const activations = {
  gelu_new: "geluTanh",
  gelu_pytorch_tanh: "geluTanh",
  gelu: "gelu",
  relu: "relu",
  silu: "silu",
} as const;

export const gpt2: Architecture = {
  name: "gpt2",
  modelTypes: ["gpt2"],
  ggufArchitectures: ["gpt2"],
  fromConfig(fields, has) {
    unsupportedUnless(fields, "scale_attn_by_inverse_layer_idx", [false]);
    unsupportedUnless(fields, "scale_attn_weights", [true]);
    unsupportedUnless(fields, "add_cross_attention", [false]);
    const width = size(fields, "n_embd");
    const config = makeConfig(fields, {
      layers: layerCount(fields, "n_layer"),
      width,
      heads: size(fields, "n_head"),
      mlpWidth: size(fields, "n_inner", 4 * width),
      vocabulary: size(fields, "vocab_size"),
      context: size(fields, "n_positions"),
      epsilon: positive(fields, "layer_norm_epsilon", 1e-5),
      activation: choice(fields, "activation_function", activations, "gelu_new"),
      tied: !has("lm_head.weight") || fields.get("tie_word_embeddings") !== false,
    });
    const prefix = has("transformer.wte.weight") ? "transformer." : "";
    return { config, plan: planWeights(config, (name) => storedInConfigFormat(name, config, prefix)) };
  },
  fromGguf(fields, has) {
    const key = (name: string) => `gpt2.${name}`;
    const width = size(fields, key("embedding_length"));
    const config = makeConfig(fields, {
      layers: layerCount(fields, key("block_count")),
      width,
      heads: size(fields, key("attention.head_count")),
      mlpWidth: size(fields, key("feed_forward_length")),
      vocabulary: size(fields, key("vocab_size")),
      context: size(fields, key("context_length")),
      epsilon: positive(fields, key("attention.layer_norm_epsilon")),
      activation: "geluTanh",
      tied: !has("output.weight"),
    });
    return { config, plan: planWeights(config, (name) => storedInGguf(name, config)) };
  },
};

type Settings = Omit<DecoderConfig, "norm" | "positions" | "gatedMlp" | "bias" | "keyValueHeads" | "headSize">;

function makeConfig({ where }: Fields, settings: Settings): DecoderConfig {
  const { heads, width } = settings;
  divides(heads, width, `${where}: the width ${width} does not divide into ${heads} heads`);
  return {
    ...settings,
    keyValueHeads: heads,
    headSize: width / heads,
    norm: "layer",
    positions: { kind: "learned" },
    gatedMlp: false,
    bias: { qkv: true, attentionOut: true, mlp: true },
  };
}

const configNames: Readonly<Record<string, string>> = {
  "attn.norm": "ln_1",
  "attn.o": "attn.c_proj",
  "mlp.norm": "ln_2",
  "mlp.up": "mlp.c_fc",
  "mlp.down": "mlp.c_proj",
};

const thirds = ["attn.q", "attn.k", "attn.v"];

/** These checkpoints hold products as [in, out] already; queries, keys and values lie side by side. */
function storedInConfigFormat(name: string, { tied, width }: DecoderConfig, prefix: string): Origin {
  const { layer, part, kind } = splitWeightName(name);
  if (part === "embed") return { from: `${prefix}wte.weight` };
  if (part === "positions") return { from: `${prefix}wpe.weight` };
  if (part === "unembed") return { from: tied ? `${prefix}wte.weight` : "lm_head.weight", transform: "transpose" };
  if (part === "finalNorm") return { from: `${prefix}ln_f.${kind}` };
  const third = thirds.indexOf(part);
  if (third < 0) return { from: `${prefix}h.${layer}.${configNames[part]}.${kind}` };
  const range = [third * width, (third + 1) * width] as const;
  const from = `${prefix}h.${layer}.attn.c_attn.${kind}`;
  return kind === "weight" ? { from, columns: range } : { from, rows: range };
}

const ggufNames: Readonly<Record<string, string>> = {
  "attn.norm": "attn_norm",
  "attn.o": "attn_output",
  "mlp.norm": "ffn_norm",
  "mlp.up": "ffn_up",
  "mlp.down": "ffn_down",
};

/** GGUF files hold every product as [out, in]. */
function storedInGguf(name: string, { tied, width }: DecoderConfig): Origin {
  const { layer, part, kind } = splitWeightName(name);
  if (part === "embed") return { from: "token_embd.weight" };
  if (part === "positions") return { from: "position_embd.weight" };
  if (part === "unembed") return { from: tied ? "token_embd.weight" : "output.weight", transform: "transpose" };
  if (part === "finalNorm") return { from: `output_norm.${kind}` };
  const third = thirds.indexOf(part);
  const from = `blk.${layer}.${third < 0 ? ggufNames[part] : "attn_qkv"}.${kind}`;
  const rows = third < 0 ? {} : { rows: [third * width, (third + 1) * width] as const };
  return kind === "weight" && !part.endsWith("norm") ? { from, ...rows, transform: "transpose" } : { from, ...rows };
}
