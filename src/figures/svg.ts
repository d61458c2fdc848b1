/** One figure as one SVG document; each kind has its own drawing. */
import { barSvg, lineSvg } from "./chart.js";
import { checkFigure, type Figure } from "./figure.js";
import { graphSvg } from "./graph.js";
import { heatmapSvg, tableSvg } from "./grid.js";

/**
 * The figure as a standalone SVG document on white paper, the same bytes for the same figure. Hovering over a cell, bar,
 * point or edge shows its value. Numbers that do not exist are drawn as "no value".
 * A usage error where the figure's parts do not fit each other, or above 40,000 cells, 1,000 bars or 2,000 edges.
 */
export function toSvg(figure: Figure): string {
  checkFigure(figure);
  switch (figure.kind) {
    case "table":
      return tableSvg(figure);
    case "heatmap":
      return heatmapSvg(figure);
    case "bar":
      return barSvg(figure);
    case "line":
      return lineSvg(figure);
    case "graph":
      return graphSvg(figure);
  }
}
