/** What runs for ever is given up; everything else passes through untouched. */
import { expect, it } from "vitest";
import { withinTime } from "./limit.js";

it("returns what the work returns, undefined too", () => {
  expect(withinTime(1000, "work", () => 7)).toBe(7);
  expect(withinTime(1000, "work", () => undefined)).toBeUndefined();
});

it("throws the very error that the work throws", () => {
  const error = new RangeError("mine");
  expect(() =>
    withinTime(1000, "work", () => {
      throw error;
    }),
  ).toThrow(error);
});

it.each([
  [
    "a loop",
    () => {
      for (;;);
    },
  ],
  ["an expression", () => /^(a+)+$/.test(`${"a".repeat(60)}b`)],
])("gives up %s that does not end, and works again", (_, work) => {
  expect(() => withinTime(50, "the work", work)).toThrow("the work does not end: it was given up after 0.05 s");
  expect(withinTime(1000, "work", () => 8)).toBe(8);
});
