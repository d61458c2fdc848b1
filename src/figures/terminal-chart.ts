/** Bars and lines in a terminal: bars of block characters about a common zero, and a row of eight heights for each series. */
import type { Canvas, Line } from "./ansi.js";
import { diverging, seriesColours } from "./colour.js";
import { type BarFigure, hasValue, type LineFigure, type NumberAxis, type Series, type Value } from "./figure.js";
import { axisTitle, extent, formatAlike, formatNumber, fraction } from "./number.js";
import { graphemeColumns, pad, showToken, widest } from "./text.js";

/** A bar a line: label, bar, value. */
export function barLines(figure: BarFigure, canvas: Canvas): Line[] {
  const labels = figure.bars.map((bar) => showToken(bar.label));
  const labelWidth = Math.min(widest(labels, graphemeColumns), Math.floor(canvas.width / 3));
  const format = formatAlike(figure.bars.map((bar) => bar.value));
  const numberWidth = widest(
    figure.bars.map((bar) => format(bar.value)),
    graphemeColumns,
  );
  const room = Math.max(3, canvas.width - labelWidth - numberWidth - 3);
  const [least, most] = extent([0, ...figure.bars.map((bar) => bar.value)]) ?? [0, 0];
  const share = least < most ? fraction(0, least, most) : 0;
  const [left, right] = [Math.round(room * share), room - Math.round(room * share)];
  const lines = figure.bars.map(({ value }, i): Line => {
    const negative = hasValue(value) && value < 0;
    const bar = negative
      ? pad(leftwards(left, value / least), left, "right")
      : " ".repeat(left) + rightwards(right, value, most);
    return [
      { text: `${pad(labels[i] ?? "", labelWidth, "right")} ` },
      { text: pad(bar, room), ink: diverging(negative ? -0.7 : 0.7) },
      { text: ` ${pad(format(value), numberWidth, "right")}` },
    ];
  });
  const title = axisTitle(figure.valueAxis);
  return [[], ...lines, ...(title === "" ? [] : [[], [{ text: title }]])];
}

function rightwards(room: number, value: Value, most: number): string {
  const eighths = hasValue(value) && most > 0 ? Math.round((value / most) * room * 8) : 0;
  return "█".repeat(Math.floor(eighths / 8)) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
}

/** Blocks that fill from the right exist only as halves. */
function leftwards(room: number, share: number): string {
  const halves = Math.round(share * room * 2);
  return (halves % 2 === 1 ? "▐" : "") + "█".repeat(Math.floor(halves / 2));
}

const heights = Array.from("▁▂▃▄▅▆▇█");

/** A line of text for each series, all on the same two axes, with the first and last y that exist. */
export function seriesLines(figure: LineFigure, canvas: Canvas): Line[] {
  const names = figure.series.map((series) => showToken(series.name));
  const nameWidth = Math.min(widest(names, graphemeColumns), Math.floor(canvas.width / 4));
  const ends = figure.series.map((series) => {
    const existing = series.y.filter(hasValue);
    return ` ${formatNumber(existing[0])} → ${formatNumber(existing.at(-1))}`;
  });
  const endWidth = Math.min(widest(ends, graphemeColumns), Math.floor(canvas.width / 3));
  const room = canvas.width - nameWidth - endWidth - 1;
  const xs = axisOf(
    figure.xAxis,
    figure.series.flatMap((series) => series.x),
  );
  const ys = axisOf(
    figure.yAxis,
    figure.series.flatMap((series) => series.y),
  );
  const lines = figure.series.map((series, i): Line => {
    const ink = seriesColours[i % seriesColours.length];
    return [
      { text: `${pad(names[i] ?? "", nameWidth, "right")} ` },
      { text: sparkline(series, room, xs, ys), ...(ink ? { ink } : {}) },
      { text: pad(ends[i] ?? "", endWidth) },
    ];
  });
  const describe = (axis: NumberAxis | undefined, name: string, [low, high]: readonly [Value, Value]) =>
    `${axisTitle(axis) || name}: ${formatNumber(low)} to ${formatNumber(high)}${axis?.scale === "log" ? ", log" : ""}`;
  return [
    [],
    ...lines,
    [],
    [{ text: describe(figure.xAxis, "x", xs.domain) }],
    [{ text: describe(figure.yAxis, "y", ys.domain) }],
  ];
}

interface Scale {
  readonly domain: readonly [Value, Value];
  /** From 0 to 1, or `undefined` where the axis has no place for the value. */
  readonly at: (value: Value | undefined) => number | undefined;
}

function axisOf(axis: NumberAxis | undefined, values: readonly Value[]): Scale {
  const log = axis?.scale === "log";
  const placed = (value: Value | undefined): value is number => hasValue(value) && (!log || value > 0);
  const domain = extent(values.filter(placed));
  if (domain === undefined) return { domain: [null, null], at: () => undefined };
  const [low, high] = domain.map((value) => (log ? Math.log(value) : value)) as [number, number];
  const at = (value: number) => (low < high ? fraction(log ? Math.log(value) : value, low, high) : 0.5);
  return { domain, at: (value) => (placed(value) ? at(value) : undefined) };
}

/** The mean height in each of `room` equal parts of the x axis; a space where a part has no value. */
function sparkline(series: Series, room: number, xs: Scale, ys: Scale): string {
  const sums = new Array<number>(room).fill(0);
  const counts = new Array<number>(room).fill(0);
  for (const [i, x] of series.x.entries()) {
    const [across, up] = [xs.at(x), ys.at(series.y[i])];
    if (across === undefined || up === undefined) continue;
    const part = Math.min(room - 1, Math.floor(across * room));
    sums[part] = (sums[part] ?? 0) + up;
    counts[part] = (counts[part] ?? 0) + 1;
  }
  return sums
    .map((sum, i) => (counts[i] ? heights[Math.round((sum / counts[i]) * (heights.length - 1))] : " "))
    .join("");
}
