/** Occlusion: what a linear network loses is the patch's own share; a trained one loses most where the shape is. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openShapes, rows, type Shapes } from "../../test/fixtures/vision/shapes.js";
import { matmul, reshape, type Value } from "../graph/index.js";
import { createNetwork } from "../model/index.js";
import { createRuntime, normals, random, row, type Tensor, tensor, toNumbers } from "../runtime/index.js";
import { occlusion, unit } from "./index.js";

const runtime = createRuntime({ threads: 1 });
let shapes: Shapes;
beforeAll(async () => {
  shapes = await openShapes(runtime);
});
afterAll(() => runtime.close());

describe("a linear network", () => {
  const weights = normals(2 * 5 * 6, 4);
  const network = createNetwork(
    {
      inputs: {
        image: { dtype: "float32", shape: ["batch", 2, 5, 6] },
        bias: { dtype: "float32", shape: ["batch", 1] },
      },
      weights: { w: tensor("float32", [60, 1], weights) },
      build: ({ inputs, weight }) => ({
        sum: matmul(reshape(inputs.image as Value, ["batch", 60]), weight("w")),
        bias: inputs.bias as Value,
      }),
    },
    { runtime },
  );
  const source = random(2);
  const image = tensor(
    "float32",
    [2, 2, 5, 6],
    Float32Array.from({ length: 120 }, () => source.uniform()),
  );
  const bias = tensor("float32", [2, 1], Float32Array.of(3, 4));

  it("loses what the hidden pixels add, for every place, and each pixel gets the mean of its places", async () => {
    const fill = [0.25, 0.75];
    const found = await occlusion(
      network,
      { image, bias },
      {
        of: [unit({ site: "sum", channel: 0 }), unit({ site: "bias", channel: 0 })],
        patch: [2, 3],
        stride: 2,
        fill,
        batchRows: 4,
      },
    );
    expect(found.tops).toEqual([0, 2, 3]);
    expect(found.lefts).toEqual([0, 2, 3]);
    expect([...toNumbers(found.values)].filter((_, i) => i % 2 === 1)).toEqual([3, 4]);
    for (let b = 0; b < 2; b++) {
      const value = (c: number, y: number, x: number) => Number(image.data[((b * 2 + c) * 5 + y) * 6 + x]);
      const wanted = found.tops.map((top) =>
        found.lefts.map((left) => {
          let sum = 0;
          for (let c = 0; c < 2; c++)
            for (let y = top; y < top + 2; y++)
              for (let x = left; x < left + 3; x++)
                sum += (weights[(c * 5 + y) * 6 + x] as number) * (value(c, y, x) - (fill[c] as number));
          return sum;
        }),
      );
      const [drops, none] = [0, 1].map((t) => [...toNumbers(row(row(found.drops, b), t))]) as [number[], number[]];
      wanted.flat().forEach((drop, i) => {
        expect(drops[i]).toBeCloseTo(drop, 5); // float32 sums of sixty
      });
      expect(none).toEqual(new Array(9).fill(0)); // another row's bias would show here
      const maps = toNumbers(row(row(found.maps, b), 0));
      for (let y = 0; y < 5; y++)
        for (let x = 0; x < 6; x++) {
          const covering = found.tops.flatMap((top, i) =>
            found.lefts.flatMap((left, j) =>
              y >= top && y < top + 2 && x >= left && x < left + 3 ? [wanted[i]?.[j] as number] : [],
            ),
          );
          expect(maps[y * 6 + x]).toBeCloseTo(covering.reduce((sum, drop) => sum + drop, 0) / covering.length, 5);
        }
    }
  });

  it.each([
    [{ patch: 6 }, /1 to 5 pixels/],
    [{ patch: 2, stride: 3 }, /stride must be 1 to the patch's 2/],
    [{ patch: 2, fill: [1] }, /fill must be a number, or 2/],
    [{ patch: 2, batchRows: 0 }, /batchRows/],
  ] as const)("refuses %j", async (options, message) => {
    const of = unit({ site: "sum", channel: 0 });
    await expect(occlusion(network, { image, bias }, { of, ...options })).rejects.toThrow(message);
  });
});

describe("the classifier of shapes", () => {
  it("falls most where the shape is hidden, and not where the paper is", async () => {
    const { network, pictures, labels, masks } = shapes;
    const image = rows(pictures, 0, 12);
    const before = image.data.slice();
    const { maps } = await occlusion(network, { image }, { of: [0, 1, 2, 3], patch: 6, stride: 3 });
    expect(image.data).toEqual(before);
    const mean = (map: Float64Array, mask: Float64Array, on: number) => {
      const kept = [...map].filter((_, i) => mask[i] === on);
      return kept.reduce((sum, x) => sum + x, 0) / kept.length;
    };
    const higher = Array.from({ length: 12 }, (_, b) => {
      const map = toNumbers(row(row(maps, b), labels[b] as number));
      const mask = toNumbers(row(masks, b) as Tensor);
      return mean(map, mask, 1) > mean(map, mask, 0);
    });
    expect(higher.filter((yes) => yes).length).toBeGreaterThanOrEqual(11); // by chance half
  });

  it("shows progress and stops when told to", async () => {
    const stop = new AbortController();
    const seen: number[] = [];
    const onProgress = (done: number, total: number) => {
      seen.push(done, total);
      stop.abort();
    };
    const image = rows(shapes.pictures, 0, 1);
    const options = { of: 0, patch: 8, stride: 8, batchRows: 5, onProgress, signal: stop.signal };
    await expect(occlusion(shapes.network, { image }, options)).rejects.toThrow(/abort/i);
    expect(seen).toEqual([5, 9]);
  });
});
