/** A U-Net (Ronneberger et al. 2015): down and up again, beside a skip; the way up is learned and, in another path, bilinear. */
import {
  add,
  averagePool,
  concat,
  convolutionTranspose,
  elu,
  gelu,
  leakyRelu,
  resize,
  sigmoid,
  type Value,
} from "../../src/graph/index.js";
import { layersOf, type NetworkForm } from "./layers.js";

export const uNet: NetworkForm = {
  inputs: { image: { dtype: "float32", shape: ["batch", 2, 8, 8] } },
  build(context) {
    const { inputs, weight, site } = context;
    const { conv } = layersOf(context);
    const up = (x: Value, name: string) =>
      convolutionTranspose(x, weight(`${name}.weight`), { bias: weight(`${name}.bias`), strides: 2 });

    const skip = leakyRelu(site("down", conv(inputs.image as Value, "down", { pads: 1 })), 0.1);
    const deep = elu(site("bottom", conv(site("pool", averagePool(skip, 2)), "bottom", { pads: 2, dilations: 2 })));
    const joined = concat([skip, site("up", up(deep, "up"))], 1);
    const sharp = gelu(site("join", conv(joined, "join", { pads: 1, groups: 2 })));
    const smooth = resize(site("side", conv(deep, "side")), { scales: [2, 2], mode: "linear" });
    return { mask: sigmoid(conv(add(sharp, smooth), "out")) };
  },
};
