/** The linear algebra room: what ONNX lacks, in float64, its large products run by the runtime. */
export { cholesky, choleskyLogDeterminant, choleskySolve } from "./cholesky.js";
export { type SymmetricEigen, symmetricEigen } from "./eigen.js";
export { type Fold, type FoldOptions, folds } from "./folds.js";
export { type KMeansOptions, type KMeansResult, type KMeansStep, kMeans } from "./kmeans.js";
export {
  fitLogistic,
  type LogisticFit,
  type LogisticModel,
  type LogisticOptions,
  predictClasses,
  predictProbabilities,
} from "./logistic.js";
export { type Matrix, scaleColumns, subtractFromRows, takeRows, transposed } from "./matrix.js";
export {
  type Evaluation,
  lbfgs,
  type MinimizeOptions,
  type MinimizeReason,
  type MinimizeStep,
  type Minimum,
  type Objective,
} from "./minimize.js";
export { type Pca, type PcaOptions, pca, pcaScores } from "./pca.js";
export { gram, type ProductOptions, product, type Transposition } from "./products.js";
export { type PivotedQr, pivotedQr, type Qr, qr } from "./qr.js";
export { type RandomizedSvdOptions, randomizedSvd } from "./randomSvd.js";
export {
  type LinearFit,
  predictLinear,
  type RidgeFit,
  type RidgeOptions,
  type RidgeSearch,
  type RidgeSearchOptions,
  ridge,
  ridgeSearch,
} from "./ridge.js";
export { type LeastSquares, leastSquares, solve } from "./solve.js";
export * from "./statistics/index.js";
export { type Svd, type SvdOptions, svd } from "./svd.js";
export { solveTriangular, type Triangle } from "./triangular.js";
export type { Vector } from "./vector.js";
