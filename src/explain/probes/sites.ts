/** A probe at every layer: where in the network something can be read out linearly. */
import type { Model, Prompt, Token } from "../../model/index.js";
import { withRuntime } from "../../runtime/index.js";
import type { ClassProbe } from "./classification.js";
import { promptGroups } from "./classification.js";
import { type SiteExamplesOptions, siteExamples } from "./features.js";
import { anyProbe, type ProbeLabels, type ProbeSpec } from "./kinds.js";
import type { RidgeProbe } from "./ridge.js";

export interface ProbeSitesOptions extends SiteExamplesOptions {
  /** The probe and its options; a logistic one unless given. */
  readonly probe?: ProbeSpec;
  /** Called after each site with the sites done so far. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Scores by site, in columns as a line figure takes them; all sites are split alike, so that they compare. */
export interface SiteProbes {
  readonly sites: readonly string[];
  readonly scores: readonly number[];
  /** The ends of each score's interval. */
  readonly low: readonly number[];
  readonly high: readonly number[];
  /** The score without looking at the features. */
  readonly chance: number;
  /** The site with the highest score; the first of equals. */
  readonly best: string;
  readonly probes: readonly (ClassProbe | RidgeProbe)[];
  readonly tokens: readonly (readonly Token[])[];
}

/**
 * Probes every site with the same labels, folds and options. The prompts run once, all sites recorded together; what is
 * kept of them is the chosen positions. Progress counts sites.
 *
 * Throws where a site has no values of single tokens, a position is out of range, or labels don't match the examples.
 *
 * @param labels one for each example: for each prompt, or for each token where positions are `all`
 * @example const { sites, scores } = await probeSites(model, prompts, labels, { probe: { kind: "linear" } });
 */
export async function probeSites(
  model: Model,
  prompts: readonly Prompt[],
  labels: ProbeLabels,
  options: ProbeSitesOptions = {},
): Promise<SiteProbes> {
  const { probe = { kind: "logistic" }, onProgress, signal } = options;
  const examples = await siteExamples(model, prompts, options);
  const groups = probe.groups ?? promptGroups(examples.prompts);
  const sites = [...examples.features.keys()];
  return withRuntime(probe.runtime, async (runtime) => {
    const shared = {
      runtime,
      ...(groups === undefined ? {} : { groups }),
      ...(signal === undefined ? {} : { signal }),
    };
    const probes: (ClassProbe | RidgeProbe)[] = [];
    for (const features of examples.features.values()) {
      probes.push(await anyProbe(features, labels, { ...probe, ...shared }));
      onProgress?.(probes.length, sites.length);
    }
    const scores = probes.map(({ score }) => score.mean);
    return {
      sites,
      scores,
      low: probes.map(({ score }) => score.low),
      high: probes.map(({ score }) => score.high),
      chance: probes[0]?.chance as number,
      best: sites[scores.indexOf(Math.max(...scores))] as string,
      probes,
      tokens: examples.tokens,
    };
  });
}
