/**
 * A block of a diffusion model's U-Net (Ho et al. 2020): group norm, SiLU and convolution twice, with an embedding of the
 * time in between, then self-attention over the places of the image.
 */
import {
  add,
  attention,
  concat,
  reshape,
  rotaryAngles,
  rotaryFrequencies,
  silu,
  split,
  transpose,
  unsqueeze,
  type Value,
} from "../../src/graph/index.js";
import { layersOf, type NetworkForm } from "./layers.js";

const [channels, heads, height, width] = [6, 2, 4, 6];

export const denoiser: NetworkForm = {
  inputs: {
    image: { dtype: "float32", shape: ["batch", 4, height, width] },
    time: { dtype: "int64", shape: ["batch"] },
  },
  build(context) {
    const { image, time } = context.inputs as Record<"image" | "time", Value>;
    const { site } = context;
    const { linear, conv, groupNorm } = layersOf(context);

    const clock = () => {
      const { sine, cosine } = rotaryAngles(time, rotaryFrequencies(8));
      return site("clock", linear(silu(linear(concat([sine, cosine], -1), "time1")), "time2"));
    };
    const residual = (x: Value) => {
      const first = site("conv1", conv(silu(site("norm1", groupNorm(x, 2, "norm1"))), "conv1", { pads: 1 }));
      const timed = add(first, unsqueeze(clock(), 2, 3));
      const second = conv(silu(site("norm2", groupNorm(timed, 3, "norm2"))), "conv2", { pads: 1 });
      return add(second, conv(x, "skip"));
    };
    const attend = (x: Value) => {
      const qkv = site("qkv", conv(site("norm3", groupNorm(x, 2, "norm3")), "qkv"));
      const places = transpose(reshape(qkv, ["batch", 3 * heads, channels / heads, height * width]), [0, 1, 3, 2]);
      const [q, k, v] = split(places, 3, 1) as [Value, Value, Value];
      const z = transpose(attention(q, k, v).output, [0, 1, 3, 2]);
      return add(x, site("project", conv(reshape(z, ["batch", channels, height, width]), "project")));
    };
    return { denoised: attend(residual(image)) };
  },
};
