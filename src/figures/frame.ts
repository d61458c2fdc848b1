/** What all pictures share: white paper, title, subtitle, legend, and the drawing below them. */
import { type ColourScale, diverging, hex, noValueColour, sequential } from "./colour.js";
import type { Figure } from "./figure.js";
import { type Drawing, escapeMarkup, place, sansFont, textAt } from "./markup.js";
import { formatNumber, noValue } from "./number.js";
import { sansEms, visible, widthOf, wrap } from "./text.js";

const margin = 16;
const narrowest = 420;
const titleSize = 15;
const subtitleSize = 12;
/** Bold letters are wider than plain ones. */
const boldWidth = 1.12;

/** A whole SVG document from the parts of a picture. */
export function frame(figure: Figure, drawing: Drawing, legend: Drawing): string {
  const width = Math.ceil(Math.max(narrowest, drawing.width, legend.width));
  const titles = wrap(visible(figure.title), width / (titleSize * boldWidth), 3, sansEms);
  const subtitles = figure.subtitle ? wrap(visible(figure.subtitle), width / subtitleSize, 4, sansEms) : [];
  const parts = [
    ...titles.map((line, i) => textAt(0, 15 + 20 * i, line, { size: titleSize, bold: true })),
    ...subtitles.map((line, i) =>
      textAt(0, 20 * titles.length + 13 + 17 * i, line, { size: subtitleSize, muted: true }),
    ),
  ];
  let y = 20 * titles.length + 17 * subtitles.length + 8;
  if (legend.height > 0) {
    parts.push(place(0, y, legend.svg));
    y += legend.height + 8;
  }
  parts.push(place(0, y, drawing.svg));
  const [outerWidth, outerHeight] = [width + 2 * margin, Math.ceil(y + drawing.height) + 2 * margin];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" class="patchclamp-figure" role="img" aria-label="${escapeMarkup(visible(figure.title))}"` +
    ` width="${outerWidth}" height="${outerHeight}" viewBox="0 0 ${outerWidth} ${outerHeight}"` +
    ` font-family="${sansFont}" font-size="11" color="#1f2328" fill="currentColor">` +
    `<rect class="paper" width="100%" height="100%" fill="#ffffff"/>${place(margin, margin, parts.join(""))}</svg>\n`
  );
}

/** For figures that need none. */
export const noLegend: Drawing = { svg: "", width: 0, height: 0 };

/** The colour scale as a bar with the values at its ends and middle, and the colour of cells without a value if any is. */
export function colourLegend(scale: ColourScale, title: string, withNoValue: boolean): Drawing {
  const [barWidth, steps] = [192, 64];
  const left = Math.ceil(widthOf(title, sansEms) * 11) + 16;
  const [low, high] = scale.domain;
  const swatches = Array.from({ length: steps }, (_, i) => {
    const t = i / (steps - 1);
    const colour = scale.kind === "diverging" ? diverging(2 * t - 1) : sequential(t);
    return `<rect x="${left + (i * barWidth) / steps}" width="${barWidth / steps}" height="10" fill="${hex(colour)}"/>`;
  });
  const ticks = [low, low / 2 + high / 2, high].map((value, i) =>
    textAt(left + (i * barWidth) / 2, 23, formatNumber(value), { size: 10, muted: true, anchor: "middle" }),
  );
  const right = left + barWidth + 28;
  const missing = withNoValue
    ? `<rect x="${right}" width="10" height="10" fill="${hex(noValueColour)}"/>${textAt(right + 15, 9, noValue, { size: 10 })}`
    : "";
  const svg = `${title === "" ? "" : textAt(0, 9, title)}<g shape-rendering="crispEdges">${swatches.join("")}</g>${ticks.join("")}${missing}`;
  return { svg, width: right + (withNoValue ? 70 : 0), height: 26 };
}

/** Named colours in rows that are `width` wide; before a name a line of its colour and dashes, if it has a colour. */
export function nameLegend(
  entries: readonly { name: string; colour?: string; dashes?: string | undefined }[],
  width: number,
): Drawing {
  let [x, y] = [0, 0];
  const parts = entries.map(({ name, colour, dashes }) => {
    const indent = colour ? 30 : 0;
    const needed = indent + Math.ceil(widthOf(name, sansEms) * 11) + 14;
    if (x > 0 && x + needed > width) [x, y] = [0, y + 18];
    const dash = dashes ? ` stroke-dasharray="${dashes}"` : "";
    const line = colour ? `<path d="M${x},${y + 6}h24" stroke="${colour}" stroke-width="2.5"${dash}/>` : "";
    const part = line + textAt(x + indent, y + 10, name);
    x += needed;
    return part;
  });
  return { svg: parts.join(""), width, height: y + 16 };
}
