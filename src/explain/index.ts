/**
 * The explain room: which part of a network caused its answer. Methods are plain functions of an opened model; what they
 * reduce is reduced in the compiled graph, and what they repeat runs in batches through one compiled graph.
 */
export { type AblatedSite, type Ablation, type AblationKind, type AblationOptions, ablate } from "./ablation.js";
export { type AttentionOptions, type AttentionPatterns, attentionPatterns } from "./attention.js";
export {
  type Attribution,
  type AttributionOptions,
  type AttributionTerm,
  directLogitAttribution,
} from "./attribution.js";
export {
  type AttributionEdge,
  type AttributionGraph,
  type AttributionGraphOptions,
  type AttributionNode,
  attributionGraph,
  type HeadInput,
  type Pruning,
  pruneGraph,
} from "./attributionGraph.js";
export { type AttributionPatchingOptions, attributionPatching } from "./attributionPatching.js";
export { type Baseline, meanEmbedding, promptBaseline } from "./baselines.js";
export type { PatchingUnit } from "./columns.js";
export { type Conductance, type ConductanceOptions, layerConductance } from "./conductance.js";
export type { DifferentiableFunction, Evaluation, Flows, ManyPointsOptions } from "./differentiable.js";
export { type ClampEffect, clampEffect, type Mover } from "./effect.js";
export { type GraphFaithfulness, graphFaithfulness } from "./graphFaithfulness.js";
export {
  type ExpectedGradientsOptions,
  expectedGradients,
  type IntegratedGradients,
  type IntegratedGradientsOptions,
  integratedGradients,
} from "./integrated.js";
export { type Lens, type LensOptions, type LensPosition, logitLens } from "./lens.js";
export { compareMaps, type MapComparison } from "./mapComparison.js";
export { type ModelFunctionOptions, modelFunction } from "./modelFunction.js";
export { type NetworkFunctionOptions, networkFunction } from "./networkFunction.js";
export type { PatchedPaths, PathMap } from "./patchedPaths.js";
export {
  activationPatching,
  logitDifference,
  type PatchingMap,
  type PatchingOptions,
  type PromptPair,
} from "./patching.js";
export type { Completeness, PathOptions } from "./path.js";
export { type PathAttributionOptions, pathAttribution } from "./pathAttribution.js";
export { type PathPatchingOptions, pathPatching } from "./pathPatching.js";
export * from "./probes/index.js";
export { type Relevance, type RelevanceOptions, relevance } from "./relevance.js";
export { type RelevanceRule, relevanceRules } from "./relevanceRules.js";
export {
  type GradientTimesInput,
  gradientTimesInput,
  type Saliency,
  type SaliencyOptions,
  type SmoothGradOptions,
  saliency,
  smoothGrad,
} from "./saliency.js";
export * from "./similarity/index.js";
export type { SweepOptions } from "./sweep.js";
export { type TokenProbability, topTokens } from "./tokens.js";
