import { constant, type Value, type ValueType } from "../graph.js";
import { type Dtype, tensorOf } from "../tensor.js";
import { broadcasting } from "./batching.js";
import { broadcastReference, broadcastShapes, sumTo } from "./broadcast.js";
import {
  applyOne,
  emitAs,
  flat,
  type GradientRule,
  isFloat,
  type Operation,
  type ReferenceTensor,
} from "./operation.js";

type None = Record<string, never>;

function requireSame(inputs: readonly ValueType[]): Dtype {
  const [first, ...others] = inputs.map((value) => value.dtype);
  if (others.some((dtype) => dtype !== first)) throw new Error("inputs must have one element type; cast first");
  return first as Dtype;
}

function requireDtype(inputs: readonly ValueType[], allowed: readonly Dtype[]): void {
  const wrong = inputs.find((value) => !allowed.includes(value.dtype));
  if (wrong !== undefined) throw new Error(`takes ${allowed.join(" or ")}, not ${wrong.dtype}`);
}

const floats: readonly Dtype[] = ["float32", "float64", "float16"];

/** Gradients of the inputs before broadcasting is undone: `g` that of the output `y`. */
type Slopes = (g: Value, inputs: readonly Value[], y: Value) => readonly (Value | undefined)[];

interface Elementwise {
  readonly name: string;
  readonly onnx: string;
  readonly f: (...values: number[]) => number;
  /** None: flat everywhere. */
  readonly slopes?: Slopes;
  /** Element type of the result; that of the inputs unless given. */
  readonly result?: Dtype;
  readonly takes?: readonly Dtype[];
}

/** The gradient rule of slopes: each summed over what its input was broadcast along. */
function gradientOf(slopes: Slopes | undefined): GradientRule {
  if (slopes === undefined) return flat;
  return (node, [g]) => {
    if (g === undefined) return node.inputs.map(() => undefined);
    const found = slopes(g, node.inputs, node.outputs[0] as Value);
    return node.inputs.map(({ shape }, i) => {
      const gradient = found[i];
      return gradient === undefined ? undefined : sumTo(gradient, shape);
    });
  };
}

function elementwise({ name, onnx, f, slopes, result, takes }: Elementwise): Operation<None> {
  const operation: Operation<None> = {
    name,
    infer(inputs) {
      const dtype = requireSame(inputs);
      if (takes !== undefined) requireDtype(inputs, takes);
      return [{ dtype: result ?? dtype, shape: broadcastShapes(...inputs.map((value) => value.shape)) }];
    },
    emit: (node, _, emitter) => emitAs(onnx, node, emitter),
    reference: (inputs) => [broadcastReference(inputs, result ?? (inputs[0] as ReferenceTensor).dtype, f)],
    gradient: gradientOf(slopes),
    batch: broadcasting(() => operation as Operation),
  };
  return operation;
}

/** The derivative of a function of one number, from x and y = f(x); times the gradient of y. */
type Slope = (g: Value, x: Value, y: Value) => Value;

function unaryFloat(name: string, onnx: string, f: (x: number) => number, slope?: Slope): Operation<None> {
  const slopes: Slopes | undefined = slope && ((g, [x], y) => [slope(g, x as Value, y)]);
  return elementwise({ name, onnx, f: (x) => f(x as number), takes: floats, ...(slopes && { slopes }) });
}

/** Half of the gradient goes to each of two equal numbers. */
const larger = (a: Value, b: Value): Value => add(cast(greater(a, b), a.dtype), mul(cast(equal(a, b), a.dtype), 0.5));

const truth = (condition: boolean) => (condition ? 1 : 0);
const bool: readonly Dtype[] = ["bool"];

/** d/da a^b = b a^(b-1), 0 where b is 0; d/db a^b = a^b log a, where a is positive. */
const powSlopes: Slopes = (g, inputs, y) => {
  const [a, b] = inputs as readonly [Value, Value];
  const base = where(equal(b, 0), 0, mul(b, pow(a, sub(b, 1))));
  const exponent = where(greater(a, 0), mul(y, log(where(greater(a, 0), a, 1))), 0);
  return [mul(g, base), mul(g, exponent)];
};

const table = {
  add: elementwise({ name: "add", onnx: "Add", f: (a, b) => (a as number) + (b as number), slopes: (g) => [g, g] }),
  sub: elementwise({
    name: "sub",
    onnx: "Sub",
    f: (a, b) => (a as number) - (b as number),
    slopes: (g) => [g, neg(g)],
  }),
  mul: elementwise({
    name: "mul",
    onnx: "Mul",
    f: (a, b) => (a as number) * (b as number),
    slopes: (g, [a, b]) => [mul(g, b as Value), mul(g, a as Value)],
  }),
  div: elementwise({
    name: "div",
    onnx: "Div",
    f: (a, b) => (a as number) / (b as number),
    takes: floats,
    slopes: (g, [, b], y) => {
      const share = div(g, b as Value);
      return [share, neg(mul(share, y))];
    },
  }),
  pow: elementwise({
    name: "pow",
    onnx: "Pow",
    f: (a, b) => (a as number) ** (b as number),
    takes: floats,
    slopes: powSlopes,
  }),
  max: elementwise({
    name: "max",
    onnx: "Max",
    f: Math.max,
    slopes: (g, [a, b]) => [mul(g, larger(a as Value, b as Value)), mul(g, larger(b as Value, a as Value))],
  }),
  min: elementwise({
    name: "min",
    onnx: "Min",
    f: Math.min,
    slopes: (g, [a, b]) => [mul(g, larger(b as Value, a as Value)), mul(g, larger(a as Value, b as Value))],
  }),
  equal: elementwise({ name: "equal", onnx: "Equal", f: (a, b) => truth(a === b), result: "bool" }),
  less: elementwise({ name: "less", onnx: "Less", f: (a, b) => truth((a as number) < (b as number)), result: "bool" }),
  lessOrEqual: elementwise({
    name: "lessOrEqual",
    onnx: "LessOrEqual",
    f: (a, b) => truth((a as number) <= (b as number)),
    result: "bool",
  }),
  greater: elementwise({
    name: "greater",
    onnx: "Greater",
    f: (a, b) => truth((a as number) > (b as number)),
    result: "bool",
  }),
  and: elementwise({ name: "and", onnx: "And", f: (a, b) => truth(a === 1 && b === 1), takes: bool }),
  or: elementwise({ name: "or", onnx: "Or", f: (a, b) => truth(a === 1 || b === 1), takes: bool }),
  not: elementwise({ name: "not", onnx: "Not", f: (a) => truth(a === 0), takes: bool }),
  neg: elementwise({ name: "neg", onnx: "Neg", f: (a) => -(a as number), slopes: (g) => [neg(g)] }),
  abs: elementwise({
    name: "abs",
    onnx: "Abs",
    f: (a) => Math.abs(a as number),
    slopes: (g, [a]) => [mul(g, sub(cast(greater(a as Value, 0), g.dtype), cast(less(a as Value, 0), g.dtype)))],
  }),
  exp: unaryFloat("exp", "Exp", Math.exp, (g, _, y) => mul(g, y)),
  log: unaryFloat("log", "Log", Math.log, (g, x) => div(g, x)),
  sqrt: unaryFloat("sqrt", "Sqrt", Math.sqrt, (g, _, y) => div(mul(g, 0.5), y)),
  sin: unaryFloat("sin", "Sin", Math.sin, (g, x) => mul(g, cos(x))),
  cos: unaryFloat("cos", "Cos", Math.cos, (g, x) => neg(mul(g, sin(x)))),
  tanh: unaryFloat("tanh", "Tanh", Math.tanh, (g, _, y) => mul(g, sub(1, mul(y, y)))),
  erf: unaryFloat("erf", "Erf", erfReference, (g, x) => mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))),
  sigmoid: unaryFloat(
    "sigmoid",
    "Sigmoid",
    (x) => 1 / (1 + Math.exp(-x)),
    (g, _, y) => mul(g, mul(y, sub(1, y))),
  ),
  relu: unaryFloat(
    "relu",
    "Relu",
    (x) => Math.max(x, 0),
    (g, x) => where(greater(x, 0), g, 0),
  ),
  floor: unaryFloat("floor", "Floor", Math.floor),
  round: unaryFloat("round", "Round", roundHalfEven),
};

const whereOperation: Operation<None> = {
  name: "where",
  gradient: gradientOf((g, [condition]) => [
    undefined,
    where(condition as Value, g, 0),
    where(condition as Value, 0, g),
  ]),
  batch: broadcasting(() => whereOperation as Operation),
  infer([condition, ...branches]) {
    if (condition?.dtype !== "bool") throw new Error("the condition must be bool");
    const dtype = requireSame(branches);
    return [{ dtype, shape: broadcastShapes(condition.shape, ...branches.map((value) => value.shape)) }];
  },
  emit: (node, _, emitter) => emitAs("Where", node, emitter),
  reference: (inputs) => [
    broadcastReference(inputs, (inputs[1] as ReferenceTensor).dtype, (c, a, b) =>
      c === 1 ? (a as number) : (b as number),
    ),
  ],
};

const geluOperation: Operation<{ approximate: "none" | "tanh" }> = {
  name: "gelu",
  gradient: (node, [g]) => [g && geluSlope(g, node.inputs[0] as Value, node.attributes.approximate as "none" | "tanh")],
  batch: broadcasting(() => geluOperation as Operation),
  infer(inputs) {
    requireDtype(inputs, floats);
    return inputs.map(({ dtype, shape }) => ({ dtype, shape }));
  },
  emit: (node, { approximate }, emitter) => emitAs("Gelu", node, emitter, { approximate }),
  reference: (inputs, { approximate }) => [
    broadcastReference(inputs, (inputs[0] as ReferenceTensor).dtype, (x) => geluReference(x as number, approximate)),
  ],
};

/** ONNX's numbers for element types, from its `TensorProto.DataType`. */
export const onnxDtype: { readonly [D in Dtype]: number } = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
};

const castOperation: Operation<{ to: Dtype }> = {
  name: "cast",
  gradient: (node, [g]) => [
    g && isFloat((node.inputs[0] as Value).dtype) ? cast(g, (node.inputs[0] as Value).dtype) : undefined,
  ],
  batch: broadcasting(() => castOperation as Operation),
  infer: ([value], { to }) => [{ dtype: to, shape: (value as ValueType).shape }],
  emit: (node, { to }, emitter) => emitAs("Cast", node, emitter, { to: onnxDtype[to] }),
  reference: (inputs, { to }) => [broadcastReference(inputs, to, (x) => castReference(x as number, to))],
};

export const elementwiseOperations = [...Object.values(table), whereOperation, geluOperation, castOperation];

/** A value or a number; numbers become constants of the other operand's element type. */
export type Operand = Value | number;

/** A scalar constant of a value's element type. */
export function constantLike(like: Value, number: number): Value {
  return lift(number, like.dtype);
}

function lift(operand: Operand, like: Dtype): Value {
  return typeof operand === "number" ? constant(tensorOf(like, [], [operand])) : operand;
}

function binary(operation: Operation<None>): (a: Operand, b: Operand) => Value {
  return (a, b) => {
    const like = typeof a === "number" ? (typeof b === "number" ? "float32" : b.dtype) : a.dtype;
    return applyOne(operation, [lift(a, like), lift(b, like)], {});
  };
}

function unary(operation: Operation<None>): (x: Value) => Value {
  return (x) => applyOne(operation, [x], {});
}

export const add = binary(table.add);
export const sub = binary(table.sub);
export const mul = binary(table.mul);
export const div = binary(table.div);
export const pow = binary(table.pow);
export const max = binary(table.max);
export const min = binary(table.min);
export const equal = binary(table.equal);
export const less = binary(table.less);
export const lessOrEqual = binary(table.lessOrEqual);
export const greater = binary(table.greater);
export const and = binary(table.and);
export const or = binary(table.or);
export const not = unary(table.not);
export const neg = unary(table.neg);
export const abs = unary(table.abs);
export const exp = unary(table.exp);
export const log = unary(table.log);
export const sqrt = unary(table.sqrt);
export const sin = unary(table.sin);
export const cos = unary(table.cos);
export const tanh = unary(table.tanh);
export const erf = unary(table.erf);
export const sigmoid = unary(table.sigmoid);
export const relu = unary(table.relu);
export const floor = unary(table.floor);
/** To the nearest whole number, halves to even. */
export const round = unary(table.round);

/** `a` where the boolean condition holds, else `b`. */
export function where(condition: Value, a: Operand, b: Operand): Value {
  const like = typeof a === "number" ? (typeof b === "number" ? "float32" : b.dtype) : a.dtype;
  return applyOne(whereOperation, [condition, lift(a, like), lift(b, like)], {});
}

/** Gaussian error linear unit, exact or by the tanh approximation (Hendrycks & Gimpel 2016). */
export function gelu(x: Value, approximate: "none" | "tanh" = "none"): Value {
  return applyOne(geluOperation, [x], { approximate });
}

/** Sigmoid-weighted linear unit, x sigmoid(x). */
export function silu(x: Value): Value {
  return mul(x, sigmoid(x));
}

/** The same values in another element type; casts to integers truncate. */
export function cast(x: Value, to: Dtype): Value {
  return x.dtype === to ? x : applyOne(castOperation, [x], { to });
}

/** The error function in float64: a Taylor series near zero, else a continued fraction (Abramowitz & Stegun 7.1.5, 7.1.14). */
function erfReference(x: number): number {
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

function geluReference(x: number, approximate: "none" | "tanh"): number {
  if (approximate === "none") return 0.5 * x * (1 + erfReference(x / Math.SQRT2));
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** d/dx x Phi(x) = Phi(x) + x phi(x), and the same for the approximation by tanh. */
function geluSlope(g: Value, x: Value, approximate: "none" | "tanh"): Value {
  if (approximate === "none") {
    const cumulative = mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
    const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return mul(g, add(cumulative, mul(x, density)));
  }
  const scale = Math.sqrt(2 / Math.PI);
  const square = mul(x, x);
  const t = tanh(mul(mul(x, add(mul(square, 0.044715), 1)), scale));
  const inner = mul(add(mul(square, 3 * 0.044715), 1), scale);
  return mul(g, mul(add(add(t, 1), mul(mul(x, sub(1, mul(t, t))), inner)), 0.5));
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

function castReference(x: number, to: Dtype): number {
  if (to === "bool") return x === 0 ? 0 : 1;
  if (to === "float32") return Math.fround(x);
  return floats.includes(to) ? x : Math.trunc(x);
}
