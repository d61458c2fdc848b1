/** Pieces of SVG as strings. Text is escaped here and nowhere else, except for what the charting library writes itself. */

/** A piece of a picture with its origin at its top left corner; lengths are in CSS pixels. */
export interface Drawing {
  readonly svg: string;
  readonly width: number;
  readonly height: number;
}

export const sansFont = "DejaVu Sans, Verdana, Segoe UI, sans-serif";
export const monospacedFont = "DejaVu Sans Mono, Menlo, Consolas, monospace";

/** The width of one column of a monospaced font, as a part of its size; close to the mean width of a letter of the other. */
export const columnWidth = 0.602;

/** Text in markup: `&`, `<`, `>` and both quotes are escaped. */
export function escapeMarkup(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

interface TextStyle {
  readonly size?: number;
  readonly bold?: boolean;
  readonly muted?: boolean;
  readonly anchor?: "start" | "middle" | "end";
}

/** A line of text at a baseline. */
export function textAt(x: number, y: number, content: string, style: TextStyle = {}): string {
  const weight = style.bold ? ' font-weight="bold"' : "";
  const opacity = style.muted ? ' fill-opacity="0.75"' : "";
  const anchor = style.anchor ? ` text-anchor="${style.anchor}"` : "";
  return `<text x="${x}" y="${y}" font-size="${style.size ?? 11}"${weight}${opacity}${anchor}>${escapeMarkup(content)}</text>`;
}

/** A drawing moved to a place. */
export function place(x: number, y: number, svg: string): string {
  return `<g transform="translate(${x},${y})">${svg}</g>`;
}
