/** Elementwise operations: what the shared suites can't see, such as relative errors near 0, ties, bounds, and errors. */
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  bitwiseNot,
  cast,
  clip,
  constant,
  type Dtype,
  evaluate,
  expm1,
  grad,
  input,
  log1p,
  max,
  min,
  mod,
  pow,
  prelu,
  reduceSum,
  softcap,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
  vmap,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const vector = (dtype: Dtype, numbers: readonly number[]) => tensorOf(dtype, [numbers.length], numbers);

/** A function of tensors, in the reference. */
function evaluated(fn: (...xs: Value[]) => Value, ...tensors: readonly Tensor[]): number[] {
  const inputs = Object.fromEntries(tensors.map((value, i) => [`x${i}`, value]));
  const graph = trace((values) => ({ y: fn(...tensors.map((_, i) => values[`x${i}`] as Value)) }), inputs);
  return [...toNumbers(evaluate(graph, inputs).y as Tensor)];
}

/** Gradients of the sum of `fn` of vectors, one list for each. */
function slopes(fn: (...xs: Value[]) => Value, ...vectors: readonly (readonly number[])[]): number[][] {
  const tensors = vectors.map((numbers) => vector("float64", numbers));
  const gradient = grad((xs: readonly Value[]) => reduceSum(fn(...xs), 0));
  return vectors.map((_, i) => evaluated((...xs) => gradient(xs)[i] as Value, ...tensors));
}

describe.each<[string, (x: Value) => Value, (x: number) => number]>([
  ["expm1", expm1, Math.expm1],
  ["log1p", log1p, Math.log1p],
])("%s", (_, operation, wanted) => {
  // The error of a few roundings, relative to a result that may be tiny. exp(x) - 1 as written is wrong by all of it.
  it.each<[Dtype, number]>([
    ["float32", 5e-7],
    ["float64", 1e-15],
  ])("keeps its digits near 0 in the runtime's %s", async (dtype, tolerance) => {
    const x = vector(dtype, [1e-30, -1e-12, 3e-9, -1e-7, 2e-4, -0.03, 0.2, -0.49, 0.499, 0.51, -0.51]);
    const graph = trace(({ x }) => ({ y: operation(x as Value) }), { x });
    const y = (await runtime.compile(graph).run({ x })).y as Tensor;
    const given = [...toNumbers(x)];
    const errors = [...toNumbers(y)].map((own, i) => Math.abs(own / wanted(given[i] as number) - 1));
    expect(Math.max(...errors)).toBeLessThan(tolerance);
  });
});

describe("where two numbers tie", () => {
  it("max and min share the gradient", () => {
    expect(slopes(max, [1, 2, 3], [3, 2, 1])).toEqual([
      [0, 0.5, 1],
      [1, 0.5, 0],
    ]);
    expect(slopes(min, [1, 2, 3], [3, 2, 1])).toEqual([
      [1, 0.5, 0],
      [0, 0.5, 1],
    ]);
  });
});

describe("pow", () => {
  it("has slopes of 0 where the exponent is 0, the first and the second", () => {
    const power = (x: Value) => reduceSum(pow(x, constant(vector("float64", [0, 0, 2]))), 0);
    const second = (x: Value) => grad((x: Value) => reduceSum(grad(power)(x), 0))(x);
    const x = vector("float64", [0, 3, 0]);
    expect(evaluated((x) => grad(power)(x as Value), x)).toEqual([0, 0, 0]);
    expect(evaluated((x) => second(x as Value), x)).toEqual([0, 0, 2]);
  });
});

describe("clip", () => {
  it("passes gradients within its bounds and on them, and gives the bound the others", () => {
    const [x, low, high] = slopes((x, low, high) => clip(x, { min: low, max: high }), [-2, -1, 0, 1, 2], [-1], [1]);
    expect(x).toEqual([0, 1, 1, 1, 0]);
    expect([low, high]).toEqual([[1], [1]]);
  });

  it("gives the upper bound where the lower one is above it, and that the gradient", () => {
    expect(slopes((x, low, high) => clip(x, { min: low, max: high }), [-2, 0, 2], [1], [-1])).toEqual([
      [0, 0, 0],
      [0],
      [3],
    ]);
  });

  it("takes one bound, or none", () => {
    const clipped = (dtype: Dtype, bounds: Parameters<typeof clip>[1]) =>
      evaluated((x) => clip(x, bounds), vector(dtype, [-5, 0, 5]));
    for (const dtype of ["float32", "int64"] as const) {
      expect(clipped(dtype, { min: -1 })).toEqual([-1, 0, 5]);
      expect(clipped(dtype, { max: 1 })).toEqual([-5, 0, 1]);
      expect(clipped(dtype, {})).toEqual([-5, 0, 5]);
    }
  });
});

describe("softcap", () => {
  it("is x near 0, stays within the cap, and has slope 1 at 0", () => {
    const [near, far, past] = evaluated((x) => softcap(x, 30), vector("float64", [1e-3, -1e3, 30])) as [
      number,
      number,
      number,
    ];
    expect(near).toBeCloseTo(1e-3, 12); // the cubic term is 1e-9 / 2700
    expect(far).toBe(-30);
    expect(past).toBeCloseTo(30 * Math.tanh(1), 12);
    expect(slopes((x) => softcap(x, 30), [0])).toEqual([[1]]);
  });
});

describe("mod", () => {
  const remainder = (options?: { fmod: boolean }) => (a?: Value, b?: Value) => mod(a as Value, b as Value, options);

  it("has the sign of the divisor for whole numbers, of the dividend for floats, and either where it is asked for", () => {
    const [a, b] = [
      [7, -7, 7, -7],
      [3, 3, -3, -3],
    ] as const;
    expect(evaluated(remainder(), vector("int64", a), vector("int64", b))).toEqual([1, 2, -2, -1]);
    expect(evaluated(remainder(), vector("float32", a), vector("float32", b))).toEqual([1, -1, 1, -1]);
    expect(evaluated(remainder({ fmod: true }), vector("int64", a), vector("int64", b))).toEqual([1, -1, 1, -1]);
  });

  it("follows b by the whole quotient, of either sign", () => {
    expect(slopes(remainder(), [7, -7], [3, 3])).toEqual([
      [1, 1],
      [-2, 2],
    ]);
  });

  it("has no sign of the divisor for floats", () => {
    const x = input("x", "float32", [2]);
    expect(() => mod(x, 2, { fmod: false })).toThrow("mod(float32[2], float32[]): floats have only the remainder");
    expect(() => mod(input("x", "bool", [2]), input("y", "bool", [2]))).toThrow("not bool");
  });
});

describe("bitwiseNot", () => {
  it("of an unsigned number is unsigned, in the middle of a graph too", () => {
    const widened = (x?: Value) => cast(bitwiseNot(x as Value), "float32");
    expect(evaluated(widened, vector("uint8", [0, 5, 255]))).toEqual([255, 250, 0]);
    expect(evaluated(widened, vector("int8", [0, 5, -128]))).toEqual([-1, -6, 127]);
  });
});

describe("prelu", () => {
  const x = tensorOf("float64", [3], [-1, 2, -3]);
  const many = tensorOf("float64", [2], [0.5, 0.25]);

  it("refuses a slope that would change the shape of x", () => {
    const [value, slope] = [input("x", "float32", ["n"]), input("slope", "float32", [2, "n"])];
    expect(() => prelu(value, slope)).toThrow("prelu(float32[n], float32[2, n]): the slope must broadcast to x");
  });

  it("is batched over either input", () => {
    const overSlopes = vmap(([slope]: readonly Value[]) => prelu(constant(x), slope as Value));
    expect(evaluated((slope) => overSlopes([slope]), many)).toEqual([-0.5, 2, -1.5, -0.25, 2, -0.75]);
    const overBoth = vmap(([value, slope]: readonly Value[]) => prelu(value as Value, slope as Value));
    const stacked = tensorOf("float64", [2, 3], [-1, 2, -3, -4, 5, -6]);
    expect(evaluated((value, slope) => overBoth([value, slope]), stacked, many)).toEqual([-0.5, 2, -1.5, -1, 5, -1.5]);
  });
});
