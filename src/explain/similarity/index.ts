/** Representational similarity: how alike two representations are, whatever their coordinates. */
export {
  type CanonicalCorrelations,
  type CcaOptions,
  cca,
  pwcca,
  type SvccaOptions,
  svcca,
} from "./cca.js";
export { type CkaOptions, cka, minibatchCka } from "./cka.js";
export {
  type ComparisonMeasure,
  type ComparisonOptions,
  compareDissimilarity,
  type DissimilarityComparison,
  type DissimilarityInput,
  type NoiseCeiling,
  noiseCeiling,
} from "./compare.js";
export {
  type Dissimilarity,
  type DissimilarityMeasure,
  type DissimilarityOptions,
  dissimilarityMatrix,
} from "./dissimilarity.js";
export { type Procrustes, type ProcrustesOptions, procrustes } from "./procrustes.js";
export { type RsaSitesOptions, rsaSites, type SimilarityMeasure, type SiteSimilarity } from "./sites.js";
