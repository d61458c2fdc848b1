import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { Resvg } from "@resvg/resvg-js";
import fc from "fast-check";
import { DOMParser } from "linkedom";
import { describe, expect, test } from "vitest";
import {
  accuracy,
  attribution,
  circuit,
  examples,
  lens,
  loss,
  patching,
} from "../../test/fixtures/figures/examples.js";
import { hostileFigure } from "../../test/fixtures/figures/hostile.js";
import type { Figure, HeatmapFigure, TableFigure } from "./figure.js";
import { toHtml } from "./html.js";
import { toPng } from "./png.js";
import { toSvg } from "./svg.js";

function titlesOf(svg: string): string[] {
  const document = new DOMParser().parseFromString(svg, "image/svg+xml");
  return Array.from(document.querySelectorAll("title"), (title) =>
    String((title as { textContent: unknown }).textContent),
  );
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

interface Element {
  getAttribute(name: string): string | null;
}

describe("svg", () => {
  test.each(Object.keys(examples))("%s looks as it did", async (name) => {
    const path = fileURLToPath(new URL(`../../test/fixtures/figures/${name}.svg`, import.meta.url));
    await expect(toSvg(examples[name] as Figure)).toMatchFileSnapshot(path);
  });

  test("a table has a cell for each value, its last row on top, and its values on hover", () => {
    const svg = toSvg(lens);
    const titles = titlesOf(svg);
    expect(titles).toHaveLength(20);
    expect(titles).toContain("2 / ·is\n·Paris\nprobability: 0.84\nrank of “ Paris”: 1");
    expect(titles).toContain("2 / The\n·first\nprobability: no value");
    expect(svg.indexOf(">embed<")).toBeGreaterThan(0);
    const heightOf = (label: string) =>
      Number(new RegExp(`translate\\([\\d.]+,([\\d.]+)\\)" y="0.32em">${label}<`).exec(svg)?.[1]);
    expect(heightOf("embed")).toBeGreaterThan(heightOf("0"));
    expect(heightOf("0")).toBeGreaterThan(heightOf("2"));
    expect(heightOf("2")).toBeGreaterThan(0);
    expect(svg).toContain(">internationa…<");
    expect(svg).toContain(">no value<");
  });

  test("a heatmap is symmetric about zero, and slants names that are too long", () => {
    const svg = toSvg(patching);
    expect(svg).toContain(">−0.9<");
    expect(svg).toContain(">0.9<");
    expect(count(svg, /rotate\(-45\)/g)).toBe(6);
    expect(titlesOf(svg)).toContain("0 / ·Mary\nshare of the logit difference restored: 0.9");
    expect(count(svg, /rotate\(-45\)/g)).toBe(patching.columns?.length);
  });

  test("a slanting first name stays on the paper", () => {
    const values = [Array.from({ length: 14 }, (_, i) => i)];
    const columns = values[0]?.map((_, i) => (i === 0 ? "internationalization" : "a"));
    const svg = toSvg({ kind: "heatmap", title: "t", values, columns: columns ?? [] });
    expect(new Resvg(svg).getBBox()?.x).toBeGreaterThanOrEqual(0);
    const left = Number(/<rect[^>]*x="([\d.]+)"><title>/.exec(svg)?.[1]);
    // 18 letters of 6.6 pixels at 45 degrees, less half a cell
    expect(left).toBeGreaterThan(18 * 6.6 * Math.SQRT1_2 - 12);
  });

  test("a small heatmap writes its values, a large one names only some of its columns", () => {
    expect(toSvg(accuracy)).toContain(">0.93<");
    const large: HeatmapFigure = {
      kind: "heatmap",
      title: "t",
      values: Array.from({ length: 60 }, (_, row) => Array.from({ length: 120 }, (_, column) => row * column)),
    };
    const svg = toSvg(large);
    expect(count(svg, /<title>/g)).toBe(7_200);
    expect(svg).toContain(">110<");
    expect(svg).not.toContain(">111<");
    expect(svg).not.toContain("rotate(");
  });

  test("bars start at zero on the side of their sign; lines break where there is no value", () => {
    const bars = toSvg(attribution);
    const titles = titlesOf(bars);
    expect(titles).toEqual([
      "embed\n0.12",
      "0.attn.out\n−0.34",
      "0.mlp.out\n1.5\nlargest",
      "1.attn.out\nno value",
      "1.mlp.out\n−0.002",
    ]);
    const document = new DOMParser().parseFromString(bars, "image/svg+xml");
    const places = Array.from(document.querySelectorAll('[aria-label="bar"] rect'), (bar) => {
      const [x, width] = ["x", "width"].map((name) => Number((bar as Element).getAttribute(name)));
      return [x, width] as [number, number];
    });
    const zero = Number(document.querySelector('[aria-label="rule"] line')?.getAttribute("x1"));
    expect(places).toHaveLength(5);
    const ends = places.map(([x, width], i) => ((attribution.bars[i]?.value ?? 0) < 0 ? x + width : x));
    // the library computes places in float64
    for (const end of ends) expect(end).toBeCloseTo(zero, 6);
    expect((places[2]?.[1] ?? 0) / (places[0]?.[1] ?? 0)).toBeCloseTo(1.5 / 0.12, 6);
    expect(places[3]?.[1]).toBe(0);
    const lines = toSvg(loss);
    expect(lines).toContain("no value at 2 points");
    expect(count(lines, /<circle/g)).toBe(6);
  });

  test("edges are as wide as their weight and coloured by its sign, the strongest on top, nodes over all", () => {
    const svg = toSvg(circuit);
    const document = new DOMParser().parseFromString(svg, "image/svg+xml");
    const paths = Array.from(document.querySelectorAll("path"), (path) => path as Element & { textContent: string });
    const edges = paths.filter((path) => path.textContent !== "");
    const titles = edges.map((path) => path.textContent);
    expect(titles[0]).toBe("0.mlp → 1.h2\nlogit difference: no value\nk");
    expect(titles[7]).toBe("1.h0 → logits\nlogit difference: 2.5");
    const widths = edges.map((path) => Number(path.getAttribute("stroke-width")));
    expect(widths).toEqual([...widths].sort((a, b) => a - b));
    expect(widths[7]).toBe(6);
    expect(widths[4]).toBeCloseTo(0.75 + 5.25 * (0.7 / 2.5), 2); // written with two decimals
    const colourOf = (title: string) =>
      edges[titles.findIndex((text) => text.startsWith(title))]?.getAttribute("stroke");
    expect(colourOf("embed → 0.mlp")).toBe(colourOf("1.h2 → logits"));
    expect(colourOf("embed → 0.h1")).toBe(colourOf("1.h0 → logits"));
    expect(colourOf("embed → 0.h1")).not.toBe(colourOf("embed → 0.mlp"));
    expect(svg.lastIndexOf("<path")).toBeLessThan(svg.indexOf('rx="5"'));
    expect(titlesOf(svg)).toContain("1.h0\nname mover");
  });

  test("an edge up a column bows around the nodes between", () => {
    const pathOf = (title: string) => new RegExp(`d="([^"]+)"[^>]*><title>${title}`).exec(toSvg(circuit))?.[1] ?? "";
    const xs = (path: string) => Array.from(path.matchAll(/([\d.]+),/g), ([, x]) => Number(x));
    expect(new Set(xs(pathOf("embed → 0.mlp"))).size).toBe(1);
    expect(new Set(xs(pathOf("embed → logits"))).size).toBe(2);
  });

  test("any figure becomes a well-formed document that draws all its text inside", () => {
    fc.assert(
      fc.property(hostileFigure, (figure) => {
        const svg = toSvg(figure);
        // a strict XML parser: it refuses control characters, surrogates and unescaped text
        const drawn = new Resvg(svg, { font: { loadSystemFonts: false } });
        expect(drawn.width).toBeGreaterThan(0);
        expect(svg).not.toMatch(/NaN|Infinity|undefined|<script|<b>/);
      }),
      { numRuns: 150, seed: 3 },
    );
  });

  test("a title of many words or wide letters stays on the paper", () => {
    const words = "WORDS 日本語 that go on and on ".repeat(8);
    const widest = { ...attribution, title: words, subtitle: words } satisfies Figure;
    const svg = toSvg(widest);
    const box = new Resvg(svg, { font: { loadSystemFonts: true } }).getBBox();
    const width = Number(/width="(\d+)"/.exec(svg)?.[1]);
    expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(width);
    expect(svg).toContain("…<");
  });
});

describe("png", () => {
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  const sizeOf = (png: Uint8Array) => [Buffer.from(png).readUInt32BE(16), Buffer.from(png).readUInt32BE(20)];
  const hash = (png: Uint8Array) => createHash("sha256").update(png).digest("hex");

  test("has the size of the picture times the scale, and the same bytes each time", () => {
    const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(toSvg(lens)) ?? [];
    const png = toPng(lens);
    expect([...png.subarray(0, 8)]).toEqual(signature);
    expect(sizeOf(png)).toEqual([2 * Number(width), 2 * Number(height)]);
    expect(sizeOf(toPng(lens, { scale: 1 }))).toEqual([Number(width), Number(height)]);
    expect(hash(toPng(lens))).toBe(hash(png));
    expect(hash(toPng({ ...lens, title: "another" }))).not.toBe(hash(png));
  });

  test("is not blank, and two characters that no font has look different", () => {
    const table = (text: string): TableFigure => ({
      kind: "table",
      title: "t",
      rows: ["0"],
      columns: ["a"],
      cells: [[{ text, value: 0 }]],
    });
    const images = ["日", "本", "  ", "🙂", "न"].map((text) => hash(toPng(table(text), { scale: 1 })));
    expect(new Set(images).size).toBe(images.length);
  });

  test("a title with ligatures beside a character that no font has is drawn", () => {
    const titled = (title: string) => hash(toPng({ ...accuracy, title }, { scale: 1 }));
    expect(titled("office 日")).not.toBe(titled(" "));
    expect(titled("office 日")).not.toBe(titled("日"));
  });

  test.each([0, -1, 9, Number.NaN])("refuses the scale %d", (scale) => {
    expect(() => toPng(accuracy, { scale })).toThrow(/scale .* must lie above 0/);
  });

  test("refuses more pixels than it can hold", () => {
    const wide: HeatmapFigure = { kind: "heatmap", title: "t", values: [Array.from({ length: 10_000 }, () => 0)] };
    expect(() => toPng(wide, { scale: 8 })).toThrow(/pixels; lower the scale/);
  });
});

describe("html", () => {
  test("holds every figure, its notes, and nothing from elsewhere", () => {
    const page = toHtml([lens, loss], { title: "A & B", notes: "First\nline.\n\n</p><script>alert(1)</script>" });
    expect(count(page, /<svg /g)).toBe(2);
    expect(page).toContain("<title>A &amp; B</title>");
    expect(page).toContain("<p>First line.</p>\n<p>&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p>");
    expect(page).toContain("prefers-color-scheme: dark");
    expect(page).not.toMatch(/<script|<link|<img|href=|src=|url\(|@import/);
    expect(page.replaceAll('xmlns="http://www.w3.org/2000/svg"', "")).not.toMatch(/https?:/);
  });

  test("any figure stays text: no element that was not drawn, no control character, no surrogate", () => {
    fc.assert(
      fc.property(hostileFigure, (figure) => {
        const page = toHtml(figure, { notes: figure.title });
        expect(page).not.toMatch(/\p{Cs}/u);
        expect(page).not.toMatch(/(?!\n)\p{Cc}|\u202e|<script|<!--|\]\]>/u);
        const tags = new Set(Array.from(page.matchAll(/<\/?([a-zA-Z!][a-zA-Z0-9]*)/g), ([, tag]) => tag));
        for (const tag of tags) expect(allowedTags).toContain(tag);
      }),
      { numRuns: 100, seed: 4 },
    );
  });

  test("needs a figure", () => {
    expect(() => toHtml([])).toThrow(/at least one figure/);
  });
});

const allowedTags = "!doctype html head meta title style body h1 figure p svg g rect text tspan path line circle".split(
  " ",
);
