/** Augmentations of pictures: pure functions of (batch, draws), composed by `augment`, for the `augment` of `batches`. */
export { type AffineOptions, affine } from "./affine.js";
export { type LightOptions, light, type MixupOptions, mixup, type NoiseOptions, noise } from "./colour.js";
export { augment, type ColumnOption } from "./compose.js";
export {
  type CropOptions,
  type CutoutOptions,
  crop,
  cutout,
  type ElasticOptions,
  elastic,
  type FlipOptions,
  flip,
} from "./geometry.js";
export { warp } from "./warp.js";
