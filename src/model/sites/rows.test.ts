/** Left padding: positions count a row's own tokens, columns the tensor's places. */
import { describe, expect, it } from "vitest";
import { tensorOf } from "../../runtime/index.js";
import { checkRows, keyPositionAt, paddedIds, positionAt, positions, promptRows, type Rows } from "./rows.js";

describe("a batch of prompts", () => {
  const rows = promptRows([3, 1]);

  it("is as wide as its longest row", () => {
    expect(rows).toEqual({ lengths: [3, 1], columns: 3, keyColumns: 3 });
  });

  it("is padded on the left", () => {
    expect(paddedIds([[7, 8, 9], [5]], rows)).toEqual(tensorOf("int64", [2, 3], [7, 8, 9, 0, 0, 5]));
    expect(positions(rows)).toEqual(tensorOf("int64", [2, 3], [0, 1, 2, -2, -1, 0]));
  });
});

it("counts on in generation: one new column, the cached ones as keys", () => {
  const rows: Rows = { lengths: [5, 3], columns: 1, keyColumns: 5 };
  expect([positionAt(rows, 0, 0), positionAt(rows, 1, 0)]).toEqual([4, 2]);
  expect([0, 2, 4].map((column) => keyPositionAt(rows, 1, column))).toEqual([-2, 0, 2]);
  expect(positions(rows)).toEqual(tensorOf("int64", [2, 1], [4, 2]));
});

describe("checkRows", () => {
  it("lets good rows pass, up to the last id and the whole context", () => {
    expect(() =>
      checkRows(
        [
          [0, 60],
          [1, 2, 3],
        ],
        61,
        3,
      ),
    ).not.toThrow();
  });

  it.each<[number[][], string]>([
    [[], "no prompt was given"],
    [[[]], "the prompt has no tokens"],
    [[[1], []], "prompt 1 has no tokens"],
    [[[1, 2, 3, 4]], "the prompt has 4 tokens; the model's context is 3"],
    [[[1], [61]], "prompt 1 has the token id 61; ids go from 0 to 60"],
    [[[-1]], "the prompt has the token id -1"],
    [[[1.5]], "the prompt has the token id 1.5"],
    [[[Number.NaN]], "the prompt has the token id NaN"],
  ])("refuses %j", (ids, message) => {
    expect(() => checkRows(ids, 61, 3)).toThrow(message);
  });
});
