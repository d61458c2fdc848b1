/**
 * What an operation is: one typed table entry with its shape rule, its ONNX form, a slow float64 reference, and its
 * gradient rule. `apply` makes a node of it; builders for families live beside the families.
 */
import { messageOf, usageError } from "../../errors.js";
import { formatShape, type Shape } from "../dims.js";
import { type Attributes, makeNode, type Node, type Value, type ValueType } from "../graph.js";
import type { Dtype } from "../tensor.js";

/** A tensor of the reference interpreter: every element type held in float64 (booleans as 0 and 1). */
export interface ReferenceTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** An attribute of an ONNX node. Whole numbers are `int`s unless wrapped as `{ float }`. */
export type OnnxAttribute = number | string | readonly number[] | { readonly float: number };

/** What a table entry uses to write itself as ONNX nodes. Names stand for tensors. */
export interface Emitter {
  /** The ONNX name of a value of the graph. */
  name(value: Value): string;
  /** Adds a node and returns the names of its outputs, which are made up unless given. */
  node(
    type: string,
    inputs: readonly string[],
    options?: { outputs?: readonly string[]; count?: number; attributes?: Readonly<Record<string, OnnxAttribute>> },
  ): string[];
  /** A constant one-dimensional int64 tensor. */
  int64(values: readonly number[]): string;
  /** A one-dimensional int64 tensor of dimensions, computed in the graph where they are symbolic. */
  dims(shape: Shape): string;
}

/** Gradients of the inputs, given those of the outputs; undefined where an input has none. */
export type GradientRule = (node: Node, outputs: readonly (Value | undefined)[]) => (Value | undefined)[];

export interface Operation<A extends Attributes = Attributes> {
  readonly name: string;
  /** Types of the outputs. Throws a message (without the operation's name) where the inputs do not fit. */
  infer(inputs: readonly ValueType[], attributes: A): ValueType[];
  /** Writes the node as ONNX, its outputs under the names that `emitter.name` gives them. */
  emit(node: Node, attributes: A, emitter: Emitter): void;
  /** The outputs in float64; `sizes` gives symbolic dimensions their values. */
  reference(
    inputs: readonly ReferenceTensor[],
    attributes: A,
    sizes: Readonly<Record<string, number>>,
  ): ReferenceTensor[];
  readonly gradient?: GradientRule;
}

/** A node of `operation`. Errors name the operation and the shapes. */
export function apply<A extends Attributes>(operation: Operation<A>, inputs: readonly Value[], attributes: A): Value[] {
  let types: ValueType[];
  try {
    types = operation.infer(inputs, attributes);
  } catch (error) {
    const given = inputs.map((value) => `${value.dtype}${formatShape(value.shape)}`).join(", ");
    throw usageError(`${operation.name}(${given}): ${messageOf(error)}`, error);
  }
  return [...makeNode(operation.name, inputs, attributes, types).outputs];
}

/** As `apply`, for an operation with one output. */
export function applyOne<A extends Attributes>(
  operation: Operation<A>,
  inputs: readonly Value[],
  attributes: A,
): Value {
  return apply(operation, inputs, attributes)[0] as Value;
}

/** Emits a node of the ONNX operator `type` with the graph node's own inputs and outputs. */
export function emitAs(
  type: string,
  node: Node,
  emitter: Emitter,
  attributes?: Readonly<Record<string, OnnxAttribute>>,
  extraInputs: readonly string[] = [],
): void {
  const inputs = [...node.inputs.map((value) => emitter.name(value)), ...extraInputs];
  const outputs = node.outputs.map((value) => emitter.name(value));
  emitter.node(type, inputs, attributes === undefined ? { outputs } : { outputs, attributes });
}
