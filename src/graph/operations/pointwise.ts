/**
 * Builders of elementwise operations: a number of each input makes a number of the output, inputs broadcast. What differs
 * from one to the next is its ONNX operator, the function in float64, and the slopes.
 */
import { constant, type Value } from "../graph.js";
import { type Dtype, tensorOf } from "../tensor.js";
import { broadcasting } from "./batching.js";
import { broadcastReference, broadcastShapes, sumTo } from "./broadcast.js";
import { floats, onnxDtype, requireDtype, requireSame } from "./dtypes.js";
import {
  applyOne,
  type Emitter,
  emitAs,
  flat,
  type GradientRule,
  type OnnxAttribute,
  type Operation,
  type ReferenceTensor,
} from "./operation.js";

/** Attributes of elementwise operations. Written under their own names: numbers as floats, truth values as 0 and 1. */
export type PointwiseAttributes = Readonly<Record<string, number | string | boolean>>;

/** Of an operation without attributes. */
export type None = Record<string, never>;

/** Gradients of the inputs before broadcasting is undone: `g` that of the output `y`. */
type Slopes<A> = (g: Value, inputs: readonly Value[], y: Value, attributes: A) => readonly (Value | undefined)[];

interface Elementwise<A extends PointwiseAttributes> {
  readonly name: string;
  /** The ONNX operator, or what writes several nodes. */
  readonly onnx: string | Operation<A>["emit"];
  readonly f: (values: readonly number[], attributes: A) => number;
  /** None: flat everywhere. */
  readonly slopes?: Slopes<A> | undefined;
  /** Element type of the result; that of the inputs unless given. */
  readonly result?: Dtype | undefined;
  /** Element types of the inputs; any unless given. */
  readonly takes?: readonly Dtype[] | undefined;
}

/** An elementwise operation of any number of inputs, all of one element type. */
export function elementwise<A extends PointwiseAttributes = None>(entry: Elementwise<A>): Operation<A> {
  const { name, onnx, f, slopes, result, takes } = entry;
  const operation: Operation<A> = {
    name,
    infer(inputs) {
      const dtype = requireSame(inputs);
      if (takes !== undefined) requireDtype(inputs, takes);
      return [{ dtype: result ?? dtype, shape: broadcastShapes(...inputs.map((value) => value.shape)) }];
    },
    emit(node, attributes, emitter) {
      if (typeof onnx !== "string") onnx(node, attributes, emitter);
      else emitAs(onnx, node, emitter, onnxAttributes(attributes));
    },
    reference: (inputs, attributes) => [
      broadcastReference(inputs, result ?? (inputs[0] as ReferenceTensor).dtype, (...values) => f(values, attributes)),
    ],
    gradient: slopes === undefined ? flat : gradientOf(slopes),
    batch: broadcasting(() => operation as Operation),
    pointwise: true,
  };
  return operation;
}

/** The gradient rule of slopes: each summed over what its input was broadcast along. */
export function gradientOf<A extends PointwiseAttributes>(slopes: Slopes<A>): GradientRule {
  return (node, [g]) => {
    if (g === undefined) return node.inputs.map(() => undefined);
    const found = slopes(g, node.inputs, node.outputs[0] as Value, node.attributes as A);
    return node.inputs.map(({ shape }, i) => {
      const gradient = found[i];
      return gradient === undefined ? undefined : sumTo(gradient, shape);
    });
  };
}

function onnxAttributes(attributes: PointwiseAttributes): Record<string, OnnxAttribute> {
  const entries = Object.entries(attributes).map(([name, value]) => [name, onnxAttribute(value)] as const);
  return Object.fromEntries(entries);
}

function onnxAttribute(value: number | string | boolean): OnnxAttribute {
  if (typeof value === "number") return { float: value };
  return typeof value === "boolean" ? Number(value) : value;
}

/** A function of one number; `slope` gives the gradient of x from that of y = f(x). Takes floats unless `takes` says more. */
export function unaryOperation<A extends PointwiseAttributes = None>(
  name: string,
  onnx: Elementwise<A>["onnx"],
  f: (x: number, attributes: A) => number,
  slope?: (g: Value, x: Value, y: Value, attributes: A) => Value,
  { takes = floats, result }: Pick<Elementwise<A>, "takes" | "result"> = {},
): Operation<A> {
  return elementwise<A>({
    name,
    onnx,
    f: ([x], attributes) => f(x as number, attributes),
    slopes: slope && ((g, [x], y, attributes) => [slope(g, x as Value, y, attributes)]),
    takes,
    result,
  });
}

/** A function of two numbers; `slopes` gives the gradients of a and b from that of y = f(a, b). Takes any element type. */
export function binaryOperation<A extends PointwiseAttributes = None>(
  name: string,
  onnx: Elementwise<A>["onnx"],
  f: (a: number, b: number, attributes: A) => number,
  slopes?: (g: Value, a: Value, b: Value, y: Value) => readonly [Value, Value],
  { takes, result }: Pick<Elementwise<A>, "takes" | "result"> = {},
): Operation<A> {
  return elementwise<A>({
    name,
    onnx,
    f: ([a, b], attributes) => f(a as number, b as number, attributes),
    slopes: slopes && ((g, [a, b], y) => slopes(g, a as Value, b as Value, y)),
    takes,
    result,
  });
}

/** A value or a number; numbers become constants of the other operand's element type. */
export type Operand = Value | number;

/** A scalar constant of a value's element type. */
export function constantLike(like: Value, number: number): Value {
  return constant(tensorOf(like.dtype, [], [number]));
}

/** Operands as values: numbers take the element type of the first value among them, float32 where there is none. */
export function lifted(...operands: readonly Operand[]): Value[] {
  const first = operands.find((operand) => typeof operand !== "number");
  return operands.map((operand) => {
    if (typeof operand !== "number") return operand;
    return first === undefined ? constant(tensorOf("float32", [], [operand])) : constantLike(first, operand);
  });
}

/** The function that people write of an operation of one input. */
export function unary(operation: Operation<None>): (x: Value) => Value {
  return (x) => applyOne(operation, [x], {});
}

/** The function that people write of an operation of two inputs. */
export function binary(operation: Operation<None>): (a: Operand, b: Operand) => Value {
  return (a, b) => applyOne(operation, lifted(a, b), {});
}

/** Numbers that float32 holds exactly, as scalars of an element type, for operations that are written as several nodes. */
export function emittedScalars(emitter: Emitter, dtype: Dtype, ...numbers: readonly number[]): string[] {
  return numbers.map((float) => {
    const [scalar] = emitter.node("Constant", [], { attributes: { value_float: { float } } }) as [string];
    if (dtype === "float32") return scalar;
    return emitter.node("Cast", [scalar], { attributes: { to: onnxDtype[dtype] } })[0] as string;
  });
}
