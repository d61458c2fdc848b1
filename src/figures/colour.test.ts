import { describe, expect, test } from "vitest";
import {
  colourScale,
  contrast,
  diverging,
  heatmapScale,
  inkOn,
  noValueColour,
  type Rgb,
  sequential,
  seriesColours,
} from "./colour.js";
import type { HeatmapFigure } from "./figure.js";

const steps = Array.from({ length: 201 }, (_, i) => i / 200);

function linear(part: number): number {
  const value = part / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}

/** sRGB to OKLab (Ottosson 2020), the way back from what the palettes are made by. */
function oklab(colour: Rgb): [number, number, number] {
  const [r, g, b] = colour.map(linear) as [number, number, number];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function difference(a: Rgb, b: Rgb): number {
  const [x, y] = [oklab(a), oklab(b)];
  return Math.hypot(x[0] - y[0], x[1] - y[1], x[2] - y[2]);
}

/** What a dichromat sees (Viénot, Brettel, Mollon 1999), in linear light, back to sRGB. */
function dichromat(colour: Rgb, kind: "protan" | "deutan"): Rgb {
  const [r, g, b] = colour.map(linear) as [number, number, number];
  const mixed: [number, number, number] =
    kind === "protan"
      ? [0.11238 * r + 0.88762 * g, 0.11238 * r + 0.88762 * g, 0.00401 * r - 0.00401 * g + b]
      : [0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b];
  return mixed.map((value) => {
    const clipped = Math.min(1, Math.max(0, value));
    return 255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055);
  }) as unknown as Rgb;
}

describe("palettes", () => {
  test.each([
    ["sequential", sequential],
    ["diverging, upper half", diverging],
    ["diverging, lower half", (t: number) => diverging(-t)],
  ])("%s: even steps, falling lightness", (_, palette) => {
    const tenths = Array.from({ length: 11 }, (_, i) => palette(i / 10));
    const distances = tenths.slice(1).map((colour, i) => difference(colour, tenths[i] as Rgb));
    const mean = distances.reduce((total, value) => total + value) / distances.length;
    // 15%: chroma rises faster at the pale end; clipping to sRGB would show as more
    for (const distance of distances) expect(Math.abs(distance / mean - 1)).toBeLessThan(0.15);
    const lightness = tenths.map((colour) => oklab(colour)[0]);
    expect(lightness).toEqual([...lightness].sort((a, b) => b - a));
  });

  test("text is readable on every colour (WCAG AA)", () => {
    for (const colour of [...steps.map(sequential), ...steps.map((t) => diverging(2 * t - 1)), noValueColour]) {
      expect(contrast(colour, inkOn(colour))).toBeGreaterThanOrEqual(4.5);
    }
    expect(contrast([0, 0, 0], [255, 255, 255])).toBeCloseTo(21, 5);
  });

  test.each(["protan", "deutan"] as const)("the signs of a diverging scale stay apart for a %s", (kind) => {
    // 0.1 in OKLab is five times a just noticeable difference
    for (const t of [0.5, 0.75, 1]) {
      expect(difference(dichromat(diverging(t), kind), dichromat(diverging(-t), kind))).toBeGreaterThan(0.1);
    }
  });

  test("lines stand out from white and from dark paper", () => {
    for (const colour of seriesColours) {
      expect(contrast(colour, [255, 255, 255])).toBeGreaterThanOrEqual(3);
      expect(contrast(colour, [22, 27, 34])).toBeGreaterThanOrEqual(3);
    }
  });

  test("no value looks unlike small values", () => {
    expect(difference(noValueColour, sequential(0))).toBeGreaterThan(0.05);
    expect(difference(noValueColour, diverging(0))).toBeGreaterThan(0.05);
  });
});

describe("scales", () => {
  const heatmap = (values: (number | null)[], rest: Partial<HeatmapFigure> = {}): HeatmapFigure => ({
    kind: "heatmap",
    title: "t",
    values: [values],
    ...rest,
  });

  test.each([
    ["spans its data", heatmap([3, 5]), "sequential", [3, 5]],
    ["starts at zero where the data nearly does", heatmap([0.1, 1]), "sequential", [0, 1]],
    ["is symmetric where the data is signed", heatmap([-1, 4]), "diverging", [-4, 4]],
    ["is what it is asked to be", heatmap([-1, 4], { scale: "sequential" }), "sequential", [-1, 4]],
    ["takes a domain", heatmap([0.1, 1], { domain: [0.05, 2] }), "sequential", [0.05, 2]],
    ["widens one value", heatmap([7, 7]), "sequential", [0, 7]],
    ["survives zeros", heatmap([0]), "sequential", [0, 1]],
    ["survives no values", heatmap([null, Number.NaN, Number.POSITIVE_INFINITY]), "sequential", [0, 1]],
  ])("%s", (_, figure, kind, domain) => {
    const scale = heatmapScale(figure);
    expect([scale.kind, scale.domain]).toEqual([kind, domain]);
  });

  test("clamps, and has a colour for no value and for the largest numbers", () => {
    const scale = colourScale("sequential", [-Number.MAX_VALUE, Number.MAX_VALUE]);
    expect(scale.at(0)).toBeCloseTo(0.5, 12);
    expect(colourScale("sequential", [0, 1]).at(7)).toBe(1);
    expect(colourScale("diverging", [-2, 2]).at(-1)).toBe(-0.5);
    for (const value of [null, undefined, Number.NaN, Number.NEGATIVE_INFINITY])
      expect(scale.colour(value)).toBe(noValueColour);
  });
});
