/**
 * Where text goes. Standard output holds results and nothing else; lines for people go to standard error. Both may be a
 * terminal, whose control characters are no place for a model's text.
 */
import { type WriteStream as Terminal, WriteStream } from "node:tty";
import type { TerminalColour } from "../figures/index.js";

/** A stream that may be a terminal. */
export type OutputStream = NodeJS.WritableStream & Partial<Pick<Terminal, "isTTY" | "columns">>;

/** Writes text and waits until it is handed over. A reader that went away is noticed elsewhere. */
export function writeText(stream: OutputStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(text, () => resolve());
  });
}

/** The text without control characters but newline and tab: they are written as `\x1b`. */
export function withoutControls(text: string): string {
  return Array.from(text, (character) => {
    const code = character.codePointAt(0) as number;
    const control = (code < 0x20 && code !== 0x0a && code !== 0x09) || (code >= 0x7f && code < 0xa0);
    return control ? `\\x${code.toString(16).padStart(2, "0")}` : character;
  }).join("");
}

/** How wide a figure may be, and which colours it may have. `NO_COLOR` and `FORCE_COLOR` are followed. */
export function canvasOf(stream: OutputStream): { width: number; colour: TerminalColour } {
  const wide = stream.columns ?? Number(process.env.COLUMNS);
  const width = Number.isInteger(wide) && wide > 0 ? Math.max(24, wide) : 100;
  // the same reckoning of the environment as Node's own terminals do
  const depth = stream.isTTY || process.env.FORCE_COLOR ? WriteStream.prototype.getColorDepth() : 1;
  return { width, colour: depth >= 24 ? "truecolor" : depth >= 8 ? "256" : "none" };
}

const byteUnits = ["B", "kB", "MB", "GB", "TB"];

/** Bytes as people read them, in powers of 1000: `98.9 MB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(byteUnits.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${byteUnits[power]}`;
}

/** Seconds as people read them: `42 s`, `3 min 5 s`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A probability as a percentage of three digits: `63.2%`, `0.041%`. */
export function formatProbability(probability: number): string {
  return `${Number((100 * probability).toPrecision(3))}%`;
}

/** Lines of cells under each other: every column but the last is as wide as its widest cell. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join("  ");
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}

/** A value as one line of JSON. Throws where it holds a number that JSON has no word for. */
export function jsonLine(value: unknown): string {
  const line = JSON.stringify(value, (key, entry: unknown) => {
    if (typeof entry === "number" && !Number.isFinite(entry)) throw new Error(`"${key}" is ${entry}`);
    return entry;
  });
  return `${line}\n`;
}
