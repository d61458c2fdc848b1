/** A vision transformer (Dosovitskiy et al. 2021): patches as tokens behind a learned one, whose last state is classified. */
import { add, attention, concat, expand, gelu, reshape, select, transpose, type Value } from "../../src/graph/index.js";
import { joinHeads, layersOf, type NetworkForm, splitHeads } from "./layers.js";

const layers = 2;
const heads = 2;
const width = 8;
const epsilon = 1e-12;

export const vit: NetworkForm = {
  inputs: { image: { dtype: "float32", shape: ["batch", 3, 8, 8] } },
  build(context) {
    const { inputs, weight, site } = context;
    const { linear, conv, layerNorm } = layersOf(context);

    const embed = (image: Value) => {
      const name = "vit.embeddings";
      const patches = conv(image, `${name}.patch_embeddings.projection`, { strides: 4 });
      const tokens = transpose(reshape(patches, ["batch", width, 4]), [0, 2, 1]);
      const first = expand(weight(`${name}.cls_token`), ["batch", 1, width]);
      return add(concat([first, tokens], 1), weight(`${name}.position_embeddings`));
    };

    const layer = (x: Value, name: string, mark: string) => {
      const own = site(`${mark}.attn.in`, layerNorm(x, `${name}.layernorm_before`, epsilon));
      const q = site(`${mark}.attn.q`, linear(own, `${name}.attention.q_proj`));
      const [k, v] = ["k_proj", "v_proj"].map((part) => linear(own, `${name}.attention.${part}`)) as [Value, Value];
      const { output } = attention(splitHeads(q, heads), splitHeads(k, heads), splitHeads(v, heads));
      const mixed = add(x, site(`${mark}.attn.out`, linear(joinHeads(output), `${name}.attention.o_proj`)));
      const pre = site(
        `${mark}.mlp.pre`,
        linear(layerNorm(mixed, `${name}.layernorm_after`, epsilon), `${name}.mlp.fc1`),
      );
      return site(`${mark}.residPost`, add(mixed, site(`${mark}.mlp.out`, linear(gelu(pre), `${name}.mlp.fc2`))));
    };

    let x = site("embed", embed(inputs.image as Value));
    for (let i = 0; i < layers; i++) x = layer(x, `vit.layers.${i}`, `layers.${i}`);
    return { logits: linear(select(layerNorm(x, "vit.layernorm", epsilon), 1, 0), "classifier") };
  },
};
