/**
 * Elementwise operations with NumPy's broadcasting: one line of data for each, one builder for each family.
 */
import { type Dim, formatShape, type Shape } from "../dims.js";
import { constant, type Value, type ValueType } from "../graph.js";
import { type Dtype, elementCount, stridesOf, tensorOf } from "../tensor.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";

type None = Record<string, never>;

/** The shape that shapes broadcast to. Throws where two dimensions differ and neither is 1. */
export function broadcastShapes(...shapes: readonly Shape[]): Dim[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    let result: Dim = 1;
    for (const shape of shapes) {
      const dim = shape[shape.length - rank + i] ?? 1;
      if (dim === 1 || dim === result) continue;
      if (result !== 1)
        throw new Error(`shapes ${shapes.map(formatShape).join(" and ")} do not broadcast: ${result} against ${dim}`);
      result = dim;
    }
    return result;
  });
}

/** Applies `f` to broadcast elements of reference tensors. */
export function broadcastReference(
  inputs: readonly ReferenceTensor[],
  dtype: Dtype,
  f: (...values: number[]) => number,
): ReferenceTensor {
  const shape = broadcastShapes(...inputs.map((value) => value.shape)) as number[];
  const data = new Float64Array(elementCount(shape));
  const strides = inputs.map((value) => broadcastStrides(value.shape, shape));
  const outer = stridesOf(shape);
  const at = new Array<number>(inputs.length);
  for (let i = 0; i < data.length; i++) {
    for (let k = 0; k < inputs.length; k++) {
      let offset = 0;
      const own = strides[k] as number[];
      for (let d = 0; d < shape.length; d++) {
        offset += (Math.floor(i / (outer[d] as number)) % (shape[d] as number)) * (own[d] as number);
      }
      at[k] = (inputs[k] as ReferenceTensor).data[offset] as number;
    }
    data[i] = f(...at);
  }
  return { dtype, shape, data };
}

function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
  const own = stridesOf(shape);
  const lead = to.length - shape.length;
  return to.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : (own[i - lead] as number)));
}

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

interface Elementwise {
  readonly name: string;
  readonly onnx: string;
  readonly f: (...values: number[]) => number;
  /** Element type of the result; that of the inputs unless given. */
  readonly result?: Dtype;
  readonly takes?: readonly Dtype[];
}

function elementwise({ name, onnx, f, result, takes }: Elementwise): Operation<None> {
  return {
    name,
    infer(inputs) {
      const dtype = requireSame(inputs);
      if (takes !== undefined) requireDtype(inputs, takes);
      return [{ dtype: result ?? dtype, shape: broadcastShapes(...inputs.map((value) => value.shape)) }];
    },
    emit: (node, _, emitter) => emitAs(onnx, node, emitter),
    reference: (inputs) => [broadcastReference(inputs, result ?? (inputs[0] as ReferenceTensor).dtype, f)],
  };
}

function unaryFloat(name: string, onnx: string, f: (x: number) => number): Operation<None> {
  return elementwise({ name, onnx, f: (x) => f(x as number), takes: floats });
}

const truth = (condition: boolean) => (condition ? 1 : 0);
const bool: readonly Dtype[] = ["bool"];

const table = {
  add: elementwise({ name: "add", onnx: "Add", f: (a, b) => (a as number) + (b as number) }),
  sub: elementwise({ name: "sub", onnx: "Sub", f: (a, b) => (a as number) - (b as number) }),
  mul: elementwise({ name: "mul", onnx: "Mul", f: (a, b) => (a as number) * (b as number) }),
  div: elementwise({ name: "div", onnx: "Div", f: (a, b) => (a as number) / (b as number), takes: floats }),
  pow: elementwise({ name: "pow", onnx: "Pow", f: (a, b) => (a as number) ** (b as number), takes: floats }),
  max: elementwise({ name: "max", onnx: "Max", f: Math.max }),
  min: elementwise({ name: "min", onnx: "Min", f: Math.min }),
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
  neg: elementwise({ name: "neg", onnx: "Neg", f: (a) => -(a as number) }),
  abs: elementwise({ name: "abs", onnx: "Abs", f: (a) => Math.abs(a as number) }),
  exp: unaryFloat("exp", "Exp", Math.exp),
  log: unaryFloat("log", "Log", Math.log),
  sqrt: unaryFloat("sqrt", "Sqrt", Math.sqrt),
  sin: unaryFloat("sin", "Sin", Math.sin),
  cos: unaryFloat("cos", "Cos", Math.cos),
  tanh: unaryFloat("tanh", "Tanh", Math.tanh),
  erf: unaryFloat("erf", "Erf", erfReference),
  sigmoid: unaryFloat("sigmoid", "Sigmoid", (x) => 1 / (1 + Math.exp(-x))),
  relu: unaryFloat("relu", "Relu", (x) => Math.max(x, 0)),
  floor: unaryFloat("floor", "Floor", Math.floor),
  round: unaryFloat("round", "Round", roundHalfEven),
};

const whereOperation: Operation<None> = {
  name: "where",
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
  infer: ([value], { to }) => [{ dtype: to, shape: (value as ValueType).shape }],
  emit: (node, { to }, emitter) => emitAs("Cast", node, emitter, { to: onnxDtype[to] }),
  reference: (inputs, { to }) => [broadcastReference(inputs, to, (x) => castReference(x as number, to))],
};

export const elementwiseOperations = [...Object.values(table), whereOperation, geluOperation, castOperation];

/** A value or a number; numbers become constants of the other operand's element type. */
export type Operand = Value | number;

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
