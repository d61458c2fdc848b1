/**
 * Whole matrices of derivatives: the pullback of every unit cotangent, or the push-forward of every unit tangent, mapped
 * over them in one graph. Row by row they cost as many gradients as there are numbers, so ask for them where these are few.
 */
import { usageError } from "../../errors.js";
import { type Dim, multiplyDims } from "../dims.js";
import { describe, type Value } from "../graph.js";
import { reshape, transpose } from "../operations/movement.js";
import { isFloat } from "../operations/operation.js";
import { eye } from "../operations/patterns.js";
import { vmap } from "./batch.js";
import { grad, jvp, vjp } from "./transforms.js";

export interface JacobianOptions {
  /**
   * `reverse` costs one gradient for each number of the output, `forward` one derivative for each number of the argument.
   * Unless given: forward where the argument is known to be smaller than the output, else reverse.
   */
  readonly mode?: "reverse" | "forward";
}

/**
 * All derivatives of `fn`, a function from one value to one value: shape [...y.shape, ...x.shape], both of which may be
 * symbolic. Other values that `fn` reads are held constant.
 */
export function jacobian(fn: (x: Value) => Value, { mode }: JacobianOptions = {}): (x: Value) => Value {
  return (x) => {
    const { value, pullback } = vjp(fn, x);
    for (const end of [x, value]) {
      if (!isFloat(end.dtype))
        throw usageError(`jacobian() takes and gives floating-point numbers, not ${describe(end)}`);
    }
    if ((mode ?? cheaperMode(x, value)) === "reverse") {
      const rows = vmap(pullback)(basis(value));
      return reshape(rows, [...value.shape, ...x.shape]);
    }
    const columns = vmap((tangent: Value) => jvp(fn, x, tangent).tangent)(basis(x));
    const count = multiplyDims(...value.shape);
    const flat = reshape(columns, [multiplyDims(...x.shape), count]);
    return reshape(transpose(flat, [1, 0]), [...value.shape, ...x.shape]);
  };
}

/** Second derivatives of a scalar function of one value: [...x.shape, ...x.shape], forward over reverse. */
export function hessian(fn: (x: Value) => Value): (x: Value) => Value {
  return jacobian(grad(fn), { mode: "forward" });
}

function cheaperMode(x: Value, y: Value): "reverse" | "forward" {
  const [from, to]: [Dim, Dim] = [multiplyDims(...x.shape), multiplyDims(...y.shape)];
  return typeof from === "number" && typeof to === "number" && from < to ? "forward" : "reverse";
}

/** Every tensor of a value's type that is one at one place and zero elsewhere: [elements, ...shape]. */
function basis({ dtype, shape }: Value): Value {
  const count = multiplyDims(...shape);
  return reshape(eye(count, { dtype }), [count, ...shape]);
}
