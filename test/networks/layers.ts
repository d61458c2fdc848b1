/** Layers as PyTorch lays out their weights (a linear one's are [out, in]), read by name from a network's context. */
import {
  add,
  type ConvolutionOptions,
  convolution,
  gather,
  groupNorm,
  layerNorm,
  matmul,
  reshape,
  transpose,
  type Value,
} from "../../src/graph/index.js";
import type { NetworkContext, NetworkDefinition } from "../../src/model/index.js";

/** A network without its weights. */
export type NetworkForm = Omit<NetworkDefinition, "weights">;

export function layersOf({ weight }: NetworkContext) {
  const both = (name: string) => ({ scale: weight(`${name}.weight`), bias: weight(`${name}.bias`) });
  return {
    linear: (x: Value, name: string) =>
      add(matmul(x, weight(`${name}.weight`), { transposeB: true }), weight(`${name}.bias`)),
    conv: (x: Value, name: string, options: ConvolutionOptions = {}) =>
      convolution(x, weight(`${name}.weight`), { bias: weight(`${name}.bias`), ...options }),
    layerNorm: (x: Value, name: string, epsilon: number) =>
      layerNorm(x, weight(`${name}.weight`), weight(`${name}.bias`), epsilon),
    groupNorm: (x: Value, groups: number, name: string) => groupNorm(x, groups, both(name)),
    embedding: (ids: Value, name: string) => gather(weight(`${name}.weight`), ids),
  };
}

/** [batch, tokens, width] as [batch, heads, tokens, width / heads]. */
export function splitHeads(x: Value, heads: number): Value {
  const [batch = 1, tokens = 1, width] = x.shape;
  return transpose(reshape(x, [batch, tokens, heads, (width as number) / heads]), [0, 2, 1, 3]);
}

/** [batch, heads, tokens, size] as [batch, tokens, heads * size]. */
export function joinHeads(x: Value): Value {
  const [batch = 1, heads, tokens = 1, size] = x.shape;
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, tokens, (heads as number) * (size as number)]);
}
