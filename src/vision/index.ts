/** The vision room: where an image model looks, what it wants to see, and what fools it. Any `Network` of one image. */
export {
  type Attack,
  type AttackOptions,
  fgsm,
  type NoiseOptions,
  noiseAttack,
  type PgdOptions,
  pgd,
} from "./attacks.js";
export type { NormName } from "./ball.js";
export { type GradCam, type GradCamOptions, gradCam } from "./gradCam.js";
export { type GradientKind, type ImageGradientOptions, type ImageGradients, imageGradients } from "./gradients.js";
export { activationMaximization, type Maximization, type MaximizationOptions } from "./maximization.js";
export { type Occlusion, type OcclusionOptions, occlusion } from "./occlusion.js";
export type { Regularisers } from "./penalties.js";
export { type PngOptions, picturesToPng } from "./png.js";
export { type RobustAccuracy, type RobustAccuracyOptions, robustAccuracy } from "./robustness.js";
export type { ClassifierOptions, Feeds, Target, TargetOptions } from "./targets.js";
export type { Transformations } from "./transformations.js";
export { type Unit, unit } from "./unit.js";
