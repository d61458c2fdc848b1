/**
 * A page that holds its pictures itself: no script, nothing from elsewhere, and a policy that forbids both. Ink and paper
 * follow the reader's light or dark setting; cells keep their colours.
 */

import { usageError } from "../errors.js";
import type { Figure } from "./figure.js";
import { escapeMarkup } from "./markup.js";
import { toSvg } from "./svg.js";
import { visible } from "./text.js";

const style = `
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --page: #f6f8fa; --line: #d1d9e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #161b22; --page: #0d1117; --line: #30363d; } }
body { margin: 0 auto; padding: 24px; max-width: 1100px; background: var(--page); color: var(--ink);
  font: 15px/1.5 "DejaVu Sans", Verdana, "Segoe UI", sans-serif; }
h1 { font-size: 22px; }
figure { margin: 0 0 24px; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); overflow-x: auto; }
.patchclamp-figure { display: block; color: var(--ink); }
.patchclamp-figure .paper { fill: var(--paper); }
.patchclamp-figure rect:hover, .patchclamp-figure circle:hover { stroke: var(--ink); stroke-width: 1.5; }
`;

/**
 * One HTML page with all figures, one below the other; hovering shows values. `title` is the page's, by default the first
 * figure's. `notes` is plain text below the figures, its paragraphs separated by empty lines. A usage error without figures,
 * and as `toSvg`.
 */
export function toHtml(figures: Figure | readonly Figure[], options: { title?: string; notes?: string } = {}): string {
  const all = "kind" in figures ? [figures] : figures;
  const [first] = all;
  if (first === undefined) throw usageError("a page needs at least one figure, and the list of figures is empty");
  const heading = options.title === undefined ? "" : `<h1>${escapeMarkup(visible(options.title))}</h1>\n`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeMarkup(visible(options.title ?? first.title))}</title>
<style>${style}</style>
</head>
<body>
${heading}${all.map((figure) => `<figure>${toSvg(figure).trim()}</figure>\n`).join("")}${paragraphs(options.notes ?? "")}</body>
</html>
`;
}

function paragraphs(notes: string): string {
  return notes
    .split(/\r?\n\s*\n/)
    .map((paragraph) => paragraph.replace(/\s*\n\s*/g, " ").trim())
    .filter((paragraph) => paragraph !== "")
    .map((paragraph) => `<p>${escapeMarkup(visible(paragraph))}</p>\n`)
    .join("");
}
