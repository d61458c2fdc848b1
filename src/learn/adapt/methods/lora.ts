/**
 * Low-rank adapters (Hu et al. 2022), their rank-stabilised scale, and DoRA, which learns each column's length apart:
 * W' = m (W + s A B) / |W + s A B|, column by column, the length without gradient (Liu et al. 2024, section 4.3).
 */
import { usageError } from "../../../errors.js";
import {
  add,
  div,
  matmul,
  mul,
  reduceSum,
  sqrt,
  stopGradient,
  sub,
  transpose,
  type Value,
} from "../../../graph/index.js";
import { type Tensor, tensor, zeros } from "../../../runtime/index.js";
import { initialisers } from "../../initialisers.js";
import type { LoraConfig, Method, ProductContext } from "../adapter.js";
import { columnSquares } from "../matrices.js";

/** Names of a product's tensors: A [inputs, rank], B [rank, outputs], lengths [outputs], and the first lengths' squares. */
export const loraNames = {
  a: (product: string) => `${product}.loraA`,
  b: (product: string) => `${product}.loraB`,
  magnitude: (product: string) => `${product}.magnitude`,
  squares: (product: string) => `${product}.squares`,
};

/** What a product's x A B is multiplied by; its rank is the configuration's unless given. */
export function loraScale(
  { alpha, alphas, rank, rankStabilised = false }: LoraConfig,
  product: string,
  own = rank,
): number {
  return (alphas?.[product] ?? alpha) / (rankStabilised ? Math.sqrt(own) : own);
}

export const lora: Method<LoraConfig> = {
  async start(config, products, { random, read }) {
    const { rank } = config;
    if (!Number.isInteger(rank) || rank < 1) throw usageError(`the rank is a whole number of at least 1, not ${rank}`);
    const tensors: Record<string, Tensor<"float32">> = {};
    for (const { name, inputs, outputs } of products) {
      const limit = 1 / Math.sqrt(inputs);
      tensors[loraNames.a(name)] = initialisers.uniform(-limit, limit)(random, [inputs, rank]);
      tensors[loraNames.b(name)] = zeros("float32", [rank, outputs]);
      if (config.magnitude) Object.assign(tensors, await lengths(name, outputs, read));
    }
    return tensors;
  },
  isFixed: (name) => name.endsWith(".squares"),
  apply(config, context) {
    const { name, y, read, dropped } = context;
    const [a, b] = [read(loraNames.a(name)), read(loraNames.b(name))];
    if (a === undefined || b === undefined) return y;
    const scale = loraScale(config, name, a.shape[1] as number);
    const change = mul(matmul(matmul(dropped, a), b), scale);
    const magnitude = read(loraNames.magnitude(name));
    if (magnitude === undefined) return add(y, change);
    const ratio = div(magnitude, stopGradient(columnLengths(context, a, b, scale)));
    return add(y, add(mul(plainProduct(config, context), sub(ratio, 1)), mul(change, ratio)));
  },
  merge(config, tensors, name, { weight, bias }) {
    const [a, b] = [tensors[loraNames.a(name)], tensors[loraNames.b(name)]];
    if (a === undefined || b === undefined) return undefined;
    const changed = added(weight, a, b, loraScale(config, name, a.shape[1] as number));
    const magnitude = tensors[loraNames.magnitude(name)];
    return { weight: magnitude === undefined ? changed : withLengths(changed, magnitude), bias };
  },
};

/** x W of the inputs that the adapter sees. */
function plainProduct({ dropout = 0 }: LoraConfig, { y, bias, dropped, weight }: ProductContext): Value {
  if (dropout > 0) return matmul(dropped, weight);
  return bias === undefined ? y : sub(y, bias);
}

/**
 * Lengths of the columns of W + s A B, which is never formed: |w|^2 + 2 s (w'A) b + s^2 b'(A'A) b. With B = 0 they are
 * the roots of the squares, bit for bit what the lengths start at.
 */
function columnLengths({ name, weight, read }: ProductContext, a: Value, b: Value, scale: number): Value {
  const turned = transpose(a, [1, 0]);
  const across = reduceSum(mul(matmul(turned, weight), b), [0]);
  const within = reduceSum(mul(matmul(matmul(turned, a), b), b), [0]);
  const squares = read(loraNames.squares(name)) as Value;
  return sqrt(add(squares, add(mul(across, 2 * scale), mul(within, scale * scale))));
}

async function lengths(
  name: string,
  outputs: number,
  read: (name: string) => Promise<Tensor<"float32">>,
): Promise<Record<string, Tensor<"float32">>> {
  const squares = columnSquares(await read(`${name}.weight`));
  return {
    [loraNames.magnitude(name)]: tensor("float32", [outputs], squares.map(Math.sqrt)),
    [loraNames.squares(name)]: tensor("float32", [outputs], squares),
  };
}

/** W + scale A B. */
function added(
  weight: Tensor<"float32">,
  a: Tensor<"float32">,
  b: Tensor<"float32">,
  scale: number,
): Tensor<"float32"> {
  const [inputs, outputs] = weight.shape as readonly [number, number];
  const rank = a.shape[1] as number;
  const data = new Float32Array(weight.data.length);
  const row = new Float64Array(outputs);
  for (let i = 0; i < inputs; i++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * (a.data[i * rank + r] as number);
      for (let j = 0; j < outputs; j++) row[j] = (row[j] as number) + factor * (b.data[r * outputs + j] as number);
    }
    for (let j = 0; j < outputs; j++)
      data[i * outputs + j] = (weight.data[i * outputs + j] as number) + (row[j] as number);
  }
  return tensor("float32", weight.shape, data);
}

/** A matrix whose columns have these lengths. */
function withLengths(matrix: Tensor<"float32">, magnitude: Tensor<"float32">): Tensor<"float32"> {
  const outputs = matrix.shape[1] as number;
  const factors = columnSquares(matrix).map((square, j) => (magnitude.data[j] as number) / Math.sqrt(square));
  return tensor(
    "float32",
    matrix.shape,
    matrix.data.map((x, k) => x * (factors[k % outputs] as number)),
  );
}
