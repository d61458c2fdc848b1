/** PNG files as another decoder reads them. */
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { tensorOf, zeros } from "../runtime/index.js";
import { picturesToPng } from "./index.js";

const { Resvg } = createRequire(import.meta.url)("@resvg/resvg-js") as typeof import("@resvg/resvg-js");

/** The colours [height][width] that the picture has when an SVG shows it, four bytes each. */
function decoded(png: Uint8Array, width: number, height: number): number[][][] {
  const data = `data:image/png;base64,${Buffer.from(png).toString("base64")}`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><image width="${width}" height="${height}" href="${data}" image-rendering="optimizeSpeed"/></svg>`;
  const { pixels } = new Resvg(svg).render();
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => [...pixels.subarray((y * width + x) * 4, (y * width + x) * 4 + 4)]),
  );
}

const white = [255, 255, 255, 255];

describe("png files", () => {
  it("hold colours, enlarged", () => {
    const image = tensorOf("float32", [3, 1, 2], [1, 0, 0.2, 7, 0, 0.6]);
    const [red, blue] = [
      [255, 51, 0, 255],
      [0, 255, 153, 255],
    ];
    expect(decoded(picturesToPng(image, { zoom: 2 }), 4, 2)).toEqual([
      [red, red, blue, blue],
      [red, red, blue, blue],
    ]);
  });

  it("hold grey ones of another range, side by side and a pixel apart", () => {
    const images = tensorOf("float64", [3, 1, 1, 1], [-1, 0, 1]);
    const png = picturesToPng(images, { range: [-1, 1], columns: 2 });
    expect(decoded(png, 3, 3)).toEqual([
      [[0, 0, 0, 255], white, [128, 128, 128, 255]],
      [white, white, white],
      [white, white, white],
    ]);
  });

  it.each([
    [zeros("float32", [2, 4, 4]), {}, /1 or 3 channels, not \[2, 4, 4\]/],
    [zeros("float32", [4, 4]), {}, /1 or 3 channels/],
    [zeros("float32", [3, 4, 4]), { zoom: 0.5 }, /zoom must be a whole number/],
    [zeros("float32", [3, 4, 4]), { columns: 0 }, /columns must be a whole number/],
    [zeros("float32", [3, 4, 4]), { zoom: 5000 }, /over 100000000 pixels/],
  ])("refuse %#", (images, options, message) => {
    expect(() => picturesToPng(images, options)).toThrow(message);
  });
});
