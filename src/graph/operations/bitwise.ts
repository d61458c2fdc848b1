/**
 * Whole numbers bit by bit, in two's complement. ONNX's shift takes unsigned types alone, of which the graph has the one
 * of 8 bits: multiply and divide by powers of two instead.
 */
import { broadcastReference } from "./broadcast.js";
import { integers } from "./dtypes.js";
import type { Operation, ReferenceTensor } from "./operation.js";
import { binary, binaryOperation, type None, unary, unaryOperation } from "./pointwise.js";

/** JavaScript's operators cut numbers to 32 bits; those of big integers don't. */
const bits = (name: string, onnx: string, f: (a: bigint, b: bigint) => bigint): Operation<None> =>
  binaryOperation(name, onnx, (a, b) => Number(f(BigInt(a), BigInt(b))), undefined, { takes: integers });

const table = {
  and: bits("bitwiseAnd", "BitwiseAnd", (a, b) => a & b),
  or: bits("bitwiseOr", "BitwiseOr", (a, b) => a | b),
  xor: bits("bitwiseXor", "BitwiseXor", (a, b) => a ^ b),
};

const notOperation: Operation<None> = {
  ...unaryOperation("bitwiseNot", "BitwiseNot", (x) => -1 - x, undefined, { takes: integers }),
  reference(inputs) {
    const { dtype } = inputs[0] as ReferenceTensor;
    const ones = dtype === "uint8" ? 255 : -1;
    return [broadcastReference(inputs, dtype, (x) => ones - (x as number))];
  },
};

export const bitwiseOperations = [...Object.values(table), notOperation];

export const bitwiseAnd = binary(table.and);
export const bitwiseOr = binary(table.or);
export const bitwiseXor = binary(table.xor);
export const bitwiseNot = unary(notOperation);
