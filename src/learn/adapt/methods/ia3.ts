/** (IA)^3 (Liu et al. 2022): a learned factor for each output of a product; for the MLP's way out, for each input. */
import { add, matmul, mul } from "../../../graph/index.js";
import { tensor } from "../../../runtime/index.js";
import type { Ia3Config, Method } from "../adapter.js";

/** The name of a product's factors: [outputs], or [inputs] where `scalesInputs`. */
export const ia3Name = (product: string) => `${product}.factors`;

/** Whether a product's inputs are scaled: those of the MLP's way out are its activations. */
export const scalesInputs = (product: string) => product.endsWith(".mlp.down");

export const ia3: Method<Ia3Config> = {
  async start(_, products) {
    return Object.fromEntries(
      products.map(({ name, inputs, outputs }) => {
        const count = scalesInputs(name) ? inputs : outputs;
        return [ia3Name(name), tensor("float32", [count], new Float32Array(count).fill(1))];
      }),
    );
  },
  isFixed: () => false,
  apply(_, { name, x, y, weight, bias, read }) {
    const factors = read(ia3Name(name));
    if (factors === undefined) return y;
    if (!scalesInputs(name)) return mul(y, factors);
    const product = matmul(mul(x, factors), weight);
    return bias === undefined ? product : add(product, bias);
  },
  merge(_, tensors, name, { weight, bias }) {
    const factors = tensors[ia3Name(name)]?.data;
    if (factors === undefined) return undefined;
    const outputs = weight.shape[1] as number;
    const byInput = scalesInputs(name);
    const factorOf = (k: number) => factors[byInput ? Math.floor(k / outputs) : k % outputs] as number;
    const scaled = tensor(
      "float32",
      weight.shape,
      weight.data.map((x, k) => x * factorOf(k)),
    );
    if (bias === undefined || byInput) return { weight: scaled, bias };
    return {
      weight: scaled,
      bias: tensor(
        "float32",
        bias.shape,
        bias.data.map((x, j) => x * (factors[j] as number)),
      ),
    };
  },
};
