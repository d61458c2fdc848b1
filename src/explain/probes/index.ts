/** Probes: what can be read linearly from activations, with the controls that say what a score means. */
export {
  type ClassProbe,
  type ClassProbeOptions,
  type ClassScore,
  predictLabels,
} from "./classification.js";
export type { Probe, ProbeScore, ValidationOptions } from "./crossValidation.js";
export {
  type PositionChoice,
  type ProbeFeatures,
  type RecordedFeatures,
  type SiteExamples,
  type SiteExamplesOptions,
  siteExamples,
} from "./features.js";
export type { ClassProbeSpec, ProbeLabels, ProbeSpec } from "./kinds.js";
export type { Label, SplitOptions } from "./labels.js";
export { type LinearMethod, type LinearProbeOptions, linearProbe } from "./linear.js";
export { type LogisticProbeOptions, logisticProbe } from "./logistic.js";
export { predictTargets, type RidgeProbe, type RidgeProbeOptions, type RidgeScore, ridgeProbe } from "./ridge.js";
export type { Shrinkage } from "./rows.js";
export { type Selectivity, type SelectivityOptions, selectivity } from "./selectivity.js";
export { type ProbeSitesOptions, probeSites, type SiteProbes } from "./sites.js";
