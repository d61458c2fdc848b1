/** Sets that are drawn: the labels say what the pictures show. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { tensor } from "../../runtime/index.js";
import { blockMnist, gratings, shapeKinds, shapes, textureKinds, textures } from "./index.js";
import { labelTensor } from "./labelled.js";
import { smooth } from "./smooth.js";

const drawers = { shapes, gratings, textures } as const;

describe.each(Object.entries(drawers))("%s", (_, draw) => {
  it("a row depends on the seed and its number alone, and lies from 0 to 1", () => {
    const [few, many] = [draw({ count: 5, size: 16, seed: 3 }), draw({ count: 9, size: 16, seed: 3 })];
    for (const [name, column] of Object.entries(few)) {
      const longer = many[name as keyof typeof many];
      expect([...longer.data.subarray(0, column.data.length)], name).toEqual([...column.data]);
    }
    expect([...draw({ count: 5, size: 16, seed: 4 }).x.data]).not.toEqual([...few.x.data]);
    expect(many.x.data.every((value) => value >= 0 && value <= 1)).toBe(true);
    expect(() => draw({ count: 0 })).toThrow(/count must be a whole number of at least 1/);
  });
});

describe("shapes", () => {
  /** Areas for a radius of 1: a circle, a square and a triangle in it, a star with inner corners at 0.45. */
  const areas = [Math.PI, 2, (3 * Math.sqrt(3)) / 4, 5 * 0.45 * Math.sin(Math.PI / 5)];

  it("have the area, the centre and the colour of their labels", () => {
    const { x, label, colour, position, radius } = shapes({ count: 60, size: 64, seed: 1 });
    const seen = new Set<bigint>();
    for (const [row, kind] of label.data.entries()) {
      seen.add(kind);
      const brightest = [0, 1, 2].find((c) => colour.data[row * 3 + c] === 1) as number;
      const plane = x.data.subarray((row * 3 + brightest) * 4096, (row * 3 + brightest + 1) * 4096);
      let [area, sumX, sumY] = [0, 0, 0];
      for (const [i, cover] of plane.entries()) {
        area += cover;
        sumX += cover * ((i % 64) + 0.5);
        sumY += cover * (Math.floor(i / 64) + 0.5);
      }
      const expected = (areas[Number(kind)] as number) * (radius.data[row] as number) ** 2;
      // Coverage from the distance to the edge rounds corners off, by a few pixels of at least 100.
      expect(Math.abs(area / expected - 1), `${shapeKinds[Number(kind)]} in row ${row}`).toBeLessThan(0.03);
      expect(Math.abs(sumX / area - (position.data[2 * row] as number))).toBeLessThan(0.15);
      expect(Math.abs(sumY / area - (position.data[2 * row + 1] as number))).toBeLessThan(0.15);
      for (let c = 0; c < 3; c++) {
        const lightest = x.data
          .subarray((row * 3 + c) * 4096, (row * 3 + c + 1) * 4096)
          .reduce((a, b) => Math.max(a, b));
        expect(lightest).toBeCloseTo(colour.data[row * 3 + c] as number, 5);
      }
    }
    expect(seen.size).toBe(shapeKinds.length);
  });

  it("turn clockwise by their rotation", () => {
    const { x, label, position, radius, rotation } = shapes({ count: 40, size: 64, seed: 2 });
    const triangle = [...label.data.keys()].filter((row) => label.data[row] === 2n);
    expect(triangle.length).toBeGreaterThan(3);
    for (const row of triangle) {
      const [cx = 0, cy = 0] = position.data.subarray(2 * row, 2 * row + 2);
      const at = (turn: number) => {
        const reach = 0.75 * (radius.data[row] as number);
        const [px, py] = [cx + reach * Math.sin(turn), cy - reach * Math.cos(turn)];
        return [0, 1, 2].reduce(
          (sum, c) => sum + (x.data[((row * 3 + c) * 64 + Math.floor(py)) * 64 + Math.floor(px)] as number),
          0,
        );
      };
      // Three quarters out, a triangle is filled towards its corner and empty towards the middle of its edge.
      expect(at(rotation.data[row] as number), `row ${row}`).toBeGreaterThan(0.3);
      expect(at((rotation.data[row] as number) + Math.PI), `row ${row}`).toBe(0);
    }
  });
});

describe("gratings", () => {
  it("are the waves that their labels say", () => {
    const { x, label, orientation, frequency, phase, contrast } = gratings({ count: 20, size: 32, orientations: 6 });
    for (let row = 0; row < 20; row++) {
      const [theta, f, p, c] = [orientation, frequency, phase, contrast].map(({ data }) => data[row] as number) as [
        number,
        number,
        number,
        number,
      ];
      expect(theta).toBeCloseTo((Number(label.data[row]) * Math.PI) / 6, 6);
      for (const [px, py] of [
        [0, 0],
        [31, 5],
        [12, 20],
      ] as const) {
        const along = ((px + 0.5) / 32 - 0.5) * Math.cos(theta) + ((py + 0.5) / 32 - 0.5) * Math.sin(theta);
        const expected = 0.5 + 0.5 * c * Math.cos(2 * Math.PI * f * along + p);
        expect(x.data[(row * 32 + py) * 32 + px]).toBeCloseTo(expected, 5); // labels are float32
      }
    }
  });

  it("a Gabor's wave fades away from the centre", () => {
    const { x } = gratings({ count: 1, size: 33, envelope: 0.1, contrast: [1, 1] });
    expect(Math.abs((x.data[0] as number) - 0.5)).toBeLessThan(1e-5);
    expect(Math.max(...x.data.map((value) => Math.abs(value - 0.5)))).toBeGreaterThan(0.3);
    expect(() => gratings({ count: 1, frequency: [2, 20] })).toThrow(
      /frequency is two rising numbers above 0, at most 16/,
    );
    expect(() => gratings({ count: 1, envelope: 0 })).toThrow(/envelope is above 0/);
  });
});

describe("textures", () => {
  it("all kinds occur, and each reaches from 0 to 1", () => {
    const { x, label } = textures({ count: 60, seed: 1 });
    expect(new Set(label.data).size).toBe(textureKinds.length);
    for (let row = 0; row < 60; row++) {
      const picture = x.data.subarray(row * 1024, (row + 1) * 1024);
      expect([Math.min(...picture), Math.max(...picture)]).toEqual([0, 1]);
    }
  });

  it("smoothing is SciPy's", () => {
    const { values, deviation, expected } = (
      JSON.parse(readFileSync(new URL("../../../test/fixtures/images/images.json", import.meta.url), "utf8")) as {
        smooth: { values: number[]; deviation: number; expected: number[] };
      }
    ).smooth;
    const found = smooth(Float64Array.from(values), [6, 8], deviation);
    // The fixture keeps seven decimals.
    for (const [i, value] of expected.entries()) expect(Math.abs((found[i] as number) - value)).toBeLessThan(2e-7);
  });
});

describe("blockMnist", () => {
  const side = 12;
  /** Images that are all of one number, which tells them apart: 0.1 more for each label. */
  const source = {
    x: tensor(
      "float32",
      [6, 1, side, side],
      Float32Array.from({ length: 6 * side * side }, (_, i) => 0.1 + 0.1 * (Math.floor(i / (side * side)) % 3)),
    ),
    label: labelTensor([0, 1, 2, 0, 1, 2]),
  };

  it("puts the digit where it says, and positions are even within classes", () => {
    const { x, label, signalBlock } = blockMnist(source, { count: 40, digits: [2, 0] });
    expect(x.shape).toEqual([40, 1, 24, 12]);
    const counts = new Map<string, number>();
    for (let row = 0; row < 40; row++) {
      const [kind, block] = [Number(label.data[row]), Number(signalBlock.data[row])];
      counts.set(`${kind} ${block}`, (counts.get(`${kind} ${block}`) ?? 0) + 1);
      const blocks = [0, 1].map((b) => x.data.subarray((2 * row + b) * 144, (2 * row + b + 1) * 144));
      expect(new Set(blocks[block])).toEqual(new Set([Math.fround(kind === 0 ? 0.3 : 0.1)]));
      expect(new Set(blocks[1 - block])).toEqual(new Set([0, 1]));
    }
    expect([...counts.values()]).toEqual([10, 10, 10, 10]);
    expect([...label.data.subarray(0, 8)]).not.toEqual([0n, 1n, 0n, 1n, 0n, 1n, 0n, 1n]);
  });

  it("keeps the digit on top where that is asked for", () => {
    expect(new Set(blockMnist(source, { count: 9, position: "top" }).signalBlock.data)).toEqual(new Set([0n]));
    expect(() => blockMnist(source, { count: 3, digits: [0, 5] })).toThrow(/no image with the label 5/);
  });
});
