/**
 * Direct logit attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"): the final residual
 * stream is a sum, so a logit is the sum of what each part wrote, once the final norm's divisor is held at its value.
 * With x = sum of parts c: logit = sum_c c . w + b . u, where u is the token's column of the unembedding (or a difference
 * of two), w = (gain * u, centred where the norm centres) / divisor(x), and b the norm's bias.
 */
import { failure } from "../errors.js";
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
import { type Tensor, tensorOf } from "../runtime/index.js";
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
  const parts: Part[] = [];
  const inputs = {
    position: tensorOf("int64", [1], [at]),
    target: tensorOf("int64", [1], [target]),
    ...(versus === undefined ? {} : { versus: tensorOf("int64", [1], [versus]) }),
  };
  const { values, total } = await model.compute(
    [tokens.map(({ id }) => id)],
    (context, given) => attribute(context, config, given, parts),
    { inputs },
  );
  const terms = parts.map((part, i) => ({ ...part, value: Number(values?.data[i]) }));
  const sum = Number((total as Tensor).data[0]);
  checkSum(terms, sum);
  return { tokens, target, ...(versus === undefined ? {} : { versus }), position: at, total: sum, terms };
}

/** The graph: `values` [parts] and `total` [1]. Fills `parts` with what each value is. */
function attribute(
  { site, weight }: ComputeContext,
  config: DecoderConfig,
  inputs: Readonly<Record<string, Value>>,
  parts: Part[],
): { values: Value; total: Value } {
  const column = (id: Value) => cast(gather(weight("unembed.weight"), id, 1), "float64");
  const target = column(inputs.target as Value);
  const unembedding = inputs.versus === undefined ? target : sub(target, column(inputs.versus)); // [width, 1]
  const here = (name: string) => gather(slice(site(name), 0, 0, 1), inputs.position as Value, 1); // [1, 1, ...]
  const direction = throughNorm(here(`layers.${config.layers - 1}.residPost`), unembedding, weight, config);
  const values: Value[] = [];
  const term = (part: Part, value: Value) => {
    parts.push(part);
    values.push(dotEach(value, direction));
  };
  term({ name: "embed", kind: "embed" }, here("embed"));
  for (let layer = 0; layer < config.layers; layer++) {
    const name = `layers.${layer}.attn`;
    for (let head = 0; head < config.heads; head++) parts.push({ name: `${name}.h${head}`, layer, head, kind: "head" });
    values.push(dotEach(here(`${name}.result`), direction));
    if (config.bias.attentionOut)
      term({ name: `${name}.bias`, layer, kind: "attention bias" }, weight(`${name}.o.bias`));
    term({ name: `layers.${layer}.mlp`, layer, kind: "mlp" }, here(`layers.${layer}.mlp.out`));
  }
  if (config.norm === "layer") {
    parts.push({ name: "bias", kind: "bias" });
    values.push(dotEach(weight("finalNorm.bias"), unembedding));
  }
  return {
    values: cast(concat(values, 0), "float32"),
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
  throw failure(
    `the terms add up to ${sum.toPrecision(6)} and the logit is ${total.toPrecision(6)}: a clamp changes the residual stream outside its parts; clamp embed, attn.z or mlp.out instead`,
  );
}
