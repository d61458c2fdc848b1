/** Graphs in a terminal: their strongest edges as a table, since curves need pixels. */
import type { Canvas, Line } from "./ansi.js";
import { diverging } from "./colour.js";
import { type GraphFigure, hasValue } from "./figure.js";
import { axisTitle, formatAlike } from "./number.js";
import { graphemeColumns, pad, showToken, visible, widest } from "./text.js";

const mostEdges = 30;

/** An edge a line: both ends, its weight, its note; the strongest first, and how many are left out. */
export function graphLines(figure: GraphFigure, canvas: Canvas): Line[] {
  const labels = new Map(figure.nodes.map(({ name, label }) => [name, showToken(label ?? name)]));
  const labelOf = (name: string) => labels.get(name) as string;
  const size = (weight: number | null) => (hasValue(weight) ? Math.abs(weight) : -1);
  const shown = [...figure.edges].sort((a, b) => size(b.weight) - size(a.weight)).slice(0, mostEdges);
  const room = (names: readonly string[]) => Math.min(widest(names, graphemeColumns), Math.floor(canvas.width / 3));
  const [from, to] = [room(shown.map((edge) => labelOf(edge.from))), room(shown.map((edge) => labelOf(edge.to)))];
  const format = formatAlike(shown.map(({ weight }) => weight));
  const numbers = widest(
    shown.map(({ weight }) => format(weight)),
    graphemeColumns,
  );
  const lines = shown.map(({ weight, note, ...edge }): Line => {
    const number = ` ${pad(format(weight), numbers, "right")}`;
    return [
      { text: `${pad(labelOf(edge.from), from)} → ${pad(labelOf(edge.to), to)}` },
      hasValue(weight) ? { text: number, ink: diverging(weight < 0 ? -0.7 : 0.7) } : { text: number },
      { text: note === undefined ? "" : `  ${visible(note)}` },
    ];
  });
  const left = figure.edges.length - shown.length;
  const title = axisTitle(figure.valueAxis);
  const counted = `${figure.nodes.length} nodes, ${figure.edges.length} edges${left === 0 ? "" : `; ${left} weaker ones are not shown`}`;
  return [[], ...lines, [], [{ text: title === "" ? counted : `${title}; ${counted}` }]];
}
