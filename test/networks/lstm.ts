/** A long short-term memory (Hochreiter & Schmidhuber 1997) as one scan over the sequence, from a given state. */
import { add, matmul, mul, scan, sigmoid, split, tanh, type Value } from "../../src/graph/index.js";
import { layersOf, type NetworkForm } from "./layers.js";

export const lstm: NetworkForm = {
  inputs: {
    sequence: { dtype: "float32", shape: ["time", "batch", 4] },
    hidden: { dtype: "float32", shape: ["batch", 5] },
    cell: { dtype: "float32", shape: ["batch", 5] },
  },
  build(context) {
    const { sequence, hidden, cell } = context.inputs as Record<"sequence" | "hidden" | "cell", Value>;
    const { weight } = context;
    const { linear } = layersOf(context);
    const product = (x: Value, kind: "ih" | "hh") =>
      add(matmul(x, weight(`lstm.weight_${kind}_l0`), { transposeB: true }), weight(`lstm.bias_${kind}_l0`));

    // What the inputs add to the gates is one product for all steps; only the rest has to wait for the step before.
    const { carry, outputs } = scan(
      (state, slices) => {
        const gates = add(slices.added, product(state.hidden, "hh"));
        const [enter, forget, content, leave] = split(gates, 4, -1) as [Value, Value, Value, Value];
        const memory = add(mul(sigmoid(forget), state.cell), mul(sigmoid(enter), tanh(content)));
        const next = mul(sigmoid(leave), tanh(memory));
        return { carry: { hidden: next, cell: memory }, outputs: next };
      },
      { carry: { hidden, cell }, sequences: { added: product(sequence, "ih") } },
    );
    return { states: outputs, memory: carry.cell, read: linear(carry.hidden, "read") };
  },
};
