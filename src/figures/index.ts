/** Pictures of results: plain data to SVG, PNG, HTML and terminal text. */

export type { TerminalColour } from "./ansi.js";
export type {
  Axis,
  Bar,
  BarFigure,
  Figure,
  GraphEdge,
  GraphFigure,
  GraphNode,
  HeatmapFigure,
  LineFigure,
  NumberAxis,
  RowOrder,
  Series,
  TableCell,
  TableFigure,
  Value,
} from "./figure.js";
export { toHtml } from "./html.js";
export { toPng } from "./png.js";
export { toSvg } from "./svg.js";
export { toTerminal } from "./terminal.js";
export { showToken } from "./text.js";
export { writeFigure } from "./write.js";
