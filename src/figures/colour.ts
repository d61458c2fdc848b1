/**
 * Colours, made in OKLab so that equal steps of value look like equal steps: lightness falls linearly, chroma rises along a
 * quarter sine, and nothing leaves sRGB. Lightness alone tells values apart, so the scales hold without colour vision.
 */
import { type HeatmapFigure, hasValue, type Value } from "./figure.js";
import { extent, fraction } from "./number.js";

/** Red, green, blue from 0 to 255. */
export type Rgb = readonly [number, number, number];

/** The colour of cells without a value: a grey beside the near-white of small values. */
export const noValueColour: Rgb = [222, 224, 228];

/** Colours of lines: told apart by viewers with any colour vision, and at least 3:1 against white and near-black. */
export const seriesColours: readonly Rgb[] = [
  [14, 110, 189],
  [204, 82, 12],
  [26, 138, 108],
  [168, 74, 160],
  [140, 112, 8],
  [108, 117, 132],
];

/** OKLab lightness 0 to 1, chroma, and hue in degrees to sRGB (Ottosson 2020). */
function fromOklch(lightness: number, chroma: number, hue: number): Rgb {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    encodeGamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encodeGamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encodeGamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function encodeGamma(linear: number): number {
  const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, value)));
}

/** From near-white over sky blue to deep blue, for `t` from 0 to 1. */
export function sequential(t: number): Rgb {
  return fromOklch(0.985 - 0.655 * t, 0.155 * Math.sin((Math.PI / 2) * t), 215 + 50 * t);
}

/** From blue over near-white to vermilion, for `t` from -1 to 1. */
export function diverging(t: number): Rgb {
  const size = Math.abs(t);
  return fromOklch(0.985 - 0.565 * size, 0.145 * Math.sin((Math.PI / 2) * size), t < 0 ? 262 : 33);
}

/** How values become colours: `at` maps a value to a place on the palette, -1 or 0 to 1. */
export interface ColourScale {
  readonly kind: "sequential" | "diverging";
  readonly domain: readonly [number, number];
  readonly at: (value: number) => number;
  readonly colour: (value: Value | undefined) => Rgb;
}

/** A colour scale over a domain; values outside take the colour of the nearer end. */
export function colourScale(kind: "sequential" | "diverging", domain: readonly [number, number]): ColourScale {
  const [low, high] = domain;
  const at = (value: number): number => {
    const t = kind === "diverging" ? value / high : fraction(value, low, high);
    return Math.min(1, Math.max(kind === "diverging" ? -1 : 0, t));
  };
  const palette = kind === "diverging" ? diverging : sequential;
  return { kind, domain, at, colour: (value) => (hasValue(value) ? palette(at(value)) : noValueColour) };
}

/**
 * The colour scale of a heatmap: what it asks for, else from its data. A sequential scale starts at 0 where the data nearly
 * does (least below a fifth of the most). A domain without width is widened to hold 0.
 */
export function heatmapScale(figure: HeatmapFigure): ColourScale {
  const [low, high] = figure.domain ?? extent(figure.values.flat()) ?? [0, 1];
  const kind = figure.scale ?? (low < 0 ? "diverging" : "sequential");
  if (kind === "diverging") {
    const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return colourScale(kind, [-reach, reach]);
  }
  if (low === high) return colourScale(kind, [Math.min(0, low), Math.max(0, high) || 1]);
  const fromZero = figure.domain === undefined && low > 0 && low < high / 5;
  return colourScale(kind, [fromZero ? 0 : low, high]);
}

/** `#rrggbb`. */
export function hex(colour: Rgb): string {
  return `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever is read better on a background: always at least 4.5:1. */
export function inkOn(background: Rgb): Rgb {
  return contrast(background, [0, 0, 0]) >= contrast(background, [255, 255, 255]) ? [0, 0, 0] : [255, 255, 255];
}

/** The contrast of two colours, from 1 to 21 (WCAG 2.2). */
export function contrast(a: Rgb, b: Rgb): number {
  const [lighter, darker] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour: Rgb): number {
  const [red, green, blue] = colour.map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
