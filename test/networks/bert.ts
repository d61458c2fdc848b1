/** BERT (Devlin et al. 2019): an encoder of two segments, whose padding no token attends to, with norms after each part. */
import { add, attention, cast, gelu, range, select, tanh, unsqueeze, type Value } from "../../src/graph/index.js";
import { joinHeads, layersOf, type NetworkForm, splitHeads } from "./layers.js";

const layers = 2;
const heads = 2;
const epsilon = 1e-12;

export const bert: NetworkForm = {
  inputs: {
    ids: { dtype: "int64", shape: ["batch", "tokens"] },
    mask: { dtype: "int64", shape: ["batch", "tokens"] },
    segments: { dtype: "int64", shape: ["batch", "tokens"] },
  },
  build(context) {
    const { ids, mask, segments } = context.inputs as Record<"ids" | "mask" | "segments", Value>;
    const { site } = context;
    const { linear, layerNorm, embedding } = layersOf(context);
    const real = unsqueeze(cast(mask, "bool"), 1, 2);

    const embed = () => {
      const own = add(
        embedding(ids, "embeddings.word_embeddings"),
        embedding(segments, "embeddings.token_type_embeddings"),
      );
      const places = embedding(range("tokens"), "embeddings.position_embeddings");
      return layerNorm(add(own, places), "embeddings.LayerNorm", epsilon);
    };

    const layer = (x: Value, name: string, mark: string) => {
      const [q, k, v] = ["query", "key", "value"].map((part) =>
        splitHeads(linear(x, `${name}.attention.self.${part}`), heads),
      ) as [Value, Value, Value];
      const { output } = attention(q, k, v, { mask: real });
      const mixed = site(`${mark}.attn.out`, linear(joinHeads(output), `${name}.attention.output.dense`));
      const middle = layerNorm(add(mixed, x), `${name}.attention.output.LayerNorm`, epsilon);
      site(`${mark}.attnNorm`, middle);
      const out = linear(gelu(linear(middle, `${name}.intermediate.dense`)), `${name}.output.dense`);
      return layerNorm(add(site(`${mark}.mlp.out`, out), middle), `${name}.output.LayerNorm`, epsilon);
    };

    let states = site("embed", embed());
    for (let i = 0; i < layers; i++) states = layer(states, `encoder.layer.${i}`, `layers.${i}`);
    return { states, pooled: tanh(linear(select(states, 1, 0), "pooler.dense")) };
  },
};
