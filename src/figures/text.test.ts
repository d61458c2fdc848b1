import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hostileText } from "../../test/fixtures/figures/hostile.js";
import {
  codePointColumns,
  columnsOf,
  cut,
  drawnColumns,
  graphemeColumns,
  pad,
  sansEms,
  showToken,
  widthOf,
  wrap,
} from "./text.js";

describe("showToken", () => {
  test.each([
    [" Paris", "·Paris"],
    ["a b", "a b"],
    ["a  b ", "a··b·"],
    ["   ", "···"],
    ["", "∅"],
    ["\n", "⏎"],
    ["\r\n\t", "␍⏎⇥"],
    ["\0\x1b[31m", "\\x00\\x1b[31m"],
    ["\u202eevil", "\\u{202e}evil"],
    ["\u00a0", "\\u{a0}"],
    ["\ud83d", "\\u{d83d}"],
    ["\ufffe", "\\u{fffe}"],
    ["\u0301", "◌\u0301"],
    ["a\u200db", "a\\u{200d}b"],
    ["👩‍🔬", "👩‍🔬"],
    ["❤️", "❤️"],
    ["می‌خواهم", "می‌خواهم"],
    ["e\u0301\u0301\u0301\u0301\u0301\u0301", "e\u0301\u0301\u0301\u0301…"],
    ["日本 語", "日本 語"],
  ])("%j is shown as %j", (text, shown) => {
    expect(showToken(text)).toBe(shown);
  });

  test("leaves nothing unseen, is well formed, and changes nothing the second time", () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const shown = showToken(text);
        expect(shown).not.toBe("");
        expect(shown).not.toMatch(/\p{Cs}/u);
        expect(shown).not.toMatch(/[\p{Cc}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069\ufeff]/u);
        expect(showToken(shown)).toBe(shown);
      }),
      { numRuns: 2_000, seed: 1 },
    );
  });
});

describe("columns", () => {
  const unicode = JSON.parse(
    readFileSync(new URL("../../test/fixtures/figures/east-asian-wide.json", import.meta.url), "utf8"),
  ) as { wide: [number, number][]; assigned: [number, number][] };

  test("agree with Unicode's East Asian widths on every assigned code point", () => {
    const wide = new Set(
      unicode.wide.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i)),
    );
    // narrow in the table's Unicode 14 and wide since 16; and what takes no column inside its cluster
    const since16 = /[\u2630-\u2637\u268a-\u268f\u4dc0-\u4dff\u{1d300}-\u{1d356}\u{1d360}-\u{1d376}]/u;
    const inside = /[\u1160-\u11ff]|\p{Emoji_Modifier}/u;
    const wrong: string[] = [];
    for (const [first, last] of unicode.assigned) {
      for (let code = first; code <= last; code++) {
        const character = String.fromCodePoint(code);
        const expected = wide.has(code) || since16.test(character) ? 2 : 1;
        if (codePointColumns(character) !== expected && !inside.test(character)) wrong.push(code.toString(16));
      }
    }
    expect(wrong).toEqual([]);
  });

  test.each([
    ["Paris", 5],
    ["日本", 4],
    ["🙂", 2],
    ["👨‍👩‍👧", 2],
    ["🇫🇷", 2],
    ["👍🏽", 2],
    ["❤️", 2],
    ["e\u0301", 1],
    ["한", 2],
    ["ﾊﾝ", 2],
  ])("%s takes %i", (text, columns) => {
    expect(columnsOf(text)).toBe(columns);
  });

  test("cut and pad keep to their columns and to whole clusters", () => {
    expect(cut("日本語", 5, graphemeColumns)).toBe("日本…");
    expect(cut("日本語", 4, graphemeColumns)).toBe("日…");
    expect(cut("👨‍👩‍👧👨‍👩‍👧", 3, graphemeColumns)).toBe("👨‍👩‍👧…");
    expect(cut("ab", 2, graphemeColumns)).toBe("ab");
    expect(cut("ab", 0, graphemeColumns)).toBe("");
    expect(pad("日本語", 4)).toBe("日… ");
    expect(pad("a", 3, "right")).toBe("  a");
    fc.assert(
      fc.property(hostileText, fc.integer({ min: 0, max: 12 }), (text, columns) => {
        const shown = showToken(text);
        expect(columnsOf(pad(shown, columns))).toBe(columns);
        expect(widthOf(cut(shown, columns, drawnColumns), drawnColumns)).toBeLessThanOrEqual(columns);
      }),
      { seed: 2 },
    );
  });

  test("letters that the monospaced font lacks get two columns in a picture", () => {
    expect(widthOf("न", drawnColumns)).toBe(2);
    expect(widthOf("aяعβ", drawnColumns)).toBe(4);
  });

  test("wrap breaks at spaces, cuts the last line, and breaks words only where it must", () => {
    const columns = graphemeColumns;
    expect(wrap("the best of times", 8, 3, columns)).toEqual(["the best", "of times"]);
    expect(wrap("the best of times", 8, 2, columns)).toEqual(["the best", "of times"]);
    expect(wrap("the best of all times", 8, 2, columns)).toEqual(["the best", "of all …"]);
    expect(wrap("abcdefghij", 4, 5, columns)).toEqual(["abcd", "efgh", "ij"]);
    expect(wrap("", 4, 5, columns)).toEqual([""]);
    expect(wrap("WWWW", 3, 2, sansEms)).toEqual(["WWW", "W"]);
  });
});
