/** Images: sets that are fetched, read or drawn, and augmentations. */
export * from "./augment/index.js";
export { type BlockImages, type BlockMnistOptions, blockMnist } from "./blockMnist.js";
export { type ImageDataset, imageDatasets } from "./catalogue.js";
export { type CoarseImages, readCifar10, readCifar100 } from "./cifar.js";
export { decodeImage } from "./decode.js";
export { digits } from "./digits.js";
export { type ImageFolder, listImageFolder, readImageFolder } from "./folder.js";
export { type GratingImages, type GratingOptions, gratings } from "./gratings.js";
export { readIdx, readMnist } from "./idx.js";
export type { ImageParts, LabelledImages } from "./labelled.js";
export { resizeAndCrop, resizeImage } from "./resize.js";
export { type ShapeImages, shapeKinds, shapes } from "./shapes.js";
export { textureKinds, textures } from "./textures.js";
