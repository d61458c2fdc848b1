/**
 * A mixture of experts (Shazeer et al. 2017; Mixtral): every token goes to the two experts that the router prefers, weighted
 * by their shares. Written densely: every expert computes, and those not chosen weigh zero.
 */
import {
  add,
  constantLike,
  div,
  expand,
  matmul,
  mul,
  reduceSum,
  scatterElements,
  select,
  silu,
  slice,
  softmax,
  topK,
  type Value,
} from "../../src/graph/index.js";
import type { NetworkForm } from "./layers.js";

const experts = 4;
const chosen = 2;
const inner = 7;

export const mixture: NetworkForm = {
  inputs: { x: { dtype: "float32", shape: ["tokens", 6] } },
  build({ inputs, weight, site }) {
    const x = inputs.x as Value;
    const logits = site("router.logits", matmul(x, weight("gate.weight"), { transposeB: true }));
    const { values, indices } = topK(softmax(logits), chosen);
    const shares = div(values, reduceSum(values, -1, { keepDims: true }));
    const none = expand(constantLike(x, 0), logits.shape);
    const weights = site("router.weights", scatterElements(none, indices, shares, -1));

    const expert = (i: number) => {
      const both = matmul(x, select(weight("experts.gate_up_proj"), 0, i), { transposeB: true });
      const act = mul(silu(slice(both, -1, 0, inner)), slice(both, -1, inner));
      const out = matmul(site(`experts.${i}.act`, act), select(weight("experts.down_proj"), 0, i), {
        transposeB: true,
      });
      return mul(out, slice(weights, -1, i, i + 1));
    };
    return { mixed: Array.from({ length: experts }, (_, i) => expert(i)).reduce((a, b) => add(a, b)) };
  },
};
