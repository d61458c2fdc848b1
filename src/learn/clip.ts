/** Limits of gradients: by the norm of all of them together, or number by number. */
import { add, clip, div, min, mul, reduceSumSquare, sqrt, type Value } from "../graph/index.js";

/** The largest norm of all gradients together, or the largest absolute number in any. */
export type Clip = { readonly norm: number } | { readonly value: number };

/** Gradients within the limit, and their norm before (Pascanu et al. 2013; PyTorch's `clip_grad_norm_`). */
export function clipGradients(
  gradients: ReadonlyMap<string, Value>,
  limit: Clip,
): { readonly gradients: Map<string, Value>; readonly norm: Value } {
  const squares = [...gradients.values()].map((g) => reduceSumSquare(g, allAxes(g)));
  const norm = sqrt(squares.reduce((a, b) => add(a, b)));
  const limited = (change: (g: Value) => Value) => new Map([...gradients].map(([name, g]) => [name, change(g)]));
  if ("value" in limit) return { gradients: limited((g) => clip(g, { min: -limit.value, max: limit.value })), norm };
  const scale = min(div(limit.norm, add(norm, 1e-6)), 1);
  return { gradients: limited((g) => mul(g, scale)), norm };
}

const allAxes = ({ shape }: Value) => shape.map((_, i) => i);
