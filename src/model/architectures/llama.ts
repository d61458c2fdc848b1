/** Llama-shaped models (Touvron et al. 2023; SmolLM2): RMS norms, rotary positions, grouped heads, a gated MLP. */
import { failure } from "../../errors.js";
import type { DecoderConfig } from "../decoder/config.js";
import { type Architecture, type Origin, planWeights, splitWeightName } from "./architecture.js";
import {
  choice,
  divides,
  type Fields,
  flag,
  jsonFields,
  layerCount,
  positive,
  size,
  unsupportedUnless,
} from "./fields.js";

export const llama: Architecture = {
  name: "llama",
  modelTypes: ["llama"],
  ggufArchitectures: ["llama"],
  fromConfig(fields, has) {
    const heads = size(fields, "num_attention_heads");
    const width = size(fields, "hidden_size");
    const rope = ropeFields(fields);
    const mlpBias = flag(fields, "mlp_bias", false);
    const attentionBias = flag(fields, "attention_bias", false);
    const config = makeConfig({
      layers: layerCount(fields, "num_hidden_layers"),
      width,
      heads,
      keyValueHeads: size(fields, "num_key_value_heads", heads),
      headSize: size(fields, "head_dim", Math.floor(width / heads)),
      mlpWidth: size(fields, "intermediate_size"),
      vocabulary: size(fields, "vocab_size"),
      context: size(fields, "max_position_embeddings"),
      epsilon: positive(fields, "rms_norm_eps"),
      activation: choice(fields, "hidden_act", { silu: "silu", swish: "silu", gelu: "gelu" } as const, "silu"),
      theta: positive(rope, "rope_theta", 10000),
      bias: { qkv: attentionBias, attentionOut: attentionBias, mlp: mlpBias },
      tied: flag(fields, "tie_word_embeddings", false) || !has("lm_head.weight"),
      where: fields.where,
    });
    return { config, plan: planWeights(config, (name) => storedInConfigFormat(name, config)) };
  },
  fromGguf(fields, has) {
    const key = (name: string) => `llama.${name}`;
    const heads = size(fields, key("attention.head_count"));
    const width = size(fields, key("embedding_length"));
    const headSize = size(
      fields,
      key("attention.key_length"),
      size(fields, key("rope.dimension_count"), Math.floor(width / heads)),
    );
    unsupportedUnless(fields, key("rope.dimension_count"), [headSize]);
    unsupportedUnless(fields, key("rope.scaling.type"), ["none"]);
    unsupportedUnless(fields, key("expert_count"), [0]);
    if (has("rope_freqs.weight"))
      throw failure(`${fields.where} scales its rotary frequencies (rope_freqs.weight), which is not supported`);
    const biased = (tensor: string) => has(`blk.0.${tensor}.bias`);
    const config = makeConfig({
      layers: layerCount(fields, key("block_count")),
      width,
      heads,
      keyValueHeads: size(fields, key("attention.head_count_kv"), heads),
      headSize,
      mlpWidth: size(fields, key("feed_forward_length")),
      vocabulary: size(fields, key("vocab_size")),
      context: size(fields, key("context_length")),
      epsilon: positive(fields, key("attention.layer_norm_rms_epsilon")),
      activation: "silu",
      theta: positive(fields, key("rope.freq_base"), 10000),
      bias: { qkv: biased("attn_q"), attentionOut: biased("attn_output"), mlp: biased("ffn_up") },
      tied: !has("output.weight"),
      where: fields.where,
    });
    return { config, plan: planWeights(config, (name) => storedInGguf(name, config)) };
  },
};

/** Newer configurations nest the rotary settings; older ones keep them beside the rest. */
function ropeFields(fields: Fields): Fields {
  const nested = fields.get("rope_parameters");
  const rope =
    nested === undefined || nested === null ? fields : jsonFields(nested, `${fields.where} (rope_parameters)`);
  unsupportedUnless(rope, "rope_type", ["default"]);
  unsupportedUnless(fields, "rope_scaling", []);
  return rope;
}

type Settings = Omit<DecoderConfig, "norm" | "positions" | "gatedMlp"> & { theta: number; where: string };

function makeConfig({ theta, where, ...rest }: Settings): DecoderConfig {
  divides(
    rest.keyValueHeads,
    rest.heads,
    `${where}: ${rest.heads} heads do not divide into ${rest.keyValueHeads} groups of keys and values`,
  );
  divides(2, rest.headSize, `${where}: rotary positions need an even head size, not ${rest.headSize}`);
  const half = rest.headSize / 2;
  const inverseFrequencies = Array.from({ length: half }, (_, i) => theta ** (-i / half));
  return { ...rest, norm: "rms", positions: { kind: "rotary", inverseFrequencies }, gatedMlp: true };
}

const configNames: Readonly<Record<string, string>> = {
  "attn.norm": "input_layernorm",
  "attn.q": "self_attn.q_proj",
  "attn.k": "self_attn.k_proj",
  "attn.v": "self_attn.v_proj",
  "attn.o": "self_attn.o_proj",
  "mlp.norm": "post_attention_layernorm",
  "mlp.gate": "mlp.gate_proj",
  "mlp.up": "mlp.up_proj",
  "mlp.down": "mlp.down_proj",
};

function storedInConfigFormat(name: string, { tied }: DecoderConfig): Origin {
  const { layer, part, kind } = splitWeightName(name);
  if (part === "embed") return { from: "model.embed_tokens.weight" };
  if (part === "unembed")
    return { from: tied ? "model.embed_tokens.weight" : "lm_head.weight", transform: "transpose" };
  if (part === "finalNorm") return { from: "model.norm.weight" };
  const from = `model.layers.${layer}.${configNames[part]}.${kind}`;
  return isMatrix(part, kind) ? { from, transform: "transpose" } : { from };
}

const ggufNames: Readonly<Record<string, string>> = {
  "attn.norm": "attn_norm",
  "attn.q": "attn_q",
  "attn.k": "attn_k",
  "attn.v": "attn_v",
  "attn.o": "attn_output",
  "mlp.norm": "ffn_norm",
  "mlp.gate": "ffn_gate",
  "mlp.up": "ffn_up",
  "mlp.down": "ffn_down",
};

function storedInGguf(name: string, { tied, heads, keyValueHeads }: DecoderConfig): Origin {
  const { layer, part, kind } = splitWeightName(name);
  if (part === "embed") return { from: "token_embd.weight" };
  if (part === "unembed") return { from: tied ? "token_embd.weight" : "output.weight", transform: "transpose" };
  if (part === "finalNorm") return { from: "output_norm.weight" };
  const from = `blk.${layer}.${ggufNames[part]}.${kind}`;
  const matrix = isMatrix(part, kind);
  if (part === "attn.q" || part === "attn.k") {
    const count = part === "attn.q" ? heads : keyValueHeads;
    return { from, transform: matrix ? "ropeInterleavedTranspose" : "ropeInterleaved", heads: count };
  }
  return matrix ? { from, transform: "transpose" } : { from };
}

function isMatrix(part: string, kind: string): boolean {
  return kind === "weight" && !part.endsWith("norm");
}
