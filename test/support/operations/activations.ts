/** Generated cases of activation functions, those with parameters at several of them. */
import fc from "fast-check";
import {
  celu,
  elu,
  gelu,
  hardSigmoid,
  hardSwish,
  leakyRelu,
  mish,
  prelu,
  relu,
  selu,
  sigmoid,
  silu,
  softplus,
  softsign,
  thresholdedRelu,
  type Value,
} from "../../../src/graph/index.js";
import {
  broadcastable,
  close,
  exact,
  finish,
  float,
  floats,
  infinite,
  type OperationCases,
  ordinary,
  tensorArbitrary,
  unary,
} from "./case.js";

/** Cases of an activation with each of some parameters. */
const parameterised = <P>(make: (x: Value, parameters: P) => Value, ...parameters: readonly P[]): OperationCases =>
  close(fc.constantFrom(...parameters).chain((own) => unary((x) => make(x, own), floats)));

/** A slope that broadcasts to x: of no higher rank, and each dimension that of x or 1. */
const prelus = broadcastable(1).chain(([shape = []]) =>
  fc
    .record({ from: fc.nat(shape.length), ones: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }) })
    .map(({ from, ones }) => shape.map((n, i) => (ones[i] ? 1 : n)).slice(from))
    .chain((slope) =>
      finish({
        tensors: [tensorArbitrary("float32", shape, ordinary), tensorArbitrary("float32", slope, ordinary)],
        build: ([x, slopes]) => prelu(x as Value, slopes as Value),
      }),
    ),
);

export const activationCases: Readonly<Record<string, OperationCases>> = {
  sigmoid: close(unary(sigmoid, floats)),
  relu: exact(
    unary(relu, [
      ["float32", infinite],
      ["float64", ordinary],
    ]),
  ),
  softplus: close(unary(softplus, [["float32", fc.oneof(float(-100, 100), infinite)]])),
  softsign: close(unary(softsign, floats)),
  hardSwish: { ...close(unary(hardSwish, floats)), smooth: [-4, 4.3] },
  mish: close(unary(mish, floats)),
  silu: close(unary(silu, floats)),
  gelu: parameterised<"none" | "tanh">(gelu, "none", "tanh"),
  elu: parameterised<number | undefined>(elu, undefined, 0.5, 2),
  selu: parameterised<Parameters<typeof selu>[1]>(selu, undefined, { alpha: 0.5, gamma: 2 }),
  celu: parameterised<number | undefined>(celu, undefined, 0.5, 2),
  leakyRelu: parameterised<number | undefined>(leakyRelu, undefined, 0.25, -1),
  prelu: exact(prelus),
  thresholdedRelu: parameterised<number | undefined>(thresholdedRelu, undefined, 0.5, -0.5),
  hardSigmoid: parameterised<Parameters<typeof hardSigmoid>[1]>(hardSigmoid, undefined, { alpha: 0.5, beta: 0.25 }),
};
