/**
 * Pictures in a folder as ImageNet has them: a subfolder for each class, in it PNG and JPEG files. Only names are held;
 * a batch decodes its own files, so that a set may be larger than memory.
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, usageError } from "../../errors.js";
import { type Tensor, tensor } from "../../runtime/index.js";
import { decodeImage } from "./decode.js";
import { readBounded } from "./files.js";
import { type LabelledImages, labelTensor, requireWhole } from "./labelled.js";
import { resizeAndCrop } from "./resize.js";

/** No file of a picture is longer (bytes). */
const mostBytes = 200_000_000;

export interface ImageFolder {
  /** The names of the subfolders, sorted: a label is a place among them. */
  readonly classes: readonly string[];
  readonly files: readonly { readonly path: string; readonly label: number }[];
}

/** The classes and files of a folder. Links are not followed. Throws where there is no subfolder with pictures. */
export async function listImageFolder(folder: string): Promise<ImageFolder> {
  const classes = await sortedNames(folder, "folder");
  const files: { path: string; label: number }[] = [];
  for (const [label, name] of classes.entries())
    for (const file of await sortedNames(join(folder, name), "file"))
      if (/\.(png|jpe?g)$/i.test(file)) files.push({ path: join(folder, name, file), label });
  if (files.length === 0) throw usageError(`${folder} holds no subfolders with .png or .jpg files`);
  return { classes, files };
}

async function sortedNames(folder: string, kind: "folder" | "file"): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw usageError(`can't read the folder ${folder}: ${messageOf(error)}`, error);
  });
  const kept: string[] = [];
  for (const name of names.filter((one) => !one.startsWith(".")).sort()) {
    const found = await lstat(join(folder, name));
    if (kind === "folder" ? found.isDirectory() : found.isFile()) kept.push(name);
  }
  return kept;
}

/**
 * Pictures of a folder's rows: x float32 [rows, 3, side, side], the shorter edge brought to `side` and the middle kept.
 *
 * @param rows which of `files`; all unless given
 */
export async function readImageFolder(
  folder: ImageFolder,
  { side, rows }: { readonly side: number; readonly rows?: ArrayLike<number> },
): Promise<LabelledImages> {
  requireWhole("readImageFolder", { side });
  const chosen = rows === undefined ? folder.files : Array.from(rows, (row) => fileOf(folder, row));
  const x = new Float32Array(chosen.length * 3 * side * side);
  for (const [i, { path }] of chosen.entries()) {
    const picture: Tensor<"float32"> = decodeImage(await readBounded(path, mostBytes), path);
    x.set(resizeAndCrop(picture, side).data, i * 3 * side * side);
  }
  const shape = [chosen.length, 3, side, side];
  return { x: tensor("float32", shape, x), label: labelTensor(chosen.map(({ label }) => label)) };
}

function fileOf({ files }: ImageFolder, row: number) {
  const file = files[row];
  if (file === undefined) throw usageError(`row ${row} is out of range for a folder of ${files.length} pictures`);
  return file;
}
