import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { accuracy, attribution, circuit, lens, loss, patching } from "../../test/fixtures/figures/examples.js";
import { hostileFigure } from "../../test/fixtures/figures/hostile.js";
import { toSvg, toTerminal } from "./index.js";
import { formatAlike } from "./number.js";

const { wide } = JSON.parse(
  readFileSync(new URL("../../test/fixtures/figures/east-asian-wide.json", import.meta.url), "utf8"),
) as { wide: [number, number][] };

/** Columns by Unicode's table, code point by code point; an upper bound only where no sequence is joined. */
function tableColumns(text: string): number {
  let columns = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (/\p{M}|\p{Emoji_Modifier}|[\u1160-\u11ff]/u.test(character)) continue;
    columns += wide.some(([first, last]) => first <= code && code <= last) ? 2 : 1;
  }
  return columns;
}

/** The text with the start of each colour as `{48;2;...}` and its end as `{0}`, so that tests can be read. */
function withCodes(text: string): string {
  return text.replaceAll(/\p{Cc}\[([\d;]*)m/gu, "{$1}");
}

describe("tables", () => {
  test("without colour: last row on top, tokens and values in columns", () => {
    expect(toTerminal(lens, { width: 90 })).toBe(`Logit lens: “The capital of France is”
most probable next token after each layer

      0                1                2                3                4
      The              ·capital         ·of              ·France          ·is
    2 ·first        —  ·of        0.97  ·the       0.61  ·is        0.48  ·Paris     0.84
    1 ·first     0.18  ·of        0.66  ·the       0.52  ·is        0.35  ·the       0.40
    0 ·first     0.11  ·city      0.20  ·the       0.31  مرحبا      0.08  ·a         0.24
embed ⏎          0.02  ization    0.04  ·the       0.06  日本       0.03  internati… 0.01

numbers: probability, — no value
`);
  });

  test("too wide for the terminal: several panels, each with its header", () => {
    const lines = toTerminal(lens, { width: 40 }).split("\n");
    expect(lines.filter((line) => line.includes("embed"))).toHaveLength(5);
    expect(Math.max(...lines.map(tableColumns))).toBeLessThanOrEqual(40);
  });

  test("in colour: the cell's colour behind the token, black or white on it", () => {
    const text = withCodes(toTerminal(lens, { colour: "truecolor" }));
    expect(text).toMatch(/\{48;2;\d+;\d+;\d+;38;2;255;255;255\} ·of/);
    expect(text).toMatch(/\{48;2;\d+;\d+;\d+;38;2;0;0;0\} ⏎/);
    expect(text).toContain("{48;2;222;224;228;38;2;0;0;0} ·first");
    expect(withCodes(toTerminal(lens, { colour: "256" }))).toMatch(/\{48;5;\d+;38;5;231\} ·of/);
    expect(toTerminal(lens)).not.toMatch(/(?!\n)\p{Cc}/u);
  });
});

describe("heatmaps", () => {
  test("without colour: tenths with signs, and what they mean", () => {
    const text = toTerminal(patching);
    expect(text).toContain(" 0  0 0 9 0 —−2\n");
    expect(text).toContain("share of the logit difference restored: 0 to 9 from 0 to 0.9, — no value");
    expect(text).toContain("0 <|im_start|>  1 When  2 ·Mary");
    expect(text.indexOf("13  0")).toBeLessThan(text.indexOf(" 0  0"));
  });

  test("wider than the terminal: blocks pooled to their largest value in size", () => {
    const values = Array.from({ length: 100 }, (_, row) =>
      Array.from({ length: 100 }, (_, column) => (row === 57 && column === 31 ? -1 : 0.05)),
    );
    const text = toTerminal({ kind: "heatmap", title: "t", values }, { width: 60 });
    expect(text).toContain("each cell: the largest in size of 4 x 4");
    expect(text.match(/−9/g)).toHaveLength(1);
    expect(text).toMatch(/^56 ( 0){7}−9/m);
  });

  test("in colour a cell is two columns of ground", () => {
    const text = withCodes(toTerminal(accuracy, { colour: "truecolor" }));
    expect(text.match(/\{48;2;[\d;]+\} {2}\{0\}/g)).toHaveLength(6);
  });
});

describe("charts", () => {
  test("bars on both sides of a common zero", () => {
    expect(toTerminal(attribution, { width: 50 })).toBe(`Direct logit attribution

     embed      █▉                           0.12
0.attn.out █████                            −0.34
 0.mlp.out      ████████████████████████     1.50
1.attn.out                               no value
 1.mlp.out                                   0.00

logit difference (nats)
`);
  });

  test("lines as heights, with gaps", () => {
    expect(toTerminal(loss, { width: 50 })).toBe(`Loss

  training █      ▆             ▁      ▁ 4 → 1.2
validation █                           ▂ 4.1 → 1.6

step: 1 to 10000, log
loss (nats): 1.2 to 4.1
`);
  });
});

describe("graphs", () => {
  test("the edges as a table, the strongest first", () => {
    expect(toTerminal(circuit, { width: 60 })).toBe(`Attribution graph: “When Mary and John went to the store”
edges that carry the logit difference

1.h0  → logits     2.50
0.mlp → 1.h0       1.20  q
1.h2  → logits    −0.90
0.h1  → 0.mlp      0.70
embed → 0.h1       0.40  v
embed → 0.mlp     −0.10
embed → logits     0.05
0.mlp → 1.h2   no value  k

logit difference; 6 nodes, 8 edges
`);
  });

  test("of many edges the strongest, and how many more there are", () => {
    const edges = Array.from({ length: 35 }, (_, i) => ({ from: "embed", to: "logits", weight: i }));
    const text = toTerminal({ ...circuit, edges });
    expect(text).toContain("35 edges; 5 weaker ones are not shown");
    expect(text.match(/→/g)).toHaveLength(30);
    expect(text).toMatch(/→ logits +34\.0\n/);
    expect(text).not.toMatch(/→ logits +4\.0\n/);
  });
});

test("any figure fits the width, and writes no control of its own but colours", () => {
  fc.assert(
    fc.property(
      hostileFigure,
      fc.integer({ min: 24, max: 120 }),
      fc.constantFrom("none", "256", "truecolor"),
      (figure, width, colour) => {
        const text = toTerminal(figure, { width, colour: colour as "none" });
        expect(text).not.toMatch(/\p{Cs}/u);
        const plain = stripVTControlCharacters(text);
        expect(plain).not.toMatch(/(?!\n)\p{Cc}|\u202e|undefined|NaN/u);
        for (const line of plain.split("\n")) expect(tableColumns(line)).toBeLessThanOrEqual(width);
      },
    ),
    { numRuns: 300, seed: 5 },
  );
});

test("draws what is too large for a picture", () => {
  const row = Array.from({ length: 150_000 }, (_, i) => i);
  expect(toTerminal({ kind: "heatmap", title: "t", values: [row] })).toContain(
    "each cell: the largest in size of 1 x 3847",
  );
  expect(formatAlike(row)(1)).toBe("1");
});

test.each([0, 23, 40.5, Number.NaN])("refuses a width of %d", (width) => {
  expect(() => toTerminal(lens, { width })).toThrow(/whole number of at least 24/);
});

test("joined emoji count once", () => {
  const line = toTerminal({ ...attribution, title: "👨‍👩‍👧".repeat(20) }, { width: 24 }).split("\n")[0];
  expect(stripVTControlCharacters(line ?? "")).toBe(`${"👨‍👩‍👧".repeat(11)}…`);
});

test("loads no library until a picture is drawn", () => {
  const loaded = () =>
    Object.keys(createRequire(import.meta.url).cache).filter((path) => /plot|linkedom|resvg/.test(path));
  toTerminal(lens, { colour: "truecolor" });
  expect(loaded()).toEqual([]);
  toSvg(lens);
  expect(loaded()).not.toEqual([]);
});
