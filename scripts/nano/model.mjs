/** What nano is: a Llama-shaped decoder, its first weights, and its loss. */

import { transpose } from "../../dist/graph/index.js";
import { crossEntropy } from "../../dist/learn/index.js";
import { decoder, decoderWeights } from "../../dist/model/index.js";
import { random, tensorOf } from "../../dist/runtime/index.js";
import { end, vocabulary } from "./corpus.mjs";

export const context = 256;

/** The contents of nano's config.json. */
export const configuration = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  vocab_size: vocabulary,
  max_position_embeddings: context,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
  torch_dtype: "float16",
};

/** The contents of nano's tokenizer_config.json. */
export const tokenizerConfiguration = {
  tokenizer_class: "PreTrainedTokenizerFast",
  bos_token: end,
  eos_token: end,
  add_bos_token: true,
};

const half = 16;
export const config = {
  layers: 4,
  width: 256,
  heads: 8,
  keyValueHeads: 8,
  headSize: 32,
  mlpWidth: 688,
  vocabulary,
  context,
  norm: "rms",
  epsilon: 1e-5,
  positions: { kind: "rotary", inverseFrequencies: Array.from({ length: half }, (_, i) => 10000 ** (-i / half)) },
  gatedMlp: true,
  activation: "silu",
  bias: { qkv: false, attentionOut: false, mlp: false },
  tied: true,
};

/** Normal first values, smaller where they are added to the residual stream (Radford et al. 2019); norms begin at 1. */
export function firstWeights(seed) {
  const draw = random(seed);
  const shapes = [...decoderWeights(config)].filter(([name]) => name !== "unembed.weight");
  const deviation = (name) => (/attn\.o\.|mlp\.down\./.test(name) ? 0.02 / Math.sqrt(2 * config.layers) : 0.02);
  return Object.fromEntries(
    shapes.map(([name, shape]) => {
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
        shape.length === 1 ? 1 : draw.normal() * deviation(name),
      );
      return [name, tensorOf("float32", shape, values)];
    }),
  );
}

/** The loss of rows of tokens, in nats. */
export function loss(parameters, { ids, targets }, { site }) {
  const weight = (name) =>
    name === "unembed.weight" ? transpose(parameters["embed.weight"], [1, 0]) : parameters[name];
  return crossEntropy(decoder(config, ids, { weight, site }), targets);
}
