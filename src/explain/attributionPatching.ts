/**
 * Attribution patching (Nanda 2023, "Attribution patching: activation patching at industrial scale"; Kramár et al. 2024,
 * "AtP*"): what every patch would recover, to first order, from one batch: (clean - corrupt) . d metric / d activation,
 * summed over what the patch covers. With steps, the gradient is averaged between the prompts (Hanna et al. 2024, EAP-IG).
 */
import {
  add,
  cast,
  clip,
  type Dim,
  div,
  equal,
  expand,
  expm1,
  greater,
  mul,
  pullback,
  reduceSum,
  reshape,
  slice,
  sub,
  substitute,
  transpose,
  unsqueeze,
  type Value,
  where,
} from "../graph/index.js";
import type { ComputeContext, Model, SiteDescription } from "../model/index.js";
import { type Columns, columnsOf, defaultSites, type PatchingUnit, patchableSites } from "./columns.js";
import {
  difference,
  type EstimateOptions,
  estimateEffects,
  holdSites,
  ones,
  type Term,
  type Terms,
} from "./estimates.js";
import { alignedTokens, mapOf, type PatchingMap } from "./patching.js";

export interface AttributionPatchingOptions<By extends PatchingUnit = PatchingUnit> extends EstimateOptions {
  /**
   * Names or globs of whole sites. Unless given: by position, all of the layers' sites that can be clamped; `attn.z` by
   * head, `mlp.act` by neuron, `mlp.out` by site.
   */
  readonly sites?: string | readonly string[];
  /** What a column is; `position` unless given. */
  readonly by?: By;
  /** Positions that are patched, negatives from the end; all unless given. */
  readonly positions?: readonly number[];
  /**
   * Patch queries, keys and scores through the softmax as it is, and to first order only after it (the "QK fix" of AtP*):
   * where attention is saturated its derivative says that nothing would happen. Off unless given.
   */
  readonly exactSoftmax?: boolean;
}

/**
 * Estimates activation patching of every site at every column, in the shape of its map: recovered fractions. One graph is
 * compiled, of both prompts and one gradient, however many sites there are; by default it costs about as much as two to
 * three runs of one prompt. Estimates of sites far from the metric are coarse: patch the largest ones to be sure.
 *
 * Exact where the metric is linear in the site. With `steps`, the estimates at the embedding add up to the difference that
 * they explain. Throws where the prompts differ in length or the metric does not tell them apart.
 */
export async function attributionPatching<By extends PatchingUnit = "position">(
  model: Model,
  options: AttributionPatchingOptions<By>,
): Promise<PatchingMap<By>> {
  const { by = "position" as By, exactSoftmax = false } = options;
  const [tokens] = alignedTokens(model, options);
  const sites = chosenSites(model, options.sites, by);
  const columns = columnsOf(sites, by, tokens.length, options.positions);
  const plan = { sites, columns, terms: firstOrder(sites, columns, exactSoftmax), key: `first order ${exactSoftmax}` };
  const { metric, recovered } = await estimateEffects(holdSites(model, sites), plan, options);
  return { ...mapOf(sites, columns, by, tokens), metric, recovered };
}

function chosenSites(model: Model, given: AttributionPatchingOptions["sites"], by: PatchingUnit): SiteDescription[] {
  if (given !== undefined) return patchableSites(model, given);
  if (by !== "position") return patchableSites(model, defaultSites(by));
  return model.sites("layers.**").filter(({ clampable }) => clampable);
}

/** Sites that act through a layer's softmax: by the queries' rows, or by the keys' columns. */
const throughSoftmax = /^(layers\.\d+\.attn)\.(?:(?<byQuery>q|qRot|scores)|k|kRot)$/;

/** (clean - corrupt) x gradient at every site; through the softmax, (patched - corrupt) pattern x gradient at the pattern. */
function firstOrder(sites: readonly SiteDescription[], columns: Columns, exactSoftmax: boolean): Terms {
  return (context, metric, chosen) => {
    const values = sites.map(({ name }) => context.site(name));
    const found = sites.map(({ name }) => (exactSoftmax ? throughSoftmax.exec(name) : null));
    const at = values.map((value, i) => (found[i] ? context.site(`${found[i][1]}.pattern`) : value));
    const gradients = pullback(new Map([[metric, ones(metric)]]), at);
    return gradients.map((gradient, i) => {
      const [site, value, pattern] = [sites[i], values[i], at[i]] as [SiteDescription, Value, Value];
      if (gradient === undefined) return undefined;
      if (!found[i]) return { value: mul(difference(value), gradient), axes: site.axes };
      const scores = context.site(`${found[i][1]}.scores`);
      const attention = { value, pattern, scores, gradient };
      if (found[i].groups?.byQuery !== undefined) return patchedQueries(site, attention);
      return columns.counted.includes("position")
        ? eachKeyPatched(attention)
        : allKeysPatched(attention, chosenMask(context, chosen));
    });
  };
}

/** What a patch before a softmax is estimated from. */
interface Attention {
  /** Queries, keys or scores. */
  readonly value: Value;
  /** [rows, heads, queries, keys], as the scores and the gradient at the pattern. */
  readonly pattern: Value;
  readonly scores: Value;
  readonly gradient: Value;
}

const cleanOf = (value: Value) => expand(slice(value, 0, 0, 1), value.shape);
const corruptOf = (value: Value) => slice(value, 0, 1, 2);

/** How a value of the corrupted row changes where another value is replaced, [1, ...]. */
function changeOf(value: Value, replaced: Value, by: Value): Value {
  const [patched] = substitute([value], new Map([[replaced, by]])) as [Value];
  return sub(corruptOf(patched), corruptOf(value));
}

/** Each query has a softmax of its own, so all are patched at once: sum over keys of the pattern's change x gradient. */
function patchedQueries({ axes }: SiteDescription, { value, pattern, gradient }: Attention): Term {
  const effect = reduceSum(mul(changeOf(pattern, value, cleanOf(value)), gradient), [3]); // [rows, heads, queries]
  if (axes[1] === "head") return { value: effect, axes: ["row", "head", "position"] };
  return { value: transpose(effect, [0, 2, 1]), axes: ["row", "position", "head"] };
}

/**
 * One key patched alone changes one score d of every query's softmax. With a its probability before, r = a (e^d - 1):
 * every probability is divided by 1 + r and a grows by r first, so the pattern's change x gradient g is
 * r / (1 + r) (g at the key - sum over keys of probability x g).
 */
function eachKeyPatched({ value, pattern, scores, gradient }: Attention): Term {
  const change = clip(changeOf(scores, value, cleanOf(value)), { min: -80, max: 80 }); // e^80 is still finite in float32
  const growth = mul(corruptOf(pattern), expm1(change));
  const average = reduceSum(mul(corruptOf(pattern), gradient), [3], { keepDims: true });
  const effect = mul(div(growth, add(growth, 1)), sub(gradient, average));
  return { value: transpose(byKeyHead(reduceSum(effect, [2]), value), [0, 2, 1]), axes: ["row", "position", "head"] };
}

/** All chosen keys of a head patched together: the pattern's change x gradient. */
function allKeysPatched({ value, pattern, gradient }: Attention, mask: Value): Term {
  const change = changeOf(pattern, value, where(mask, cleanOf(value), value));
  const effect = reduceSum(mul(change, gradient), [2, 3], { keepDims: true });
  return { value: reduceSum(byKeyHead(reduceSum(effect, [3]), value), [2]), axes: ["row", "head"] };
}

/** Summed over the query heads that share a key head: [rows, heads, n] to [rows, key heads, n]. */
function byKeyHead(effect: Value, { shape }: Value): Value {
  const [rows, heads, count] = effect.shape as readonly [Dim, number, Dim];
  const keyHeads = shape[2] as number;
  return reduceSum(reshape(effect, [rows, keyHeads, heads / keyHeads, count]), [2]);
}

/** Whether a token's position is a chosen one, [rows, positions, 1, 1]. */
function chosenMask({ positions }: ComputeContext, chosen: Value): Value {
  const hits = reduceSum(cast(equal(unsqueeze(positions, 2), chosen), "float32"), [2]);
  return unsqueeze(greater(hits, 0), 2, 3);
}
