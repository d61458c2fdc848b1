/** How a decoder starts that is trained from nothing, as GPT-2 did (Radford et al. 2019). */
import { elementCount, type Random, type Tensor, tensor } from "../../runtime/index.js";
import { type DecoderConfig, decoderWeights } from "./config.js";

const deviation = 0.02;

/**
 * First values of every weight by canonical name: matrices normal with deviation 0.02, those that write into the residual
 * stream 1 / sqrt(2 layers) of it, gains of norms 1, biases 0. A tied decoder's unembedding is left out: it is the
 * transposed embedding.
 */
export function initialWeights(config: DecoderConfig, random: Random): Record<string, Tensor<"float32">> {
  const shapes = [...decoderWeights(config)].filter(([name]) => !(config.tied && name === "unembed.weight"));
  const draws = (name: string): (() => number) => {
    if (name.endsWith(".bias")) return () => 0;
    if (/norm\.weight$/i.test(name)) return () => 1;
    const writes = /\.(attn\.o|mlp\.down)\./.test(name);
    const own = writes ? deviation / Math.sqrt(2 * config.layers) : deviation;
    return () => random.normal() * own;
  };
  return Object.fromEntries(
    shapes.map(([name, shape]) => [
      name,
      tensor("float32", shape, Float32Array.from({ length: elementCount(shape) }, draws(name))),
    ]),
  );
}
