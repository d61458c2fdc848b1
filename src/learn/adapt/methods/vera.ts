/**
 * VeRA (Kopiczko et al. 2024): x W + ((x A) d) B b, where the random A and B are shared by all products (each takes as much
 * of them as it needs) and stay as they are, and the vectors d and b of each product are learned.
 */
import { usageError } from "../../../errors.js";
import { add, matmul, mul, slice, type Value } from "../../../graph/index.js";
import { type Tensor, tensor, zeros } from "../../../runtime/index.js";
import { initialisers } from "../../initialisers.js";
import type { Method, VeraConfig } from "../adapter.js";

/** Names: the shared A [most inputs, rank] and B [rank, most outputs], a product's d [rank] and b [outputs]. */
export const veraNames = {
  a: "shared.veraA",
  b: "shared.veraB",
  inner: (product: string) => `${product}.veraInner`,
  outer: (product: string) => `${product}.veraOuter`,
};

export const vera: Method<VeraConfig> = {
  async start({ rank, initial = 0.1 }, products, { random }) {
    if (!Number.isInteger(rank) || rank < 1) throw usageError(`the rank is a whole number of at least 1, not ${rank}`);
    const inputs = Math.max(...products.map((product) => product.inputs));
    const outputs = Math.max(...products.map((product) => product.outputs));
    const within = (fan: number) => initialisers.uniform(-Math.sqrt(6 / fan), Math.sqrt(6 / fan));
    const shared: Record<string, Tensor<"float32">> = {
      [veraNames.a]: within(inputs)(random, [inputs, rank]),
      [veraNames.b]: within(rank)(random, [rank, outputs]),
    };
    const own = products.flatMap((product) => [
      [veraNames.inner(product.name), tensor("float32", [rank], new Float32Array(rank).fill(initial))] as const,
      [veraNames.outer(product.name), zeros("float32", [product.outputs])] as const,
    ]);
    return { ...shared, ...Object.fromEntries(own) };
  },
  isFixed: (name) => name.startsWith("shared."),
  apply(_, { name, y, weight, dropped, read }) {
    const [inner, outer] = [read(veraNames.inner(name)), read(veraNames.outer(name))];
    if (inner === undefined || outer === undefined) return y;
    const [inputs, outputs] = weight.shape as readonly [number, number];
    const a = slice(read(veraNames.a) as Value, 0, 0, inputs);
    const b = slice(read(veraNames.b) as Value, 1, 0, outputs);
    return add(y, mul(matmul(mul(matmul(dropped, a), inner), b), outer));
  },
  merge(_, tensors, name, { weight, bias }) {
    const [inner, outer] = [tensors[veraNames.inner(name)], tensors[veraNames.outer(name)]];
    if (inner === undefined || outer === undefined) return undefined;
    const [a, b] = [tensors[veraNames.a] as Tensor<"float32">, tensors[veraNames.b] as Tensor<"float32">];
    const outputs = weight.shape[1] as number;
    const [rank, most] = b.shape as readonly [number, number];
    const change = (i: number, j: number) => {
      let sum = 0;
      for (let r = 0; r < rank; r++)
        sum += (a.data[i * rank + r] as number) * (inner.data[r] as number) * (b.data[r * most + j] as number);
      return sum * (outer.data[j] as number);
    };
    const changed = weight.data.map((x, k) => x + change(Math.floor(k / outputs), k % outputs));
    return { weight: tensor("float32", weight.shape, changed), bias };
  },
};
