/** Attacks: closed forms on a linear network, exact bounds, and a trained classifier that signs fool and noise doesn't. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openShapes, type Shapes } from "../../test/fixtures/vision/shapes.js";
import { cast, matmul, mul, reduceSum, reshape, select, sub, type Value } from "../graph/index.js";
import { createNetwork, type Network } from "../model/index.js";
import { createRuntime, normals, random, row, type Tensor, tensor, toNumbers } from "../runtime/index.js";
import { projected, randomInBall, stepped } from "./ball.js";
import { fgsm, noiseAttack, pgd, robustAccuracy } from "./index.js";
import { ofClass } from "./targets.js";

const runtime = createRuntime({ threads: 1 });
let shapes: Shapes;
beforeAll(async () => {
  shapes = await openShapes(runtime);
});
afterAll(() => runtime.close());

/** Two classes that a linear function of eight pixels tells apart. */
const weights = normals(16, 3);
const linear = (): Network =>
  createNetwork(
    {
      inputs: { image: { dtype: "float32", shape: ["batch", 2, 2, 2] } },
      weights: { w: tensor("float32", [8, 2], weights) },
      build: ({ inputs, weight }) => ({
        logits: matmul(reshape(inputs.image as Value, ["batch", 8]), weight("w")),
      }),
    },
    { runtime },
  );
/** The direction in which class 0 gains on class 1. */
const direction = Array.from({ length: 8 }, (_, i) => (weights[2 * i] as number) - (weights[2 * i + 1] as number));
const middle = (batch: number) => tensor("float32", [batch, 2, 2, 2], new Float32Array(batch * 8).fill(0.5));
const gap = async (network: Network, image: Tensor) => {
  const { logits } = await network.record({ image }, "logits");
  return Number(logits?.data[0]) - Number(logits?.data[1]);
};

describe("a linear network", () => {
  it.each(["linf", "l2"] as const)("loses as much as the dual norm says: %s", async (norm) => {
    const network = linear();
    const epsilon = 0.1;
    const dual =
      norm === "linf"
        ? direction.reduce((sum, x) => sum + Math.abs(x), 0)
        : Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0));
    const before = await gap(network, middle(1));
    for (const [attack, sign] of [
      [await fgsm(network, { image: middle(1) }, { labels: [0], epsilon, norm }), -1],
      [await fgsm(network, { image: middle(1) }, { labels: [0], epsilon, norm, targeted: true }), 1],
      [
        await pgd(
          network,
          { image: middle(1) },
          { labels: [0], epsilon, norm, steps: 30, randomStart: norm === "linf" },
        ),
        -1,
      ],
    ] as const) {
      const change = (await gap(network, attack.images)) - before;
      // Exact but for the float32 products; pgd ends at the same place, since the gradient points there from everywhere.
      expect(change / (sign * epsilon * dual)).toBeCloseTo(1, 4);
    }
    const noise = await noiseAttack(network, { image: middle(1) }, { labels: [0], epsilon, norm });
    expect(Math.abs((await gap(network, noise.images)) - before)).toBeLessThan(0.9 * epsilon * dual);
  });

  it("leaves a picture alone where the gradient is zero, and says so where there is none", async () => {
    const flat = await fgsm(
      linear(),
      { image: middle(1) },
      {
        labels: [1],
        epsilon: 0.1,
        loss: (scores) => reduceSum(mul(scores, 0), 1),
      },
    );
    expect(flat.distances).toEqual({ linf: [0], l2: [0] });
    const aside = fgsm(
      linear(),
      { image: middle(1) },
      {
        labels: [1],
        epsilon: 0.1,
        loss: (_, classes) => cast(classes, "float32"),
      },
    );
    await expect(aside).rejects.toThrow(/does not depend on the image/);
  });

  it("is attacked as its edits make it", async () => {
    const { images } = await fgsm(linear(), { image: middle(1) }, { labels: [0], epsilon: 0.2 });
    const turned = linear().with({ site: "image", apply: (x) => mul(x, -1) });
    const other = await fgsm(turned, { image: middle(1) }, { labels: [0], epsilon: 0.2 });
    images.data.forEach((x, i) => {
      expect(x - 0.5).toBeCloseTo(0.5 - (other.images.data[i] as number), 6); // float32
    });
  });

  it("keeps a picture that succeeds before one that doesn't, whatever the loss", async () => {
    const before = await gap(linear(), middle(1));
    const label = before > 0 ? 1 : 0; // not what the picture is taken for
    const helping = (scores: Value) => sub(select(scores, 1, label), select(scores, 1, 1 - label));
    const attack = (steps: number, share: number) =>
      pgd(
        linear(),
        { image: middle(1) },
        {
          labels: [label],
          loss: helping,
          randomStart: false,
          epsilon: 0.5,
          steps,
          stepSize: (share * Math.abs(before)) / direction.reduce((sum, x) => sum + Math.abs(x), 0),
        },
      );
    expect((await attack(2, 1.2)).success).toEqual([false]); // both steps lead to where it is taken for the label
    const mixed = await attack(3, 0.4); // the third does
    expect(mixed.success).toEqual([true]);
    expect(mixed.predictions).toEqual([1 - label]);
    expect(mixed.losses[0]).toBeCloseTo(-0.2 * Math.abs(before), 5); // the better of the first two
  });

  it("takes a loss of the caller's", async () => {
    const margin = (scores: Value) => sub(select(scores, 1, 1), select(scores, 1, 0));
    const { losses, images } = await fgsm(linear(), { image: middle(1) }, { labels: [0], epsilon: 0.2, loss: margin });
    expect(losses[0]).toBeCloseTo(-(await gap(linear(), images)), 5);
    const whole = fgsm(linear(), { image: middle(1) }, { labels: [0], epsilon: 0.2, loss: (scores) => scores });
    await expect(whole).rejects.toThrow(/a loss is one number a row, \[batch\], not \[batch, 2\]/);
  });
});

describe("the set of pictures", () => {
  const range = [-0.3, 0.7] as const; // neither end is a float32
  it("is never left, by not even a rounding error", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.double({ min: 1e-6, max: 0.6, noNaN: true }),
        fc.constantFrom("linf" as const, "l2" as const),
        (seed, epsilon, norm) => {
          const source = random(seed);
          const original = tensor(
            "float32",
            [2, 3, 4, 4],
            Float32Array.from({ length: 96 }, () => Math.min(0.6999, source.uniform() - 0.2999)),
          );
          const ball = { original, epsilon, norm, range };
          let image = randomInBall(ball, source);
          for (let step = 0; step < 3; step++) {
            const gradient = tensor(
              "float32",
              original.shape,
              Float32Array.from(original.data, () => source.normal()),
            );
            image = projected(ball, stepped(image, gradient, epsilon, norm));
            for (let b = 0; b < 2; b++) {
              const changes = [...toNumbers(row(image, b))].map((x, i) => x - (row(original, b).data[i] as number));
              const size =
                norm === "linf"
                  ? Math.max(...changes.map(Math.abs))
                  : Math.sqrt(changes.reduce((sum, x) => sum + x * x, 0));
              expect(size).toBeLessThanOrEqual(epsilon);
              expect(size).toBeGreaterThan(0);
            }
            expect(image.data.every((x) => x >= range[0] && x <= range[1])).toBe(true);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("is filled evenly by random starts", () => {
    const original = tensor("float32", [2000, 2], new Float32Array(4000));
    const radii = (norm: "linf" | "l2") => {
      const { data } = randomInBall({ original, epsilon: 1, norm, range: [-1, 1] }, random(5));
      return Array.from({ length: 2000 }, (_, b) => Math.hypot(data[2 * b] as number, data[2 * b + 1] as number));
    };
    // Half of a disc lies within 1/sqrt(2); a quarter of pi of a square within the inscribed disc. 2,000 draws: 3 sd = 0.034.
    expect(Math.abs(radii("l2").filter((r) => r < Math.SQRT1_2).length / 2000 - 0.5)).toBeLessThan(0.034);
    expect(Math.abs(radii("linf").filter((r) => r < 1).length / 2000 - Math.PI / 4)).toBeLessThan(0.034);
  });
});

describe("the classifier of shapes", () => {
  const count = (rows: readonly boolean[]) => rows.filter((yes) => yes).length;

  it("falls to signs and not to noise of the same size", async () => {
    const { network, pictures, labels } = shapes;
    const options = { labels, epsilons: [0, 4 / 255, 8 / 255], steps: 10, batchRows: 24 };
    const robust = async (attack: "noise" | "fgsm" | "pgd") =>
      (await robustAccuracy(network, { image: pictures }, { ...options, attack })).robust;
    expect(await robust("noise")).toEqual([1, 1, 1]);
    const signs = await robust("fgsm");
    expect(signs[0]).toBe(1);
    expect(signs[1]).toBeLessThan(0.6); // 0.45
    expect(signs[2]).toBeLessThan(0.2); // 0.09
    const many = await robust("pgd");
    expect(many[0]).toBe(1);
    expect(many[1]).toBeLessThan(0.3); // 0.19
    expect(many[2]).toBe(0);
  });

  it("counts a picture that was wrong before as lost, and is the same in other batches", async () => {
    const { network, pictures, labels } = shapes;
    const wrong = labels.map((label, b) => (b < 16 ? (label + 1) % 4 : label));
    const options = { labels: wrong, epsilons: [0], attack: "fgsm" } as const;
    const seen: number[] = [];
    const found = await robustAccuracy(
      network,
      { image: pictures },
      { ...options, batchRows: 20, onProgress: (done) => seen.push(done) },
    );
    expect(found).toMatchObject({ clean: 0.75, robust: [0.75] });
    expect(seen).toEqual([20, 40, 60, 64]);
    expect(await robustAccuracy(network, { image: pictures }, options)).toEqual(found);
  });

  it("is not robust where an attack puts right what was wrong", async () => {
    const { network, pictures, labels } = shapes;
    const wrong = labels.map((label) => (label + 1) % 4);
    const helping = (scores: Value, classes: Value) => ofClass(scores, classes);
    const options = { labels: wrong, loss: helping };
    const attack = await fgsm(network, { image: pictures }, { ...options, epsilon: 16 / 255 });
    expect(count(attack.success)).toBeLessThan(64);
    const set = { ...options, epsilons: [16 / 255], attack: "fgsm" } as const;
    expect((await robustAccuracy(network, { image: pictures }, set)).robust).toEqual([0]);
  });

  it.each([
    ["linf", 4 / 255, 10],
    ["l2", 0.5, 10],
  ] as const)("falls to pgd wherever it falls to fgsm, and further: %s", async (norm, epsilon, more) => {
    const { network, pictures, labels } = shapes;
    const options = { labels, epsilon, norm };
    const one = await fgsm(network, { image: pictures }, options);
    const many = await pgd(network, { image: pictures }, { ...options, steps: 10, randomStart: false });
    labels.forEach((_, b) => {
      expect(many.losses[b]).toBeGreaterThanOrEqual(one.losses[b] as number);
      if (one.success[b] === true) expect(many.success[b]).toBe(true);
      expect(many.distances[norm][b]).toBeLessThanOrEqual(epsilon);
    });
    expect(count(many.success)).toBeGreaterThan(count(one.success) + more); // 53 and 35 of 64; 60 and 43
    const { logits } = await network.record({ image: many.images }, "logits");
    const predicted = labels.map((_, b) => {
      const scores = [...toNumbers(row(logits as Tensor, b))];
      return scores.indexOf(Math.max(...scores));
    });
    expect(many.predictions).toEqual(predicted);
    expect(many.success).toEqual(predicted.map((each, b) => each !== labels[b]));
  });

  it("is led to the class that the attacker wants", async () => {
    const { network, pictures, labels } = shapes;
    const wanted = labels.map((label) => (label + 1) % 4);
    const options = { labels: wanted, targeted: true, epsilon: 16 / 255, steps: 15, seed: 4 };
    const attack = await pgd(network, { image: pictures }, options);
    expect(count(attack.success)).toBeGreaterThan(50); // of 64
    attack.predictions.forEach((each, b) => {
      expect(each === wanted[b]).toBe(attack.success[b]);
    });
    const again = await pgd(network, { image: pictures }, options);
    expect(again.images).toEqual(attack.images);
    const other = await pgd(network, { image: pictures }, { ...options, seed: 5 });
    expect(other.images).not.toEqual(attack.images);
  });

  it("restarts help or leave things as they are, in one session, and stop when told to", async () => {
    const own = createRuntime({ threads: 1 });
    const { network, pictures, labels } = await openShapes(own);
    const options = { labels, epsilon: 3 / 255, steps: 4 };
    const one = await pgd(network, { image: pictures }, options);
    const three = await pgd(network, { image: pictures }, { ...options, restarts: 3 });
    expect(count(three.success)).toBeGreaterThanOrEqual(count(one.success));
    expect(own.statistics().sessionsOpened).toBe(1);
    const stop = new AbortController();
    const stopped = pgd(
      network,
      { image: pictures },
      { ...options, signal: stop.signal, onProgress: (done) => done === 2 && stop.abort() },
    );
    await expect(stopped).rejects.toThrow(/abort/i);
    expect(own.statistics().runs).toBe(5 + 15 + 2);
    await own.close();
  });

  it.each([
    [{ epsilon: -1 }, /epsilon must be a number of at least 0, not -1/],
    [{ epsilon: 0.1, steps: 0 }, /steps must be a whole number of at least 1, not 0/],
    [{ epsilon: 0.1, stepSize: Number.NaN }, /stepSize must be/],
    [{ epsilon: 0.1, range: [0, 0.5] as const }, /outside of the range \[0, 0.5\]/],
    [{ epsilon: 0.1, range: [1, 0] as const }, /two rising numbers/],
    [{ epsilon: 0.1, labels: [0] }, /64 pictures and 1 labels/],
    [{ epsilon: 0.1, norm: "l1" as never }, /norm must be "linf" or "l2", not "l1"/],
    [{ epsilon: 0.1, labels: new Array<number>(64).fill(7) }, /7 is no class/],
  ])("refuses %j", async (options, message) => {
    const { network, pictures, labels } = shapes;
    await expect(pgd(network, { image: pictures }, { labels, ...options })).rejects.toThrow(message);
  });
});
