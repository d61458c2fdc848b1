import { describe, expect, test } from "vitest";
import { accuracy, attribution, circuit, examples, lens, loss } from "../../test/fixtures/figures/examples.js";
import type { PatchclampError } from "../errors.js";
import type { Figure } from "./figure.js";
import { formatAlike, formatNumber, niceStep } from "./number.js";
import { toSvg } from "./svg.js";
import { toTerminal } from "./terminal.js";

describe("a figure whose parts do not fit is a usage error, however it is drawn", () => {
  test.each<[string, Figure, RegExp]>([
    ["empty matrix", { ...accuracy, values: [] }, /"Probe accuracy" has an empty matrix of values/],
    ["empty rows", { ...accuracy, values: [[], []] }, /empty matrix of values/],
    ["ragged matrix", { ...accuracy, values: [[1, 2, 3], [1]] }, /1 values in row 1 and 3 in row 0/],
    ["row names", { ...accuracy, rows: ["one"] }, /1 labels in `rows`; its matrix needs 2/],
    ["column names", { ...accuracy, columns: ["one"] }, /1 labels in `columns`; its matrix needs 3/],
    ["domain", { ...accuracy, domain: [2, 1] }, /domain \[2, 1\]/],
    ["infinite domain", { ...accuracy, domain: [0, Number.POSITIVE_INFINITY] }, /domain \[0, Infinity\]/],
    ["empty table", { ...lens, cells: [] }, /empty matrix of cells/],
    ["table rows", { ...lens, rows: ["embed"] }, /1 labels in `rows`; its matrix needs 4/],
    ["table columns", { ...lens, columns: [] }, /0 labels in `columns`; its matrix needs 5/],
    ["positions", { ...lens, positions: [0] }, /1 labels in `positions`; its matrix needs 5/],
    ["no bars", { ...attribution, bars: [] }, /has no bars/],
    ["no series", { ...loss, series: [] }, /has no series/],
    ["empty series", { ...loss, series: [{ name: "a", x: [], y: [] }] }, /empty series "a"/],
    ["unequal series", { ...loss, series: [{ name: "a", x: [1, 2], y: [1] }] }, /2 x and 1 y/],
    ["no nodes", { ...circuit, nodes: [] }, /has no nodes/],
    ["a layer too high", { ...circuit, layers: ["0"] }, /"layers.0.attn.h1" in layer 1; its 1 layers count from 0/],
    ["a column too far", { ...circuit, columns: ["a"] }, /"embed" in column 3; its 1 columns count from 0/],
    ["half a column", { ...circuit, nodes: [{ name: "a", layer: 0, column: 0.5 }] }, /in column 0.5/],
    [
      "a node twice",
      { ...circuit, nodes: [...circuit.nodes, { name: "embed", layer: 0, column: 1 }] },
      /"embed" twice/,
    ],
    [
      "a place twice",
      { ...circuit, nodes: [...circuit.nodes, { name: "x", layer: 0, column: 3 }] },
      /"x" twice, or in/,
    ],
    ["an edge to nowhere", { ...circuit, edges: [{ from: "embed", to: "x", weight: 1 }] }, /from "embed" to "x"/],
    ["an edge to itself", { ...circuit, edges: [{ from: "embed", to: "embed", weight: 1 }] }, /give two of its nodes/],
    ["unknown kind", { kind: "pie", title: "t" } as unknown as Figure, /kind "pie"/],
  ])("%s", (_, figure, message) => {
    for (const draw of [toSvg, toTerminal] as ((figure: Figure) => string)[]) {
      expect(() => draw(figure)).toThrow(message);
      try {
        draw(figure);
      } catch (error) {
        expect((error as PatchclampError).kind).toBe("usage");
      }
    }
  });

  test("too many cells, bars or edges for a picture", () => {
    const values = Array.from({ length: 201 }, () => new Array<number>(200).fill(0));
    expect(() => toSvg({ kind: "heatmap", title: "t", values })).toThrow(
      /201 x 200 cells; a picture holds at most 40000/,
    );
    const bars = Array.from({ length: 1_001 }, () => ({ label: "a", value: 1 }));
    expect(() => toSvg({ kind: "bar", title: "t", bars })).toThrow(/1001 bars; a picture holds at most 1000/);
    const edges = Array.from({ length: 2_001 }, () => ({ from: "embed", to: "logits", weight: 1 }));
    expect(() => toSvg({ ...circuit, edges })).toThrow(/2001 edges; a picture holds at most 2000/);
  });
});

test("figures survive JSON, where a number that does not exist becomes null", () => {
  for (const figure of Object.values(examples)) {
    expect(toSvg(JSON.parse(JSON.stringify(figure)) as Figure)).toBe(toSvg(figure));
  }
});

describe("numbers", () => {
  test.each<[number | null | undefined, string]>([
    [0.12345, "0.123"],
    [-2, "−2"],
    [0, "0"],
    [-0, "0"],
    [12345, "12300"],
    [1.5e7, "1.5e7"],
    [2e10, "2e10"],
    [Number.MAX_VALUE, "1.8e308"],
    [-1.234e-7, "−1.23e−7"],
    [null, "no value"],
    [undefined, "no value"],
    [Number.NaN, "no value"],
    [Number.NEGATIVE_INFINITY, "no value"],
  ])("%d is written %s", (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  test("numbers below each other share their decimals", () => {
    const format = formatAlike([1.5, -0.002, null]);
    expect([1.5, -0.002, -0.34, null].map(format)).toEqual(["1.50", "0.00", "−0.34", "no value"]);
    expect(formatAlike([1e9])(1e9)).toBe("1e9");
    expect(formatAlike([123456])(1.4)).toBe("1");
    expect(formatAlike([])(0)).toBe("0");
  });

  test("steps are 1, 2 or 5 times a power of ten", () => {
    expect([0.3, 1, 1.5, 3, 7, 11, 34, 60].map(niceStep)).toEqual([1, 1, 2, 5, 10, 20, 50, 100]);
  });
});
