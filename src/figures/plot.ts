/**
 * The charting library draws into a document; here it gets one that needs no browser. Both are loaded at the first picture
 * and not before: a command that writes none starts without them. (`require` of an ES module, so that drawing is synchronous.)
 */
import { createRequire } from "node:module";
import type { PlotOptions } from "@observablehq/plot";

export type PlotLibrary = typeof import("@observablehq/plot");

interface DrawnElement {
  readonly innerHTML: string;
  querySelector(selector: string): { remove(): void } | null;
}

const load = createRequire(import.meta.url);

/** Draws a plot and returns it as a group of SVG, without the library's style sheet. */
export function drawPlot(describe: (plot: PlotLibrary) => PlotOptions): string {
  const plot = load("@observablehq/plot") as PlotLibrary;
  const { parseHTML } = load("linkedom") as typeof import("linkedom");
  const { document } = parseHTML("<html></html>");
  const drawn = plot.plot({ ...describe(plot), document }) as unknown as DrawnElement;
  drawn.querySelector("style")?.remove();
  return `<g text-anchor="middle" font-size="11">${drawn.innerHTML}</g>`;
}
