/**
 * What the shared suite of operations doesn't see of convolutions, poolings, resizing and sampling: functions made of them
 * against PyTorch and ONNX, batches of examples, options, and what errors say.
 */
import { afterAll, describe, expect, it } from "vitest";
import {
  type Build,
  derivativeError,
  type FunctionCase,
  referenceError,
  runtimeError,
  storedCases,
} from "../../../test/support/operations/functionChecks.js";
import { createRuntime } from "../../runtime/index.js";
import {
  adaptiveAveragePool,
  affineGrid,
  averagePool,
  convolution,
  convolutionTranspose,
  convolutionWeight,
  type Dim,
  elementCount,
  evaluate,
  fold,
  globalAveragePool,
  globalMaxPool,
  grad,
  gridSample,
  input,
  lpPool,
  maxPool,
  maxPoolIndices,
  mul,
  type ResizeOptions,
  reduceSum,
  resize,
  stack,
  type Tensor,
  tensorOf,
  toNumbers,
  topologicalOrder,
  trace,
  unfold,
  unstack,
  upsample,
  type Value,
  vmap,
  type WindowOptions,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const value = (...shape: Dim[]) => input("x", "float32", shape);

/** A tensor of numbers in mixed order between -1 and 1, no two alike. */
function numbers(...shape: number[]): Tensor {
  const data = Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(i * 2.7 + shape.length));
  return tensorOf("float64", shape, data);
}

/** What the fixtures state of a function. */
interface Stated extends ResizeOptions, Omit<WindowOptions, "pads"> {
  readonly sizes?: readonly number[];
  readonly kernel?: readonly number[];
  readonly pads?: number;
  readonly alignCorners?: boolean;
}
type Make = (x: Value, stated: Stated) => Value;

const functions: Readonly<Record<string, readonly [family: string, make: Make]>> = {
  resize: ["resize", (x, options) => resize(x, options)],
  adaptiveAveragePool: ["resize", (x, { sizes = [] }) => adaptiveAveragePool(x, sizes)],
  unfold: ["resize", (x, { kernel = [], ...own }) => unfold(x, kernel, own)],
  fold: ["resize", (x, { sizes = [], kernel = [], ...own }) => fold(x, sizes, kernel, own)],
  affineGrid: [
    "sampling",
    (x, { sizes = [], alignCorners }) => affineGrid(x, sizes, { alignCorners: alignCorners === true }),
  ],
  "ceil maxPool": ["pooling", (x, { kernel = [], ...own }) => maxPool(x, kernel, { ...own, ceilMode: true })],
  "ceil averagePool": ["pooling", (x, { kernel = [], ...own }) => averagePool(x, kernel, { ...own, ceilMode: true })],
};

describe.each(Object.entries(functions))("%s", (name, [family, make]) => {
  const cases = storedCases(family, name);
  const build =
    ({ attributes }: FunctionCase): Build =>
    ([x]) =>
      make(x as Value, attributes as Stated);

  it("is what other tools compute", () => {
    expect(cases.length).toBeGreaterThan(1);
    // few terms in float64; ONNX's evaluator computes the coordinates of resizing in float32
    const tolerance = name === "resize" ? 5e-6 : 1e-12;
    for (const own of cases) {
      const error = referenceError(build(own), own);
      expect(error, JSON.stringify(own.attributes)).toBeLessThan(tolerance);
    }
  });

  it("runs with its gradient, which is what differences say", async () => {
    for (const own of cases) {
      // float32 sums of a few numbers, and of as many in the gradient
      expect(await runtimeError(runtime, build(own), own.inputs)).toBeLessThan(1e-5);
      // polynomials of degree four: differences at four points are exact up to rounding over the step
      expect(derivativeError(build(own), own.inputs)).toBeLessThan(1e-7);
    }
  });
});

function run(build: Build, tensors: readonly Tensor[]): number[] {
  const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]));
  const graph = trace((values) => ({ y: build(tensors.map((_, i) => values[`x${i}`] as Value)) as Value }), feeds);
  return [...toNumbers(evaluate(graph, feeds).y as Tensor)];
}

const operationsOf = (y: Value) =>
  new Set(
    topologicalOrder([y])
      .filter(({ inputs }) => inputs.length > 0)
      .map(({ operation }) => operation),
  );

describe("examples of a batch, together as apart", () => {
  const options = { strides: 2, pads: 1, groups: 2 };
  const image = numbers(3, 2, 4, 5, 5);
  const kernels = numbers(3, 6, 2, 3, 3);
  const biases = numbers(3, 6);
  const outputs = numbers(3, 2, 6, 3, 3);
  const convolve = (x: Value, w: Value, bias: Value) => convolution(x, w, { ...options, bias });
  const transposed = (y: Value, w: Value, bias: Value) => convolutionTranspose(y, w, { ...options, bias });
  const sample = (x: Value, grid: Value) => gridSample(x, grid);
  const shared = (x: Tensor) => ({ ...x, shape: x.shape.slice(1), data: x.data.slice(0, x.data.length / 3) }) as Tensor;
  const loss = (x: Value, w: Value) =>
    reduceSum(mul(convolution(x, w, options), convolution(x, w, options)), [0, 1, 2, 3]);

  it.each<[string, (...values: Value[]) => Value, Tensor[], number[]]>([
    ["convolution of images", convolve, [image, shared(kernels), shared(biases)], [1, 2]],
    ["convolution with kernels", convolve, [shared(image), kernels, shared(biases)], [0, 2]],
    ["convolution with biases", convolve, [shared(image), shared(kernels), biases], [0, 1]],
    ["convolution of images with biases", convolve, [image, shared(kernels), biases], [1]],
    ["convolution, all", convolve, [image, kernels, biases], []],
    ["transpose of images", transposed, [outputs, shared(kernels), numbers(4)], [1, 2]],
    ["transpose, all", transposed, [outputs, kernels, numbers(3, 4)], []],
    ["kernels' gradients", (x: Value, y: Value) => convolutionWeight(x, y, [3, 3], options), [image, outputs], []],
    [
      "kernels' gradients of one image",
      (x: Value, y: Value) => convolutionWeight(x, y, [3, 3], options),
      [shared(image), outputs],
      [0],
    ],
    ["a gradient for each example", grad((w: Value, x: Value) => loss(x, w)), [shared(kernels), image], [0]],
    ["maxPool", (x: Value) => maxPool(x, 2, { pads: 1 }), [image], []],
    [
      "maxPool's gradient",
      grad((x: Value) => reduceSum(mul(maxPool(x, 3, { strides: 1 }), 2), [0, 1, 2, 3])),
      [image],
      [],
    ],
    ["averagePool", (x: Value) => averagePool(x, [2, 3]), [image], []],
    ["lpPool", (x: Value) => lpPool(x, 2, { p: 3 }), [image], []],
    ["gridSample", sample, [image, numbers(3, 2, 2, 3, 2)], []],
    ["gridSample of one image", sample, [shared(image), numbers(3, 2, 2, 3, 2)], [0]],
  ])("%s", (_, example, tensors, unmapped) => {
    const together = run((values) => vmap(example, { unmapped })(...values), tensors);
    const apart = run((values) => {
      const lists = values.map((value, i) => (unmapped.includes(i) ? [value, value, value] : unstack(value)));
      return stack([0, 1, 2].map((k) => example(...lists.map((list) => list[k] as Value))));
    }, tensors);
    expect(together.length).toBe(apart.length);
    // the same sums in float64, in another order
    for (const [i, x] of together.entries()) expect(Math.abs(x - (apart[i] as number))).toBeLessThan(1e-12);
  });

  it("kernels of a symbolic batch are looped over, since groups are a number", () => {
    const [x, w] = [input("x", "float32", ["n", 2, 4, 5, 5]), input("w", "float32", ["n", 6, 2, 3, 3])];
    const y = vmap((a: Value, b: Value) => convolution(a, b, options))(x, w);
    expect(y.shape).toEqual(["n", 2, 6, 3, 3]);
    expect(operationsOf(y)).toContain("scan");
  });
});

describe("padding by name", () => {
  const pads = (size: Dim, named: "sameUpper" | "sameLower" | "valid", strides: number, dilations = 1) =>
    convolution(value(1, 1, size), value(1, 1, 3), { pads: named, strides, dilations });

  it.each<[Dim, "sameUpper" | "sameLower" | "valid", number, number[], Dim]>([
    [5, "sameUpper", 1, [1, 1], 5],
    [5, "sameUpper", 2, [1, 1], 3],
    [6, "sameUpper", 2, [0, 1], 3],
    [6, "sameLower", 2, [1, 0], 3],
    [7, "sameUpper", 5, [0, 1], 2],
    [10, "sameUpper", 5, [0, 0], 2],
    ["length", "sameUpper", 1, [1, 1], "length"],
    ["2*length", "sameLower", 2, [1, 0], "length"],
    ["2*length + 1", "sameUpper", 2, [1, 1], "length + 1"],
    ["length", "valid", 1, [0, 0], "length - 2"],
  ])("size %s, %s, stride %s", (size, named, stride, wanted, made) => {
    const y = pads(size, named, stride);
    expect(y.node.attributes.pads).toEqual(wanted);
    expect(y.shape[2]).toBe(made);
  });

  it("counts what a dilated kernel spans", () => {
    expect(pads(5, "sameUpper", 1, 2).node.attributes.pads).toEqual([2, 2]);
  });
});

describe("poolings", () => {
  it("give the gradient to the first of equal numbers", () => {
    const x = tensorOf("float64", [1, 1, 5], [1, 1, 0, 2, 2]);
    const slope = (make: (v: Value) => Value) =>
      run(([v]) => grad((u: Value) => reduceSum(make(u), [0, 1, 2]))(v as Value), [x]);
    expect(slope((v) => maxPool(v, 2, { strides: 1 }))).toEqual([1, 1, 0, 2, 0]);
    expect(run(([v]) => maxPoolIndices(v as Value, 2, { strides: 1 }), [x])).toEqual([0, 1, 3, 3]);
  });

  it("have no slope in a window of zeros, where a norm has none", () => {
    const x = tensorOf("float64", [1, 1, 4], [0, 0, 3, 4]);
    for (const p of [1, 2, 3])
      expect(
        run(([v]) => grad((u: Value) => reduceSum(lpPool(u, 2, { p }), [0, 1, 2]))(v as Value), [x]).slice(0, 2),
      ).toEqual([0, 0]);
    expect(run(([v]) => lpPool(v as Value, 2), [x])).toEqual([0, 5]);
  });

  it("over whole channels keep the spatial axes as ones", () => {
    const x = tensorOf("float64", [1, 2, 2, 2], [1, 2, 3, 6, -1, -2, -3, -6]);
    expect(run(([v]) => globalAveragePool(v as Value), [x])).toEqual([3, -3]);
    expect(run(([v]) => globalMaxPool(v as Value), [x])).toEqual([6, -1]);
    expect(globalMaxPool(value("n", 2, "h", "w")).shape).toEqual(["n", 2, 1, 1]);
  });

  it("adapt by one pooling where sizes divide, and to symbolic sizes where one number is left", () => {
    expect(adaptiveAveragePool(value("n", 2, "h", 4), [1, 2]).shape).toEqual(["n", 2, 1, 2]);
    expect(adaptiveAveragePool(value("n", 2, 6, 4), [3, 2]).node.operation).toBe("averagePool");
    expect(adaptiveAveragePool(value("n", 2, 5, 4), [3, 3]).shape).toEqual(["n", 2, 3, 3]);
  });
});

describe("resizing", () => {
  const x = numbers(2, 1, 3, 2);

  it("repeats places by whole factors as nearest does, with symbolic sizes too", () => {
    const repeated = run(([v]) => upsample(v as Value, [2, 3]), [x]);
    expect(repeated).toEqual(run(([v]) => resize(v as Value, { scales: [2, 3] }), [x]));
    expect(upsample(value("n", 2, "h", "w"), 2).shape).toEqual(["n", 2, "2*h", "2*w"]);
  });

  it("keeps axes before the resized ones symbolic, and other element types by nearest", () => {
    expect(resize(value("n", "c", 3, 2), { sizes: [2, 5], mode: "cubic" }).shape).toEqual(["n", "c", 2, 5]);
    const whole = tensorOf("int64", [1, 1, 3], [1, 2, 3]);
    expect(run(([v]) => resize(v as Value, { sizes: [6] }), [whole])).toEqual([1, 1, 2, 2, 3, 3]);
  });
});

it("places computed from the image itself have their part in its gradient", () => {
  const places = (x: Value) => affineGrid(mul(reduceSum(x, [1], { keepDims: false }), 0.2), [2, 2]);
  const build: Build = ([x]) => gridSample(x as Value, places(x as Value));
  // piecewise polynomials of a low degree, away from the edges of pixels
  expect(derivativeError(build, [numbers(1, 2, 2, 3)])).toBeLessThan(1e-7);
});

describe("errors", () => {
  const x = value("n", 4, 6, "w");
  const w = value(2, 4, 3, 3);
  it.each<[string, () => unknown, RegExp]>([
    [
      "a size that a stride can't divide",
      () => convolution(x, w, { strides: 2 }),
      /a stride of 2 goes into w - 3 is not known: the size must be a number or a multiple such as "2\*n"/,
    ],
    ["channels", () => convolution(x, value(2, 3, 3, 3)), /the kernel is for 3 channels of input, not 4/],
    ["groups", () => convolution(x, value(3, 2, 3, 3), { groups: 2 }), /3 channels do not divide into 2 groups/],
    [
      "a kernel without numbers",
      () => convolution(x, value(2, 4, "k", 3)),
      /the size of a kernel must be a number, not k/,
    ],
    [
      "a kernel too large",
      () => convolution(value(1, 4, 2, 2), w),
      /a window that spans 3 does not fit spatial axis 0 of size 2 with 0 padded/,
    ],
    ["a bias", () => convolution(x, w, { bias: value(3) }), /the bias must be \[2\], not \[3\]/],
    [
      "no spatial axes",
      () => convolution(value(1, 2), w),
      /convolution\(float32\[1, 2\]\): needs one to three spatial axes after batch and channels, not 0/,
    ],
    [
      "strides",
      () => convolution(x, w, { strides: [1, 2, 3] }),
      /strides must be whole numbers of at least 1, one for all or one for each of 2 spatial axes, not 1, 2, 3/,
    ],
    [
      "output padding",
      () => convolutionTranspose(value(1, 2, 3, 3), w, { outputPadding: 1 }),
      /outputPadding 1, 1 must be smaller than the strides/,
    ],
    [
      "pads that leave nothing",
      () => convolutionTranspose(value(1, 2, 1, 1), w, { pads: 2 }),
      /pads of 4 leave nothing of spatial axis 0, where 1 windows span 3/,
    ],
    [
      "another output",
      () => convolutionWeight(value(1, 4, 5, 5), value(1, 2, 4, 4), [3, 3]),
      /the outputs of such a convolution are \[1, 2, 3, 3\], not \[1, 2, 4, 4\]/,
    ],
    [
      "symbolic channels",
      () => convolutionWeight(value(1, "c", 5, 5), value(1, 2, 3, 3), [3, 3]),
      /the number of channels must be a number, not c/,
    ],
    [
      "pads as wide as the kernel",
      () => maxPool(value(1, 1, 4), 2, { pads: 2 }),
      /pads of 2 must be smaller than the kernel/,
    ],
    [
      "ceilMode with padding that counts",
      () => averagePool(value(1, 1, 4), 2, { ceilMode: true, countIncludePad: true }),
      /ceilMode and countIncludePad together are not supported/,
    ],
    ["a norm of half", () => lpPool(value(1, 1, 4), 2, { p: 0.5 }), /p must be a whole number of at least 1, not 0.5/],
    [
      "a symbolic size to adapt",
      () => adaptiveAveragePool(value(1, 1, "h"), [2]),
      /a spatial size must be a number, not h/,
    ],
    ["whole numbers", () => averagePool(input("i", "int64", [1, 1, 4]), 2), /takes floating-point numbers, not int64/],
    ["sizes and scales", () => resize(value(1, 1, 4), { sizes: [2], scales: [2] }), /give either sizes or scales/],
    [
      "a symbolic size",
      () => resize(x, { sizes: [2, 2] }),
      /the size "w" must be a number: only upsample\(\) by whole factors/,
    ],
    ["no size", () => resize(value(1, 1, 4), { scales: [0.1] }), /a size of 0 is none/],
    ["columns", () => fold(value(1, 4, 5), [3, 3], [2, 2]), /such windows have columns \[N, C \* 4, 4\]/],
    ["images and places", () => gridSample(value(1, 2, 3, 3), value(2, 3, 3, 2)), /there are 1 images and places of 2/],
    ["maps", () => affineGrid(value(1, 2, 2), [3, 3]), /sizes 3, 3 go with maps \[N, 2, 3\]/],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
  });
});
