/**
 * Figures as text for a terminal: the same data and colours as in a picture, no library, never wider than asked for. What
 * does not fit side by side is cut, set in several panels, or pooled, and the text says so.
 */
import { usageError } from "../errors.js";
import { type Canvas, type Line, renderLine, type TerminalColour } from "./ansi.js";
import { checkFigure, type Figure } from "./figure.js";
import { barLines, seriesLines } from "./terminal-chart.js";
import { graphLines } from "./terminal-graph.js";
import { heatmapLines, tableLines } from "./terminal-grid.js";
import { visible } from "./text.js";

const narrowest = 24;

/**
 * The figure as lines of text, each at most `width` columns wide (default 80, at least 24) and ended by a newline. `colour`
 * is `none` (default; values are written as numbers), `256` or `truecolor`.
 * A usage error where the figure's parts do not fit each other, or the width is not a whole number of at least 24.
 */
export function toTerminal(figure: Figure, options: { width?: number; colour?: TerminalColour } = {}): string {
  const { width = 80, colour = "none" } = options;
  if (!Number.isInteger(width) || width < narrowest) {
    throw usageError(
      `the width of a figure in a terminal is ${width}; it must be a whole number of at least ${narrowest} columns`,
    );
  }
  checkFigure(figure);
  const canvas: Canvas = { width, colour };
  const captions = figure.subtitle === undefined ? [figure.title] : [figure.title, figure.subtitle];
  const lines: Line[] = [...captions.map((text) => [{ text: visible(text) }]), ...body(figure, canvas)];
  return lines.map((line) => `${renderLine(line, canvas)}\n`).join("");
}

function body(figure: Figure, canvas: Canvas): Line[] {
  switch (figure.kind) {
    case "table":
      return tableLines(figure, canvas);
    case "heatmap":
      return heatmapLines(figure, canvas);
    case "bar":
      return barLines(figure, canvas);
    case "line":
      return seriesLines(figure, canvas);
    case "graph":
      return graphLines(figure, canvas);
  }
}
