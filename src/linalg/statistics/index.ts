/** Statistics of measurements: moments, correlations, resampling, permutation tests, corrections, effect sizes. */
export { type BootstrapInterval, type BootstrapOptions, bootstrap, type Statistic } from "./bootstrap.js";
export { columnMoments, correlationMatrix, covarianceMatrix } from "./columns.js";
export { fisherInterval, kendall, pearson, ranks, spearman } from "./correlation.js";
export { areaUnderRoc, cohenD } from "./effects.js";
export { covariance, type DegreesOption, mean, quantile, variance, zScore } from "./moments.js";
export { benjaminiHochberg, holm } from "./multiplicity.js";
export { normalCdf, normalQuantile } from "./normal.js";
export {
  correlationTest,
  type PermutationOptions,
  type PermutationResult,
  pairedTest,
  twoSampleTest,
} from "./permutation.js";
