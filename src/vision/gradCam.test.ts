/** Grad-CAM: the formula written as loops over what was recorded, PyTorch's maps, and maps that lie where the shape is. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openShapes, rows, type Shapes } from "../../test/fixtures/vision/shapes.js";
import { mul, reduceMax, reduceSum, select, type Value } from "../graph/index.js";
import { createNetwork, type Network, type NetworkCall } from "../model/index.js";
import { createRuntime, normals, row, type Tensor, tensor, toNumbers, zeros } from "../runtime/index.js";
import { gradCam, imageGradients, unit } from "./index.js";

const runtime = createRuntime({ threads: 1 });
let shapes: Shapes;
beforeAll(async () => {
  shapes = await openShapes(runtime);
});
afterAll(() => runtime.close());

const site = "conv3.act";
const worst = (a: Tensor, b: Tensor) => {
  const [x, y] = [toNumbers(a), toNumbers(b)];
  expect(x.length).toBe(y.length);
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - (y[i] as number))), 0);
};
const correlation = (a: Tensor, b: Tensor) => {
  const centred = [a, b].map((each) => {
    const x = toNumbers(each);
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    return x.map((value) => value - mean);
  }) as [Float64Array, Float64Array];
  const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
  return dot(...centred) / Math.sqrt(dot(centred[0], centred[0]) * dot(centred[1], centred[1]));
};

describe("the classifier", () => {
  it("is the one that was trained", async () => {
    const { logits } = await shapes.network.record({ image: shapes.pictures }, "logits");
    expect(worst(logits as Tensor, shapes.expected.logits as Tensor)).toBeLessThan(1e-4); // logits up to 30, float32
  });
});

describe("grad-cam", () => {
  const few = () => rows(shapes.pictures, 0, 4);

  it("agrees with PyTorch for every class of every picture", async () => {
    const { network, expected } = shapes;
    const plain = await gradCam(network, { image: few() }, { of: [0, 1, 2, 3], at: site });
    const plus = await gradCam(network, { image: few() }, { of: [0, 1, 2, 3], at: site, weighting: "gradCam++" });
    expect(plain.maps.shape).toEqual([4, 4, 24, 24]);
    expect(worst(plain.maps, expected.cam as Tensor)).toBeLessThan(1e-4); // float32 quotients of sums of a few hundred
    expect(worst(plus.maps, expected.campp as Tensor)).toBeLessThan(1e-4);
    expect(worst(plain.maps, plus.maps)).toBeGreaterThan(0.05); // and these two are different things
    expect(worst(plain.values, rows(expected.logits as Tensor, 0, 4))).toBeLessThan(1e-4);
  });

  it("is the formula, over activations and gradients that were recorded", async () => {
    const { network } = shapes;
    const image = rows(shapes.pictures, 5, 7);
    const of = ({ site: read }: NetworkCall) => mul(select(read("logits"), 1, 2), 0.5);
    const { maps, peaks } = await gradCam(network, { image }, { of, at: site, size: [12, 12] });
    const recorded = await network.record({ image }, site);
    const { sites } = await network.gradient({ image }, { of, at: site });
    for (let b = 0; b < 2; b++) {
      const [a, g] = [recorded[site], sites[site]].map((each) => toNumbers(row(each as Tensor, b))) as [
        Float64Array,
        Float64Array,
      ];
      const map = new Float64Array(144);
      for (let k = 0; k < 24; k++) {
        const weight = g.slice(k * 144, (k + 1) * 144).reduce((sum, x) => sum + x, 0) / 144;
        for (let p = 0; p < 144; p++) map[p] = (map[p] as number) + weight * (a[k * 144 + p] as number);
      }
      const kept = map.map((x) => Math.max(0, x));
      const peak = Math.max(...kept);
      expect(peaks.data[b]).toBeCloseTo(peak, 5);
      expect(
        worst(
          row(row(maps, b), 0),
          tensor(
            "float64",
            [144],
            kept.map((x) => x / peak),
          ),
        ),
      ).toBeLessThan(1e-5); // float32
    }
  });

  it("of a function alone and of the class is one thing, and of the largest score that of the predicted class", async () => {
    const image = few();
    const { maps } = await gradCam(
      shapes.network,
      { image },
      { of: [({ site: read }) => reduceMax(read("logits"), 1), 0, 1, 2, 3], at: site },
    );
    const { logits } = await shapes.network.record({ image }, "logits");
    for (let b = 0; b < 4; b++) {
      const scores = [...toNumbers(row(logits as Tensor, b))];
      const predicted = scores.indexOf(Math.max(...scores));
      expect(worst(row(row(maps, b), 0), row(row(maps, b), predicted + 1))).toBe(0);
    }
  });

  it("runs every class through one session", async () => {
    const own = createRuntime({ threads: 1 });
    const { network } = await openShapes(own);
    await gradCam(network, { image: few() }, { of: [0, 1, 2, 3], at: site });
    await gradCam(network, { image: few() }, { of: 3, at: site });
    expect(own.statistics()).toMatchObject({ sessionsOpened: 1, runs: 5 });
    await own.close();
  });

  it("leaves a map of zeros where nothing speaks for the target", async () => {
    const negative = await gradCam(
      shapes.network,
      { image: few() },
      { of: ({ site: read }) => mul(reduceSum(read(site), [1, 2, 3]), -1), at: site },
    );
    expect([...toNumbers(negative.peaks)]).toEqual([0, 0, 0, 0]);
    expect(toNumbers(negative.maps).every((x) => x === 0)).toBe(true);
  });
});

/** Whether a place lies in the box around the shape, or a pixel beside it. */
function inBox(mask: Tensor, place: number): boolean {
  const marked = [...toNumbers(mask)].flatMap((x, i) => (x === 1 ? [i] : []));
  const between = (at: number, places: readonly number[]) =>
    at >= Math.min(...places) - 1 && at <= Math.max(...places) + 1;
  const [rowOf, columnOf] = [(i: number) => Math.floor(i / 24), (i: number) => i % 24];
  return between(rowOf(place), marked.map(rowOf)) && between(columnOf(place), marked.map(columnOf));
}

/** The pointing game (Zhang et al. 2016): the share of pictures whose map of their own class is largest on the shape. */
async function pointing(network: Network, { pictures, labels, masks }: Shapes): Promise<number> {
  const { maps } = await gradCam(network, { image: pictures }, { of: [0, 1, 2, 3], at: site });
  const hits = labels.filter((label, b) => {
    const map = [...toNumbers(row(row(maps, b), label))];
    return inBox(row(masks, b), map.indexOf(Math.max(...map)));
  });
  return hits.length / labels.length;
}

/** The same tensors with normal numbers of the same spread, biases zero. */
const randomised = (weights: Shapes["weights"], names: RegExp, seed: number) =>
  Object.fromEntries(
    Object.entries(weights)
      .filter(([name]) => names.test(name))
      .map(([name, { shape, data }], stream) => {
        const spread = Math.sqrt(
          toNumbers({ dtype: "float32", shape, data } as Tensor).reduce((s, x) => s + x * x, 0) / data.length,
        );
        const scale = name.endsWith("bias") ? 0 : spread;
        return [
          name,
          tensor(
            "float32",
            shape,
            normals(data.length, seed, stream).map((x) => x * scale),
          ),
        ];
      }),
  );

describe("sanity checks", () => {
  it("the map's peak lies on the shape; in networks of random weights it doesn't", async () => {
    const { network, weights } = shapes;
    expect(await pointing(network, shapes)).toBeGreaterThan(0.95); // 0.98
    // The boxes cover a quarter of the pictures; networks of random weights find edges, some of which are the shape's.
    for (const seed of [1, 2, 3, 4, 5])
      expect(await pointing(network.withWeights(randomised(weights, /./, seed)), shapes)).toBeLessThan(0.7);
  });

  it("randomising layer after layer from the top changes the maps (Adebayo et al. 2018)", async () => {
    const { network, weights } = shapes;
    const image = rows(shapes.pictures, 0, 16);
    const own = async (view: Network) => (await gradCam(view, { image }, { of: [0, 1, 2, 3], at: site })).maps;
    const original = await own(network);
    expect(correlation(original, original)).toBeCloseTo(1, 10);
    for (const names of [/head/, /head|conv3/, /head|conv3|conv2/, /./])
      expect(correlation(original, await own(network.withWeights(randomised(weights, names, 9))))).toBeLessThan(0.5);
  });
});

describe("gradients at the image", () => {
  const options = { of: [0, 1, 2, 3] };
  const ownRows = ({ gradients }: { gradients: Tensor }) =>
    tensor(
      "float64",
      [4, 3, 24, 24],
      Float64Array.from(
        [0, 1, 2, 3].flatMap((b) => [...toNumbers(row(row(gradients, b), shapes.labels[b] as number))]),
      ),
    );

  it("agree with PyTorch, plain and guided", async () => {
    const image = rows(shapes.pictures, 0, 4);
    const plain = await imageGradients(shapes.network, { image }, options);
    const guided = await imageGradients(shapes.network, { image }, { ...options, gradients: "guided" });
    expect(worst(ownRows(plain), shapes.expected.gradients as Tensor)).toBeLessThan(1e-5); // gradients up to 1, float32
    expect(worst(ownRows(guided), shapes.expected.guided as Tensor)).toBeLessThan(1e-5);
    expect(worst(ownRows(plain), ownRows(guided))).toBeGreaterThan(1e-2);
  });
});

describe("units", () => {
  it("are numbers of their site", async () => {
    const image = rows(shapes.pictures, 0, 2);
    const { [site]: recorded } = await shapes.network.record({ image }, site);
    const of = [unit({ site, channel: 5, place: [3, 7] }), unit({ site, channel: 5 })];
    const { values } = await imageGradients(shapes.network, { image }, { of });
    for (let b = 0; b < 2; b++) {
      const plane = toNumbers(row(row(recorded as Tensor, b), 5));
      expect(values.data[2 * b]).toBeCloseTo(plane[3 * 12 + 7] as number, 6);
      expect(values.data[2 * b + 1]).toBeCloseTo(plane.reduce((sum, x) => sum + x, 0) / 144, 5); // float32 sum
      expect(plane[3 * 12 + 7]).not.toBe(plane[7 * 12 + 3]);
    }
  });
});

describe("bad calls", () => {
  const image = () => rows(shapes.pictures, 0, 1);
  it.each([
    [{ of: 4, at: site }, /4 is no class: "logits" has 4, from 0/],
    [{ of: [], at: site }, /at least one target/],
    [{ of: 1, at: "features" }, /"features" must have shape \[batch, channels, height, width\]/],
    [{ of: 1, at: "conv9" }, /there is no site "conv9"/],
    [{ of: 1, at: site, input: "picture" }, /"picture" is no image.*the inputs are image \[batch, 3, 24, 24\]/],
    [{ of: 1, at: site, scores: site }, /name another site as `scores`/],
    [{ of: ({ site: read }: NetworkCall) => read("logits"), at: site }, /one number a row/],
  ] as const)("%j", async (options, message) => {
    await expect(gradCam(shapes.network, { image: image() }, options)).rejects.toThrow(message);
  });

  it("sizes that are symbols, and two images", async () => {
    const free = createNetwork(
      {
        inputs: {
          image: { dtype: "float32", shape: ["batch", 1, "height", "width"] },
          other: { dtype: "float32", shape: ["batch", 1, 2, 2] },
        },
        build: ({ inputs }) => ({ act: inputs.image as Value, more: inputs.other as Value }),
      },
      { runtime },
    );
    const options = { of: ({ site: read }: NetworkCall) => reduceSum(read("act"), [1, 2, 3]), at: "act" };
    const feeds = { image: zeros("float32", [1, 1, 2, 2]), other: zeros("float32", [1, 1, 2, 2]) };
    await expect(gradCam(free, feeds, options)).rejects.toThrow(/which input is the image is not clear/);
    await expect(gradCam(free, feeds, { ...options, input: "image" })).rejects.toThrow(
      /"act" must have shape .* not \[batch, 1, height, width\]/,
    );
  });

  it("a site that comes after what is explained, and an image that is missing or of whole numbers", async () => {
    const of = ({ site: read }: NetworkCall) => reduceSum(read("conv1.act"), [1, 2, 3]);
    await expect(gradCam(shapes.network, { image: image() }, { of, at: site })).rejects.toThrow(
      /does not depend on "conv3/,
    );
    await expect(gradCam(shapes.network, {}, { of: 1, at: site })).rejects.toThrow(/feed it as "image"/);
    const bytes = tensor("uint8", [1, 3, 24, 24], new Uint8Array(1728));
    await expect(gradCam(shapes.network, { image: bytes }, { of: 1, at: site })).rejects.toThrow(/must be float32/);
  });
});
