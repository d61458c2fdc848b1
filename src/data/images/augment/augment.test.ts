/** Augmentations: warps against SciPy, what each changes and keeps, and that draws belong to (seed, step, row). */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { random, type Tensor, tensor } from "../../../runtime/index.js";
import { type Augmentation, type Batch, batches, takeRows } from "../../batches.js";
import { labelTensor } from "../labelled.js";
import { affine, augment, crop, cutout, elastic, flip, light, mixup, noise, warp } from "./index.js";

const x = tensor(
  "float32",
  [6, 2, 8, 10],
  Float32Array.from({ length: 960 }, (_, i) => ((i * 37) % 101) / 101),
);
const batch = { x, label: labelTensor([0, 1, 2, 0, 1, 2]) };
const changed = (change: Augmentation, seed = 1, from: Batch = batch) =>
  change(from, random(seed)).x as Tensor<"float32">;
const picture = (images: Tensor<"float32">, row: number) => [...images.data.subarray(row * 160, (row + 1) * 160)];

const all: Readonly<Record<string, Augmentation>> = {
  affine: affine({ shift: 2, rotate: 20, scale: [0.8, 1.2], shear: 10 }),
  flip: flip({ vertical: 0.5 }),
  crop: crop({ padding: 2 }),
  cutout: cutout({ size: 3, count: 2 }),
  elastic: elastic({ strength: 1 }),
  light: light({ brightness: 0.2, contrast: 0.5 }),
  noise: noise({ deviation: 0.1 }),
};

describe.each(Object.entries(all))("%s", (_, change) => {
  it("changes pictures by draws of (seed, row) alone, and leaves its input as it is", () => {
    const before = x.data.slice();
    const full = changed(change);
    expect(full.shape).toEqual(x.shape);
    expect(full.data).not.toEqual(before);
    expect(x.data).toEqual(before);
    expect(changed(change)).toEqual(full);
    expect(changed(change, 2).data).not.toEqual(full.data);
    expect([...changed(change, 1, { x: takeRows(x, [0, 1, 2]) }).data]).toEqual([...full.data.subarray(0, 480)]);
  });

  it("needs pictures", () => {
    expect(() => change({ y: x }, random(1))).toThrow(/no column "x" to augment; it has y/);
    expect(() => change({ x: labelTensor([1]) }, random(1))).toThrow(/pictures are float32 \[rows, channels/);
  });
});

describe("warp", () => {
  const { warp: fixture } = JSON.parse(
    readFileSync(new URL("../../../../test/fixtures/images/images.json", import.meta.url), "utf8"),
  ) as { warp: { images: number[]; matrices: number[]; expected: number[] } };
  const images = tensor("float32", [2, 2, 7, 9], Float32Array.from(fixture.images));

  it("is SciPy's", () => {
    const matrices = tensor("float64", [2, 2, 3], Float64Array.from(fixture.matrices));
    const { data } = warp(images, matrices, { fill: 0.25 });
    // float32 pictures
    for (const [i, value] of fixture.expected.entries())
      expect(Math.abs((data[i] as number) - value)).toBeLessThan(1e-6);
  });

  it("needs a matrix for each row", () => {
    const one = tensor("float32", [1, 2, 3], new Float32Array(6));
    expect(() => warp(images, one)).toThrow(/a matrix \[2, 3\] for each of 2 rows, not/);
  });
});

/** One picture with a single bright pixel, at (x, y) from the centre of 21 x 21, and where its light is afterwards. */
function lightAfter(change: Augmentation, [px, py]: readonly [number, number], seed: number) {
  const dot = tensor("float32", [1, 1, 21, 21], new Float32Array(441));
  dot.data[(10 + py) * 21 + 10 + px] = 1;
  const { data } = changed(change, seed, { x: dot });
  let [total, sumX, sumY] = [0, 0, 0];
  for (const [i, value] of data.entries()) {
    total += value;
    sumX += value * ((i % 21) - 10);
    sumY += value * (Math.floor(i / 21) - 10);
  }
  return [sumX / total, sumY / total] as const;
}

describe("affine", () => {
  it("turns, sizes and slants about the centre, within its bounds", () => {
    const seeds = Array.from({ length: 40 }, (_, i) => i);
    // A dot is a blur after interpolation: its middle is known to about a tenth of a pixel.
    const angles = seeds.map((seed) => {
      const [dx, dy] = lightAfter(affine({ rotate: 30 }), [6, 0], seed);
      expect(Math.abs(Math.hypot(dx, dy) - 6)).toBeLessThan(0.25);
      return (Math.atan2(dy, dx) * 180) / Math.PI;
    });
    expect(Math.max(...angles)).toBeLessThan(32);
    expect(Math.max(...angles)).toBeGreaterThan(20);
    expect(Math.min(...angles)).toBeLessThan(-20);
    const sizes = seeds.map((seed) => lightAfter(affine({ scale: [0.7, 1.5] }), [0, 6], seed)[1] / 6);
    expect(Math.min(...sizes)).toBeGreaterThan(0.65);
    expect(Math.max(...sizes)).toBeGreaterThan(1.3);
    expect(Math.max(...sizes)).toBeLessThan(1.55);
    const shifts = seeds.map((seed) => lightAfter(affine({ shift: 3 }), [0, 0], seed));
    expect(Math.max(...shifts.flat().map(Math.abs))).toBeLessThanOrEqual(3);
    expect(Math.max(...shifts.map(([dx]) => dx))).toBeGreaterThan(2);
    for (const seed of seeds) {
      const [dx, dy] = lightAfter(affine({ shear: 20 }), [0, 6], seed);
      expect(Math.abs(dy - 6)).toBeLessThan(0.15);
      expect(Math.abs(dx)).toBeLessThan(6 * Math.tan(Math.PI / 9) + 0.15);
    }
  });

  it("leaves pictures alone where nothing is asked for, and refuses nonsense", () => {
    expect(changed(affine()).data).toEqual(x.data);
    expect(() => affine({ shift: -1 })).toThrow(/shift must be at least 0, not -1/);
    expect(() => affine({ scale: [0, 1] })).toThrow(/scale of two rising numbers/);
    expect(() => affine({ shear: 90 })).toThrow(/shear below 90/);
  });
});

describe("flip, crop, cutout", () => {
  it("flip mirrors lines, and turns the order of lines about", () => {
    const mirrored = changed(flip({ horizontal: 1 }));
    const overturned = changed(flip({ horizontal: 0, vertical: 1 }));
    for (let i = 0; i < 960; i++) {
      const [column, line, plane] = [i % 10, Math.floor(i / 10) % 8, Math.floor(i / 80)];
      expect(mirrored.data[i]).toBe(x.data[plane * 80 + line * 10 + 9 - column]);
      expect(overturned.data[i]).toBe(x.data[plane * 80 + (7 - line) * 10 + column]);
    }
    expect(() => flip({ vertical: 2 })).toThrow(/from 0 to 1, not 2/);
  });

  it("crop shifts by whole pixels and fills in the rest", () => {
    const cropped = changed(crop({ padding: 2, fill: 9 }));
    for (let row = 0; row < 6; row++) {
      const found = picture(cropped, row);
      const fits = [-2, -1, 0, 1, 2]
        .flatMap((dy) => [-2, -1, 0, 1, 2].map((dx) => [dx, dy] as const))
        .filter(([dx, dy]) =>
          found.every((value, i) => {
            const [px, py] = [(i % 10) + dx, (Math.floor(i / 10) % 8) + dy];
            const inside = px >= 0 && px < 10 && py >= 0 && py < 8;
            return value === (inside ? picture(x, row)[i + dy * 10 + dx] : 9);
          }),
        );
      expect(fits.length, `row ${row}`).toBe(1);
    }
    expect(changed(crop({ padding: 0 })).data).toEqual(x.data);
  });

  it("cutout fills one square in all channels", () => {
    const cut = changed(cutout({ size: 3, fill: 7 }));
    for (let row = 0; row < 6; row++) {
      const holes = [...picture(cut, row).keys()].filter((i) => picture(cut, row)[i] === 7);
      const [columns, lines] = [new Set(holes.map((i) => i % 10)), new Set(holes.map((i) => Math.floor(i / 10) % 8))];
      expect(Math.max(columns.size, lines.size)).toBeLessThanOrEqual(3);
      expect(holes.length).toBe(2 * columns.size * lines.size);
      expect(holes.length).toBeGreaterThan(0);
    }
    expect(() => cutout({ size: 0 })).toThrow(/size must be a whole number/);
  });
});

describe("elastic, light, noise", () => {
  it("elastic bends by as much as it says", () => {
    const ramp = tensor(
      "float32",
      [1, 1, 32, 32],
      Float32Array.from({ length: 1024 }, (_, i) => i % 32),
    );
    const bent = changed(elastic({ strength: 1.5, fill: Number.NaN }), 1, { x: ramp });
    // A ramp's number is its place: the differences are the shifts along x. Those that reach outside are left out.
    const shifts = [...bent.data].map((value, i) => value - (i % 32)).filter(Number.isFinite);
    const mean = Math.sqrt(shifts.reduce((sum, shift) => sum + shift * shift, 0) / shifts.length);
    expect(shifts.length).toBeGreaterThan(800);
    expect(Math.abs(mean - 1.5)).toBeLessThan(0.3); // the left-out edges are a few percent of the picture
    expect(changed(elastic({ strength: 0 })).data).toEqual(x.data);
  });

  it("light changes a picture by one factor and one number, kept from 0 to 1", () => {
    const lit = changed(light({ brightness: 0.1, contrast: 0.2 }));
    for (let row = 0; row < 6; row++) {
      const inside = picture(lit, row).flatMap((value, i) =>
        value > 0 && value < 1 ? [[picture(x, row)[i] as number, value]] : [],
      );
      const [[x0, y0], [x1, y1]] = [
        inside[0],
        inside.find(([a]) => Math.abs((a as number) - (inside[0]?.[0] as number)) > 0.3),
      ] as [[number, number], [number, number]];
      const factor = (y1 - y0) / (x1 - x0);
      expect(Math.abs(factor - 1)).toBeLessThanOrEqual(0.2 + 1e-5); // float32 pictures
      for (const [from, to] of inside as [number, number][])
        expect(Math.abs(y0 + factor * (from - x0) - to)).toBeLessThan(1e-5);
    }
    expect(() => light({ contrast: 2 })).toThrow(/contrast is at most 1/);
  });

  it("noise has the deviation that it says", () => {
    const grey = tensor("float32", [1, 1, 100, 100], new Float32Array(10_000).fill(0.5));
    const noisy = changed(noise({ deviation: 0.1 }), 1, { x: grey });
    const deviation = Math.sqrt(noisy.data.reduce((sum, value) => sum + (value - 0.5) ** 2, 0) / 10_000);
    expect(Math.abs(deviation - 0.1)).toBeLessThan(0.003); // three standard errors of 10,000 draws are 0.0021
  });
});

describe("mixup", () => {
  it("mixes pictures and labels by one share", () => {
    const mixed = mixup({ classes: 3, alpha: 1 })(batch, random(1));
    const shares = mixed.label as Tensor<"float32">;
    expect([shares.dtype, shares.shape]).toEqual(["float32", [6, 3]]);
    let blended = 0;
    for (let row = 0; row < 6; row++) {
      const found = picture(mixed.x as Tensor<"float32">, row);
      const own = picture(x, row);
      const labels = [...shares.data.subarray(row * 3, row * 3 + 3)];
      expect(labels.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
      const share = labels[row % 3] as number;
      if (share < 0.999) blended += 1;
      // Some row explains the rest, with the label's share.
      const explained = [0, 1, 2, 3, 4, 5].some((other) => {
        if (other % 3 === row % 3) return true; // one label: its share is 1 whatever the mixture
        return found.every(
          (value, i) =>
            Math.abs(share * (own[i] as number) + (1 - share) * (picture(x, other)[i] as number) - value) < 1e-6,
        );
      });
      expect(explained, `row ${row}`).toBe(true);
    }
    expect(blended).toBeGreaterThan(1);
  });

  it("draws shares of Beta(alpha, alpha)", () => {
    const many = {
      x: tensor("float32", [2000, 1, 1, 1], new Float32Array(2000)),
      label: labelTensor([...Array(2000).keys()]),
    };
    for (const alpha of [0.3, 2]) {
      const { data } = mixup({ classes: 2000, alpha })(many, random(3)).label as Tensor<"float32">;
      const shares = Array.from({ length: 2000 }, (_, row) => data[row * 2000 + row] as number);
      const variance = shares.reduce((sum, share) => sum + (share - 0.5) ** 2, 0) / 2000;
      // The variance of Beta(a, a) is 1 / (4 (2a + 1)); its standard error over 2,000 draws is below 3%.
      expect(Math.abs(variance * 4 * (2 * alpha + 1) - 1), `alpha ${alpha}`).toBeLessThan(0.09);
    }
  });

  it("refuses other labels", () => {
    expect(() => mixup({ classes: 2 })(batch, random(1))).toThrow(/the label 2 is none of 2 classes/);
    expect(() => mixup({ classes: 2 })({ x }, random(1))).toThrow(/a column "label" of labels, int64 \[6\]/);
    expect(() => mixup({ classes: 2, alpha: 0 })).toThrow(/alpha above 0/);
  });
});

describe("augment", () => {
  it("composes, with draws of their own, in batches that are functions of the step", () => {
    const both = augment([crop({ padding: 2 }), crop({ padding: 2 })]);
    const make = (seed: number) => batches(batch, { size: 3, seed, augment: both });
    const [data, again] = [make(1), make(1)];
    const later = data(7);
    data(0);
    expect(data(7)).toEqual(later);
    expect(again(7)).toEqual(later);
    expect(make(2)(7)).not.toEqual(later);
    expect(augment([])(batch, random(1))).toEqual(batch);
    // Two like augmentations draw unlike: alike, all shifts would be even.
    const ramp = tensor(
      "float32",
      [64, 1, 9, 9],
      Float32Array.from({ length: 64 * 81 }, (_, i) => i % 9),
    );
    const middles = [...changed(both, 1, { x: ramp }).data].filter((_, i) => i % 81 === 40);
    expect(new Set(middles.map((value) => value % 2))).toEqual(new Set([0, 1]));
  });
});
