/** A small residual network of images (He et al. 2016), with the statistics it was trained with or those of the batch. */
import {
  add,
  batchNorm,
  batchNormTraining,
  convolution,
  globalAveragePool,
  maxPool,
  relu,
  reshape,
  type Value,
} from "../../src/graph/index.js";
import { layersOf, type NetworkForm } from "./layers.js";

export const resNet = (training: boolean): NetworkForm => ({
  inputs: { image: { dtype: "float32", shape: ["batch", 3, 12, 12] } },
  build(context) {
    const { inputs, weight, site } = context;
    const { linear } = layersOf(context);
    const norm = (x: Value, name: string) => {
      const affine = { scale: weight(`${name}.weight`), bias: weight(`${name}.bias`) };
      if (training) return batchNormTraining(x, affine).output;
      return batchNorm(x, {
        ...affine,
        mean: weight(`${name}.running_mean`),
        variance: weight(`${name}.running_var`),
      });
    };
    const conv = (x: Value, name: string, strides = 1, pads = 1) =>
      convolution(x, weight(`${name}.weight`), { strides, pads });

    /** Two convolutions around which the input is carried, by a 1x1 convolution where its shape changes. */
    const block = (x: Value, name: string, mark: string, strides = 1) => {
      const first = site(`${mark}.conv`, conv(x, `${name}.conv1`, strides));
      const middle = relu(site(`${mark}.norm`, norm(first, `${name}.bn1`)));
      const second = norm(conv(middle, `${name}.conv2`), `${name}.bn2`);
      const carried = strides === 1 ? x : norm(conv(x, `${name}.downsample.0`, strides, 0), `${name}.downsample.1`);
      return site(`${mark}.out`, relu(add(second, carried)));
    };

    const stem = relu(site("norm", norm(site("conv", conv(inputs.image as Value, "conv1")), "bn1")));
    const pooled = site("pool", maxPool(stem, 3, { strides: 2, pads: 1 }));
    const features = block(block(pooled, "layer1", "blocks.0"), "layer2", "blocks.1", 2);
    return { logits: linear(reshape(globalAveragePool(features), ["batch", 6]), "fc") };
  },
});
