/** The dense layer: a matrix product and a bias. */
import { add, matmul, type Value } from "../../graph/index.js";
import { type Random, type Tensor, zeros } from "../../runtime/index.js";
import { type Initialiser, initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

/** weight [inputs, outputs], bias [outputs]. */
export type DenseParameters = { readonly weight: Tensor<"float32">; readonly bias?: Tensor<"float32"> };

export interface DenseSettings {
  readonly inputs: number;
  readonly outputs: number;
  /** On unless given. */
  readonly bias?: boolean;
  /** Of the weight; variance 1 / inputs, normal, unless given. The bias starts at 0. */
  readonly initialise?: Initialiser;
}

/** Fresh parameters of `dense`. */
export function denseParameters(
  random: Random,
  { inputs, outputs, bias = true, initialise = initialisers.lecunNormal() }: DenseSettings,
): DenseParameters {
  const weight = initialise(random, [inputs, outputs]);
  return bias ? { weight, bias: zeros("float32", [outputs]) } : { weight };
}

/** x [..., inputs] times the weight, plus the bias: [..., outputs]. */
export function dense({ weight, bias }: Traced<DenseParameters>, x: Value): Value {
  const y = matmul(x, weight);
  return bias === undefined ? y : add(y, bias);
}
