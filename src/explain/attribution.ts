/**
 * Direct logit attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"): the final residual
 * stream is a sum, so a logit is the sum of what each part wrote, once the final norm's divisor is held at its value.
 * With x = sum of parts c: logit = sum_c c . w + b . u, where u is the token's column of the unembedding (or a difference
 * of two), w = (gain * u, centred where the norm centres) / divisor(x), and b the norm's bias.
 */
import { usageError } from "../errors.js";
import {
  add,
  cast,
  concat,
  type Dim,
  div,
  gather,
  matmul,
  mul,
  multiplyDims,
  reduceMean,
  reshape,
  slice,
  sqrt,
  sub,
  type Value,
} from "../graph/index.js";
import type { ComputeContext, DecoderConfig, Model, Prompt, Token } from "../model/index.js";
import { tensorOf } from "../runtime/index.js";
import { resolvePosition } from "./sites.js";
import { checkToken } from "./tokens.js";

/** What one part wrote, in logits. */
export interface AttributionTerm {
  /** "embed", "layers.3.attn.h5", "layers.3.attn.bias", "layers.3.mlp", "bias" */
  readonly name: string;
  readonly layer?: number;
  readonly head?: number;
  readonly kind: "embed" | "head" | "attention bias" | "mlp" | "bias";
  readonly value: number;
}

export interface Attribution {
  readonly tokens: readonly Token[];
  readonly target: number;
  readonly versus?: number;
  /** The position whose prediction is explained, from 0. */
  readonly position: number;
  /** The target's logit, or how far it lies above that of `versus`. The terms add up to it. */
  readonly total: number;
  readonly terms: AttributionTerm[];
}

export interface AttributionOptions {
  /** The token whose logit is explained. */
  readonly target: number;
  /** A token whose logit is subtracted. */
  readonly versus?: number;
  /** Negatives count from the end; -1 unless given. */
  readonly position?: number;
}

type Part = Omit<AttributionTerm, "value">;

/** Parts of the final stream, and the vectors [..., width] that they wrote at the position, in the same order. */
interface Contribution {
  readonly parts: readonly Part[];
  readonly vectors: (read: Readers) => Value;
}

interface Readers {
  /** A site at the position, [1, 1, ...]. */
  readonly here: (site: string) => Value;
  readonly weight: ComputeContext["weight"];
}

/**
 * How much the embedding, every head, every MLP and the biases add to a token's logit at one position. Throws where a
 * token or the position is out of range, and where the parts do not add up because a clamp changed their sum.
 */
export async function directLogitAttribution(
  model: Model,
  prompt: Prompt,
  options: AttributionOptions,
): Promise<Attribution> {
  const { target, versus, position = -1 } = options;
  const { config } = model;
  checkToken(target, config.vocabulary, "the target");
  if (versus !== undefined) checkToken(versus, config.vocabulary, "the token to compare with");
  const tokens = model.tokens(prompt);
  const at = resolvePosition(position, tokens.length);
  const contributions = contributionsOf(config);
  const { values, bias, total } = await model.compute(
    [tokens.map(({ id }) => id)],
    (context, inputs) => attribute(context, config, contributions, inputs),
    {
      inputs: {
        position: tensorOf("int64", [1], [at]),
        target: tensorOf("int64", [1], [target]),
        ...(versus === undefined ? {} : { versus: tensorOf("int64", [1], [versus]) }),
      },
    },
  );
  const parts = contributions.flatMap((contribution) => contribution.parts);
  const terms = parts.map((part, i): AttributionTerm => ({ ...part, value: Number(values?.data[i]) }));
  if (bias !== undefined) terms.push({ name: "bias", kind: "bias", value: Number(bias.data[0]) });
  const sum = Number(total?.data[0]);
  checkSum(terms, sum);
  return { tokens, target, ...(versus === undefined ? {} : { versus }), position: at, total: sum, terms };
}

/** Everything that writes to the residual stream, in the order of computation. */
function contributionsOf({ layers, heads, bias }: DecoderConfig): Contribution[] {
  const contributions: Contribution[] = [
    { parts: [{ name: "embed", kind: "embed" }], vectors: ({ here }) => here("embed") },
  ];
  for (let layer = 0; layer < layers; layer++) {
    const attention = `layers.${layer}.attn`;
    const mlp = `layers.${layer}.mlp`;
    contributions.push({
      parts: Array.from({ length: heads }, (_, head) => ({ name: `${attention}.h${head}`, layer, head, kind: "head" })),
      vectors: ({ here }) => here(`${attention}.result`),
    });
    if (bias.attentionOut)
      contributions.push({
        parts: [{ name: `${attention}.bias`, layer, kind: "attention bias" }],
        vectors: ({ weight }) => weight(`${attention}.o.bias`),
      });
    contributions.push({ parts: [{ name: mlp, layer, kind: "mlp" }], vectors: ({ here }) => here(`${mlp}.out`) });
  }
  return contributions;
}

/** The graph: `values` [parts], `bias` [1] where the final norm has one, and `total` [1]. */
function attribute(
  { site, weight }: ComputeContext,
  config: DecoderConfig,
  contributions: readonly Contribution[],
  { position, target, versus }: Readonly<Record<string, Value>>,
): Record<string, Value> {
  const column = (id: Value) => cast(gather(weight("unembed.weight"), id, 1), "float64");
  const answer = column(target as Value);
  const unembedding = versus === undefined ? answer : sub(answer, column(versus)); // [width, 1]
  const here = (name: string) => gather(slice(site(name), 0, 0, 1), position as Value, 1);
  const direction = throughNorm(here(`layers.${config.layers - 1}.residPost`), unembedding, weight, config);
  const values = contributions.map(({ vectors }) => dotEach(vectors({ here, weight }), direction));
  return {
    values: cast(concat(values, 0), "float32"),
    ...(config.norm === "layer" ? { bias: cast(dotEach(weight("finalNorm.bias"), unembedding), "float32") } : {}),
    total: cast(dotEach(here("finalNorm"), unembedding), "float32"),
  };
}

/** What a vector of the residual stream counts for, [width, 1]: the unembedding seen through the norm of `stream`. */
function throughNorm(
  stream: Value,
  unembedding: Value,
  weight: ComputeContext["weight"],
  { norm, epsilon, width }: DecoderConfig,
): Value {
  const centred = (x: Value) => (norm === "layer" ? sub(x, reduceMean(x, 0, { keepDims: true })) : x);
  const x = centred(cast(reshape(stream, [width, 1]), "float64"));
  const divisor = sqrt(add(reduceMean(mul(x, x), 0, { keepDims: true }), epsilon));
  const gain = cast(reshape(weight("finalNorm.weight"), [width, 1]), "float64");
  return div(centred(mul(gain, unembedding)), divisor);
}

/** Every vector along the last dimension times `direction` [width, 1], as one list, float64. */
function dotEach(vectors: Value, direction: Value): Value {
  const count = multiplyDims(...vectors.shape.slice(0, -1));
  const rows = reshape(cast(vectors, "float64"), [count, direction.shape[0] as Dim]);
  return reshape(matmul(rows, direction), [count]);
}

/** The float32 stream is a sum rounded at every layer, so the largest term bounds how exactly the parts can add up. */
function checkSum(terms: readonly AttributionTerm[], total: number): void {
  const sum = terms.reduce((whole, { value }) => whole + value, 0);
  const largest = terms.reduce((most, { value }) => Math.max(most, Math.abs(value)), Math.abs(total));
  if (Math.abs(sum - total) <= 1e-3 * largest) return;
  throw usageError(
    `the terms add up to ${sum.toPrecision(6)} and the logit is ${total.toPrecision(6)}: a clamp changes the residual stream outside its parts; clamp embed, attn.z or mlp.out instead`,
  );
}
