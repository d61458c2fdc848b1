/** Elementwise arithmetic: sums, products, remainders, extremes, bounds and rounding. */
import type { Value } from "../graph.js";
import { cast } from "./casting.js";
import { and, equal, greater, less, lessOrEqual, where } from "./comparison.js";
import { floats, integers, requireDtype } from "./dtypes.js";
import { applyOne, emitAs, isFloat } from "./operation.js";
import { binary, binaryOperation, elementwise, lifted, type Operand, unary, unaryOperation } from "./pointwise.js";
import { log } from "./transcendental.js";

/** Shares of a gradient for a, where `share` of it is a's, and for b. */
const divided = (g: Value, share: Value): readonly [Value, Value] => {
  const first = mul(g, share);
  return [first, sub(g, first)];
};

/** 1 where a is greater, a half where both are equal. */
const larger = (a: Value, b: Value): Value => add(cast(greater(a, b), a.dtype), mul(cast(equal(a, b), a.dtype), 0.5));

/** d/da a^b = b a^(b-1), 0 where b is 0; d/db a^b = a^b log a, where a is positive. */
const powSlopes = (g: Value, a: Value, b: Value, y: Value): readonly [Value, Value] => {
  const base = mul(b, pow(a, where(equal(b, 0), 0, sub(b, 1)))); // not 0 times an infinity
  const exponent = where(greater(a, 0), mul(y, log(where(greater(a, 0), a, 1))), 0);
  return [mul(g, base), mul(g, exponent)];
};

const divSlopes = (g: Value, _: Value, b: Value, y: Value): readonly [Value, Value] => {
  const share = div(g, b);
  return [share, neg(mul(share, y))];
};

/** ONNX has two remainders: with `fmod` that of C (the sign of a), without it Python's (the sign of b; whole numbers only). */
const modulo = binaryOperation<{ fmod: boolean }>(
  "mod",
  "Mod",
  (a, b, { fmod }) => (fmod || a % b === 0 || a < 0 === b < 0 ? a % b : (a % b) + b),
  // a mod b = a - n b, where n is a whole number and constant between the jumps
  (g, a, b, y) => [g, mul(g, round(div(sub(y, a), b)))],
);

const modOperation: typeof modulo = {
  ...modulo,
  infer(inputs, attributes) {
    requireDtype(inputs, [...floats, ...integers]);
    if (!attributes.fmod && inputs.some(({ dtype }) => isFloat(dtype)))
      throw new Error("floats have only the remainder with the sign of the dividend: pass { fmod: true }");
    return modulo.infer(inputs, attributes);
  },
};

const anyNumber = { takes: [...floats, ...integers] };

const table = {
  add: binaryOperation(
    "add",
    "Add",
    (a, b) => a + b,
    (g) => [g, g],
  ),
  sub: binaryOperation(
    "sub",
    "Sub",
    (a, b) => a - b,
    (g) => [g, neg(g)],
  ),
  mul: binaryOperation(
    "mul",
    "Mul",
    (a, b) => a * b,
    (g, a, b) => [mul(g, b), mul(g, a)],
  ),
  div: binaryOperation("div", "Div", (a, b) => a / b, divSlopes, { takes: floats }),
  pow: binaryOperation("pow", "Pow", (a, b) => a ** b, powSlopes, { takes: floats }),
  max: binaryOperation(
    "max",
    "Max",
    (a, b) => Math.max(a, b),
    (g, a, b) => divided(g, larger(a, b)),
  ),
  min: binaryOperation(
    "min",
    "Min",
    (a, b) => Math.min(a, b),
    (g, a, b) => divided(g, larger(b, a)),
  ),
  neg: unaryOperation(
    "neg",
    "Neg",
    (x) => -x,
    (g) => neg(g),
    anyNumber,
  ),
  abs: unaryOperation("abs", "Abs", Math.abs, (g, x) => mul(g, sign(x)), anyNumber),
  sign: unaryOperation("sign", "Sign", Math.sign, undefined, anyNumber),
  reciprocal: unaryOperation(
    "reciprocal",
    "Reciprocal",
    (x) => 1 / x,
    (g, _, y) => neg(mul(g, mul(y, y))),
  ),
  floor: unaryOperation("floor", "Floor", Math.floor),
  ceil: unaryOperation("ceil", "Ceil", Math.ceil),
  round: unaryOperation("round", "Round", roundHalfEven),
};

/** min(max(x, low), high). ONNX's own operator takes scalar bounds alone. */
const clipOperation = elementwise({
  name: "clip",
  onnx(node, _, emitter) {
    const [x, low, high] = node.inputs as readonly [Value, Value, Value];
    if (low.shape.length === 0 && high.shape.length === 0) return emitAs("Clip", node, emitter);
    const raised = emitter.node("Max", [emitter.name(x), emitter.name(low)]);
    const outputs = [emitter.name(node.outputs[0] as Value)];
    emitter.node("Min", [...raised, emitter.name(high)], { outputs });
  },
  f: ([x, low, high]) => Math.min(Math.max(x as number, low as number), high as number),
  slopes(g, inputs, y) {
    const [x, low, high] = inputs as readonly [Value, Value, Value];
    const below = and(less(x, low), lessOrEqual(low, high));
    const above = greater(max(x, low), high);
    return [where(equal(x, y), g, 0), where(below, g, 0), where(above, g, 0)];
  },
  takes: anyNumber.takes,
});

export const arithmeticOperations = [...Object.values(table), modOperation, clipOperation];

export const add = binary(table.add);
export const sub = binary(table.sub);
export const mul = binary(table.mul);
export const div = binary(table.div);
export const pow = binary(table.pow);
/** The greater of two numbers. The gradient goes to it, in halves where both are equal. */
export const max = binary(table.max);
/** The smaller of two numbers. The gradient goes to it, in halves where both are equal. */
export const min = binary(table.min);
export const neg = unary(table.neg);
export const abs = unary(table.abs);
/** -1, 0 or 1. */
export const sign = unary(table.sign);
/** 1 / x. */
export const reciprocal = unary(table.reciprocal);
export const floor = unary(table.floor);
export const ceil = unary(table.ceil);
/** To the nearest whole number, halves to even. */
export const round = unary(table.round);

/**
 * The remainder of a / b, as ONNX's `Mod`. With `fmod` it has the sign of a, as C's `fmod` and JavaScript's `%`; without it
 * the sign of b, as Python's `%`, which ONNX has for whole numbers alone. Unless given, `fmod` is true for floats and
 * false for whole numbers. A whole number modulo 0 fails when it runs.
 */
export function mod(a: Operand, b: Operand, options: { fmod?: boolean } = {}): Value {
  const inputs = lifted(a, b);
  return applyOne(modOperation, inputs, { fmod: options.fmod ?? inputs.some(({ dtype }) => isFloat(dtype)) });
}

/**
 * x with everything below `min` raised to it, and everything above `max` lowered to it. Bounds are numbers, or values that
 * broadcast; either may be left out. Where `min` is above `max`, the result is `max`. Gradients pass where x lies within
 * the bounds or on one; outside they go to the bound.
 */
export function clip(x: Value, { min: low, max: high }: { min?: Operand; max?: Operand }): Value {
  if (isFloat(x.dtype)) return applyOne(clipOperation, lifted(x, low ?? -Infinity, high ?? Infinity), {});
  if (low !== undefined && high !== undefined) return applyOne(clipOperation, lifted(x, low, high), {});
  const raised = low === undefined ? x : max(x, low);
  return high === undefined ? raised : min(raised, high);
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
