/** What distinguishes one decoder-only transformer from another, as data. Architectures fill it in from a checkpoint's own configuration. */

export type Activation = "silu" | "gelu" | "geluTanh" | "relu";

export interface DecoderConfig {
  readonly layers: number;
  /** Width of the residual stream. */
  readonly width: number;
  readonly heads: number;
  /** Heads of keys and values; a divisor of `heads`. */
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly mlpWidth: number;
  readonly vocabulary: number;
  /** The most positions that the model was made for. */
  readonly context: number;
  readonly norm: "rms" | "layer";
  readonly epsilon: number;
  /** Rotary embeddings with these inverse frequencies (half a head's size of them), or a learned vector for each position. */
  readonly positions:
    | { readonly kind: "rotary"; readonly inverseFrequencies: readonly number[] }
    | { readonly kind: "learned" };
  /** Whether the MLP multiplies its nonlinearity by a second, linear branch. */
  readonly gatedMlp: boolean;
  readonly activation: Activation;
  /** Which products add a bias. */
  readonly bias: { readonly qkv: boolean; readonly attentionOut: boolean; readonly mlp: boolean };
  /** Whether the unembedding is the transposed embedding. */
  readonly tied: boolean;
}

/** The shape of every weight of a decoder by its canonical name. Matrices are [in, out], as the products want them. */
export function decoderWeights(config: DecoderConfig): Map<string, readonly number[]> {
  const { width, heads, keyValueHeads, headSize, mlpWidth, vocabulary, bias } = config;
  const shapes = new Map<string, readonly number[]>([["embed.weight", [vocabulary, width]]]);
  const norm = (name: string) => {
    shapes.set(`${name}.weight`, [width]);
    if (config.norm === "layer") shapes.set(`${name}.bias`, [width]);
  };
  const product = (name: string, from: number, to: number, biased: boolean) => {
    shapes.set(`${name}.weight`, [from, to]);
    if (biased) shapes.set(`${name}.bias`, [to]);
  };
  if (config.positions.kind === "learned") shapes.set("positions.weight", [config.context, width]);
  for (let i = 0; i < config.layers; i++) {
    const layer = `layers.${i}`;
    norm(`${layer}.attn.norm`);
    product(`${layer}.attn.q`, width, heads * headSize, bias.qkv);
    product(`${layer}.attn.k`, width, keyValueHeads * headSize, bias.qkv);
    product(`${layer}.attn.v`, width, keyValueHeads * headSize, bias.qkv);
    product(`${layer}.attn.o`, heads * headSize, width, bias.attentionOut);
    norm(`${layer}.mlp.norm`);
    if (config.gatedMlp) product(`${layer}.mlp.gate`, width, mlpWidth, bias.mlp);
    product(`${layer}.mlp.up`, width, mlpWidth, bias.mlp);
    product(`${layer}.mlp.down`, mlpWidth, width, bias.mlp);
  }
  norm("finalNorm");
  shapes.set("unembed.weight", [width, vocabulary]);
  return shapes;
}
