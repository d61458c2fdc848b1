/** Tables and heatmaps in a terminal: a cell is a few characters on a coloured ground, or its number where there is no colour. */
import type { Canvas, Line, Span } from "./ansi.js";
import { type ColourScale, colourScale, heatmapScale, noValueColour } from "./colour.js";
import { type HeatmapFigure, hasValue, type RowOrder, type TableFigure, type Value } from "./figure.js";
import { axisTitle, formatNumber, niceStep, noValue } from "./number.js";
import { columnsOf, cut, graphemeColumns, pad, showToken, widest } from "./text.js";

const longestLabel = 12;
/** A token is cut to this many columns, and to the smaller number where that lets a table stay in one panel. */
const [widestToken, narrowestToken] = [12, 6];
/** Without colour a cell holds its value too: a space and four characters. */
const valueColumns = 5;
/** Coloured cells touch, so the space is on both sides of the token; others have it behind them. */
const gap = 2;

/** The table in as many panels of columns as it needs, each with its header, and the meaning of the colours. */
export function tableLines(figure: TableFigure, canvas: Canvas): Line[] {
  const texts = figure.cells.map((row) => row.map((cell) => showToken(cell.text)));
  const columns = figure.columns.map(showToken);
  const labels = rowLabels(figure.rows);
  const plain = canvas.colour === "none";
  const extra = gap + (plain ? valueColumns : 0);
  const available = canvas.width - columnsOf(labels[0] ?? "") + (plain ? gap : 0);
  const room = tokenColumns(widest([...texts.flat(), ...columns], graphemeColumns), columns.length, available, extra);
  const scale = colourScale("sequential", [0, 1]);
  const panel = (from: number, to: number): Line[] => [
    headerLine(labels[0] ?? "", figure.positions ?? columns.map((_, i) => i), from, to, room + extra, plain),
    headerLine(labels[0] ?? "", columns, from, to, room + extra, plain),
    ...inOrder(figure.rowOrder ?? "up", figure.cells).map(([row, i]) => [
      { text: labels[i] ?? "" },
      ...row.slice(from, to).map((cell, k) => tokenSpan(texts[i]?.[from + k] ?? "", cell.value, room, scale, canvas)),
    ]),
  ];
  const perPanel = Math.max(1, Math.floor(available / (room + extra)));
  const starts = columns.map((_, i) => i).filter((i) => i % perPanel === 0);
  const missing = figure.cells.some((row) => row.some((cell) => !hasValue(cell.value)));
  return [
    ...starts.flatMap((from) => [[], ...panel(from, Math.min(from + perPanel, columns.length))]),
    [],
    tableLegend(scale, axisTitle(figure.valueAxis) || "value", missing, canvas),
  ];
}

function tokenColumns(longest: number, count: number, available: number, extra: number): number {
  const wanted = Math.min(Math.max(longest, 4), widestToken);
  const shared = Math.floor(available / count) - extra;
  const room = shared >= narrowestToken ? Math.min(wanted, shared) : wanted;
  return Math.min(room, available - extra);
}

function headerLine(
  label: string,
  names: readonly (string | number)[],
  from: number,
  to: number,
  width: number,
  plain: boolean,
): Line {
  const lead = plain ? "" : " ";
  const cells = names
    .slice(from, to)
    .map((name) => lead + pad(cut(String(name), width - gap, graphemeColumns), width - lead.length));
  return [{ text: " ".repeat(columnsOf(label)) + cells.join("") }];
}

function tokenSpan(text: string, value: Value, room: number, scale: ColourScale, canvas: Canvas): Span {
  if (canvas.colour !== "none") return { text: ` ${pad(text, room)} `, back: scale.colour(value) };
  const number = hasValue(value) ? scale.at(value).toFixed(2) : "—";
  return { text: pad(text, room) + pad(number, valueColumns, "right") + " ".repeat(gap) };
}

function tableLegend(scale: ColourScale, title: string, missing: boolean, canvas: Canvas): Line {
  if (canvas.colour !== "none") return colourLegend(scale, title, missing);
  return [{ text: `numbers: ${title}${missing ? `, — ${noValue}` : ""}` }];
}

function colourLegend(scale: ColourScale, title: string, missing: boolean): Line {
  const steps = 16;
  const [low, high] = scale.domain;
  const ramp = Array.from({ length: steps }, (_, i): Span => {
    const t = i / (steps - 1);
    return { text: " ", back: scale.colour(low * (1 - t) + high * t) };
  });
  const none: Line = missing ? [{ text: "  " }, { text: "  ", back: noValueColour }, { text: ` ${noValue}` }] : [];
  return [{ text: `${title}  ${formatNumber(low)} ` }, ...ramp, { text: ` ${formatNumber(high)}` }, ...none];
}

/** The heatmap with two characters a cell; where that is too wide, blocks of cells are pooled into one. */
export function heatmapLines(figure: HeatmapFigure, canvas: Canvas): Line[] {
  const width = figure.values[0]?.length ?? 0;
  const labels = rowLabels(figure.rows ?? figure.values.map((_, i) => String(i)));
  const available = Math.floor((canvas.width - columnsOf(labels[0] ?? "")) / 2);
  const across = Math.ceil(width / available);
  const down = across === 1 ? 1 : Math.ceil(figure.values.length / available);
  const scale = heatmapScale(figure);
  const pooled = inOrder(figure.rowOrder ?? "down", pool(figure.values, down, across));
  const missing = pooled.some(([row]) => row.some((value) => !hasValue(value)));
  return [
    [],
    ruler(Math.ceil(width / across), across, columnsOf(labels[0] ?? "")),
    ...pooled.map(([row, i]) => [
      { text: labels[i * down] ?? "" },
      ...row.map((value) => numberSpan(value, scale, canvas)),
    ]),
    [],
    heatmapLegend(scale, axisTitle(figure.valueAxis) || "value", missing, canvas),
    ...(across * down > 1 ? [[{ text: `each cell: the largest in size of ${down} x ${across}` }]] : []),
    ...(figure.columns && across === 1 ? nameLines(figure.columns, canvas.width) : []),
  ];
}

/** Blocks of `down` x `across` cells, each as its value that is largest in size. */
function pool(values: readonly (readonly Value[])[], down: number, across: number): Value[][] {
  const height = Math.ceil(values.length / down);
  const width = Math.ceil((values[0]?.length ?? 0) / across);
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) =>
      values
        .slice(row * down, (row + 1) * down)
        .flatMap((line) => line.slice(column * across, (column + 1) * across))
        .filter(hasValue)
        .reduce((most: Value, value) => (most === null || Math.abs(value) > Math.abs(most) ? value : most), null),
    ),
  );
}

/** A colour, or tenths of the scale: a digit, with a minus below zero. */
function numberSpan(value: Value, scale: ColourScale, canvas: Canvas): Span {
  if (canvas.colour !== "none") return { text: "  ", back: scale.colour(value) };
  if (!hasValue(value)) return { text: " —" };
  const tenths = Math.min(9, Math.floor(Math.abs(scale.at(value)) * 10));
  return { text: `${value < 0 && scale.kind === "diverging" && tenths > 0 ? "−" : " "}${tenths}` };
}

function heatmapLegend(scale: ColourScale, title: string, missing: boolean, canvas: Canvas): Line {
  if (canvas.colour !== "none") return colourLegend(scale, title, missing);
  const [low, high] = scale.domain;
  const from = scale.kind === "diverging" ? 0 : low;
  return [
    { text: `${title}: 0 to 9 from ${formatNumber(from)} to ${formatNumber(high)}${missing ? `, — ${noValue}` : ""}` },
  ];
}

/** The numbers of the columns above them, as many as do not touch. */
function ruler(cells: number, across: number, indent: number): Line {
  const longest = String(cells * across).length;
  const step = niceStep(Math.ceil((longest + 1) / 2));
  const marks = Array.from({ length: Math.ceil(cells / step) }, (_, i) => pad(String(i * step * across), 2 * step));
  return [{ text: `${" ".repeat(indent + 1)}${marks.join("")}` }];
}

/** The names of the columns, which do not fit above them. */
function nameLines(names: readonly string[], width: number): Line[] {
  const lines: string[] = [];
  for (const [i, name] of names.entries()) {
    const item = `${i} ${showToken(name)}`;
    const last = lines.at(-1);
    if (last !== undefined && columnsOf(last) + 2 + columnsOf(item) <= width)
      lines[lines.length - 1] = `${last}  ${item}`;
    else lines.push(item);
  }
  return lines.map((text) => [{ text }]);
}

function rowLabels(names: readonly string[]): string[] {
  const shown = names.map(showToken);
  const width = Math.min(widest(shown, graphemeColumns), longestLabel);
  return shown.map((name) => `${pad(name, width, "right")} `);
}

function inOrder<T>(order: RowOrder, rows: readonly T[]): [T, number][] {
  const numbered = rows.map((row, i): [T, number] => [row, i]);
  return order === "up" ? numbered.reverse() : numbered;
}
