/** Losses as traced functions. */
export {
  accuracy,
  binaryCrossEntropy,
  type CrossEntropyOptions,
  crossEntropy,
  diceLoss,
  focalLoss,
  hingeLoss,
  klDivergence,
} from "./classification.js";
export { barlowTwins, cosineLoss, infoNce, ntXent, supervisedContrastive, tripletLoss } from "./contrastive.js";
export { type CtcOptions, ctcLoss } from "./ctc.js";
export { huberLoss, meanAbsoluteError, meanSquaredError, poissonLoss, smoothL1Loss } from "./regression.js";
export type { Reduction, ReductionOptions } from "./shared.js";
