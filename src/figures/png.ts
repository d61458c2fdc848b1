/**
 * SVG to pixels with fonts of our own, so that a picture is the same on every machine. These fonts know no Chinese and few
 * emoji: a character that they lack is drawn as its code point, in small digits on two lines, in the room of a wide one.
 */
import { createRequire } from "node:module";
import { usageError } from "../errors.js";
import type { Figure } from "./figure.js";
import { readCoverage } from "./font.js";
import { columnWidth } from "./markup.js";
import { toSvg } from "./svg.js";
import { graphemes } from "./text.js";

const load = createRequire(import.meta.url);
const fonts = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold"];
const mostPixels = 100_000_000;

/**
 * The figure as a PNG image on white paper, the same bytes for the same figure. `scale` is in pixels per CSS pixel, above 0
 * and at most 8; by default 2, for screens of today. A usage error for another scale, above 100 million pixels, and as `toSvg`.
 */
export function toPng(figure: Figure, options: { scale?: number } = {}): Uint8Array {
  const { scale = 2 } = options;
  if (!(scale > 0 && scale <= 8)) throw usageError(`the scale ${scale} of a picture must lie above 0 and at most at 8`);
  const svg = toSvg(figure);
  const [, width, height] = / width="(\d+)" height="(\d+)"/.exec(svg) ?? [];
  const pixels = Number(width) * Number(height) * scale ** 2;
  if (pixels > mostPixels) {
    throw usageError(
      `a picture of ${width} x ${height} at scale ${scale} has over ${mostPixels} pixels; lower the scale or write .svg`,
    );
  }
  const { Resvg } = load("@resvg/resvg-js") as typeof import("@resvg/resvg-js");
  const image = new Resvg(onlyKnownGlyphs(svg), {
    font: { loadSystemFonts: false, fontFiles: fonts.map(fontFile), defaultFontFamily: "DejaVu Sans" },
    fitTo: { mode: "zoom", value: scale },
  });
  return image.render().asPng();
}

function fontFile(name: string): string {
  return load.resolve(`dejavu-fonts-ttf/ttf/${name}.ttf`);
}

/** Leaves out what only hovering shows, and spells out characters that no font has. */
function onlyKnownGlyphs(svg: string): string {
  const seen = svg.replace(/<title>[^<]*<\/title>/g, "");
  const known = readCoverage(fonts.map(fontFile));
  return seen.replace(
    /(<[^<>]*>)([^<]*\P{ASCII}[^<]*)</gu,
    (_, tag: string, text: string) => `${tag}${spellUnknown(text, known, digitWidth(tag))}<`,
  );
}

/** The width of a digit in parts of the font's size: a text that says of itself that it is bold is a title. */
function digitWidth(tag: string): number {
  return tag.includes('font-weight="bold"') ? 0.696 : columnWidth;
}

/** Moves of the pen, in parts of the font's size. */
interface Shift {
  readonly dx: number;
  readonly dy: number;
}

const still: Shift = { dx: 0, dy: 0 };

function spellUnknown(text: string, known: (codePoint: number) => boolean, digit: number): string {
  let shift = still;
  const parts = graphemes(text).map((grapheme) => {
    const unknown = Array.from(grapheme, (character) => character.codePointAt(0) ?? 0).find((code) => !known(code));
    const before = shift;
    shift = unknown === undefined ? still : { dx: digit / 2, dy: -lowered };
    if (unknown !== undefined) return spell(unknown, before, digit);
    return before === still ? grapheme : `<tspan ${shiftBy(before, 1)}>${grapheme}</tspan>`;
  });
  return parts.join("");
}

const raised = 0.36;
const lowered = 0.06;

/**
 * Four or six hexadecimal digits in two lines of one column's width, in the middle of two columns. The moves along the line
 * add up to zero and the digits' own widths to two columns, so that centring and what follows come out right.
 * The digits keep the font of their text: the rasteriser drops a whole text where another font in it forms other ligatures.
 */
function spell(codePoint: number, before: Shift, digit: number): string {
  const digits = codePoint
    .toString(16)
    .toUpperCase()
    .padStart(codePoint > 0xffff ? 6 : 4, "0");
  const half = digits.length / 2;
  const size = 1 / half;
  const line = (text: string, shift: Shift) =>
    `<tspan font-size="${size.toFixed(4)}em" ${shiftBy(shift, size)}>${text}</tspan>`;
  const first = { dx: before.dx + digit / 2, dy: before.dy - raised };
  return line(digits.slice(0, half), first) + line(digits.slice(half), { dx: -digit, dy: raised + lowered });
}

function shiftBy({ dx, dy }: Shift, size: number): string {
  return `dx="${(dx / size).toFixed(4)}em" dy="${(dy / size).toFixed(4)}em"`;
}
