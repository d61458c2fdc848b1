/** The model's head: from the final residual stream to logits, as the decoder itself computes them. */
import { layerNorm, matmul, rmsNorm, type Value } from "../graph/index.js";
import type { ComputeContext, DecoderConfig } from "../model/index.js";

/** Logits [..., vocabulary] of any residual stream [..., width], through the final norm and the unembedding. */
export function unembed({ weight }: ComputeContext, { norm, epsilon }: DecoderConfig, stream: Value): Value {
  const gain = weight("finalNorm.weight");
  const normalised =
    norm === "rms" ? rmsNorm(stream, gain, epsilon) : layerNorm(stream, gain, weight("finalNorm.bias"), epsilon);
  return matmul(normalised, weight("unembed.weight"));
}
