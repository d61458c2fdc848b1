/**
 * What models of a shape are called by the transformers library: the modules of their products (which may hold several
 * side by side), and the config.json of a checkpoint.
 */
import { failure, usageError } from "../../errors.js";
import type { Activation, DecoderConfig } from "../../model/index.js";

interface Family {
  readonly modelType: "llama" | "gpt2";
  /** Where layers lie, before their number. */
  readonly prefix: string;
  /** Products that each module holds, side by side, by the module's name in a layer. */
  readonly modules: Readonly<Record<string, readonly string[]>>;
  /** Whether modules hold [in, out]. */
  readonly storesInputsFirst: boolean;
}

const llama: Family = {
  modelType: "llama",
  prefix: "model.layers.",
  modules: {
    "self_attn.q_proj": ["attn.q"],
    "self_attn.k_proj": ["attn.k"],
    "self_attn.v_proj": ["attn.v"],
    "self_attn.o_proj": ["attn.o"],
    "mlp.gate_proj": ["mlp.gate"],
    "mlp.up_proj": ["mlp.up"],
    "mlp.down_proj": ["mlp.down"],
  },
  storesInputsFirst: false,
};

const gpt2: Family = {
  modelType: "gpt2",
  prefix: "transformer.h.",
  modules: {
    "attn.c_attn": ["attn.q", "attn.k", "attn.v"],
    "attn.c_proj": ["attn.o"],
    "mlp.c_fc": ["mlp.up"],
    "mlp.c_proj": ["mlp.down"],
  },
  storesInputsFirst: true,
};

/** The family of a decoder. Throws where the library knows none of its shape. */
export function familyOf({ norm, positions, gatedMlp, bias }: DecoderConfig): Family {
  if (norm === "rms" && positions.kind === "rotary" && gatedMlp && bias.qkv === bias.attentionOut) return llama;
  if (norm === "layer" && positions.kind === "learned" && !gatedMlp && bias.qkv && bias.attentionOut && bias.mlp)
    return gpt2;
  throw usageError("the model is shaped neither as Llama nor as GPT-2, so it has no names in the transformers library");
}

/** A module of a layer, with the products whose outputs lie side by side in it. */
export interface HubModule {
  /** Its full name: `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** Its name in a layer: `self_attn.q_proj`. */
  readonly inLayer: string;
  readonly products: readonly string[];
}

/** Every module of a decoder's layers. */
export function modulesOf(config: DecoderConfig): HubModule[] {
  const { prefix, modules } = familyOf(config);
  return Array.from({ length: config.layers }, (_, layer) =>
    Object.entries(modules).map(([inLayer, parts]) => ({
      name: `${prefix}${layer}.${inLayer}`,
      inLayer,
      products: parts.map((part) => `layers.${layer}.${part}`),
    })),
  ).flat();
}

const activations: Readonly<Record<Activation, string>> = {
  silu: "silu",
  gelu: "gelu",
  geluTanh: "gelu_new",
  relu: "relu",
};

/** The contents of config.json for a decoder. Throws where its shape has no name in the library. */
export function hubConfig(config: DecoderConfig): Record<string, unknown> {
  const { modelType } = familyOf(config);
  const common = { model_type: modelType, vocab_size: config.vocabulary, tie_word_embeddings: config.tied };
  if (config.positions.kind === "learned") {
    return {
      ...common,
      architectures: ["GPT2LMHeadModel"],
      n_layer: config.layers,
      n_embd: config.width,
      n_head: config.heads,
      n_inner: config.mlpWidth,
      n_positions: config.context,
      activation_function: activations[config.activation],
      layer_norm_epsilon: config.epsilon,
    };
  }
  return {
    ...common,
    architectures: ["LlamaForCausalLM"],
    num_hidden_layers: config.layers,
    hidden_size: config.width,
    num_attention_heads: config.heads,
    num_key_value_heads: config.keyValueHeads,
    head_dim: config.headSize,
    intermediate_size: config.mlpWidth,
    max_position_embeddings: config.context,
    hidden_act: activations[config.activation],
    rms_norm_eps: config.epsilon,
    rope_theta: rotaryBase(config.positions.inverseFrequencies),
    attention_bias: config.bias.qkv,
    mlp_bias: config.bias.mlp,
  };
}

/** The base whose powers inverse frequencies are. */
function rotaryBase(frequencies: readonly number[]): number {
  const half = frequencies.length;
  if (half < 2) return 10000;
  const base = Number(((frequencies[1] as number) ** -half).toPrecision(12));
  const fits = frequencies.every((frequency, i) => Math.abs(frequency / base ** (-i / half) - 1) < 1e-9);
  if (fits) return base;
  throw failure("the model's rotary frequencies are scaled, which its config.json can't say here");
}
