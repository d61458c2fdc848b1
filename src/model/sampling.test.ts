/** From logits to tokens: greedy with ties, and draws against exact probabilities. */
import { describe, expect, it } from "vitest";
import { random } from "../runtime/index.js";
import { argmax, checkSampling, type SamplingOptions, sample } from "./sampling.js";

const logits = Float32Array.of(1, 3, -1, 3, 0.5, 2, -Infinity, 1);
const draw = (options: SamplingOptions, source = random(1)) => sample(logits, options, source);

/** Probabilities of the softmax at a temperature, of the tokens in `kept` alone. */
function probabilities(temperature: number, kept: readonly number[]): number[] {
  const weights = Array.from(logits, (x, id) => (kept.includes(id) ? Math.exp(x / temperature) : 0));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

describe("greedy", () => {
  it("takes the likeliest token, the lowest id of equals, and draws nothing", () => {
    const source = random(5);
    expect(draw({}, source)).toBe(1);
    expect(draw({ temperature: 0, topK: 3, topP: 0.5 }, source)).toBe(1);
    expect(source.word()).toBe(random(5).word());
  });

  it.each([
    [[0], 0],
    [[-1, -1, -1], 0],
    [[-Infinity, -5], 1],
    [[2, 7, 7, 1], 1],
  ])("argmax of %j is %i", (values, wanted) => {
    expect(argmax(Float32Array.from(values))).toBe(wanted);
  });
});

describe("draws follow the exact probabilities", () => {
  const all = [0, 1, 2, 3, 4, 5, 7];
  const cases: [string, SamplingOptions, number[]][] = [
    ["of the model", { temperature: 1 }, all],
    ["of a flatter softmax", { temperature: 3 }, all],
    ["of a sharper one", { temperature: 0.5 }, all],
    ["of the 3 likeliest", { temperature: 1, topK: 3 }, [1, 3, 5]],
    ["of the 1 likeliest, ties to the lower id", { temperature: 1, topK: 1 }, [1]],
    ["of all, where topK is more than there are", { temperature: 2, topK: 99 }, all],
    // at temperature 1 the likeliest have 0.357, 0.357, 0.131, 0.048, 0.048, 0.029, ...
    ["of those that reach 0.7", { temperature: 1, topP: 0.7 }, [1, 3]],
    ["of those that reach 0.8", { temperature: 1, topP: 0.8 }, [1, 3, 5]],
    ["of the one that reaches 0.1", { temperature: 1, topP: 0.1 }, [1]],
    ["of both cuts, topP within topK", { temperature: 1, topK: 5, topP: 0.93 }, [0, 1, 3, 5]],
    ["at a temperature that changes what topP keeps", { temperature: 5, topP: 0.5 }, [1, 3, 5]],
  ];

  it.each(cases)("%s", (_, options, kept) => {
    const count = 20_000;
    const source = random(11);
    const drawn = new Array<number>(logits.length).fill(0);
    for (let i = 0; i < count; i++) {
      const id = draw(options, source);
      drawn[id] = (drawn[id] as number) + 1;
    }
    const wanted = probabilities(options.temperature as number, kept);
    let square = 0;
    wanted.forEach((p, id) => {
      if (p === 0) expect(drawn[id], `token ${id}`).toBe(0);
      else square += ((drawn[id] as number) - count * p) ** 2 / (count * p);
    });
    // chi-square of at most 6 degrees of freedom exceeds 22.5 once in a thousand seeds; the seed is fixed
    expect(square).toBeLessThan(22.5);
  });

  it("the same for the same seed, others for another", () => {
    const run = (seed: number, stream = 0) => {
      const source = random(seed, stream);
      return Array.from({ length: 40 }, () => draw({ temperature: 1 }, source));
    };
    expect(run(3)).toEqual(run(3));
    expect(run(3)).not.toEqual(run(4));
    expect(run(3)).not.toEqual(run(3, 1));
  });

  it("stay finite at the ends of the scale", () => {
    expect(sample(Float32Array.of(1e30, 2e30, -1e30), { temperature: 1 }, random(1))).toBe(1);
    expect(draw({ temperature: 1e-300 })).toBeOneOf([1, 3]);
    expect(draw({ temperature: 1, topP: 1e-9 })).toBe(1);
  });
});

describe("checkSampling", () => {
  it("lets good options pass", () => {
    for (const options of [{}, { temperature: 0 }, { temperature: 2.5, topK: 1, topP: 1 }, { topP: 1e-6 }])
      expect(() => checkSampling(options)).not.toThrow();
  });

  it.each<[SamplingOptions, string]>([
    [{ temperature: -1 }, "temperature must be 0 or more, not -1"],
    [{ temperature: Number.NaN }, "temperature must be 0 or more, not NaN"],
    [{ temperature: Infinity }, "temperature must be 0 or more, not Infinity"],
    [{ topK: 0 }, "topK must be a whole number of at least 1, not 0"],
    [{ topK: 1.5 }, "topK must be a whole number of at least 1, not 1.5"],
    [{ topP: 0 }, "topP must lie in (0, 1], not 0"],
    [{ topP: 1.1 }, "topP must lie in (0, 1], not 1.1"],
    [{ topP: Number.NaN }, "topP must lie in (0, 1], not NaN"],
  ])("refuses %j", (options, message) => {
    expect(() => checkSampling(options)).toThrow(message);
  });
});
