/**
 * The paths that path patching is about: senders, the receivers that they reach directly, and what is held in between.
 */
import { inputsOf, type SiteFunction, spliceAll, type Value } from "../graph/index.js";
import { type ComputeContext, type Model, type SiteDescription, selectRecorded, type Token } from "../model/index.js";
import { elementCount, type Tensor, zeros } from "../runtime/index.js";
import { type Columns, columnsOf, defaultSites, type PatchingUnit, patchableParts, patchableSites } from "./columns.js";
import { alignedTokens, idsOf, mapOf, type PatchingMap, type PromptPair } from "./patching.js";
import { sizesOf } from "./sites.js";

/** Which paths are patched. */
export interface PatchedPaths<By extends PatchingUnit = PatchingUnit> {
  /** Names or globs of whole sites, each column of which is a sender; `layers.*.attn.z` unless given. */
  readonly senders?: string | readonly string[];
  /** What a column is; `head` unless given. */
  readonly by?: By;
  /** Positions at which senders are patched, negatives from the end; all unless given. */
  readonly positions?: readonly number[];
  /**
   * Names, globs and parts of the sites that receive, all together: `layers.9.attn.q[head=3]`, or the last layer's
   * `residPost` for direct effects on the logits.
   */
  readonly receivers: string | readonly string[];
  /**
   * Whole sites that are held at what they were in the corrupted run, so that no path leads through them; all heads and
   * MLPs, `layers.*.attn.z` and `layers.*.mlp.out`, unless given. Wang et al. hold the heads alone.
   */
  readonly freeze?: string | readonly string[];
}

/** A patching map whose sites are the senders. */
export interface PathMap<By extends PatchingUnit = PatchingUnit> extends PatchingMap<By> {
  /** The receivers, with the suffix where a part of one was named. */
  readonly receivers: string[];
}

/** What the options name. */
export interface Paths<By extends PatchingUnit> {
  readonly by: By;
  /** Of the clean prompt. */
  readonly tokens: readonly Token[];
  /** Of the corrupted prompt. */
  readonly ids: number[];
  readonly senders: readonly SiteDescription[];
  readonly columns: Columns;
  readonly frozen: readonly SiteDescription[];
  readonly receivers: readonly Receiver[];
}

/** A site whose part receives. */
export interface Receiver {
  readonly site: SiteDescription;
  /** As they were named. */
  readonly labels: string[];
  /** 1 at the parts that receive, in the shape of the site for one row. */
  readonly mask: Tensor<"bool">;
}

export const sitesOf = (receivers: readonly Receiver[]) => receivers.map(({ site }) => site);

/** Reads and checks the options. Throws where the prompts differ in length or a site does not fit. */
export function readPaths<By extends PatchingUnit>(model: Model, options: PatchedPaths<By> & PromptPair): Paths<By> {
  const by = options.by ?? ("head" as By);
  const [tokens, corrupt] = alignedTokens(model, options);
  const senders = patchableSites(model, options.senders ?? defaultSites(by));
  return {
    by,
    tokens,
    ids: idsOf(corrupt),
    senders,
    columns: columnsOf(senders, by, tokens.length, options.positions),
    frozen: patchableSites(model, options.freeze ?? ["layers.*.attn.z", "layers.*.mlp.out"]),
    receivers: readReceivers(model, options.receivers, tokens),
  };
}

/** Everything in the map but its numbers. */
export function pathMapOf<By extends PatchingUnit>({ senders, columns, by, tokens, receivers }: Paths<By>) {
  return { ...mapOf(senders, columns, by, tokens), receivers: receivers.flatMap(({ labels }) => labels) };
}

/** The receivers, parts of one site joined. */
function readReceivers(model: Model, references: string | readonly string[], tokens: readonly Token[]): Receiver[] {
  const found = new Map<string, Receiver>();
  for (const { site, reference } of patchableParts(model, references)) {
    const shape = sizesOf(site, tokens.length);
    const { mask, labels } = found.get(site.name) ?? { mask: zeros("bool", shape), labels: [] };
    // The part is selected from a recording of the places' own numbers.
    const numbers: Tensor = {
      dtype: "int32",
      shape,
      data: Int32Array.from({ length: elementCount(shape) }, (_, i) => i),
    };
    const places = { sites: { [site.name]: numbers }, tokens: [tokens], model: model.identity };
    for (const place of selectRecorded(places, { ...reference, name: site.name }).data) mask.data[Number(place)] = 1;
    found.set(site.name, { site, mask, labels: [...labels, site.name + reference.suffix] });
  }
  return [...found.values()];
}

/** The name of the input that marks where a receiver receives. */
export const maskName = ({ name }: SiteDescription) => `mask of ${name}`;

/** The values of sites, by name. */
export function valuesOf(context: ComputeContext, sites: readonly SiteDescription[]): Map<string, Value> {
  return new Map(sites.map(({ name }) => [name, context.site(name)]));
}

/** Values as they are with edits among them; the value that an edit received is named `@before`. */
export function spliced(sites: ReadonlyMap<string, Value>, edits: readonly { site: string; apply: SiteFunction }[]) {
  return spliceAll({ inputs: inputsOf(sites.values()), outputs: new Map(), sites }, edits).sites;
}

/** What arrives at a receiver: its value before it is itself held or patched for what comes after. */
export function received(values: ReadonlyMap<string, Value>, { name }: SiteDescription): Value {
  return (values.get(`${name}@before`) ?? values.get(name)) as Value;
}
