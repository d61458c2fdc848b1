/**
 * Functions of one number: exponentials, logarithms, trigonometry, the error function. Their slopes are written in the
 * function's own value where that saves work. The runtime's kernels for most of them take float32 (and float16) alone.
 */
import type { Node, Value } from "../graph.js";
import { add, div, mul, neg, sub } from "./arithmetic.js";
import type { Emitter } from "./operation.js";
import { emittedScalars, unary, unaryOperation } from "./pointwise.js";

/** 1 - x^2, exact near 1 and -1. */
const oneMinusSquare = (x: Value): Value => mul(sub(1, x), add(1, x));

const table = {
  exp: unaryOperation("exp", "Exp", Math.exp, (g, _, y) => mul(g, y)),
  log: unaryOperation("log", "Log", Math.log, (g, x) => div(g, x)),
  expm1: unaryOperation("expm1", emitExpm1, Math.expm1, (g, _, y) => mul(g, add(y, 1))),
  log1p: unaryOperation("log1p", emitLog1p, Math.log1p, (g, x) => div(g, add(x, 1))),
  sqrt: unaryOperation("sqrt", "Sqrt", Math.sqrt, (g, _, y) => div(mul(g, 0.5), y)),
  sin: unaryOperation("sin", "Sin", Math.sin, (g, x) => mul(g, cos(x))),
  cos: unaryOperation("cos", "Cos", Math.cos, (g, x) => neg(mul(g, sin(x)))),
  tan: unaryOperation("tan", "Tan", Math.tan, (g, _, y) => mul(g, add(mul(y, y), 1))),
  asin: unaryOperation("asin", "Asin", Math.asin, (g, x) => div(g, sqrt(oneMinusSquare(x)))),
  acos: unaryOperation("acos", "Acos", Math.acos, (g, x) => neg(div(g, sqrt(oneMinusSquare(x))))),
  atan: unaryOperation("atan", "Atan", Math.atan, (g, x) => div(g, add(mul(x, x), 1))),
  sinh: unaryOperation("sinh", "Sinh", Math.sinh, (g, x) => mul(g, cosh(x))),
  cosh: unaryOperation("cosh", "Cosh", Math.cosh, (g, x) => mul(g, sinh(x))),
  tanh: unaryOperation("tanh", "Tanh", Math.tanh, (g, _, y) => mul(g, sub(1, mul(y, y)))),
  asinh: unaryOperation("asinh", "Asinh", Math.asinh, (g, _, y) => div(g, cosh(y))),
  acosh: unaryOperation("acosh", "Acosh", Math.acosh, (g, _, y) => div(g, sinh(y))),
  atanh: unaryOperation("atanh", "Atanh", Math.atanh, (g, x) => div(g, oneMinusSquare(x))),
  erf: unaryOperation("erf", "Erf", erfReference, (g, x) => mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))),
};

export const transcendentalOperations = Object.values(table);

export const exp = unary(table.exp);
export const log = unary(table.log);
/** exp(x) - 1, exact near 0. */
export const expm1 = unary(table.expm1);
/** log(1 + x), exact near 0. */
export const log1p = unary(table.log1p);
export const sqrt = unary(table.sqrt);
export const sin = unary(table.sin);
export const cos = unary(table.cos);
export const tan = unary(table.tan);
export const asin = unary(table.asin);
export const acos = unary(table.acos);
export const atan = unary(table.atan);
export const sinh = unary(table.sinh);
export const cosh = unary(table.cosh);
export const tanh = unary(table.tanh);
export const asinh = unary(table.asinh);
export const acosh = unary(table.acosh);
export const atanh = unary(table.atanh);
export const erf = unary(table.erf);

/** exp(x) - 1 = tanh(x/2) (exp(x) + 1): nothing cancels, and it overflows where the exponential does. */
function emitExpm1(node: Node, _: unknown, emitter: Emitter): void {
  const { x, y, dtype } = ends(node, emitter);
  const [half, one] = emittedScalars(emitter, dtype, 0.5, 1) as [string, string];
  const slope = emitter.node("Tanh", emitter.node("Mul", [x, half]));
  const sum = emitter.node("Add", [...emitter.node("Exp", [x]), one]);
  emitter.node("Mul", [...slope, ...sum], { outputs: [y] });
}

/**
 * With u = 1 + x as rounded, log(1 + x) = log(u) + (x - (u - 1)) / u to first order in what rounding lost. Near 0 alone:
 * further out the loss is nothing, and the correction is NaN at -1 and infinity.
 */
function emitLog1p(node: Node, _: unknown, emitter: Emitter): void {
  const { x, y, dtype } = ends(node, emitter);
  const [one, half] = emittedScalars(emitter, dtype, 1, 0.5) as [string, string];
  const [u] = emitter.node("Add", [x, one]) as [string];
  const [far] = emitter.node("Log", [u]) as [string];
  const lost = emitter.node("Sub", [x, ...emitter.node("Sub", [u, one])]);
  const [near] = emitter.node("Add", [far, ...emitter.node("Div", [...lost, u])]) as [string];
  const isNear = emitter.node("Less", [...emitter.node("Abs", [x]), half]);
  emitter.node("Where", [...isNear, near, far], { outputs: [y] });
}

function ends(node: Node, emitter: Emitter) {
  const [x, y] = [node.inputs[0] as Value, node.outputs[0] as Value];
  return { x: emitter.name(x), y: emitter.name(y), dtype: x.dtype };
}

/** The error function in float64: a Taylor series near zero, else a continued fraction (Abramowitz & Stegun 7.1.5, 7.1.14). */
export function erfReference(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}
