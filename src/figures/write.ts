/** Pictures into files. A file appears whole under its name or not at all. */
import { randomUUID } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { failure, messageOf, usageError } from "../errors.js";
import type { Figure } from "./figure.js";
import { toHtml } from "./html.js";
import { toPng } from "./png.js";
import { toSvg } from "./svg.js";

const writers: Readonly<Record<string, (figure: Figure | readonly Figure[], path: string) => string | Uint8Array>> = {
  ".svg": (figure, path) => toSvg(single(figure, path)),
  ".png": (figure, path) => toPng(single(figure, path)),
  ".html": (figure) => toHtml(figure),
};

/**
 * Writes a figure as the path's extension says: `.svg`, `.png` (two pixels per CSS pixel), or `.html`, which alone can hold
 * several. The file is written beside its target and renamed over it, so that a failure leaves the target as it was.
 * A usage error for another extension or several figures in one picture; a failure where the file cannot be written.
 */
export async function writeFigure(figure: Figure | readonly Figure[], path: string): Promise<void> {
  const write = writers[extname(path).toLowerCase()];
  if (!write) throw usageError(`the figure cannot be written to ${path}: the name must end in .svg, .png or .html`);
  const content = write(figure, path);
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  try {
    await writeFile(temporary, content, { flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    // what went wrong first is what the caller must hear
    await rm(temporary, { force: true }).catch(() => undefined);
    throw failure(`the figure could not be written to ${path}: ${messageOf(error)}`, error);
  }
}

function single(figure: Figure | readonly Figure[], path: string): Figure {
  if ("kind" in figure) return figure;
  const [first] = figure;
  if (first === undefined || figure.length > 1) {
    throw usageError(
      `${path} holds one figure and ${figure.length} were given: write them one by one, or together to an .html file`,
    );
  }
  return first;
}
