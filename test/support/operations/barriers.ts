/** Generated cases of the operations that change no value. */
import {
  barrier,
  checkpoint,
  customGradient,
  identity,
  mul,
  stopGradient,
  type Value,
} from "../../../src/graph/index.js";
import {
  broadcastable,
  exact,
  finish,
  floats,
  infinite,
  type OperationCases,
  ordinary,
  tensorArbitrary,
  unary,
} from "./case.js";

const barriers = broadcastable(2).chain(([a, b]) =>
  finish({
    tensors: [tensorArbitrary("float32", a as number[], infinite), tensorArbitrary("float32", b as number[], infinite)],
    build: ([x, after]) => barrier(x as Value, after as Value),
  }),
);

/** x^2 with its own rule written out, so that differences of values check it. */
const square = customGradient(
  (x) => mul(x as Value, x as Value),
  ({ inputs, gradient }) => [mul(mul(inputs[0] as Value, 2), gradient)],
);

export const barrierCases: Readonly<Record<string, OperationCases>> = {
  identity: exact(unary(identity, floats)),
  stopGradient: { ...exact(unary((x) => stopGradient(x), floats)), stops: true },
  checkpoint: exact(unary((x) => mul(checkpoint(mul(x, 2)), x), floats)),
  barrier: exact(barriers),
  customGradient: exact(unary((x) => square(x), [["float32", ordinary]])),
};
