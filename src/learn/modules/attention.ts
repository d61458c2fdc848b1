/**
 * Multi-head attention as a module: projections, optional norms of queries and keys, rotary positions, the weighted values.
 * Heads may share keys and values (Ainslie et al. 2023), which shows in the shapes of the parameters alone.
 */
import { usageError } from "../../errors.js";
import {
  type AttentionOptions,
  attention,
  type Dim,
  multiplyDims,
  range,
  reshape,
  rmsNorm,
  rotaryAngles,
  rotaryEmbedding,
  rotaryFrequencies,
  transpose,
  unsqueeze,
  type Value,
} from "../../graph/index.js";
import type { Random } from "../../runtime/index.js";
import type { Initialiser } from "../initialisers.js";
import type { Traced } from "../parameters.js";
import { type DenseParameters, dense, denseParameters } from "./dense.js";
import { type NormParameters, normParameters } from "./normalisation.js";
import { noSite, type SiteOptions } from "./site.js";

/** q [width, heads * e], k and v [width, key heads * e], o [heads * e, width], each with a bias or not; norms [e]. */
export type AttentionParameters = {
  readonly q: DenseParameters;
  readonly k: DenseParameters;
  readonly v: DenseParameters;
  readonly o: DenseParameters;
  readonly qNorm?: NormParameters;
  readonly kNorm?: NormParameters;
};

export interface AttentionSettings {
  readonly width: number;
  readonly heads: number;
  /** Heads of keys and values, which must divide `heads`; as many unless given. */
  readonly keyHeads?: number;
  /** width / heads unless given. */
  readonly headSize?: number;
  /** Width of what keys and values are read from; that of the queries unless given. */
  readonly contextWidth?: number;
  /** Of all four projections. On unless given. */
  readonly bias?: boolean;
  /** Root-mean-square norms of queries and keys (Dehghani et al. 2023). Off unless given. */
  readonly normalise?: boolean;
  /** Of the weights; variance 1 / inputs unless given. */
  readonly initialise?: Initialiser;
}

/** Fresh parameters of `multiHeadAttention`. Throws where heads don't divide. */
export function attentionParameters(random: Random, settings: AttentionSettings): AttentionParameters {
  const { width, heads, keyHeads = heads, contextWidth = width, bias = true, normalise = false, initialise } = settings;
  const { headSize = width / heads } = settings;
  if (!Number.isInteger(headSize) || heads % keyHeads !== 0)
    throw usageError(
      `attention of width ${width} can't have ${heads} heads with ${keyHeads} of keys: heads must divide the width, and those of keys must divide the heads`,
    );
  const project = (inputs: number, outputs: number) =>
    denseParameters(random, { inputs, outputs, bias, ...(initialise === undefined ? {} : { initialise }) });
  const norm = () => normParameters({ size: headSize, bias: false });
  return {
    q: project(width, heads * headSize),
    k: project(contextWidth, keyHeads * headSize),
    v: project(contextWidth, keyHeads * headSize),
    o: project(heads * headSize, width),
    ...(normalise ? { qNorm: norm(), kNorm: norm() } : {}),
  };
}

export interface MultiHeadOptions extends SiteOptions, Pick<AttentionOptions, "causal" | "mask" | "softcap"> {
  readonly heads: number;
  /** What keys and values are read from, [batch, keys, width]; x itself unless given. */
  readonly context?: Value;
  /** Queries and keys are turned by their positions, with frequencies of this base (10,000, say). Off unless given. */
  readonly rotaryBase?: number;
  /** Of the norms of queries and keys; 1e-5 unless given. */
  readonly epsilon?: number;
}

/**
 * Attention of x [batch, positions, width]: [batch, positions, width]. Sites: q, k, v, z [batch, positions, heads, e]
 * (qRot and kRot where rotated), scores and pattern [batch, heads, queries, keys], out.
 */
export function multiHeadAttention(
  parameters: Traced<AttentionParameters>,
  x: Value,
  options: MultiHeadOptions,
): Value {
  const { heads, context = x, site = noSite, epsilon = 1e-5, rotaryBase, ...rest } = options;
  const size = headSizeOf(parameters, heads);
  const part = (name: "q" | "k" | "v", from: Value, norm?: Traced<NormParameters>) => {
    const y = dense(parameters[name], from);
    const split = reshape(y, [...y.shape.slice(0, 2), (y.shape[2] as number) / size, size]);
    return site(name, norm === undefined ? split : rmsNorm(split, norm.weight, epsilon));
  };
  const turned = (name: "q" | "k", y: Value) =>
    rotaryBase === undefined ? y : site(`${name}Rot`, rotated(y, rotaryBase));
  const q = turned("q", part("q", x, parameters.qNorm));
  const k = turned("k", part("k", context, parameters.kNorm));
  const v = part("v", context);
  const found = attention(headsFirst(q), headsFirst(k), headsFirst(v), rest);
  site("scores", found.scores);
  site("pattern", found.pattern);
  const z = site("z", headsFirst(found.output));
  const joined = reshape(z, [...z.shape.slice(0, 2), multiplyDims(heads, size)]);
  return site("out", dense(parameters.o, joined));
}

/** [batch, positions, heads, e] to [batch, heads, positions, e], and back. */
const headsFirst = (x: Value) => transpose(x, [0, 2, 1, 3]);

function headSizeOf({ q, k }: Traced<AttentionParameters>, heads: number): number {
  const [own, keys] = [q.weight.shape[1] as number, k.weight.shape[1] as number];
  if (own % heads === 0 && keys % (own / heads) === 0) return own / heads;
  throw usageError(`${heads} heads don't divide the ${own} outputs of q and the ${keys} of k`);
}

/** Queries or keys [batch, positions, heads, e] turned by their places in the sequence. */
function rotated(x: Value, base: number): Value {
  const [, positions, , size] = x.shape as readonly [Dim, Dim, Dim, number];
  const { cosine, sine } = rotaryAngles(range(positions), rotaryFrequencies(size, base));
  return rotaryEmbedding(x, { cosine: unsqueeze(cosine, 1), sine: unsqueeze(sine, 1) });
}
