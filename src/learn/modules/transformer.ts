/**
 * Transformer blocks (Vaswani et al. 2017) and stacks of them. Parameters and sites have the canonical names of decoders
 * (`layers.0.attn.q.weight`, `layers.0.residPost`), so what is trained here can be written and opened as one.
 */
import { add, gelu, mul, type Value } from "../../graph/index.js";
import type { Random } from "../../runtime/index.js";
import type { Initialiser } from "../initialisers.js";
import type { Traced } from "../parameters.js";
import {
  type AttentionParameters,
  type AttentionSettings,
  attentionParameters,
  type MultiHeadOptions,
  multiHeadAttention,
} from "./attention.js";
import { type DenseParameters, dense, denseParameters } from "./dense.js";
import { layerNormalization, type NormParameters, normParameters, rmsNormalization } from "./normalisation.js";
import { noSite, type SiteOptions, scope } from "./site.js";

/** up and gate [width, hidden], down [hidden, width]. With a gate: down(activation(gate(x)) * up(x)) (Shazeer 2020). */
export type MlpParameters = {
  readonly up: DenseParameters;
  readonly gate?: DenseParameters;
  readonly down: DenseParameters;
};

export interface MlpSettings {
  readonly width: number;
  /** 4 times the width unless given. */
  readonly hidden?: number;
  /** Off unless given. */
  readonly gated?: boolean;
  /** On unless given. */
  readonly bias?: boolean;
  readonly initialise?: Initialiser;
}

/** Fresh parameters of `mlp`. */
export function mlpParameters(
  random: Random,
  { width, hidden = 4 * width, gated = false, bias = true, initialise }: MlpSettings,
): MlpParameters {
  const project = (inputs: number, outputs: number) =>
    denseParameters(random, { inputs, outputs, bias, ...(initialise === undefined ? {} : { initialise }) });
  return {
    up: project(width, hidden),
    ...(gated ? { gate: project(width, hidden) } : {}),
    down: project(hidden, width),
  };
}

export interface MlpOptions extends SiteOptions {
  /** `gelu` unless given. */
  readonly activation?: (x: Value) => Value;
}

/** Two dense layers around a nonlinearity, on x [..., width]. Sites: pre, up (where gated), act, out. */
export function mlp(
  { up, gate, down }: Traced<MlpParameters>,
  x: Value,
  { activation = (pre) => gelu(pre), site = noSite }: MlpOptions = {},
): Value {
  const active = activation(site("pre", dense(gate ?? up, x)));
  const act = gate === undefined ? active : mul(active, site("up", dense(up, x)));
  return site("out", dense(down, site("act", act)));
}

export type BlockParameters = {
  readonly attn: AttentionParameters & { readonly norm: NormParameters };
  readonly mlp: MlpParameters & { readonly norm: NormParameters };
};

export interface BlockSettings extends AttentionSettings, Omit<MlpSettings, "width" | "bias" | "initialise"> {
  /** Which norm: `rms` ones have no bias. `layer` unless given. */
  readonly norm?: "layer" | "rms";
}

/** Fresh parameters of `transformerBlock`. */
export function blockParameters(random: Random, settings: BlockSettings): BlockParameters {
  const norm = () => normParameters({ size: settings.width, bias: settings.norm !== "rms" });
  return {
    attn: { norm: norm(), ...attentionParameters(random, settings) },
    mlp: { norm: norm(), ...mlpParameters(random, settings) },
  };
}

export interface BlockOptions extends MultiHeadOptions, MlpOptions {
  /** `layer` unless given. */
  readonly norm?: "layer" | "rms";
  /** The stream is normalised after each sublayer, rather than each sublayer's input. Off unless given. */
  readonly postNorm?: boolean;
}

const normalised = (parameters: Traced<NormParameters>, x: Value, { norm, epsilon = 1e-5 }: BlockOptions): Value =>
  norm === "rms" ? rmsNormalization(parameters, x, epsilon) : layerNormalization(parameters, x, epsilon);

/**
 * Attention and then an MLP, each added to the stream x [batch, positions, width]. Sites: residPre, residMid, residPost,
 * `attn.*` and `mlp.*` with `in`.
 */
export function transformerBlock(parameters: Traced<BlockParameters>, x: Value, options: BlockOptions): Value {
  const { site = noSite, postNorm = false, activation } = options;
  const attend = (input: Value) =>
    multiHeadAttention(parameters.attn, input, { ...options, site: scope(site, "attn") });
  const think = (input: Value) =>
    mlp(parameters.mlp, input, { site: scope(site, "mlp"), ...(activation === undefined ? {} : { activation }) });
  const sublayer = (part: "attn" | "mlp", stream: Value, run: (input: Value) => Value) => {
    const { norm } = parameters[part];
    const input = site(`${part}.in`, postNorm ? stream : normalised(norm, stream, options));
    const sum = add(stream, run(input));
    return postNorm ? normalised(norm, sum, options) : sum;
  };
  const middle = site("residMid", sublayer("attn", site("residPre", x), attend));
  return site("residPost", sublayer("mlp", middle, think));
}

/** Blocks, and the norm at their end (where they are not post-norm). */
export type TransformerParameters = {
  readonly layers: readonly BlockParameters[];
  readonly finalNorm?: NormParameters;
};

export interface TransformerSettings extends BlockSettings {
  readonly layers: number;
  /** A norm at the end. On unless given. */
  readonly finalNorm?: boolean;
}

/** Fresh parameters of `transformer`. */
export function transformerParameters(random: Random, settings: TransformerSettings): TransformerParameters {
  const { layers, width, norm, finalNorm = true } = settings;
  return {
    layers: Array.from({ length: layers }, () => blockParameters(random, settings)),
    ...(finalNorm ? { finalNorm: normParameters({ size: width, bias: norm !== "rms" }) } : {}),
  };
}

/** A stack of blocks on x [batch, positions, width]. Sites: `layers.i.*` and finalNorm. */
export function transformer(parameters: Traced<TransformerParameters>, x: Value, options: BlockOptions): Value {
  const { site = noSite } = options;
  const last = parameters.layers.reduce(
    (stream, layer, i) => transformerBlock(layer, stream, { ...options, site: scope(site, `layers.${i}`) }),
    x,
  );
  const { finalNorm } = parameters;
  return finalNorm === undefined ? last : site("finalNorm", normalised(finalNorm, last, options));
}
