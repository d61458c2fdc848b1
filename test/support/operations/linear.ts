/** Generated cases of products. */
import fc from "fast-check";
import { matmul, type Value } from "../../../src/graph/index.js";
import {
  broadcastable,
  finish,
  float,
  type OperationCases,
  size,
  sizeOrNone,
  summed,
  tensorArbitrary,
} from "./case.js";

/** Batches that broadcast, either side transposed; sizes of 0 come without a batch, which the runtime gives a wrong shape. */
const products = fc
  .oneof(
    fc.tuple(broadcastable(2, size), size, size, size),
    fc.tuple(fc.constant([[], []]), sizeOrNone, sizeOrNone, sizeOrNone),
  )
  .chain((sizes) => fc.tuple(fc.constant(sizes), fc.boolean(), fc.boolean()))
  .chain(([[[a, b], n, k, m], transposeA, transposeB]) => {
    const left = transposeA ? [k, n] : [n, k];
    const right = transposeB ? [m, k] : [k, m];
    return finish({
      tensors: [
        tensorArbitrary("float32", [...(a as number[]).slice(-2), ...left], float(-4, 4)),
        tensorArbitrary("float32", [...(b as number[]).slice(-2), ...right], float(-4, 4)),
      ],
      build: ([x, y]) => matmul(x as Value, y as Value, { transposeA, transposeB }),
      label: `transposed ${transposeA} ${transposeB}`,
    });
  });

export const linearCases: Readonly<Record<string, OperationCases>> = {
  matmul: summed(products),
};
