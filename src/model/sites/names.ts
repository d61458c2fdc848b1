/**
 * The canonical sites of a transformer: their patterns, what their dimensions mean, and the TransformerLens hook names
 * that are the same value. A name that means something else there is refused with the difference.
 */

/** What a dimension of a site counts. `position` and `key` count tokens of a row; a padded row has fewer. */
export type Axis = "row" | "position" | "key" | "head" | "neuron" | "channel" | "headChannel" | "expert" | "token";

interface SiteKind {
  /** Canonical name with `i` for the layer. */
  readonly pattern: string;
  readonly axes: readonly Axis[];
  readonly meaning: string;
  /** TransformerLens' hook name, with `i` for the layer, where it is the same value. */
  readonly alias?: string;
  /** Why the site can't be clamped, where it can't. */
  readonly readOnly?: string;
}

const stream: readonly Axis[] = ["row", "position", "channel"];
const perHead: readonly Axis[] = ["row", "position", "head", "headChannel"];
const attention: readonly Axis[] = ["row", "head", "position", "key"];
const neurons: readonly Axis[] = ["row", "position", "neuron"];

/** Every kind of site. To add one: a line here, and `site(...)` around its value in the decoder. */
export const siteKinds: readonly SiteKind[] = [
  { pattern: "embed", axes: stream, meaning: "token embedding, learned positions added" },
  {
    pattern: "layers.i.residPre",
    axes: stream,
    meaning: "residual stream before the layer",
    alias: "blocks.i.hook_resid_pre",
  },
  { pattern: "layers.i.attn.in", axes: stream, meaning: "normalised input of attention" },
  { pattern: "layers.i.attn.q", axes: perHead, meaning: "queries before rotary", alias: "blocks.i.attn.hook_q" },
  { pattern: "layers.i.attn.k", axes: perHead, meaning: "keys before rotary", alias: "blocks.i.attn.hook_k" },
  { pattern: "layers.i.attn.v", axes: perHead, meaning: "values", alias: "blocks.i.attn.hook_v" },
  { pattern: "layers.i.attn.qRot", axes: perHead, meaning: "queries after rotary", alias: "blocks.i.attn.hook_rot_q" },
  { pattern: "layers.i.attn.kRot", axes: perHead, meaning: "keys after rotary", alias: "blocks.i.attn.hook_rot_k" },
  { pattern: "layers.i.attn.scores", axes: attention, meaning: "scaled scores before the mask" },
  {
    pattern: "layers.i.attn.pattern",
    axes: attention,
    meaning: "attention probabilities",
    alias: "blocks.i.attn.hook_pattern",
  },
  { pattern: "layers.i.attn.z", axes: perHead, meaning: "weighted values per head", alias: "blocks.i.attn.hook_z" },
  {
    pattern: "layers.i.attn.result",
    axes: ["row", "position", "head", "channel"],
    meaning: "each head's contribution to the residual stream",
    alias: "blocks.i.attn.hook_result",
    readOnly:
      "it is computed beside the model's own path; clamp attn.z (before the output projection) or attn.out (their sum) instead",
  },
  {
    pattern: "layers.i.attn.out",
    axes: stream,
    meaning: "what attention adds to the stream",
    alias: "blocks.i.hook_attn_out",
  },
  {
    pattern: "layers.i.residMid",
    axes: stream,
    meaning: "residual stream after attention",
    alias: "blocks.i.hook_resid_mid",
  },
  { pattern: "layers.i.mlp.in", axes: stream, meaning: "normalised input of the MLP" },
  {
    pattern: "layers.i.mlp.pre",
    axes: neurons,
    meaning: "what enters the nonlinearity",
    alias: "blocks.i.mlp.hook_pre",
  },
  {
    pattern: "layers.i.mlp.up",
    axes: neurons,
    meaning: "linear branch of a gated MLP",
    alias: "blocks.i.mlp.hook_pre_linear",
  },
  {
    pattern: "layers.i.mlp.act",
    axes: neurons,
    meaning: "what enters the down projection",
    alias: "blocks.i.mlp.hook_post",
  },
  {
    pattern: "layers.i.mlp.out",
    axes: stream,
    meaning: "what the MLP adds to the stream",
    alias: "blocks.i.hook_mlp_out",
  },
  {
    pattern: "layers.i.residPost",
    axes: stream,
    meaning: "residual stream after the layer",
    alias: "blocks.i.hook_resid_post",
  },
  { pattern: "finalNorm", axes: stream, meaning: "normalised final stream, gain included" },
  { pattern: "logits", axes: ["row", "position", "token"], meaning: "scores of the next token" },
];

/** TransformerLens names that look like a site of ours and are another value. */
const differentThere: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  {
    pattern: /^blocks\.\d+\.attn\.hook_attn_scores$/,
    why: "it holds scores after the mask; layers.i.attn.scores holds them before it",
  },
  {
    pattern: /^(blocks\.\d+\.)?(ln1|ln2|ln_final)\.hook_normalized$/,
    why: "it comes before the norm's gain; layers.i.attn.in, layers.i.mlp.in and finalNorm come after it",
  },
  { pattern: /^(blocks\.\d+\.)?(ln1|ln2|ln_final)\.hook_scale$/, why: "the norm's divisor is not a site here" },
  { pattern: /^hook_embed$/, why: "it excludes learned positions; embed includes them" },
  { pattern: /^hook_pos_embed$/, why: "learned positions alone are not a site; embed includes them" },
  {
    pattern: /^blocks\.\d+\.hook_(q|k|v)_input$/,
    why: "it is the stream before the norm, split by head; layers.i.attn.in is the one normalised input",
  },
];

/** The kind of a canonical site (without suffix), or undefined. */
export function siteKind(name: string): SiteKind | undefined {
  const pattern = name.replace(/^layers\.\d+\./, "layers.i.").replace(/@before$/, "");
  return kindsByPattern.get(pattern);
}

const kindsByPattern = new Map(siteKinds.map((kind) => [kind.pattern, kind]));

/** The layer in a site's name, or undefined. */
export function layerOf(name: string): number | undefined {
  const match = /^layers\.(\d+)\./.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** The canonical name (or glob) that a TransformerLens hook name stands for; other names are returned as they are. */
export function canonicalName(name: string): string {
  if (name.endsWith("@before")) return `${canonicalName(name.slice(0, -"@before".length))}@before`;
  const match = /^blocks\.(\d+|\*)\./.exec(name);
  const layer = match?.[1];
  const pattern = layer === undefined ? name : name.replace(/^blocks\.(\d+|\*)\./, "blocks.i.");
  const kind = kindsByAlias.get(pattern);
  if (kind === undefined) return name;
  return layer === undefined ? kind.pattern : kind.pattern.replace("layers.i.", `layers.${layer}.`);
}

const kindsByAlias = new Map(
  siteKinds.flatMap((kind) => (kind.alias === undefined ? [] : [[kind.alias, kind] as const])),
);

/** Why a TransformerLens name has no canonical twin, or undefined. */
export function differenceThere(name: string): string | undefined {
  return differentThere.find(({ pattern }) => pattern.test(name.replaceAll("*", "0")))?.why;
}

/** The TransformerLens names of a canonical site. */
export function aliasesOf(name: string): string[] {
  const alias = siteKind(name)?.alias;
  const layer = layerOf(name);
  return alias === undefined ? [] : [alias.replace("blocks.i.", `blocks.${layer}.`)];
}
