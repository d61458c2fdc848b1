/**
 * Graphs of parts in layers: nodes in rows and columns, edges as curves between them, as wide as their weight is large and
 * in the colour of its sign. Information flows upwards, as in the other pictures of layers.
 */
import { usageError } from "../errors.js";
import { diverging, hex } from "./colour.js";
import { type GraphEdge, type GraphFigure, type GraphNode, hasValue } from "./figure.js";
import { frame, nameLegend } from "./frame.js";
import { columnWidth, type Drawing, escapeMarkup, monospacedFont, place, textAt } from "./markup.js";
import { axisTitle, extent, formatNumber, noValue } from "./number.js";
import { cut, drawnColumns, showToken, visible, widest } from "./text.js";

/** More than this is a carpet that nobody reads. */
const mostEdges = 2_000;
const longestLabel = 16;
const labelSize = 11;
const letterWidth = labelSize * columnWidth;
const nodeHeight = 20;
const rowHeight = 56;
const [thinnest, thickest] = [0.75, 6];

interface Layout {
  readonly nodeWidth: number;
  readonly left: number;
  readonly width: number;
  readonly height: number;
  /** The middle of a node. */
  readonly at: (node: GraphNode) => { readonly x: number; readonly y: number };
}

/** The graph as an SVG document. */
export function graphSvg(figure: GraphFigure): string {
  if (figure.edges.length > mostEdges)
    throw usageError(
      `the graph figure ${JSON.stringify(figure.title)} has ${figure.edges.length} edges; a picture holds at most ${mostEdges}: keep the strongest`,
    );
  const layout = layoutOf(figure);
  const parts = [rowNames(figure, layout), columnNames(figure, layout), edgePaths(figure, layout)];
  const svg = [...parts, ...figure.nodes.map((node) => nodeMark(node, layout))].join("");
  return frame(figure, { svg, width: layout.width, height: layout.height }, legend(figure, layout.width));
}

const labelOf = (node: GraphNode) => cut(showToken(node.label ?? node.name), longestLabel, drawnColumns);

function layoutOf({ nodes, layers, columns, layerAxis, columnAxis }: GraphFigure): Layout {
  const names = [...nodes.map(labelOf), ...(columns ?? []).map(shortName)];
  const nodeWidth = Math.ceil(widest(names, drawnColumns) * letterWidth) + 14;
  const columnStep = nodeWidth + 14;
  const count = columns?.length ?? 1 + Math.max(...nodes.map(({ column }) => column));
  const title = axisTitle(layerAxis) === "" ? 0 : 20;
  const left = title + Math.ceil(widest(layers.map(shortName), drawnColumns) * letterWidth) + 16;
  const below = (columns === undefined ? 0 : 20) + (axisTitle(columnAxis) === "" ? 0 : 18);
  return {
    nodeWidth,
    left,
    width: left + count * columnStep,
    height: layers.length * rowHeight + below,
    at: ({ layer, column }) => ({
      x: left + (column + 0.5) * columnStep,
      y: (layers.length - layer - 0.5) * rowHeight,
    }),
  };
}

const shortName = (name: string) => cut(showToken(name), longestLabel, drawnColumns);
const monospaced = (svg: string) => `<g font-family="${monospacedFont}">${svg}</g>`;

function rowNames({ layers, layerAxis }: GraphFigure, { left, at, height }: Layout): string {
  const names = layers.map((name, layer) =>
    textAt(left - 12, at({ name, layer, column: 0 }).y + 4, shortName(name), { anchor: "end" }),
  );
  const title = axisTitle(layerAxis);
  const turned = `<g transform="translate(10,${height / 2}) rotate(-90)">${textAt(0, 0, title, { anchor: "middle" })}</g>`;
  return monospaced(names.join("")) + (title === "" ? "" : turned);
}

function columnNames({ layers, columns = [], columnAxis }: GraphFigure, { at, left, width }: Layout): string {
  const y = layers.length * rowHeight + 12;
  const names = columns.map((name, column) =>
    textAt(at({ name, layer: 0, column }).x, y, shortName(name), { anchor: "middle" }),
  );
  const title = axisTitle(columnAxis);
  const under = y + (columns.length === 0 ? 0 : 18);
  return (
    monospaced(names.join("")) + (title === "" ? "" : textAt((left + width) / 2, under, title, { anchor: "middle" }))
  );
}

/** Weak edges first, so that strong ones lie on top; nodes come after all of them. */
function edgePaths(figure: GraphFigure, layout: Layout): string {
  const nodes = new Map(figure.nodes.map((node) => [node.name, node]));
  const size = ({ weight }: GraphEdge) => (hasValue(weight) ? Math.abs(weight) : 0);
  const most = Math.max(...figure.edges.map(size)) || 1;
  const title = axisTitle(figure.valueAxis) || "weight";
  const paths = [...figure.edges]
    .sort((a, b) => size(a) - size(b))
    .map((edge) => {
      const [from, to] = [nodes.get(edge.from), nodes.get(edge.to)] as [GraphNode, GraphNode];
      const names = [from, to].map(({ name, label }) => showToken(label ?? name)).join(" → ");
      const note = edge.note === undefined ? [] : [visible(edge.note)];
      const hover = [names, `${title}: ${formatNumber(edge.weight)}`, ...note].join("\n");
      const width = (thinnest + (thickest - thinnest) * (size(edge) / most)).toFixed(2);
      const dashes = hasValue(edge.weight) ? "" : ' stroke-dasharray="3,3"';
      return `<path d="${curve(from, to, layout)}" stroke="${edgeColour(edge)}" stroke-width="${width}"${dashes}><title>${escapeMarkup(hover)}</title></path>`;
    });
  return `<g fill="none" stroke-opacity="0.8">${paths.join("")}</g>`;
}

const colours = { positive: hex(diverging(0.75)), negative: hex(diverging(-0.75)), none: "#8c959f" };

function edgeColour({ weight }: GraphEdge): string {
  if (!hasValue(weight)) return colours.none;
  return weight < 0 ? colours.negative : colours.positive;
}

/**
 * From the side of a node that faces the other to that other's; within a row, an arc above it; within a column, a bow that
 * does not hide behind the nodes in between.
 */
function curve(from: GraphNode, to: GraphNode, { at, nodeWidth }: Layout): string {
  const [start, end] = [at(from), at(to)];
  const leaving = from.layer > to.layer ? nodeHeight / 2 : -nodeHeight / 2;
  const arriving = from.layer < to.layer ? nodeHeight / 2 : -nodeHeight / 2;
  const [y1, y2] = [start.y + leaving, end.y + arriving];
  const bend = from.layer === to.layer ? y1 - rowHeight / 3 : (y1 + y2) / 2;
  const bow = from.column === to.column && Math.abs(from.layer - to.layer) > 1 ? 0.75 * nodeWidth : 0;
  return `M${start.x},${y1}C${start.x + bow},${bend} ${end.x + bow},${bend} ${end.x},${y2}`;
}

function nodeMark(node: GraphNode, layout: Layout): string {
  const { x, y } = layout.at(node);
  const { nodeWidth } = layout;
  const note = node.note === undefined ? [] : [visible(node.note)];
  const hover = escapeMarkup([showToken(node.label ?? node.name), ...note].join("\n"));
  const box = `<rect class="paper" x="${-nodeWidth / 2}" y="${-nodeHeight / 2}" width="${nodeWidth}" height="${nodeHeight}" rx="5" fill="#ffffff" stroke="currentColor" stroke-opacity="0.6"><title>${hover}</title></rect>`;
  return place(x, y, box + monospaced(textAt(0, 4, labelOf(node), { anchor: "middle" })));
}

function legend({ edges, valueAxis }: GraphFigure, width: number): Drawing {
  const title = axisTitle(valueAxis) || "weight";
  const [low, high] = extent(edges.map(({ weight }) => weight)) ?? [0, 0];
  const missing = edges.some(({ weight }) => !hasValue(weight));
  return nameLegend(
    [
      ...(high > 0 ? [{ name: `${title}, up to ${formatNumber(high)}`, colour: colours.positive }] : []),
      ...(low < 0 ? [{ name: `${title}, down to ${formatNumber(low)}`, colour: colours.negative }] : []),
      ...(missing ? [{ name: noValue, colour: colours.none, dashes: "3,3" }] : []),
    ],
    width,
  );
}
