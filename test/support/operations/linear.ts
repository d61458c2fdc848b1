/** Generated cases of products and normalisations. */
import fc from "fast-check";
import { layerNorm, matmul, rmsNorm, type Value } from "../../../src/graph/index.js";
import {
  broadcastable,
  finish,
  float,
  type OperationCases,
  shapeOf,
  size,
  sizeOrNone,
  summed,
  tensorArbitrary,
} from "./case.js";

const normalized = (make: (x: Value, scale: Value, bias: Value) => Value, parameters: 1 | 2) =>
  shapeOf(2, 4).chain((shape) => {
    const width = [shape[shape.length - 1] as number];
    const extra = Array.from({ length: parameters }, () => tensorArbitrary("float32", width, float(-2, 2)));
    return finish({
      tensors: [tensorArbitrary("float32", shape, float(-8, 8)), ...extra],
      build: ([x, scale, bias]) => make(x as Value, scale as Value, bias as Value),
    });
  });

/** Splits and joins of a shape's sizes: shapes of as many elements. (The runtime infers no size beside a kept one of 0.) */
const products = fc
  .oneof(
    fc.tuple(broadcastable(2, size), size, size, size),
    fc.tuple(fc.constant([[], []]), sizeOrNone, sizeOrNone, sizeOrNone),
  )
  .chain(([[a, b], n, k, m]) =>
    finish({
      tensors: [
        tensorArbitrary("float32", [...(a as number[]).slice(-2), n, k], float(-4, 4)),
        tensorArbitrary("float32", [...(b as number[]).slice(-2), k, m], float(-4, 4)),
      ],
      build: ([x, y]) => matmul(x as Value, y as Value),
    }),
  );

export const linearCases: Readonly<Record<string, OperationCases>> = {
  matmul: summed(products),
  rmsNorm: { ...summed(normalized((x, scale) => rmsNorm(x, scale, 1e-3), 1)), smooth: [1, 3] },
  layerNorm: summed(normalized((x, scale, bias) => layerNorm(x, scale, bias, 1e-3), 2)),
};
