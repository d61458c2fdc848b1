/**
 * The one configurable decoder: a decoder-only transformer written with the operations of the graph, every canonical site
 * marked. A model is this function traced with its configuration.
 *
 * Two graphs are traced from it: one that reads a whole prompt, and one that continues from cached keys and values. The
 * cache is fed with spare capacity and never comes back as an output (the runtime's binding copies outputs): only the new
 * rows do, as the sites of keys and values.
 */
import {
  add,
  and,
  cast,
  concat,
  constant,
  cos,
  type Dim,
  type Graph,
  gather,
  gelu,
  layerNorm,
  less,
  lessOrEqual,
  type MarkSite,
  matmul,
  max,
  mul,
  multiplyDims,
  not,
  or,
  pad,
  range,
  relu,
  reshape,
  rmsNorm,
  silu,
  sin,
  slice,
  softmax,
  sub,
  tensorOf,
  trace,
  transpose,
  unsqueeze,
  type Value,
  type ValueType,
  weight,
  where,
} from "../../graph/index.js";
import { type Activation, type DecoderConfig, decoderWeights } from "./config.js";

/** Added to the scores of keys that a query may not see: the most negative float32, so that their probability is exactly 0. */
const masked = -3.4028234663852886e38;

const activations: Readonly<Record<Activation, (x: Value) => Value>> = {
  silu,
  gelu: (x) => gelu(x, "none"),
  geluTanh: (x) => gelu(x, "tanh"),
  relu,
};

/** Inputs of the decoder's graph. Positions are negative for padding. */
export const decoderInputs = {
  /** Token ids, int64 [batch, seq]. */
  ids: "ids",
  /** Position of each token in its row, from 0; negative for left padding; int64 [batch, seq]. */
  positions: "positions",
  /** Positions of the cached tokens, int64 [batch, past]. */
  pastPositions: "pastPositions",
  /** Cached keys as they enter the product, [batch, keyValueHeads, headSize, capacity]; the first `past` columns count. */
  keys: (layer: number) => `layers.${layer}.past.k`,
  /** Cached values, [batch, keyValueHeads, capacity, headSize]; the first `past` rows count. */
  values: (layer: number) => `layers.${layer}.past.v`,
} as const;

/** The site whose values are a layer's cached keys: after rotary where there is one. */
export function keySite(config: DecoderConfig, layer: number): string {
  return `layers.${layer}.attn.${config.positions.kind === "rotary" ? "kRot" : "k"}`;
}

/** The graph of a decoder with all its sites and no outputs yet. `cached` continues from keys and values that are fed. */
export function traceDecoder(config: DecoderConfig, { cached }: { cached: boolean }): Graph {
  const inputs: Record<string, ValueType> = {
    [decoderInputs.ids]: { dtype: "int64", shape: ["batch", "seq"] },
    [decoderInputs.positions]: { dtype: "int64", shape: ["batch", "seq"] },
  };
  if (cached) {
    const { keyValueHeads, headSize } = config;
    inputs[decoderInputs.pastPositions] = { dtype: "int64", shape: ["batch", "past"] };
    for (let i = 0; i < config.layers; i++) {
      inputs[decoderInputs.keys(i)] = { dtype: "float32", shape: ["batch", keyValueHeads, headSize, "capacity"] };
      inputs[decoderInputs.values(i)] = { dtype: "float32", shape: ["batch", keyValueHeads, "capacity", headSize] };
    }
  }
  return trace((values, site) => {
    decode(config, values, { site, weight: namedWeights(config) });
    return {};
  }, inputs);
}

/** Weights of the graph by canonical name, each one node. */
function namedWeights(config: DecoderConfig): (name: string) => Value {
  const shapes = decoderWeights(config);
  const known = new Map<string, Value>();
  return (name) => {
    const value = known.get(name) ?? weight(name, shapes.get(name) as readonly number[]);
    known.set(name, value);
    return value;
  };
}

/** How a decoder is written into a graph: where its weights come from, and what else happens on the way. */
export interface DecoderOptions {
  /** A weight by its canonical name; the model's own (`weight(name, shape)`) unless given. */
  readonly weight?: (name: string) => Value;
  /** Names a value as a site, and returns it. */
  readonly site?: MarkSite;
  /** Changes a product: gets its canonical name (`layers.0.attn.q`), what it multiplied, and what came out. */
  readonly adapt?: (name: string, x: Value, y: Value) => Value;
}

/**
 * The logits of a decoder for whole rows of tokens, as a traced function: float32 [batch, seq, vocabulary] for ids, int64
 * [batch, seq]. What is trained, adapted or put into a larger network is this function with weights of one's own.
 */
export function decoder(config: DecoderConfig, ids: Value, options: DecoderOptions = {}): Value {
  const { site = (_, value) => value, weight: read = namedWeights(config), adapt } = options;
  const positions = unsqueeze(range(ids.shape[1] as Dim), 0);
  const inputs = { [decoderInputs.ids]: ids, [decoderInputs.positions]: positions };
  return decode(config, inputs, { site, weight: read, ...(adapt === undefined ? {} : { adapt }) });
}

/** What every layer reads besides the residual stream. */
interface Shared {
  readonly config: DecoderConfig;
  readonly inputs: Readonly<Record<string, Value>>;
  readonly site: MarkSite;
  readonly weights: (name: string) => Value;
  readonly adapt: DecoderOptions["adapt"];
  /** Added to the scores: 0 where a query may see a key. [batch, 1, seq, past + seq] */
  readonly mask: Value;
  readonly rotate: ((x: Value) => Value) | undefined;
}

function decode(
  config: DecoderConfig,
  inputs: Readonly<Record<string, Value>>,
  { site, weight: weights, adapt }: DecoderOptions & Required<Pick<DecoderOptions, "site" | "weight">>,
): Value {
  const positions = inputs[decoderInputs.positions] as Value;
  const shared: Shared = {
    config,
    inputs,
    site,
    weights,
    adapt,
    mask: attentionMask(inputs),
    rotate: rotary(config, positions),
  };
  let stream = gather(weights("embed.weight"), inputs[decoderInputs.ids] as Value);
  if (config.positions.kind === "learned") stream = add(stream, gather(weights("positions.weight"), max(positions, 0)));
  site("embed", stream);
  for (let i = 0; i < config.layers; i++) {
    site(`layers.${i}.residPre`, stream);
    stream = site(`layers.${i}.residMid`, add(stream, attention(shared, i, stream)));
    stream = site(`layers.${i}.residPost`, add(stream, mlp(shared, i, stream)));
  }
  const last = site("finalNorm", normalize(shared, "finalNorm", stream));
  return site("logits", matmul(last, weights("unembed.weight")));
}

/** A query sees keys at its own position and before. Padding (negative positions) sees only padding and is seen only by it. */
function attentionMask(inputs: Readonly<Record<string, Value>>): Value {
  const positions = inputs[decoderInputs.positions] as Value;
  const past = inputs[decoderInputs.pastPositions];
  const queries = unsqueeze(positions, 1, 3);
  const keys = unsqueeze(past === undefined ? positions : concat([past, positions], 1), 1, 2);
  const visible = and(lessOrEqual(keys, queries), or(not(less(keys, 0)), less(queries, 0)));
  return where(visible, constant(tensorOf("float32", [], [0])), constant(tensorOf("float32", [], [masked])));
}

/** Rotary position embedding (Su et al. 2021), the two halves of a head rotated against each other; for x [b, s, heads, e]. */
function rotary(config: DecoderConfig, positions: Value): ((x: Value) => Value) | undefined {
  if (config.positions.kind !== "rotary") return undefined;
  const { inverseFrequencies } = config.positions;
  const half = inverseFrequencies.length;
  const frequencies = constant(tensorOf("float32", [1, 1, 1, half], inverseFrequencies));
  const angles = mul(unsqueeze(cast(positions, "float32"), 2, 3), frequencies);
  const [cosine, sine] = [cos(angles), sin(angles)];
  return (x) => {
    const first = slice(x, -1, 0, half);
    const second = slice(x, -1, half);
    return concat([sub(mul(first, cosine), mul(second, sine)), add(mul(second, cosine), mul(first, sine))], -1);
  };
}

function normalize({ config, weights }: Shared, name: string, x: Value): Value {
  const scale = weights(`${name}.weight`);
  if (config.norm === "rms") return rmsNorm(x, scale, config.epsilon);
  return layerNorm(x, scale, weights(`${name}.bias`), config.epsilon);
}

function project({ weights, adapt }: Shared, name: string, x: Value, biased: boolean): Value {
  const product = matmul(x, weights(`${name}.weight`));
  const y = biased ? add(product, weights(`${name}.bias`)) : product;
  return adapt === undefined ? y : adapt(name, x, y);
}

function attention(shared: Shared, layer: number, stream: Value): Value {
  const { config, site, rotate } = shared;
  const { heads, keyValueHeads, headSize, bias } = config;
  const name = `layers.${layer}.attn`;
  const [batch, seq] = stream.shape as readonly [Dim, Dim];
  const x = site(`${name}.in`, normalize(shared, `${name}.norm`, stream));
  const split = (part: "q" | "k" | "v", count: number) =>
    site(`${name}.${part}`, reshape(project(shared, `${name}.${part}`, x, bias.qkv), [batch, seq, count, headSize]));
  let q = split("q", heads);
  let k = split("k", keyValueHeads);
  const v = split("v", keyValueHeads);
  if (rotate !== undefined) {
    q = site(`${name}.qRot`, rotate(q));
    k = site(`${name}.kRot`, rotate(k));
  }
  const z = site(`${name}.z`, attend(shared, layer, q, k, v));
  perHeadResult(shared, name, z);
  const joined = reshape(z, [batch, seq, heads * headSize]);
  return site(`${name}.out`, project(shared, `${name}.o`, joined, bias.attentionOut));
}

/**
 * softmax(q k' / sqrt(e) + mask) v. Query heads that share a key head are stacked along the sequence, so that grouped
 * heads need no repeated keys. q [b, s, h, e], k and v [b, s, kv, e]; returns [b, s, h, e].
 */
function attend({ config, inputs, site, mask }: Shared, layer: number, q: Value, k: Value, v: Value): Value {
  const { heads, keyValueHeads, headSize } = config;
  const [batch, seq] = q.shape as readonly [Dim, Dim];
  const stacked = multiplyDims(heads / keyValueHeads, seq);
  const pastKeys = inputs[decoderInputs.keys(layer)];
  const pastValues = inputs[decoderInputs.values(layer)];
  const past = inputs[decoderInputs.pastPositions]?.shape[1] ?? 0;
  const length = mask.shape[3] as Dim;

  const queries = reshape(transpose(mul(q, 1 / Math.sqrt(headSize)), [0, 2, 1, 3]), [
    batch,
    keyValueHeads,
    stacked,
    headSize,
  ]);
  const ownScores = matmul(queries, transpose(k, [0, 2, 3, 1]));
  const allScores =
    pastKeys === undefined ? ownScores : concat([slice(matmul(queries, pastKeys), -1, 0, past), ownScores], -1);
  const scores = site(`layers.${layer}.attn.scores`, reshape(allScores, [batch, heads, seq, length]));
  const pattern = site(`layers.${layer}.attn.pattern`, softmax(add(scores, mask)));

  const weighting = reshape(pattern, [batch, keyValueHeads, stacked, length]);
  const values = transpose(v, [0, 2, 1, 3]);
  let mixed: Value;
  if (pastValues === undefined) {
    mixed = matmul(weighting, values);
  } else {
    const spare = `capacity - ${past}`;
    const fromPast = matmul(pad(slice(weighting, -1, 0, past), -1, 0, spare), pastValues);
    mixed = add(fromPast, matmul(slice(weighting, -1, past), values));
  }
  return transpose(reshape(mixed, [batch, heads, seq, headSize]), [0, 2, 1, 3]);
}

/** Each head's contribution to the residual stream; computed only where someone records it. */
function perHeadResult({ config, site, weights }: Shared, name: string, z: Value): void {
  const { heads, headSize, width } = config;
  const perHead = reshape(weights(`${name}.o.weight`), [heads, headSize, width]);
  site(`${name}.result`, transpose(matmul(transpose(z, [0, 2, 1, 3]), perHead), [0, 2, 1, 3]));
}

function mlp(shared: Shared, layer: number, stream: Value): Value {
  const { config, site } = shared;
  const name = `layers.${layer}.mlp`;
  const x = site(`${name}.in`, normalize(shared, `${name}.norm`, stream));
  const nonlinearity = activations[config.activation];
  let act: Value;
  if (config.gatedMlp) {
    const gate = site(`${name}.pre`, project(shared, `${name}.gate`, x, config.bias.mlp));
    act = mul(nonlinearity(gate), site(`${name}.up`, project(shared, `${name}.up`, x, config.bias.mlp)));
  } else {
    act = nonlinearity(site(`${name}.pre`, project(shared, `${name}.up`, x, config.bias.mlp)));
  }
  return site(`${name}.out`, project(shared, `${name}.down`, site(`${name}.act`, act), config.bias.mlp));
}
