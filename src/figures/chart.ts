/** Bars and lines: charts with an axis of numbers. */
import { usageError } from "../errors.js";
import { diverging, hex, seriesColours } from "./colour.js";
import {
  type Bar,
  type BarFigure,
  hasValue,
  type LineFigure,
  type NumberAxis,
  type Series,
  type Value,
} from "./figure.js";
import { frame, nameLegend, noLegend } from "./frame.js";
import { columnWidth, monospacedFont } from "./markup.js";
import { axisTitle, extent, formatAlike, formatNumber, noValue } from "./number.js";
import { drawPlot, type PlotLibrary } from "./plot.js";
import { cut, drawnColumns, sansEms, showToken, visible, widest } from "./text.js";

const mostBars = 1_000;
const longestLabel = 30;
const barHeight = 18;
const labelSize = 11;
const dashes = [undefined, "6,3", "2,2", "9,3,2,3"];
/** Above this many points a line shows no dots. */
const mostDots = 60;

/** The bars as an SVG document. */
export function barSvg(figure: BarFigure): string {
  if (figure.bars.length > mostBars) {
    throw usageError(
      `the bar figure ${JSON.stringify(figure.title)} has ${figure.bars.length} bars; a picture holds at most ${mostBars}: keep the largest`,
    );
  }
  const labels = figure.bars.map((bar) => cut(showToken(bar.label), longestLabel, drawnColumns));
  const marginLeft = Math.ceil(widest(labels, drawnColumns) * labelSize * columnWidth) + 14;
  const format = formatAlike(figure.bars.map((bar) => bar.value));
  // the numbers beside the bars need room on both sides
  const inset =
    widest(
      figure.bars.map((bar) => format(bar.value)),
      drawnColumns,
    ) *
      10 *
      columnWidth +
    6;
  const label = axisTitle(figure.valueAxis);
  const margins = { marginLeft, marginRight: 16, marginTop: 22, marginBottom: label === "" ? 26 : 42 };
  const size = {
    width: marginLeft + 520,
    height: figure.bars.length * barHeight + margins.marginTop + margins.marginBottom,
  };
  const svg = drawPlot((plot) => ({
    ...size,
    ...margins,
    x: { nice: true, ...valueDomain(figure.bars), inset },
    y: { type: "band", domain: figure.bars.map((_, i) => i), padding: 0.2 },
    color: { type: "identity" },
    marks: barMarks(plot, figure, labels, format),
  }));
  return frame(figure, { svg, ...size }, noLegend);
}

/** Zero is always on the axis, and the axis exists where no bar has a value. */
function valueDomain(bars: readonly Bar[]): { domain: [number, number] } {
  const [low, high] = extent([0, ...bars.map((bar) => bar.value)]) ?? [0, 0];
  return { domain: low < high ? [low, high] : [0, 1] };
}

function barMarks(plot: PlotLibrary, figure: BarFigure, labels: readonly string[], format: (value: Value) => string) {
  const bars = figure.bars.map((bar, place) => {
    const value = hasValue(bar.value) ? bar.value : 0;
    return {
      place,
      value,
      text: format(bar.value),
      fill: hex(diverging(value < 0 ? -0.75 : 0.75)),
      title: [
        showToken(bar.label),
        formatNumber(bar.value),
        ...(bar.note === undefined ? [] : [visible(bar.note)]),
      ].join("\n"),
    };
  });
  const beside = {
    y: "place",
    x: "value",
    text: "text",
    fontSize: 10,
    fontVariant: "tabular-nums",
    pointerEvents: "none",
  };
  const labelTitle = axisTitle(figure.labelAxis);
  return [
    plot.gridX({ strokeOpacity: 0.12 }),
    plot.axisX({ tickSize: 0, fontSize: labelSize, ...axisTitles(figure.valueAxis) }),
    plot.barX(bars, { y: "place", x: "value", fill: "fill", title: "title" }),
    plot.text(bars, { ...beside, filter: (bar) => bar.value < 0, textAnchor: "end", dx: -4 }),
    plot.text(bars, { ...beside, filter: (bar) => bar.value >= 0, textAnchor: "start", dx: 4 }),
    plot.ruleX([0]),
    plot.axisY({
      tickSize: 0,
      tickPadding: 8,
      tickFormat: (place: number) => labels[place] ?? "",
      label: null,
      fontFamily: monospacedFont,
      fontSize: labelSize,
    }),
    ...(labelTitle === ""
      ? []
      : [plot.text([labelTitle], { frameAnchor: "top-left", textAnchor: "end", dx: -8, dy: -14 })]),
  ];
}

interface Point {
  readonly x: number;
  readonly y: number;
  readonly series: number;
  readonly title: string;
}

/** The lines as an SVG document. */
export function lineSvg(figure: LineFigure): string {
  const size = { width: 640, height: 380 };
  const lines = figure.series.map((series, i) => points(figure, series, i));
  const missing = lines.flat().filter((point) => Number.isNaN(point.y)).length;
  const names = figure.series.map((series) => cut(showToken(series.name), 30, sansEms));
  const gaps = missing === 0 ? [] : [{ name: `${noValue} at ${missing} ${missing === 1 ? "point" : "points"}` }];
  const svg = drawPlot((plot) => ({
    ...size,
    marginLeft: 64,
    marginRight: 16,
    marginTop: 10,
    marginBottom: 44,
    x: axisScale(
      figure.xAxis,
      lines.flat().map((point) => point.x),
    ),
    y: {
      ...axisScale(
        figure.yAxis,
        lines.flat().map((point) => point.y),
      ),
      nice: true,
    },
    color: { type: "identity" },
    marks: [
      plot.gridX({ strokeOpacity: 0.08 }),
      plot.gridY({ strokeOpacity: 0.12 }),
      plot.axisX({ tickSize: 4, fontSize: labelSize, ...axisTitles(figure.xAxis) }),
      plot.axisY({ tickSize: 0, fontSize: labelSize, ...axisTitles(figure.yAxis) }),
      ...lines.flatMap((line, i) => lineMarks(plot, line, i, names[i] ?? "")),
    ],
  }));
  return frame(
    figure,
    { svg, ...size },
    nameLegend([...names.map((name, i) => ({ name, ...lineStyle(i) })), ...gaps], size.width),
  );
}

function lineStyle(series: number): { colour: string; dashes: string | undefined } {
  const count = seriesColours.length;
  return {
    colour: hex(seriesColours[series % count] ?? [0, 0, 0]),
    dashes: dashes[Math.floor(series / count) % dashes.length],
  };
}

function points(figure: LineFigure, { name, x, y }: Series, series: number): Point[] {
  return x.map((value, i) => {
    const drawn = onAxis(figure.xAxis, value) && onAxis(figure.yAxis, y[i]);
    const title = `${showToken(name)}\n${formatNumber(value, 6)}: ${formatNumber(y[i], 6)}`;
    return { x: drawn ? value : Number.NaN, y: drawn ? (y[i] as number) : Number.NaN, series, title };
  });
}

function onAxis(axis: NumberAxis | undefined, value: Value | undefined): value is number {
  return hasValue(value) && (axis?.scale !== "log" || value > 0);
}

function axisScale(axis: NumberAxis | undefined, values: readonly number[]) {
  const type = axis?.scale ?? "linear";
  return { type, domain: extent(values) ?? (type === "log" ? [1, 10] : [0, 1]) } as const;
}

/** Titles in the middle, and ticks that look like every other number of the picture. */
function axisTitles(axis: NumberAxis | undefined) {
  const label = axisTitle(axis) || null;
  const tickFormat = (value: number) => formatNumber(value, 6);
  // a logarithmic axis leaves most of its ticks unnamed, which only the library's own format knows
  return {
    label,
    labelAnchor: "center",
    labelArrow: "none",
    ...(axis?.scale === "log" ? {} : { tickFormat }),
  } as const;
}

function lineMarks(plot: PlotLibrary, line: readonly Point[], series: number, name: string) {
  const { colour, dashes } = lineStyle(series);
  const alone = (_: Point, i: number) =>
    Number.isNaN(line[i - 1]?.y ?? Number.NaN) && Number.isNaN(line[i + 1]?.y ?? Number.NaN);
  const dots = line.length <= mostDots ? line : line.filter(alone);
  return [
    plot.line(line, {
      x: "x",
      y: "y",
      stroke: colour,
      strokeWidth: 2,
      title: () => name,
      ...(dashes === undefined ? {} : { strokeDasharray: dashes }),
    }),
    plot.dot(dots, { x: "x", y: "y", fill: colour, r: 2.5, title: "title" }),
  ];
}
