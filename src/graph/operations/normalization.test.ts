/** Normalisations that are made of operations: other tools' numbers, in the runtime, and their gradients. */
import { afterAll, describe, expect, it } from "vitest";
import {
  type Build,
  derivativeError,
  referenceError,
  runtimeError,
  storedCases,
} from "../../../test/support/operations/functionChecks.js";
import { createRuntime } from "../../runtime/index.js";
import {
  type Attributes,
  batchNorm,
  batchNormTraining,
  type Dim,
  groupNorm,
  input,
  instanceNorm,
  localResponseNorm,
  lpNormalization,
  meanVarianceNormalization,
  tensorOf,
  toNumbers,
  type Value,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

type Numbers = Readonly<Record<string, number>>;

const functions: Readonly<Record<string, (values: readonly Value[], attributes: Attributes) => Value | Value[]>> = {
  batchNormTraining([x, scale, bias], { epsilon }) {
    const made = batchNormTraining(x as Value, { scale: scale as Value, bias: bias as Value }, epsilon as number);
    return [made.output, made.mean, made.variance];
  },
  groupNorm: ([x, scale, bias], { groups, epsilon }) =>
    groupNorm(x as Value, groups as number, { scale: scale as Value, bias: bias as Value }, epsilon as number),
  meanVarianceNormalization: ([x], { axes }) => meanVarianceNormalization(x as Value, axes as number[]),
  lpNormalization: ([x], attributes) => lpNormalization(x as Value, attributes as Numbers),
  localResponseNorm: ([x], attributes) => localResponseNorm(x as Value, attributes as Numbers & { size: number }),
};

const cases = Object.entries(functions).flatMap(([name, make]) =>
  storedCases("normalization", name).map((own, i) => {
    const build: Build = (values) => make(values, own.attributes);
    return [name, i, own, build] as const;
  }),
);

describe.each(cases)("%s, case %i,", (name, _, own, build) => {
  it("is what the other tool computes, whichever sizes are symbols", () => {
    // ONNX's evaluator knows this one in float32 alone
    const tolerance = name === "meanVarianceNormalization" ? 1e-6 : 1e-13;
    // groups must divide a number of channels that is known
    for (const named of name === "groupNorm" ? [[], [3]] : [[], [2, 3], [3, 4, 5, 6]])
      expect(referenceError(build, own, named)).toBeLessThan(tolerance);
  });

  it("runs with its gradient, which is what differences say", async () => {
    // a vector of zeros is a kink of its norm, so its numbers are moved away from there first
    const inputs = own.inputs.map((x) => {
      const away = toNumbers(x).map((n) => (n === 0 ? 0.5 : n));
      return tensorOf("float64", x.shape, away);
    });
    // float32, where the variance of two numbers is small beside their size
    expect(await runtimeError(runtime, build, inputs, [3])).toBeLessThan(1e-5);
    // statistics of as few as two numbers bend strongly between points 1e-3 apart
    expect(derivativeError(build, inputs)).toBeLessThan(1e-7);
  });
});

const value = (...shape: Dim[]) => input("x", "float32", shape);
const affine = (n: Dim) => ({ scale: value(n), bias: value(n) });

describe("errors", () => {
  it.each<[string, () => unknown, string]>([
    [
      "channels",
      () => instanceNorm(value(2, 3, 4), affine(4)),
      "parameters must be float32[3], one number for each channel",
    ],
    [
      "places",
      () => instanceNorm(value(2, 3), affine(3)),
      "instanceNorm(float32[2, 3], float32[3], float32[3]): takes [batch, channels, ...places], not 2 axes",
    ],
    [
      "axes",
      () => batchNorm(value(3), { ...affine(3), mean: value(3), variance: value(3) }),
      "takes [batch, channels], not 1 axes",
    ],
    ["groups", () => groupNorm(value(2, 6, 3), 4, affine(6)), "groupNorm: 4 groups do not divide 6 channels"],
    [
      "unknown channels",
      () => groupNorm(value(2, "c", 3), 4, affine("c")),
      "groupNorm: 4 groups do not divide c channels",
    ],
    ["sizes", () => localResponseNorm(value(2, 6, 3), { size: 0 }), "size must be a whole number of at least 1, not 0"],
    [
      "orders",
      () => lpNormalization(value(2, 6), { order: 0 }),
      "norm: the order must be a positive number or Infinity, not 0",
    ],
  ])("of wrong %s", (_, call, message) => {
    expect(call).toThrow(message);
  });
});
