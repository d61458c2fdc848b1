/** Figures of results: what is shown in the terminal and written with `--out`. Drawing is loaded when it is needed. */
import { access } from "node:fs/promises";
import { dirname, extname } from "node:path";
import { failure, usageError } from "../errors.js";
import type { Figure } from "../figures/index.js";
import { canvasOf, type OutputStream } from "./terminal.js";

/**
 * Refuses a picture's file before the work is done: an unknown kind, several figures for a format that holds one, a
 * folder that does not exist.
 */
export async function checkPicture(path: string | undefined, count: number): Promise<void> {
  if (path === undefined) return;
  const extension = extname(path).toLowerCase();
  if (![".html", ".png", ".svg"].includes(extension))
    throw usageError(`--out ${path}: the name must end in .html, .png or .svg`);
  if (count > 1 && extension !== ".html")
    throw usageError(`--out ${path}: there will be ${count} figures, and only an .html file holds several`);
  await checkFolder(path);
}

/** Throws where a file cannot come to be because its folder is not there. */
export async function checkFolder(path: string): Promise<void> {
  await access(dirname(path)).catch((error: unknown) => {
    throw failure(`--out ${path}: there is no folder ${dirname(path)}`, error);
  });
}

/** The figure as text of the width and colours that a stream has. */
export async function terminalFigure(figure: Figure, stream: OutputStream): Promise<string> {
  const { toTerminal } = await import("../figures/index.js");
  return toTerminal(figure, canvasOf(stream));
}

/** Writes figures; one alone as it is. */
export async function writePicture(figures: readonly Figure[], path: string): Promise<void> {
  const { writeFigure } = await import("../figures/index.js");
  const [first] = figures;
  await writeFigure(figures.length === 1 && first !== undefined ? first : figures, path);
}

/** The visible form of tokens' texts. */
export async function tokenPrinter(): Promise<(text: string) => string> {
  return (await import("../figures/index.js")).showToken;
}

/** Names of sites as labels: the layer alone where all are of one kind, else without `layers.`. */
export function siteLabels(sites: readonly string[]): string[] {
  const kinds = new Set(sites.filter((site) => site !== "embed").map((site) => site.replace(/^layers\.\d+\./, "")));
  return sites.map((site) => {
    const layer = /^layers\.(\d+)\./.exec(site)?.[1];
    return layer !== undefined && kinds.size === 1 ? layer : site.replace(/^layers\./, "");
  });
}
