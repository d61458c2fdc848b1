/**
 * Loop: a step repeated a number of times, or while a condition holds, neither of which need be known before the graph
 * runs. Rows of a number that only running tells have no shape, so they are padded to a maximum that the caller gives.
 */
import { usageError } from "../../errors.js";
import { traceBody } from "../closure.js";
import { type Dim, evaluateDim, formatShape } from "../dims.js";
import { mapBody, overBatch } from "../gradient/batch.js";
import { leavesLike, leavesOf, replaceLeaves, type Tree } from "../gradient/tree.js";
import { constant, type Graph, type Node, type Value } from "../graph.js";
import { evaluateBody } from "../reference.js";
import { tensorOf } from "../tensor.js";
import { add, min, sub } from "./elementwise.js";
import { gather } from "./indexing.js";
import { dimension } from "./movement.js";
import { apply, type Emitter, type Operation, type ReferenceTensor } from "./operation.js";
import { range } from "./patterns.js";
import { batchedStep, repeated, repeatOver, type StepResult, swapped } from "./scan.js";
import {
  dependence,
  partsOf,
  reachedInputs,
  reduced,
  repeatedGradient,
  type Steps,
  stackReference,
  stepTypes,
} from "./steps.js";

/** The last carry counts the steps. */
type LoopAttributes = { body: Graph; carried: number; maximum: Dim | undefined };

const stepsOf = ({ body, carried }: LoopAttributes): Steps => ({ body, first: 2, leading: 1, carried, sliced: 0 });

export const loopOperation: Operation<LoopAttributes> = {
  name: "loop",
  infer(inputs, attributes) {
    const [going] = attributes.body.outputs.values();
    if (going?.dtype !== "bool" || going.shape.length > 0) throw new Error("the condition must be one bool");
    if (attributes.maximum === undefined && partsOf(stepsOf(attributes)).rows.length > 0)
      throw new Error("outputs of an unknown number of steps need `maximum`, the most steps that there can be");
    return stepTypes(inputs, stepsOf(attributes), attributes.maximum);
  },
  emit(node, attributes, emitter) {
    const { body, start, carries, rows } = reduced(node, stepsOf(attributes), emitter);
    if (carries.length + rows.length === 0) return;
    const [count, going] = node.inputs.map((value) => emitter.name(value)) as [string, string];
    const raw = emitter.node("Loop", [count, going, ...start], {
      count: carries.length + rows.length,
      attributes: { body },
    });
    const names = [...carries, ...rows].map((value) => emitter.name(value));
    carries.forEach((_, i) => {
      emitter.node("Identity", [raw[i] as string], { outputs: [names[i] as string] });
    });
    rows.forEach((value, i) => {
      padRows(raw[carries.length + i] as string, value, emitter);
    });
  },
  reference(inputs, attributes, sizes) {
    const { body, carried, maximum } = attributes;
    const { carries, rows: rowTypes } = partsOf(stepsOf(attributes));
    const types = maximum === undefined ? [] : [...rowTypes, ...carries];
    const rows: ReferenceTensor[][] = types.map(() => []);
    const scalar = (dtype: "int64" | "bool", x: number): ReferenceTensor => ({
      dtype,
      shape: [],
      data: Float64Array.of(x),
    });
    let [going, state] = [inputs[1]?.data[0] === 1, inputs.slice(2, 2 + carried)];
    for (let step = 0; going && step < (inputs[0]?.data[0] as number); step++) {
      const own = [scalar("int64", step), scalar("bool", 1), ...state, ...inputs.slice(2 + carried)];
      const [next, ...results] = evaluateBody(body, own, sizes);
      const made = [...results.slice(carried), ...state];
      for (const [i, list] of rows.entries()) list.push(made[i] as ReferenceTensor);
      going = next?.data[0] === 1;
      state = results.slice(0, carried);
    }
    const length = maximum === undefined ? 0 : evaluateDim(maximum, sizes);
    return [...state, ...types.map((type, i) => stackReference(rows[i] as ReferenceTensor[], type, length, sizes))];
  },
  gradient(node, gradients, wanted) {
    const attributes = node.attributes as LoopAttributes;
    const { carried, maximum } = attributes;
    if (maximum === undefined) {
      throw usageError(
        "the gradient of a loop needs room for the carry of every step: give loop() `maximum`, the most steps that there can be, or put stopGradient() around what it computes",
      );
    }
    const steps = knownSteps(node) ?? (node.outputs[carried - 1] as Value);
    return repeatedGradient(node, stepsOf(attributes), gradients, wanted, (start, tape, step) =>
      repeatWhile(start, { count: steps, going: yes(), maximum }, (carries, index, going) => {
        const at = sub(sub(steps, 1), index);
        return {
          going,
          ...step(
            carries,
            tape.map((rows) => gather(rows, at)),
            [at, going],
          ),
        };
      }),
    );
  },
  batch(inputs, batched, node) {
    const attributes = node.attributes as LoopAttributes;
    const { body, carried, maximum } = attributes;
    const flags = reachedInputs(stepsOf(attributes), batched);
    const sources = new Set(body.inputs.filter((_, i) => flags[i]));
    const [ends] = dependence([...body.outputs.values()], sources);
    if (flags[0] || flags[1] || ends) return overBatch(inputs, batched, node); // each example has its own number of steps
    const size = inputs[batched.indexOf(true)]?.shape[0] as Dim;
    const own = inputs.map((x, i) => (flags[i] && !batched[i] ? repeated(x, size) : x));
    const [count, going] = own as [Value, Value];
    const carries = flags.slice(2, 2 + carried);
    const results = repeatWhile(own.slice(2, 1 + carried), { count, going, maximum }, (state, index, still) => {
      const made = mapBody(body, [index, still, ...state, add(index, 0), ...own.slice(2 + carried)], flags);
      const [next, ...rest] = made as [(typeof made)[0], ...typeof made];
      const { carries: all, rows } = batchedStep(rest, carries, size);
      return { going: next.value, carries: all.slice(0, -1), rows };
    });
    const rows = dependence(partsOf(stepsOf(attributes)).rows, sources);
    return [
      ...results.carries.map((x, i) => (carries[i] ? x : repeated(x, size))),
      ...results.rows.map((x, i) => (rows[i] ? swapped(x) : repeated(x, size))),
      ...results.stored.map((x, i) => (carries[i] ? swapped(x) : repeated(x, size))),
    ];
  },
};

/** The count of a loop that has no condition. */
function knownSteps({ inputs, attributes: { body } }: Node): Value | undefined {
  const [count, going] = inputs as [Value, Value];
  const { inputs: own, outputs } = body as Graph;
  const unconditional = going.node.operation === "constant" && outputs.get("out0") === own[1];
  return unconditional ? count : undefined;
}

const yes = () => constant(tensorOf("bool", [], [1]));
const int64 = (x: number) => constant(tensorOf("int64", [], [x]));

/** Zeros after the rows that a loop gave, up to its maximum. */
function padRows(raw: string, value: Value, emitter: Emitter): void {
  const [maximum = 0, ...rest] = value.shape;
  const [count] = emitter.node("Shape", [raw], { attributes: { start: 0, end: 1 } }) as [string];
  const none = rest.length === 0 ? [] : [emitter.dims(rest)];
  const [shape] = emitter.node("Concat", [count, ...none], { attributes: { axis: 0 } }) as [string];
  // A loop of no steps gives rows of unknown sizes as empty ones.
  const [shaped] = emitter.node("Reshape", [raw, shape], { attributes: { allowzero: 1 } }) as [string];
  const [missing] = emitter.node("Sub", [emitter.dims([maximum]), count]) as [string];
  const [pads] = emitter.node("Concat", [emitter.int64([0]), missing], { attributes: { axis: 0 } }) as [string];
  emitter.node("Pad", [shaped, pads, "", emitter.int64([0])], { outputs: [emitter.name(value)] });
}

/** A loop of flat lists of values. Its last carry, which the step does not see, counts the steps. */
function repeatWhile(
  start: readonly Value[],
  { count, going, maximum }: { count: Value; going: Value; maximum: Dim | undefined },
  step: (
    carries: readonly Value[],
    index: Value,
    going: Value,
  ) => { going: Value; carries: readonly Value[]; rows: readonly Value[] },
): { carries: Value[]; rows: Value[]; stored: Value[] } {
  const inputs = [count, going, ...start, int64(0)];
  const { graph, captured } = traceBody((own) => {
    const [index, still] = own as [Value, Value];
    const made = step(own.slice(2, -1), index, still);
    return [made.going, ...made.carries, add(index, 1), ...made.rows];
  }, inputs);
  const carried = start.length + 1;
  const outputs = apply(loopOperation, [...inputs, ...captured], { body: graph, carried, maximum });
  const rows = graph.outputs.size - 1 - carried;
  return {
    carries: outputs.slice(0, carried),
    rows: outputs.slice(carried, carried + rows),
    stored: outputs.slice(carried + rows),
  };
}

export interface LoopOptions<C extends Tree> {
  /** What the first step is given. */
  readonly carry: C;
  /** How many steps: a size, which may be symbolic, or an int64 scalar. Needed where there is no condition. */
  readonly count?: Dim | Value;
  /** Whether to take another step, a bool scalar of the carry; asked before every step, the first included. */
  readonly while?: (carry: C) => Value;
  /** The most steps that there can be, where `count` is a value or there is a condition alone: rows and gradients need it. */
  readonly maximum?: Dim;
}

/**
 * A step repeated `count` times, `while` a condition holds, or both: `fn` gets the carry and the step's index (int64) and
 * returns the next carry (of the same types) and outputs. Outputs are stacked along a new leading axis of `count` rows, or
 * of `maximum`, zeros after the last step. Also returns how many `steps` (int64) were taken. ONNX's Loop; where the count
 * is a size and there is no condition, its Scan.
 *
 * Gradients are those of `scan`: one carry a step is stored, so a loop whose number of steps only running tells needs
 * `maximum`. Each example of a batch (`vmap`) stops by its own condition.
 */
export function loop<C extends Tree, O extends Tree = readonly []>(
  fn: (carry: C, index: Value) => StepResult<C, O>,
  { carry, count, while: holds, maximum }: LoopOptions<C>,
): { readonly carry: C; readonly outputs: O; readonly steps: Value } {
  if (count === undefined && holds === undefined)
    throw usageError("loop() needs a count, a condition (while), or both");
  const known = typeof count === "object" ? undefined : count;
  if (typeof count === "object" && (count.dtype !== "int64" || count.shape.length > 0))
    throw usageError(
      `loop(): the count must be one int64, a size, or a number, not ${count.dtype}${formatShape(count.shape)}`,
    );
  let outputs: O = [] as unknown as O;
  const step = (carries: readonly Value[], index: Value) => {
    const made = fn(replaceLeaves(carry, carries), index);
    outputs = made.outputs ?? outputs;
    return { carries: leavesLike(carry, made.carry, "the carry"), rows: leavesOf(outputs) };
  };
  const start = leavesOf(carry);
  if (known !== undefined && holds === undefined) {
    const { carries, rows } = repeatOver(start, [range(known)], known, false, (own, [index]) =>
      step(own, index as Value),
    );
    return { carry: replaceLeaves(carry, carries), outputs: replaceLeaves(outputs, rows), steps: dimension(known) };
  }
  const most = maximum ?? known;
  const limits = [
    ...(count === undefined ? [] : [typeof count === "object" ? count : dimension(count)]),
    ...(most === undefined ? [] : [dimension(most)]),
  ];
  const limit = limits.reduce((a, b) => min(a, b), int64(Number.MAX_SAFE_INTEGER));
  const ask = (own: readonly Value[]) => (holds === undefined ? undefined : holds(replaceLeaves(carry, own)));
  const { carries, rows } = repeatWhile(
    start,
    { count: limit, going: ask(start) ?? yes(), maximum: most },
    (own, index, still) => {
      const made = step(own, index);
      return { going: ask(made.carries) ?? still, ...made };
    },
  );
  return {
    carry: replaceLeaves(carry, carries.slice(0, -1)),
    outputs: replaceLeaves(outputs, rows),
    steps: carries[carries.length - 1] as Value,
  };
}
