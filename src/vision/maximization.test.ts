/** Activation maximisation: closed forms on a linear network, a trained classifier, and the parts by themselves. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openShapes, rows, type Shapes } from "../../test/fixtures/vision/shapes.js";
import { evaluate, gradients, matmul, mul, reduceSum, reshape, trace, type Value, zerosLike } from "../graph/index.js";
import { createNetwork, type Network } from "../model/index.js";
import { createRuntime, normals, random, row, type Tensor, tensor, tensorOf, toNumbers } from "../runtime/index.js";
import { activationMaximization, type MaximizationOptions, unit } from "./index.js";
import { fourier, type Parametrisation, pixels } from "./parametrisation.js";
import { likeness, penalties } from "./penalties.js";
import { drawMaps, transformed } from "./transformations.js";

const runtime = createRuntime({ threads: 1 });
let shapes: Shapes;
beforeAll(async () => {
  shapes = await openShapes(runtime);
});
afterAll(() => runtime.close());

/** The sum of pixels times weights, [batch]. */
const weights = normals(48, 8);
const linear = (): Network =>
  createNetwork(
    {
      inputs: { image: { dtype: "float32", shape: ["batch", 3, 4, 4] } },
      weights: { w: tensor("float32", [48, 1], weights) },
      build: ({ inputs, weight }) => ({ sum: matmul(reshape(inputs.image as Value, ["batch", 48]), weight("w")) }),
    },
    { runtime },
  );
const ofSum = unit({ site: "sum", channel: 0 });

describe("a linear network", () => {
  it("is raised most by the corner of the range that its weights point to", async () => {
    const range = [-1, 2] as const;
    const eye = [0, 1, 2].map((i) => [0, 1, 2].map((j) => Number(i === j)));
    for (const parametrisation of ["pixels", "fourier"] as const) {
      const { images, values } = await activationMaximization(linear(), {
        of: ofSum,
        range,
        parametrisation,
        steps: 400,
        learningRate: 0.5,
        colours: eye,
      });
      const corner = weights.map((w) => (w > 0 ? range[1] : range[0]));
      const most = weights.reduce((sum, w, i) => sum + w * (corner[i] as number), 0);
      if (parametrisation === "pixels") expect([...images.data]).toEqual([...corner]);
      expect((values[0] as number) / most).toBeGreaterThan(parametrisation === "pixels" ? 1 - 1e-6 : 0.97); // a sigmoid never arrives
      expect(images.data.every((x) => x >= range[0] && x <= range[1])).toBe(true);
    }
  });

  it("with a quadratic penalty stops where its slope is the weights'", async () => {
    const strength = 48 * 4;
    const { images } = await activationMaximization(linear(), {
      of: ofSum,
      range: [-3, 3],
      parametrisation: "pixels",
      regularisers: { l2: strength },
      steps: 500,
      learningRate: 0.02,
    });
    // w x - (strength / 48) x^2 is largest at x = w / 8; Adam's steps have shrunk to about 1e-4 by then.
    images.data.forEach((x, i) => {
      expect(Math.abs(x - (weights[i] as number) / 8)).toBeLessThan(2e-3);
    });
  });
});

describe("the classifier of shapes", () => {
  const options = { of: [0, 1, 2, 3], steps: 60 } as const;

  it.each([
    {},
    { parametrisation: "pixels" },
    { transformations: { shift: 2, scale: [0.9, 1.1], rotate: 5 }, regularisers: { totalVariation: 1, blur: 1 } },
  ] satisfies Partial<MaximizationOptions>[])("is excited more than by any picture or noise: %j", async (further) => {
    const { network, pictures } = shapes;
    const source = random(1);
    const noise = tensor(
      "float32",
      [200, 3, 24, 24],
      Float32Array.from({ length: 345600 }, () => source.uniform()),
    );
    const logitsOf = async (image: Tensor) => toNumbers((await network.record({ image }, "logits")).logits as Tensor);
    const found = await activationMaximization(network, { of: [0, 1, 2, 3], steps: 120, ...further });
    const own = await logitsOf(found.images);
    // Noise of full contrast is as far from drawn shapes as pictures get, so smooth ones need not reach it.
    const others = [...(await logitsOf(pictures)), ...("transformations" in further ? [] : await logitsOf(noise))];
    for (let c = 0; c < 4; c++) {
      const best = Math.max(...others.filter((_, i) => i % 4 === c));
      expect(found.values[c]).toBeGreaterThan(best + 5);
      expect(found.values[c]).toBeCloseTo(own[5 * c] as number, 3);
      const late = found.trajectory.slice(-20).reduce((sum, step) => sum + (step[c] as number) / 20, 0);
      expect(late).toBeGreaterThan((found.trajectory[0]?.[c] as number) + 5);
    }
    expect(found.trajectory).toHaveLength(120);
    expect(found.images.data.every((x) => x >= 0 && x <= 1)).toBe(true);
  });

  it("is the same from the same seed; other classes, weights and seeds are no other sessions", async () => {
    const own = createRuntime({ threads: 1 });
    const { network } = await openShapes(own);
    const call = { of: 1, steps: 5, transformations: { shift: 1 }, regularisers: { l2: 0.1 } };
    const one = await activationMaximization(network, call);
    expect(own.statistics().sessionsOpened).toBe(3); // the start, a step, and the pictures at the end
    expect(await activationMaximization(network, call)).toEqual(one);
    const still = await activationMaximization(shapes.network, { ...call, transformations: {} });
    expect(Math.abs((still.trajectory[0]?.[0] as number) - (one.trajectory[0]?.[0] as number))).toBeGreaterThan(1e-5);
    const other = await activationMaximization(network, { ...call, of: 2, seed: 3, regularisers: { l2: 4 } });
    expect(other.images).not.toEqual(one.images);
    expect(own.statistics()).toMatchObject({ sessionsOpened: 3, runs: 3 * 7 });
    await own.close();
  });

  it("penalties do what they are named for", async () => {
    const of = { of: [0, 2], steps: 60, parametrisation: "pixels" } as const;
    const images = async (regularisers: MaximizationOptions["regularisers"]) =>
      (await activationMaximization(shapes.network, { ...of, regularisers: regularisers ?? {} })).images;
    const plain = await images({});
    expect(variation(await images({ totalVariation: 500 }))).toBeLessThan(0.5 * variation(plain));
    expect(variation(await images({ blur: 5000 }))).toBeLessThan(0.7 * variation(plain));
    expect(distance(await images({ l2: 5000 }))).toBeLessThan(0.5 * distance(plain));
  });

  it("starts from a picture, of which no step leaves it as it is", async () => {
    const start = rows(shapes.pictures, 2, 3);
    for (const [parametrisation, tolerance] of [
      ["pixels", 0],
      ["fourier", 1e-3], // ends of the range lie at infinity, and pixels there come back a ten-thousandth inside
    ] as const) {
      const call = { of: 0, start: row(start, 0), steps: 0, parametrisation };
      const { images, values, trajectory } = await activationMaximization(shapes.network, call);
      expect(Math.max(...images.data.map((x, i) => Math.abs(x - (start.data[i] as number))))).toBeLessThanOrEqual(
        tolerance,
      );
      expect(trajectory).toEqual([]);
      const moved = await activationMaximization(shapes.network, { ...call, start, steps: 20 });
      expect(moved.values[0]).toBeGreaterThan((values[0] as number) + 5);
    }
  });

  it("starts each row from its own picture", async () => {
    const start = rows(shapes.pictures, 2, 4);
    const { images } = await activationMaximization(shapes.network, {
      of: [0, 1],
      start,
      steps: 0,
      parametrisation: "pixels",
    });
    expect(images).toEqual(start);
  });

  it("finds different pictures of one channel where they are to differ", async () => {
    const site = "conv2.act";
    const likest = async (weight: number) => {
      const { images, values } = await activationMaximization(shapes.network, {
        of: unit({ site: "conv3.act", channel: 3 }),
        count: 3,
        steps: 60,
        diversity: { site, weight },
      });
      const { [site]: features } = await shapes.network.record({ image: images }, site);
      return { values, alike: cosinesOf(features as Tensor) };
    };
    const [alone, apart] = [await likest(0), await likest(50)];
    expect(Math.min(...apart.values)).toBeGreaterThan(0);
    expect(Math.max(...apart.alike)).toBeLessThan(Math.min(...alone.alike));
  });

  it("stops when told to", async () => {
    const stop = new AbortController();
    const seen: number[] = [];
    const onProgress = (done: number) => {
      seen.push(done);
      if (done === 3) stop.abort();
    };
    const stopped = activationMaximization(shapes.network, { ...options, onProgress, signal: stop.signal });
    await expect(stopped).rejects.toThrow(/abort/i);
    expect(seen).toEqual([1, 2, 3]);
  });

  it.each([
    [{ of: [] }, /at least one class/],
    [{ of: 9 }, /9 is no class: "logits" has 4/],
    [{ of: 1, steps: 1.5 }, /steps must be a whole number, not 1.5/],
    [{ of: 1, learningRate: 0 }, /learningRate must be a number above 0/],
    [{ of: 1, count: 0 }, /count must be a whole number of at least 1/],
    [{ of: 1, range: [1, 1] }, /two rising numbers/],
    [{ of: 1, noise: -1 }, /noise must be/],
    [{ of: 1, colours: [[1]] }, /3 rows of 3 numbers/],
    [{ of: 1, regularisers: { l1: 2 } as never }, /no regulariser "l1"; there are l2, totalVariation, blur/],
    [{ of: 1, regularisers: { l2: Number.NaN } }, /weight of l2 must be a number/],
    [{ of: 1, transformations: { scale: [2, 1] } }, /scale must be two rising numbers above 0/],
    [{ of: 1, transformations: { shift: -1 } }, /numbers of at least 0/],
    [
      { of: 1, start: tensorOf("float32", [1, 2, 2], [0, 0, 0, 0]) },
      /start must be float32\[3, 24, 24\] or \[1, 3, 24, 24\]/,
    ],
    [{ of: 1, start: tensor("float32", [3, 24, 24], new Float32Array(1728).fill(2)) }, /outside of the range \[0, 1\]/],
    [{ of: unit({ site: "conv1.act", channel: 12 }) }, /"conv1.act" \[batch, 12, 24, 24\] has no channel 12/],
    [{ of: ({ site }) => reduceSum(mul(zerosLike(site("logits")), 2), 1) }, /does not depend on the image/],
  ] satisfies [MaximizationOptions, RegExp][])("refuses %o", async (call, message) => {
    await expect(activationMaximization(shapes.network, call)).rejects.toThrow(message);
  });
});

const distance = (images: Tensor) => toNumbers(images).reduce((sum, x) => sum + (x - 0.5) ** 2, 0);

/** The sum of absolute differences along each axis. */
function variation(images: Tensor): number {
  const [, , height, width] = images.shape as readonly [number, number, number, number];
  return toNumbers(images).reduce((sum, x, i, all) => {
    const right = (i + 1) % width === 0 ? 0 : Math.abs((all[i + 1] as number) - x);
    const down = Math.floor(i / width) % height === height - 1 ? 0 : Math.abs((all[i + width] as number) - x);
    return sum + right + down;
  }, 0);
}

/** Cosines between the products of channels of every two rows. */
function cosinesOf(features: Tensor): number[] {
  const [batch, channels] = features.shape as readonly [number, number];
  const grams = Array.from({ length: batch }, (_, b) => {
    const planes = Array.from({ length: channels }, (_, c) => [...toNumbers(row(row(features, b), c))]);
    return planes.flatMap((p) => planes.map((q) => p.reduce((sum, x, i) => sum + x * (q[i] as number), 0)));
  });
  const dot = (p: number[], q: number[]) => p.reduce((sum, x, i) => sum + x * (q[i] as number), 0);
  return grams.flatMap((p, i) => grams.slice(0, i).map((q) => dot(p, q) / Math.sqrt(dot(p, p) * dot(q, q))));
}

/** A function of tensors, in float64. */
function compute(fn: (...values: readonly Value[]) => Value, ...given: readonly Tensor[]): Tensor {
  const inputs = Object.fromEntries(given.map(({ shape }, i) => [`x${i}`, { dtype: "float64" as const, shape }]));
  const graph = trace((values) => ({ y: fn(...given.map((_, i) => values[`x${i}`] as Value)) }), inputs);
  const feeds = given.map(({ shape, data }, i) => [
    `x${i}`,
    tensor("float64", shape, Float64Array.from(data as Float64Array)),
  ]);
  return evaluate(graph, Object.fromEntries(feeds)).y as Tensor;
}

const far = (a: Tensor, b: Tensor) =>
  toNumbers(a).reduce((most, x, i) => Math.max(most, Math.abs(x - Number(b.data[i]))), 0);
const uniform = (shape: readonly number[], low: number, high: number, seed: number) => {
  const source = random(seed);
  return tensorOf(
    "float64",
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b) }, () => low + (high - low) * source.uniform()),
  );
};

describe("parametrisations", () => {
  it.each([
    [3, 6, 8],
    [3, 5, 4],
    [1, 7, 7],
    [2, 2, 3],
  ])("go there and back: %j channels, %j by %j", async (channels, height, width) => {
    const range = [-2, 1] as const;
    const picture = { channels, height, width, range };
    const image = uniform([2, channels, height, width], -1.9, 0.9, 3);
    const there = async ({ decode, encode }: Parametrisation) => {
      expect(
        far(
          compute((x) => decode(encode(x as Value)), image),
          image,
        ),
      ).toBeLessThan(1e-11); // float64
      expect(
        far(
          compute((x) => encode(decode(x as Value)), mulBy(image, 0.05)),
          mulBy(image, 0.05),
        ),
      ).toBeLessThan(1e-9);
    };
    await there(pixels(picture));
    await there(await fourier(picture));
    await there(
      await fourier(
        picture,
        Array.from({ length: channels }, (_, i) => Array.from({ length: channels }, (_, j) => 1 / (1 + i + j))),
      ),
    );
  });

  it("one parameter of the spectrum is one wave, the slower the larger", async () => {
    const size = 8;
    const { decode } = await fourier({ channels: 1, height: size, width: size, range: [0, 1] });
    const strengths = [1, 3, 5, 7].map((k) => {
      const parameters = tensor("float64", [1, 1, size, size], new Float64Array(size * size));
      parameters.data[k] = 1e-3; // row 0, the k-th wave across
      const waves = toNumbers(compute((x) => decode(x as Value), parameters)).map((x) => Math.log(x / (1 - x)));
      const power = (u: number, v: number) => {
        let [re, im] = [0, 0];
        waves.forEach((x, i) => {
          const angle = (2 * Math.PI * (u * Math.floor(i / size) + v * (i % size))) / size;
          re += x * Math.cos(angle);
          im += x * Math.sin(angle);
        });
        return Math.hypot(re, im);
      };
      const cycles = (k + 1) / 2;
      const own = power(0, cycles);
      for (let u = 0; u < size; u++)
        for (let v = 0; v < size; v++)
          if (u !== 0 || (v !== cycles && v !== size - cycles)) expect(power(u, v)).toBeLessThan(1e-9 * own);
      return Math.hypot(...waves);
    });
    // Gains are 1 over the frequency, and waves are of length 1.
    for (const [i, strength] of strengths.entries()) expect(strength * (i + 1)).toBeCloseTo(strengths[0] as number, 8);
  });
});

const mulBy = ({ shape, data }: Tensor, factor: number) =>
  tensor(
    "float64",
    shape,
    (data as Float64Array).map((x) => x * factor),
  );

describe("transformations", () => {
  const seen = (...[x, maps]: readonly Value[]) => transformed(x as Value, maps as Value);
  const plane = { height: 6, width: 6 };
  const image = uniform([1, 2, 6, 6], 0, 1, 4);
  const at = (x: Tensor, c: number, i: number, j: number) => Number(x.data[c * 36 + i * 6 + j]);
  const fixed = (uniforms: readonly number[]) => {
    const given = [...uniforms];
    return { ...random(0), uniform: () => given.shift() ?? 0.5 };
  };

  it("move, turn and enlarge as they say", () => {
    const apply = (options: Parameters<typeof drawMaps>[0], drawn: readonly number[]) =>
      compute(seen, image, drawMaps(options, 1, plane, fixed(drawn)));
    // Maps are float32, so places are off by 1e-7 of the picture.
    expect(far(apply({}, []), image)).toBeLessThan(1e-5);
    const moved = apply({ shift: 2 }, [0.5, 0.5, 1, 0]); // two to the right, two up
    const turned = apply({ rotate: 90 }, [0.5, 1]); // a quarter
    const large = apply({ scale: [1, 2] }, [1]);
    for (let i = 0; i < 6; i++) {
      for (let j = 0; j < 6; j++) {
        if (j >= 2 && i < 4) expect(at(moved, 1, i, j)).toBeCloseTo(at(image, 1, i + 2, j - 2), 5);
        expect(at(turned, 1, i, j)).toBeCloseTo(at(image, 1, 5 - j, i), 5);
      }
    }
    expect(at(large, 0, 2, 2)).toBeCloseTo(
      0.75 * (0.75 * at(image, 0, 2, 2) + 0.25 * at(image, 0, 2, 3)) +
        0.25 * (0.75 * at(image, 0, 3, 2) + 0.25 * at(image, 0, 3, 3)),
      5,
    );
  });

  it("turn a picture that is not square without stretching it", () => {
    const wide = uniform([1, 1, 4, 8], 0, 1, 5);
    const maps = drawMaps({ rotate: 90 }, 1, { height: 4, width: 8 }, fixed([0.5, 1]));
    const turned = compute(seen, wide, maps);
    for (let i = 0; i < 4; i++)
      for (let j = 2; j < 6; j++)
        // About the centre (1.5, 3.5): a place d to the right of it shows what lies d above it.
        expect(Number(turned.data[i * 8 + j])).toBeCloseTo(Number(wide.data[(5 - j) * 8 + i + 2]), 5);
  });

  it("have the gradient that differences show", () => {
    const maps = drawMaps({ shift: 1.3, scale: [0.8, 1.3], rotate: 30 }, 2, plane, random(6));
    const images = uniform([2, 2, 6, 6], 0, 1, 7);
    const onto = uniform([2, 2, 6, 6], -1, 1, 8);
    const loss = (...[x, map, weight]: readonly Value[]) => {
      const seen = transformed(x as Value, map as Value);
      return reduceSum(mul(mul(seen, seen), weight as Value), [0, 1, 2, 3]);
    };
    const gradient = compute(
      (...given) => gradients(loss(...given), given.slice(0, 1))[0] as Value,
      images,
      maps,
      onto,
    );
    for (const index of [0, 17, 40, 77, 120, 143]) {
      const moved = (by: number) => {
        const data = Float64Array.from(images.data as Float64Array);
        data[index] = (data[index] as number) + by;
        return Number(compute(loss, tensor("float64", images.shape, data), maps, onto).data[0]);
      };
      expect(gradient.data[index]).toBeCloseTo((moved(1e-4) - moved(-1e-4)) / 2e-4, 7); // quadratic: exact but for float64
    }
    expect(toNumbers(gradient).some((x) => Math.abs(x) > 0.1)).toBe(true);
  });
});

describe("penalties", () => {
  it("are their formulas", () => {
    const image = uniform([2, 2, 3, 4], 0, 1, 9);
    const value = (b: number, c: number, i: number, j: number) => Number(image.data[((b * 2 + c) * 3 + i) * 4 + j]);
    const within = (i: number, size: number) => Math.min(Math.max(i, 0), size - 1);
    const means = (of: (b: number, c: number, i: number, j: number) => number) =>
      [0, 1].map((b) => {
        let sum = 0;
        for (let p = 0; p < 24; p++) sum += of(b, Math.floor(p / 12), Math.floor(p / 4) % 3, p % 4);
        return sum / 24;
      });
    const blur = (b: number, c: number, i: number, j: number) => {
      let sum = 0;
      for (const y of [-1, 0, 1])
        for (const x of [-1, 0, 1])
          sum += ((2 - Math.abs(x)) * (2 - Math.abs(y)) * value(b, c, within(i + y, 3), within(j + x, 4))) / 16;
      return sum;
    };
    const wanted = {
      l2: means((...p) => (value(...p) - 0.4) ** 2),
      totalVariation: means((b, c, i, j) => {
        const down = value(b, c, within(i + 1, 3), j) - value(b, c, i, j);
        const right = value(b, c, i, within(j + 1, 4)) - value(b, c, i, j);
        return Math.sqrt(down ** 2 + right ** 2 + 1e-6);
      }),
      blur: means((...p) => (value(...p) - blur(...p)) ** 2 / 2),
    };
    for (const name of ["l2", "totalVariation", "blur"] as const) {
      const found = compute((x) => penalties[name](x as Value, 0.4), image);
      expect(found.shape).toEqual([2]);
      expect(far(found, tensorOf("float64", [2], wanted[name]))).toBeLessThan(1e-12); // float64
    }
    // The blurred picture counts as given, so the slope of its penalty is the difference itself.
    const slope = compute(
      (x) => gradients(reduceSum(penalties.blur(x as Value, 0), 0), [x as Value])[0] as Value,
      image,
    );
    expect(slope.data[17]).toBeCloseTo((value(0, 1, 1, 1) - blur(0, 1, 1, 1)) / 24, 12);
    const pairs = tensorOf("float64", [2, 2], [0, 2, 2, 0]);
    const [cosine] = cosinesOf(image);
    expect(
      far(
        compute((x, p) => likeness(x as Value, p as Value), image, pairs),
        tensorOf("float64", [2], [2 * (cosine as number), 2 * (cosine as number)]),
      ),
    ).toBeLessThan(1e-6); // 1e-8 in the denominator
  });
});
