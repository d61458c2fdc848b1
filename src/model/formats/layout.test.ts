import { describe, expect, it } from "vitest";
import { columnRange, rotaryHalves, transposed } from "./layout.js";

const counting = (count: number) => Float32Array.from({ length: count }, (_, i) => i);

describe("layouts", () => {
  it("transposes matrices that are no multiple of a tile", () => {
    const [rows, columns] = [67, 45];
    const matrix = counting(rows * columns);
    const expected = Array.from(matrix, (_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]);
    expect([...transposed(matrix, rows, columns)]).toEqual(expected);
  });

  it("moves the bits of a NaN unchanged", () => {
    const signalling = new Float32Array(new Uint32Array([0xff802000, 1, 2, 3]).buffer);
    expect([...new Uint32Array(transposed(signalling, 2, 2).buffer)]).toEqual([0xff802000, 2, 1, 3]);
  });

  it("cuts columns", () => {
    expect([...columnRange(counting(12), 4, [1, 3])]).toEqual([1, 2, 5, 6, 9, 10]);
  });

  it("puts the rows of each head back into halves", () => {
    // Two heads of four rows, one column: stored as first, third, second, fourth row of the head.
    expect([...rotaryHalves(Float32Array.of(0, 2, 1, 3, 4, 6, 5, 7), 1, 4)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});
