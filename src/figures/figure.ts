/**
 * A figure is plain data: what was measured and what it is called, nothing about how it is drawn. It survives JSON (a
 * number that does not exist is `null`, and NaN and infinities count as that), so it can be saved and drawn later.
 */
import { usageError } from "../errors.js";

/** A measured number, or `null` for "no value". NaN and infinities are drawn as "no value" too. */
export type Value = number | null;

/** What an axis or a colour stands for, with its units where it has some: `{ label: "time", units: "ms" }`. */
export interface Axis {
  readonly label: string;
  readonly units?: string;
}

/** An axis of numbers; on a `log` axis, values that are not positive have no place and are drawn as "no value". */
export interface NumberAxis extends Axis {
  readonly scale?: "linear" | "log";
}

interface Captions {
  readonly title: string;
  readonly subtitle?: string;
}

/** Which way rows run: `up` puts the first row at the bottom, `down` at the top. */
export type RowOrder = "up" | "down";

export interface TableCell {
  readonly text: string;
  /** From 0 to 1; it colours the cell. Values outside are drawn as the nearer end. */
  readonly value: Value;
  /** Shown on hover, below the value. */
  readonly note?: string;
}

/** Rows of coloured texts. The logit lens: rows are layers (the first at the bottom), columns the input tokens. */
export interface TableFigure extends Captions {
  readonly kind: "table";
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** The number above each column; by default 0, 1, 2, ... */
  readonly positions?: readonly number[];
  readonly cells: readonly (readonly TableCell[])[];
  readonly rowAxis?: Axis;
  readonly columnAxis?: Axis;
  readonly valueAxis?: Axis;
  /** Default `up`. */
  readonly rowOrder?: RowOrder;
}

/** A matrix of numbers as colours: patching maps, attention patterns. `values` has shape [rows, columns]. */
export interface HeatmapFigure extends Captions {
  readonly kind: "heatmap";
  readonly values: readonly (readonly Value[])[];
  /** Names of the rows and columns; without them, their numbers. */
  readonly rows?: readonly string[];
  readonly columns?: readonly string[];
  readonly rowAxis?: Axis;
  readonly columnAxis?: Axis;
  readonly valueAxis?: Axis;
  /** `diverging` is symmetric about 0. By default `diverging` where the data holds a negative value. */
  readonly scale?: "sequential" | "diverging";
  /** The values at the ends of the colour scale; by default the data's. A diverging scale reaches equally far on both sides. */
  readonly domain?: readonly [number, number];
  /** Default `down`. */
  readonly rowOrder?: RowOrder;
}

export interface Bar {
  readonly label: string;
  readonly value: Value;
  readonly note?: string;
}

/** Signed bars from zero, one below the other. Direct logit attribution. */
export interface BarFigure extends Captions {
  readonly kind: "bar";
  readonly bars: readonly Bar[];
  readonly labelAxis?: Axis;
  readonly valueAxis?: Axis;
}

/** `x` and `y` have the same length; the line breaks where either has no value. */
export interface Series {
  readonly name: string;
  readonly x: readonly Value[];
  readonly y: readonly Value[];
}

export interface LineFigure extends Captions {
  readonly kind: "line";
  readonly series: readonly Series[];
  readonly xAxis?: NumberAxis;
  readonly yAxis?: NumberAxis;
}

export interface GraphNode {
  /** What edges call it; each node has a name of its own. */
  readonly name: string;
  /** What is written on it; its name unless given. */
  readonly label?: string;
  /** Its row: an index of `layers`. */
  readonly layer: number;
  /** Its place in the row, from 0; no two nodes share one. */
  readonly column: number;
  /** Shown on hover. */
  readonly note?: string;
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly weight: Value;
  /** Shown on hover, and beside the weight in a terminal. */
  readonly note?: string;
}

/** Nodes in layers (the first at the bottom) and weighted edges between them. Attribution graphs, circuits. */
export interface GraphFigure extends Captions {
  readonly kind: "graph";
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
  readonly layers: readonly string[];
  /** Names of the columns; without them, they have none. */
  readonly columns?: readonly string[];
  readonly layerAxis?: Axis;
  readonly columnAxis?: Axis;
  readonly valueAxis?: Axis;
}

export type Figure = HeatmapFigure | BarFigure | LineFigure | TableFigure | GraphFigure;

/** Whether there is a number to draw. */
export function hasValue(value: Value | undefined): value is number {
  return value !== null && Number.isFinite(value);
}

/** Throws a usage error where the figure's parts do not fit each other; every way of drawing starts with it. */
export function checkFigure(figure: Figure): void {
  switch (figure.kind) {
    case "table":
      checkTable(figure);
      return;
    case "heatmap":
      checkHeatmap(figure);
      return;
    case "bar":
      if (figure.bars.length === 0) throw wrong(figure, "has no bars; give at least one");
      return;
    case "line":
      checkLine(figure);
      return;
    case "graph":
      checkGraph(figure);
      return;
    default: {
      const kind = String((figure as { kind?: unknown }).kind);
      throw usageError(`a figure of kind "${kind}" cannot be drawn; the kinds are table, heatmap, bar, line and graph`);
    }
  }
}

function checkTable(figure: TableFigure): void {
  checkMatrix(figure, "cells", figure.cells);
  checkCount(figure, "rows", figure.rows, figure.cells.length);
  checkCount(figure, "columns", figure.columns, figure.cells[0]?.length ?? 0);
  if (figure.positions) checkCount(figure, "positions", figure.positions, figure.columns.length);
}

function checkHeatmap(figure: HeatmapFigure): void {
  checkMatrix(figure, "values", figure.values);
  if (figure.rows) checkCount(figure, "rows", figure.rows, figure.values.length);
  if (figure.columns) checkCount(figure, "columns", figure.columns, figure.values[0]?.length ?? 0);
  const { domain } = figure;
  if (domain && !(hasValue(domain[0]) && hasValue(domain[1]) && domain[0] < domain[1])) {
    throw wrong(figure, `has the domain [${domain.join(", ")}]; give two finite numbers, the smaller first`);
  }
}

function checkLine(figure: LineFigure): void {
  if (figure.series.length === 0) throw wrong(figure, "has no series; give at least one");
  for (const { name, x, y } of figure.series) {
    if (x.length === 0) throw wrong(figure, `has the empty series "${name}"; give at least one point`);
    if (x.length !== y.length) {
      throw wrong(figure, `has the series "${name}" with ${x.length} x and ${y.length} y; give as many of both`);
    }
  }
}

/** Columns further right than this would make a picture that nothing opens. */
const mostColumns = 1_000;

function checkGraph(figure: GraphFigure): void {
  const { nodes, edges, layers, columns } = figure;
  if (nodes.length === 0) throw wrong(figure, "has no nodes; give at least one");
  const count = columns?.length ?? mostColumns;
  const within = (index: number, size: number) => Number.isInteger(index) && index >= 0 && index < size;
  const [names, places] = [new Set<string>(), new Set<string>()];
  for (const { name, layer, column } of nodes) {
    const called = `the node ${JSON.stringify(name)}`;
    if (!within(layer, layers.length))
      throw wrong(figure, `has ${called} in layer ${layer}; its ${layers.length} layers count from 0`);
    if (!within(column, count))
      throw wrong(figure, `has ${called} in column ${column}; its ${count} columns count from 0`);
    const place = `${layer} ${column}`;
    if (names.has(name) || places.has(place))
      throw wrong(figure, `has ${called} twice, or in the place of another; give each a name and a place of its own`);
    names.add(name);
    places.add(place);
  }
  for (const { from, to } of edges) {
    if (names.has(from) && names.has(to) && from !== to) continue;
    throw wrong(figure, `has an edge from ${JSON.stringify(from)} to ${JSON.stringify(to)}; give two of its nodes`);
  }
}

function checkMatrix(figure: Figure, name: string, matrix: readonly (readonly unknown[])[]): void {
  const width = matrix[0]?.length ?? 0;
  if (width === 0) throw wrong(figure, `has an empty matrix of ${name}; give at least one row and one column`);
  const ragged = matrix.findIndex((row) => row.length !== width);
  if (ragged >= 0) {
    throw wrong(
      figure,
      `has ${matrix[ragged]?.length} ${name} in row ${ragged} and ${width} in row 0; give as many in each`,
    );
  }
}

function checkCount(figure: Figure, name: string, labels: readonly unknown[], count: number): void {
  if (labels.length !== count)
    throw wrong(figure, `has ${labels.length} labels in \`${name}\`; its matrix needs ${count}`);
}

function wrong(figure: Figure, problem: string): Error {
  return usageError(`the ${figure.kind} figure ${JSON.stringify(figure.title)} ${problem}`);
}
