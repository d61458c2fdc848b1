/** The vision room: where an image model looks, what it wants to see, and what fools it. Any `Network` of one image. */
export { type GradCam, type GradCamOptions, gradCam } from "./gradCam.js";
export { type GradientKind, type ImageGradientOptions, type ImageGradients, imageGradients } from "./gradients.js";
export type { ClassifierOptions, Feeds, Target, TargetOptions } from "./targets.js";
