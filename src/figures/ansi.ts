/** Lines of coloured spans, and how they become text for a terminal: cut to the width first, painted afterwards. */
import { inkOn, type Rgb } from "./colour.js";
import { columnsOf, cut, graphemeColumns } from "./text.js";

/** What the terminal can show: no colour at all, the 256 colours of xterm, or any colour. */
export type TerminalColour = "none" | "256" | "truecolor";

export interface Canvas {
  readonly width: number;
  readonly colour: TerminalColour;
}

/** A piece of a line; its text must have been made visible. Text on a `back` is black or white, whichever reads better. */
export interface Span {
  readonly text: string;
  readonly back?: Rgb;
  readonly ink?: Rgb;
}

export type Line = readonly Span[];

/** The line as text that takes at most the canvas's width; spaces at its end don't count and are left out. */
export function renderLine(line: Line, canvas: Canvas): string {
  let room = canvas.width;
  const parts = line.map((span, i) => {
    const last = i === line.length - 1 && !span.back;
    const text = cut(last ? span.text.trimEnd() : span.text, room, graphemeColumns);
    room -= columnsOf(text);
    return paint({ ...span, text }, canvas.colour);
  });
  return parts.join("").trimEnd();
}

function paint({ text, back, ink }: Span, colour: TerminalColour): string {
  if (colour === "none" || text === "" || !(back || ink)) return text;
  const front = back ? inkOn(back) : ink;
  const codes = [...(back ? [`48;${code(back, colour)}`] : []), ...(front ? [`38;${code(front, colour)}`] : [])];
  return `\x1b[${codes.join(";")}m${text}\x1b[0m`;
}

function code(rgb: Rgb, colour: "256" | "truecolor"): string {
  return colour === "truecolor" ? `2;${rgb.join(";")}` : `5;${nearest256(rgb)}`;
}

const cubeLevels = [0, 95, 135, 175, 215, 255];

/** The nearest of xterm's colours: a cube of 6 x 6 x 6 from 16 on, and 24 greys from 232 on. */
function nearest256(rgb: Rgb): number {
  const cube = rgb.map((part) => nearestIndex(part, cubeLevels)) as [number, number, number];
  const greys = Array.from({ length: 24 }, (_, i) => 8 + 10 * i);
  const grey = nearestIndex((rgb[0] + rgb[1] + rgb[2]) / 3, greys);
  const cubeColour = cube.map((i) => cubeLevels[i] ?? 0);
  const level = greys[grey] ?? 0;
  return distance(rgb, cubeColour) <= distance(rgb, [level, level, level])
    ? 16 + 36 * cube[0] + 6 * cube[1] + cube[2]
    : 232 + grey;
}

function nearestIndex(value: number, levels: readonly number[]): number {
  const distances = levels.map((level) => Math.abs(level - value));
  return distances.indexOf(Math.min(...distances));
}

function distance(a: Rgb, b: readonly number[]): number {
  return a.reduce((total, part, i) => total + (part - (b[i] ?? 0)) ** 2, 0);
}
