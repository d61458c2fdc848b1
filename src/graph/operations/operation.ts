/**
 * What an operation is: one typed table entry with its shape rule, its ONNX form, a slow float64 reference, and its
 * gradient rule. `apply` makes a node of it; builders for families live beside the families.
 */
import { messageOf, usageError } from "../../errors.js";
import { formatShape, type Shape } from "../dims.js";
import { type Attributes, type Graph, makeNode, type Node, type Value, type ValueType } from "../graph.js";
import type { Dtype } from "../tensor.js";

/** A tensor of the reference interpreter: every element type held in float64 (booleans as 0 and 1). */
export interface ReferenceTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** A nested graph. Its last inputs stand for tensors of the graphs around it, whose names these are. */
export interface OnnxBody {
  readonly body: Graph;
  readonly captured: readonly string[];
}

/** An attribute of an ONNX node. Whole numbers are `int`s unless wrapped as `{ float }`. */
export type OnnxAttribute = number | string | readonly number[] | { readonly float: number } | OnnxBody;

/** What a table entry uses to write itself as ONNX nodes. Names stand for tensors. */
export interface Emitter {
  /** The ONNX name of a value of the graph. */
  name(value: Value): string;
  /** Whether anything reads a value: an operation may leave an output out that nothing reads. */
  reads(value: Value): boolean;
  /** Whether a value is an output of the graph. */
  returns(value: Value): boolean;
  /**
   * Adds a node and returns the names of its outputs, which are made up unless given. An operator of another domain than
   * ONNX's is written with it: `com.microsoft.FusedMatMul`.
   */
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

/**
 * Gradients of a node's inputs, given those of its outputs (undefined: zero); undefined where an input has none. A rule
 * builds values with the operations of the table, is linear in what it is given, and reads the node it is handed, which
 * may be a recomputed twin. `wanted` says which inputs' gradients are used: a rule that costs may leave out the others.
 */
export type GradientRule = (
  node: Node,
  outputs: readonly (Value | undefined)[],
  wanted: readonly boolean[],
) => readonly (Value | undefined)[];

/** The rule of what has no slope anywhere: comparisons, rounding, whole numbers. */
export const flat: GradientRule = (node) => node.inputs.map(() => undefined);

/**
 * A node applied to every entry of a new leading axis, which those of the inputs have that are `batched`; every output
 * gets it. `node` is the one that was traced without the axis. An operation without a rule is looped over.
 */
export type BatchRule = (inputs: readonly Value[], batched: readonly boolean[], node: Node) => readonly Value[];

/** Whether an element type holds floating-point numbers: what gradients are made of. */
export const isFloat = (dtype: Dtype): boolean => dtype === "float32" || dtype === "float64" || dtype === "float16";

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
  /** None: a gradient through the operation is an error that says so. */
  readonly gradient?: GradientRule;
  readonly batch?: BatchRule;
  /** Each number of the output comes from one number of each input, which broadcast. */
  readonly pointwise?: boolean;
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
