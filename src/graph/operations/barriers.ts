/**
 * Operations that change no value and say something about gradients: where they stop, what is kept for them, and rules
 * that a user writes.
 */
import { usageError } from "../../errors.js";
import { applyBody, traceBody } from "../closure.js";
import { formatShape, sameShape } from "../dims.js";
import type { Graph, Node, Value, ValueType } from "../graph.js";
import { allBatched } from "./batching.js";
import { abs, cast, div, max, mul, round } from "./elementwise.js";
import { apply, applyOne, type BatchRule, emitAs, flat, type Operation, type ReferenceTensor } from "./operation.js";
import { reduceMax } from "./reduction.js";

type None = Record<string, never>;

const sameType = ([x]: readonly ValueType[]): ValueType[] => [
  { dtype: (x as ValueType).dtype, shape: (x as ValueType).shape },
];

const pass: Pick<Operation<None>, "infer" | "emit" | "reference"> = {
  infer: sameType,
  emit: (node, _, emitter) => emitAs("Identity", node, emitter),
  reference: ([x]) => [x as ReferenceTensor],
};

const again: BatchRule = ([x], _, { operation, attributes }) =>
  apply({ name: operation, ...pass }, [x as Value], attributes as None);

const identityOperation: Operation<None> = { name: "identity", ...pass, gradient: (_, [g]) => [g], batch: again };
const stopOperation: Operation<None> = { name: "stopGradient", ...pass, gradient: flat, batch: again };

/** x; further inputs are what is kept in its place. */
const checkpointOperation: Operation<None> = {
  name: "checkpoint",
  ...pass,
  emit: ({ inputs, outputs }, _, emitter) => {
    emitter.node("Identity", [emitter.name(inputs[0] as Value)], { outputs: [emitter.name(outputs[0] as Value)] });
  },
  gradient: (node, [g]) => node.inputs.map((_, i) => (i === 0 ? g : undefined)),
  batch: (inputs, batched) => [applyOne(checkpointOperation, allBatched(inputs, batched), {})],
};

/**
 * x, and not before `after` has been computed. The runtime merges equal nodes and moves them, which would undo a
 * recomputation; so the barrier is a reshape (which copies nothing) to a shape that needs a number out of `after`.
 */
const barrierOperation: Operation<None> = {
  name: "barrier",
  infer: sameType,
  emit(node, _, emitter) {
    const [x, after] = node.inputs.map((value) => emitter.name(value)) as [string, string];
    const [line] = emitter.node("Reshape", [after, emitter.int64([-1])]) as [string];
    const [first] = emitter.node("Slice", [line, emitter.int64([0]), emitter.int64([1])]) as [string];
    const [number] = emitter.node("Cast", [first], { attributes: { to: 7 } }) as [string];
    const [one] = emitter.node("ReduceSum", [number, emitter.int64([0])], { attributes: { keepdims: 1 } }) as [string];
    const [nothing] = emitter.node("Mul", [one, emitter.int64([0])]) as [string];
    const [shape] = emitter.node("Shape", [x]) as [string];
    const [target] = emitter.node("Add", [shape, nothing]) as [string];
    emitter.node("Reshape", [x, target], {
      outputs: [emitter.name(node.outputs[0] as Value)],
      attributes: { allowzero: 1 },
    });
  },
  reference: ([x]) => [x as ReferenceTensor],
  gradient: (_, [g]) => [g, undefined],
  batch(inputs, batched) {
    const [x, after] = allBatched(inputs, batched) as [Value, Value];
    return [barrier(x, after)];
  },
};

/** The last input, whose gradient with respect to the others is what `backward` says. */
const customOperation: Operation<{ backward: Graph; count: number }> = {
  name: "customGradient",
  infer: (inputs, { count }) => sameType(inputs.slice(count)),
  emit(node, { count }, emitter) {
    const y = emitter.name(node.inputs[count] as Value);
    emitter.node("Identity", [y], { outputs: [emitter.name(node.outputs[0] as Value)] });
  },
  reference: (inputs, { count }) => [inputs[count] as ReferenceTensor],
  gradient(node, [g]) {
    const { backward, count } = node.attributes as { backward: Graph; count: number };
    if (g === undefined) return node.inputs.map(() => undefined);
    const captured = node.inputs.slice(count + 1);
    const results = applyBody(backward, [...node.inputs.slice(0, count + 1), g, ...captured]);
    return [...results, ...node.inputs.slice(count).map(() => undefined)];
  },
};

export const barrierOperations = [
  identityOperation,
  stopOperation,
  checkpointOperation,
  barrierOperation,
  customOperation,
];

/** The same value under a new node. */
export function identity(x: Value): Value {
  return applyOne(identityOperation, [x], {});
}

/** The same value, treated as a constant by gradients. */
export function stopGradient(x: Value): Value {
  return applyOne(stopOperation, [x], {});
}

/**
 * The same value, kept for the gradient; what is computed from it is not kept but computed again from here when the
 * gradient needs it (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Put it at the seams of a deep
 * network, such as the residual stream before each layer: memory falls to one layer's, time grows by one forward pass.
 */
export function checkpoint(x: Value): Value {
  return applyOne(checkpointOperation, [x], {});
}

/**
 * As `checkpoint`, and what is kept is held in 8-bit integers with a scale for each row of the last axis (the largest
 * absolute element becomes 127). The value itself is exact; what the gradient computes again starts from the rounded one.
 */
export function checkpointIn8Bits(x: Value): Value {
  const last = x.shape.length - 1;
  const scale = max(div(reduceMax(abs(x), [last], { keepDims: true }), 127), 1e-30);
  const kept = cast(round(div(x, scale)), "int8");
  return applyOne(checkpointOperation, [barrier(x, kept), kept, scale], {}); // kept before anything goes on from x
}

/** What the gradient reads in place of a checkpoint, not before `after` has been computed. */
export function keptValue(node: Node, after: Value): Value {
  const [, kept, scale] = node.inputs;
  if (kept === undefined || scale === undefined) return barrier(node.outputs[0] as Value, after);
  return mul(cast(barrier(kept, after), scale.dtype), scale);
}

/** x, computed (and copied) no earlier than `after`. Gradients pass to x alone. */
export function barrier(x: Value, after: Value): Value {
  return applyOne(barrierOperation, [x, after], {});
}

/** What a gradient rule written by a user is given. */
export interface CustomContext {
  readonly inputs: readonly Value[];
  readonly output: Value;
  /** Gradient of the output. */
  readonly gradient: Value;
}

/**
 * A function with a gradient rule of its own. `backward` returns one gradient for each input, of the input's own type, and
 * must be linear in `gradient` (`jvp` needs that; a rule that isn't works in reverse mode alone).
 *
 * @example customGradient((x) => round(x), ({ gradient }) => [gradient]) // the straight-through estimator
 */
export function customGradient(
  forward: (...inputs: readonly Value[]) => Value,
  backward: (context: CustomContext) => readonly Value[],
): (...inputs: readonly Value[]) => Value {
  return (...inputs) => {
    const output = forward(...inputs);
    const count = inputs.length;
    const body = traceBody(
      (values) => {
        const gradients = backward({
          inputs: values.slice(0, count),
          output: values[count] as Value,
          gradient: values[count + 1] as Value,
        });
        checkGradients(inputs, gradients);
        return gradients;
      },
      [...inputs, output, output],
    );
    return applyOne(customOperation, [...inputs, output, ...body.captured], { backward: body.graph, count });
  };
}

function checkGradients(inputs: readonly Value[], gradients: readonly Value[]): void {
  inputs.forEach(({ dtype, shape }, i) => {
    const given = gradients[i];
    if (given?.dtype === dtype && sameShape(given.shape, shape)) return;
    const found = given === undefined ? "none" : given.dtype + formatShape(given.shape);
    throw usageError(`customGradient: the gradient of input ${i} must be ${dtype}${formatShape(shape)}, not ${found}`);
  });
}

/** `forward` as it is, with the gradient of the identity (Bengio et al. 2013, the straight-through estimator). */
export function straightThrough(forward: (x: Value) => Value): (x: Value) => Value {
  return customGradient(
    (x) => forward(x as Value),
    ({ gradient }) => [gradient],
  );
}
