/**
 * Tables and heatmaps are one thing: a grid of coloured cells with names on two sides. What differs is the size of the
 * cells, where the names of the columns stand, and what is written in the cells.
 */
import type { PlotOptions } from "@observablehq/plot";
import { usageError } from "../errors.js";
import { type ColourScale, colourScale, heatmapScale, hex, inkOn } from "./colour.js";
import type { Figure, HeatmapFigure, RowOrder, TableFigure } from "./figure.js";
import { hasValue, type Value } from "./figure.js";
import { colourLegend, frame } from "./frame.js";
import { columnWidth, monospacedFont } from "./markup.js";
import { axisTitle, formatAlike, formatNumber, niceStep } from "./number.js";
import { drawPlot, type PlotLibrary } from "./plot.js";
import { cut, drawnColumns, showToken, visible, widest, widthOf } from "./text.js";

/** More cells than this make a file that nothing opens. */
const mostCells = 40_000;
const labelSize = 11;
const letterWidth = labelSize * columnWidth;
const longestRowLabel = 26;
const longestColumnLabel = 18;

interface Grid {
  readonly figure: Figure;
  readonly scale: ColourScale;
  readonly valueTitle: string;
  readonly values: readonly (readonly (Value | undefined)[])[];
  readonly texts: readonly (readonly string[])[] | undefined;
  readonly hover: (row: number, column: number) => string;
  readonly rows: readonly string[];
  readonly rowTitle: string;
  readonly rowOrder: RowOrder;
  readonly columnTitle: string;
  readonly cellWidth: number;
  readonly cellHeight: number;
  readonly columnAxis: ColumnAxis;
}

/** Where the names of the columns stand, and how much room they take there and left of the grid. */
interface ColumnAxis {
  readonly side: "top" | "bottom";
  readonly height: number;
  readonly overhang: number;
  readonly marks: (plot: PlotLibrary) => NonNullable<PlotOptions["marks"]>;
}

/** The table as an SVG document. */
export function tableSvg(figure: TableFigure): string {
  checkSize(figure, figure.cells);
  const rows = figure.rows.map(showToken);
  const columns = figure.columns.map(showToken);
  const texts = figure.cells.map((row) => row.map((cell) => showToken(cell.text)));
  const longest = widest([...texts.flat(), ...columns], drawnColumns);
  const room = Math.min(Math.max(longest, 4), columns.length > 12 ? 9 : 13);
  const valueTitle = axisTitle(figure.valueAxis);
  return gridSvg({
    figure,
    scale: colourScale("sequential", [0, 1]),
    valueTitle,
    values: figure.cells.map((row) => row.map((cell) => cell.value)),
    texts: texts.map((row) => row.map((text) => cut(text, room, drawnColumns))),
    hover: (row, column) => {
      const cell = figure.cells[row]?.[column];
      const value = `${valueTitle || "value"}: ${formatNumber(cell?.value)}`;
      const note = cell?.note === undefined ? [] : [visible(cell.note)];
      return [`${rows[row]} / ${columns[column]}`, texts[row]?.[column], value, ...note].join("\n");
    },
    rows: rows.map((row) => cut(row, longestRowLabel, drawnColumns)),
    rowTitle: axisTitle(figure.rowAxis),
    rowOrder: figure.rowOrder ?? "up",
    columnTitle: axisTitle(figure.columnAxis),
    cellWidth: Math.ceil(room * 12 * columnWidth) + 12,
    cellHeight: 22,
    columnAxis: tokenAxis(
      columns.map((column) => cut(column, room, drawnColumns)),
      figure.positions ?? columns.map((_, i) => i),
    ),
  });
}

/** The heatmap as an SVG document. */
export function heatmapSvg(figure: HeatmapFigure): string {
  checkSize(figure, figure.values);
  const [height, width] = [figure.values.length, figure.values[0]?.length ?? 0];
  const written = height <= 12 && width <= 12;
  const size = Math.max(4, Math.min(24, Math.floor(680 / Math.max(height, width))));
  const rows = figure.rows?.map(showToken) ?? figure.values.map((_, i) => String(i));
  const columns = figure.columns?.map(showToken) ?? Array.from({ length: width }, (_, i) => String(i));
  const longest = widest(columns, drawnColumns) * letterWidth;
  const cellWidth = written ? Math.max(52, Math.min(100, Math.ceil(longest) + 10)) : size;
  const format = formatAlike(figure.values.flat(), 2);
  const valueTitle = axisTitle(figure.valueAxis);
  return gridSvg({
    figure,
    scale: heatmapScale(figure),
    valueTitle,
    values: figure.values,
    texts: written ? figure.values.map((row) => row.map((value) => (hasValue(value) ? format(value) : ""))) : undefined,
    hover: (row, column) =>
      `${rows[row]} / ${columns[column]}\n${valueTitle || "value"}: ${formatNumber(figure.values[row]?.[column])}`,
    rows: rows.map((row) => cut(row, longestRowLabel, drawnColumns)),
    rowTitle: axisTitle(figure.rowAxis),
    rowOrder: figure.rowOrder ?? "down",
    columnTitle: axisTitle(figure.columnAxis),
    cellWidth,
    cellHeight: written ? 30 : size,
    columnAxis: nameAxis(columns, cellWidth, figure.columns === undefined),
  });
}

function checkSize(figure: Figure, matrix: readonly (readonly unknown[])[]): void {
  const [height, width] = [matrix.length, matrix[0]?.length ?? 0];
  if (height * width <= mostCells) return;
  throw usageError(
    `the ${figure.kind} figure ${JSON.stringify(figure.title)} has ${height} x ${width} cells; a picture holds at most ${mostCells}: average or select first`,
  );
}

function gridSvg(grid: Grid): string {
  const [height, width] = [grid.rows.length, grid.values[0]?.length ?? 0];
  const margins = gridMargins(grid);
  const size = {
    width: margins.marginLeft + width * grid.cellWidth + margins.marginRight,
    height: margins.marginTop + height * grid.cellHeight + margins.marginBottom,
  };
  const svg = drawPlot((plot) => ({
    ...size,
    ...margins,
    x: { type: "band", domain: places(width), padding: 0, align: 0 },
    y: {
      type: "band",
      domain: grid.rowOrder === "up" ? places(height).reverse() : places(height),
      padding: 0,
      align: 0,
    },
    color: { type: "identity" },
    marks: [...cellMarks(plot, grid), ...rowMarks(plot, grid), grid.columnAxis.marks(plot), ...titleMarks(plot, grid)],
  }));
  const withNoValue = grid.values.some((row) => row.some((value) => !hasValue(value)));
  return frame(grid.figure, { svg, ...size }, colourLegend(grid.scale, grid.valueTitle, withNoValue));
}

function places(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

function gridMargins(grid: Grid) {
  const rowNames = widest(grid.rows, drawnColumns) * letterWidth + 12 + (grid.rowTitle === "" ? 0 : 20);
  const axis = grid.columnAxis.height + (grid.columnTitle === "" ? 0 : 20);
  return {
    marginLeft: Math.ceil(Math.max(rowNames, grid.columnAxis.overhang)),
    marginRight: 4,
    marginTop: grid.columnAxis.side === "top" ? axis : 4,
    marginBottom: grid.columnAxis.side === "top" ? 4 : axis,
  };
}

function cellMarks(plot: PlotLibrary, grid: Grid) {
  const cells = grid.values.flatMap((values, row) =>
    values.map((value, column) => {
      const fill = grid.scale.colour(value);
      const text = grid.texts?.[row]?.[column] ?? "";
      return { row, column, fill: hex(fill), ink: hex(inkOn(fill)), text, title: grid.hover(row, column) };
    }),
  );
  // small cells touch each other on whole pixels; larger ones have a line of paper between them
  const gap = Math.min(grid.cellWidth, grid.cellHeight) >= 12 ? 0.5 : 0;
  const style = gap === 0 ? { shapeRendering: "crispEdges" } : { inset: gap };
  const place = { x: "column", y: "row" };
  const written = {
    ...place,
    text: "text",
    fill: "ink",
    fontFamily: monospacedFont,
    fontSize: 12,
    pointerEvents: "none",
  };
  return [
    plot.cell(cells, { ...place, fill: "fill", title: "title", ...style }),
    ...(grid.texts ? [plot.text(cells, { ...written, filter: (cell: { text: string }) => cell.text !== "" })] : []),
  ];
}

function rowMarks(plot: PlotLibrary, grid: Grid) {
  const step = grid.cellHeight >= 11 ? 1 : niceStep(11 / grid.cellHeight);
  return [
    plot.axisY(
      places(grid.rows.length).filter((row) => row % step === 0),
      {
        tickSize: 0,
        tickPadding: 6,
        tickFormat: (row: number) => grid.rows[row] ?? "",
        label: null,
        fontFamily: monospacedFont,
        fontSize: labelSize,
      },
    ),
  ];
}

function titleMarks(plot: PlotLibrary, grid: Grid) {
  const top = grid.columnAxis.side === "top";
  const distance = grid.columnAxis.height + 8;
  const column = { frameAnchor: top ? "top" : "bottom", dy: top ? -distance : distance } as const;
  const row = { frameAnchor: "left", textAnchor: "middle", rotate: -90, dx: 8 - gridMargins(grid).marginLeft } as const;
  return [
    ...(grid.columnTitle === "" ? [] : [plot.text([grid.columnTitle], column)]),
    ...(grid.rowTitle === "" ? [] : [plot.text([grid.rowTitle], row)]),
  ];
}

/** Tokens with their positions above them: the header of a table. */
function tokenAxis(tokens: readonly string[], positions: readonly number[]): ColumnAxis {
  const common = { anchor: "top", tickSize: 0, label: null } as const;
  return {
    side: "top",
    height: 36,
    overhang: 0,
    marks: (plot) => [
      plot.axisX(places(tokens.length), {
        ...common,
        tickPadding: 7,
        tickFormat: (i: number) => tokens[i] ?? "",
        fontFamily: monospacedFont,
        fontSize: 12,
        fontWeight: "bold",
      }),
      plot.axisX(places(tokens.length), {
        ...common,
        tickPadding: 22,
        tickFormat: (i: number) => String(positions[i] ?? ""),
        fontSize: 9,
        fillOpacity: 0.75,
      }),
    ],
  };
}

/** Names below a heatmap: level where they fit, else slanting, else upright; only some where the columns are too narrow. */
function nameAxis(names: readonly string[], cellWidth: number, numbered: boolean): ColumnAxis {
  const needed = numbered ? String(names.length - 1).length * letterWidth + 6 : labelSize;
  const step = cellWidth >= needed ? 1 : niceStep(needed / cellWidth);
  const shown = places(names.length).filter((column) => column % step === 0);
  const labels = names.map((name) => cut(name, longestColumnLabel, drawnColumns));
  const widths = shown.map((column) => widthOf(labels[column] ?? "", drawnColumns) * letterWidth);
  const longest = Math.max(...widths);
  const room = cellWidth * step;
  const angle = longest + 4 <= room ? 0 : room >= 17 ? 45 : 90;
  const [sine, cosine] = [Math.sin((angle * Math.PI) / 180), Math.cos((angle * Math.PI) / 180)];
  const overhangs = shown.map((column, i) => (widths[i] ?? 0) * cosine - (column + 0.5) * cellWidth);
  return {
    side: "bottom",
    height: Math.ceil(longest * sine + labelSize * cosine) + 10,
    overhang: angle === 0 ? 0 : Math.max(...overhangs) + 4,
    marks: (plot) =>
      plot.axisX(shown, {
        anchor: "bottom",
        tickSize: 0,
        tickPadding: 6,
        tickRotate: -angle,
        tickFormat: (column: number) => labels[column] ?? "",
        label: null,
        fontFamily: monospacedFont,
        fontSize: labelSize,
      }),
  };
}
