/** Comparisons, truth values, what numbers are, and the choice between two values. None has a slope but the last. */
import type { Value } from "../graph.js";
import { broadcasting } from "./batching.js";
import { broadcastReference, broadcastShapes } from "./broadcast.js";
import { bools, requireSame } from "./dtypes.js";
import { applyOne, emitAs, type Operation, type ReferenceTensor } from "./operation.js";
import {
  binary,
  binaryOperation,
  elementwise,
  gradientOf,
  lifted,
  type None,
  type Operand,
  unary,
  unaryOperation,
} from "./pointwise.js";

const comparison = (name: string, onnx: string, f: (a: number, b: number) => boolean): Operation<None> =>
  binaryOperation(name, onnx, (a, b) => Number(f(a, b)), undefined, { result: "bool" });

const logic = (name: string, onnx: string, f: (a: boolean, b: boolean) => boolean): Operation<None> =>
  binaryOperation(name, onnx, (a, b) => Number(f(a === 1, b === 1)), undefined, { takes: bools });

const table = {
  equal: comparison("equal", "Equal", (a, b) => a === b),
  less: comparison("less", "Less", (a, b) => a < b),
  lessOrEqual: comparison("lessOrEqual", "LessOrEqual", (a, b) => a <= b),
  greater: comparison("greater", "Greater", (a, b) => a > b),
  greaterOrEqual: comparison("greaterOrEqual", "GreaterOrEqual", (a, b) => a >= b),
  and: logic("and", "And", (a, b) => a && b),
  or: logic("or", "Or", (a, b) => a || b),
  xor: logic("xor", "Xor", (a, b) => a !== b),
  not: unaryOperation("not", "Not", (a) => 1 - a, undefined, { takes: bools }),
  isNaN: unaryOperation("isNaN", "IsNaN", (x) => Number(Number.isNaN(x)), undefined, { result: "bool" }),
};

/** ONNX has no such operator. */
const notEqualOperation = elementwise({
  name: "notEqual",
  onnx(node, _, emitter) {
    const same = emitter.node(
      "Equal",
      node.inputs.map((value) => emitter.name(value)),
    );
    emitter.node("Not", same, { outputs: [emitter.name(node.outputs[0] as Value)] });
  },
  f: ([a, b]) => Number(a !== b),
  result: "bool",
});

interface Signs {
  readonly negative: boolean;
  readonly positive: boolean;
}

const isInfOperation = unaryOperation<Signs & Record<string, boolean>>(
  "isInf",
  (node, { negative, positive }, emitter) =>
    emitAs("IsInf", node, emitter, { detect_negative: Number(negative), detect_positive: Number(positive) }),
  (x, { negative, positive }) => Number((negative && x === -Infinity) || (positive && x === Infinity)),
  undefined,
  { result: "bool" },
);

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
  gradient: gradientOf((g, [condition]) => [
    undefined,
    where(condition as Value, g, 0),
    where(condition as Value, 0, g),
  ]),
  batch: broadcasting(() => whereOperation as Operation),
};

export const comparisonOperations = [...Object.values(table), notEqualOperation, isInfOperation, whereOperation];

export const equal = binary(table.equal);
/** Whether two numbers differ; NaN differs from itself. */
export const notEqual = binary(notEqualOperation);
export const less = binary(table.less);
export const lessOrEqual = binary(table.lessOrEqual);
export const greater = binary(table.greater);
export const greaterOrEqual = binary(table.greaterOrEqual);
export const and = binary(table.and);
export const or = binary(table.or);
/** Whether one of two truth values holds and the other does not. */
export const xor = binary(table.xor);
export const not = unary(table.not);
const isNotANumber = unary(table.isNaN);

export { isNotANumber as isNaN };

/** Whether a number is infinite: of either sign unless one is switched off. */
export function isInf(x: Value, { negative = true, positive = true }: Partial<Signs> = {}): Value {
  return applyOne(isInfOperation, [x], { negative, positive });
}

/** `a` where the boolean condition holds, else `b`. */
export function where(condition: Value, a: Operand, b: Operand): Value {
  return applyOne(whereOperation, [condition, ...lifted(a, b)], {});
}
