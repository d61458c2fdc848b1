/**
 * What scans and loops share. Both repeat a step, a body whose carries come out as they go in: this file says where
 * everything stands among the inputs and outputs, what of it a compiled graph needs, and how the gradient runs backwards.
 *
 * The gradient stores nothing but the carries that steps began with; a step's inner values are computed again.
 */
import { type Dim, evaluateDim, formatShape, type Shape, sameShape } from "../dims.js";
import { pullback } from "../gradient/pullback.js";
import { type Graph, input, type Node, topologicalOrder, type Value, type ValueType } from "../graph.js";
import { substitute } from "../rewrite.js";
import { elementCount } from "../tensor.js";
import { identity } from "./barriers.js";
import { add } from "./elementwise.js";
import { type Emitter, isFloat, type OnnxBody, type ReferenceTensor } from "./operation.js";
import { zerosLike } from "./patterns.js";

/**
 * A repeated step. Inputs of the node and of the body correspond: `first` ones before the carries (the index and the
 * condition of a loop), the carries, `sliced` sequences (of which a step gets one slice each), what the body captured.
 * The body's outputs are `leading` ones (the condition of a loop), the carries, and those of which every step gives a row.
 * The node's are the carries, the rows, and rows of the carries that each step began with: the gradient reads these.
 */
export interface Steps {
  readonly body: Graph;
  readonly first: number;
  readonly leading: number;
  readonly carried: number;
  readonly sliced: number;
}

/** The parts of a step's body: carries as they come in, carries as they go out, outputs that become rows. */
export function partsOf({ body, first, leading, carried }: Steps) {
  const outputs = [...body.outputs.values()].slice(leading);
  return {
    carries: body.inputs.slice(first, first + carried),
    next: outputs.slice(0, carried),
    rows: outputs.slice(carried),
  };
}

/** Types of a node's outputs where `length` steps give rows; throws where the body does not fit the inputs. */
export function stepTypes(inputs: readonly ValueType[], steps: Steps, length: Dim | undefined): ValueType[] {
  const { body, first, carried, sliced } = steps;
  const { carries, next, rows } = partsOf(steps);
  if (inputs.length !== body.inputs.length)
    throw new Error(`the body takes ${body.inputs.length} values, not ${inputs.length}`);
  inputs.forEach(({ dtype, shape }, i) => {
    const isSequence = i >= first + carried && i < first + carried + sliced;
    if (isSequence && shape[0] !== length)
      throw new Error(`a sequence ${formatShape(shape)} does not have the leading size ${length}`);
    requireType("the body is given", { dtype, shape: isSequence ? shape.slice(1) : shape }, body.inputs[i]);
  });
  carries.forEach((carry, i) => {
    requireType(`carry ${i} comes out as`, next[i], carry);
  });
  const stacked = length === undefined ? [] : [...rows, ...carries];
  return [...carries, ...stacked.map(({ dtype, shape }) => ({ dtype, shape: [length as Dim, ...shape] }))];
}

function requireType(what: string, found: ValueType | undefined, wanted: ValueType | undefined): void {
  if (found?.dtype === wanted?.dtype && sameShape(found?.shape ?? [], wanted?.shape ?? [])) return;
  const text = (type: ValueType | undefined) => (type === undefined ? "nothing" : type.dtype + formatShape(type.shape));
  throw new Error(`${what} ${text(found)}; expected ${text(wanted)}`);
}

/** `marked` inputs of a body, and every carry that they reach, step after step. */
export function reachedInputs(steps: Steps, marked: readonly boolean[]): boolean[] {
  const reached = [...marked];
  const { next } = partsOf(steps);
  for (let grown = true; grown; ) {
    grown = false;
    dependence(next, new Set(steps.body.inputs.filter((_, i) => reached[i]))).forEach((yes, i) => {
      if (!yes || reached[steps.first + i]) return;
      reached[steps.first + i] = true;
      grown = true;
    });
  }
  return reached;
}

/** Which of `values` depend on any of `sources`. */
export function dependence(values: readonly Value[], sources: ReadonlySet<Value>): boolean[] {
  const reached = new Set(sources);
  for (const node of topologicalOrder(values)) {
    if (node.inputs.some((value) => reached.has(value))) for (const value of node.outputs) reached.add(value);
  }
  return values.map((value) => reached.has(value));
}

/** Slice `at` along the leading axis. */
export function sliceReference({ dtype, shape, data }: ReferenceTensor, at: number): ReferenceTensor {
  const rest = shape.slice(1);
  const size = elementCount(rest);
  return { dtype, shape: rest, data: data.subarray(at * size, (at + 1) * size) };
}

/** Rows as one tensor of `length` rows, zeros after the last. */
export function stackReference(
  rows: readonly ReferenceTensor[],
  { dtype, shape }: { dtype: ReferenceTensor["dtype"]; shape: Shape },
  length: number,
  sizes: Readonly<Record<string, number>>,
): ReferenceTensor {
  const own = shape.map((dim) => evaluateDim(dim, sizes));
  const data = new Float64Array(length * elementCount(own));
  rows.forEach((row, i) => {
    data.set(row.data, i * elementCount(own));
  });
  return { dtype, shape: [length, ...own], data };
}

/** A step as ONNX needs it: only what is read. */
export interface Reduced {
  readonly body: OnnxBody;
  /** Initial values of the carries that are left. */
  readonly start: readonly string[];
  /** Outputs of the node that the body's outputs (after the leading ones) become: carries, then rows. */
  readonly carries: readonly Value[];
  readonly rows: readonly Value[];
}

/**
 * The step without rows and carries that nothing reads, and with carries that never change captured instead: the runtime
 * copies a carry at every step that it goes through unchanged.
 */
export function reduced(node: Node, steps: Steps, emitter: Emitter): Reduced {
  const { body, first, leading, carried, sliced } = steps;
  const { carries, next, rows } = partsOf(steps);
  const lead = [...body.outputs.values()].slice(0, leading);
  const made = node.outputs.slice(carried).map((output, i) => ({ output, row: [...rows, ...carries][i] as Value }));
  const keptRows = made.filter(({ output }) => emitter.reads(output));
  const live = new Set([...carries.keys()].filter((i) => emitter.reads(node.outputs[i] as Value)));
  for (let size = -1; size !== live.size; ) {
    size = live.size;
    const roots = [...lead, ...[...live].map((i) => next[i] as Value), ...keptRows.map(({ row }) => row)];
    const read = new Set(topologicalOrder(roots));
    carries.forEach((carry, i) => {
      if (read.has(carry.node)) live.add(i);
    });
  }
  const order = [...live].sort((a, b) => a - b);
  const moving = order.filter((i) => next[i] !== carries[i]);
  const fixed = order.filter((i) => next[i] === carries[i]);
  const startOf = (i: number) => emitter.name(node.inputs[first + i] as Value);
  for (const i of fixed) {
    const output = node.outputs[i] as Value;
    if (emitter.reads(output)) emitter.node("Identity", [startOf(i)], { outputs: [emitter.name(output)] });
  }
  const inputs = [
    ...body.inputs.slice(0, first),
    ...moving.map((i) => carries[i] as Value),
    ...body.inputs.slice(first + carried, first + carried + sliced),
    ...fixed.map((i) => carries[i] as Value),
    ...body.inputs.slice(first + carried + sliced),
  ];
  const outputs = [...lead, ...moving.map((i) => next[i] as Value), ...keptRows.map(({ row }) => row)];
  const outside = node.inputs.slice(first + carried + sliced).map((value) => emitter.name(value));
  return {
    body: {
      body: { inputs, outputs: new Map(outputs.map((value, i) => [`out${i}`, value])), sites: new Map() },
      captured: [...fixed.map(startOf), ...outside],
    },
    start: moving.map(startOf),
    carries: moving.map((i) => node.outputs[i] as Value),
    rows: keptRows.map(({ output }) => output),
  };
}

/** What a step of the backward loop does: from what it carries and the rows of a forward step, new ones. */
export type BackwardStep = (
  state: readonly Value[],
  rows: readonly Value[],
  leading: readonly Value[],
) => { carries: Value[]; rows: Value[] };

/** Runs a backward step from the last row of the `tape` to the first; `leading` are the body's inputs before its carries. */
export type RunBackward = (
  start: readonly Value[],
  tape: readonly Value[],
  step: BackwardStep,
) => { carries: readonly Value[]; rows: readonly Value[] };

/**
 * Gradients of a node that repeats a step. The backward loop carries the gradients of the carries, and the sums of those of
 * captured values; it gives rows of those of the slices.
 */
export function repeatedGradient(
  node: Node,
  steps: Steps,
  gradients: readonly (Value | undefined)[],
  wanted: readonly boolean[],
  run: RunBackward,
): (Value | undefined)[] {
  const { body, first, carried, sliced } = steps;
  const { carries, next, rows: rowOutputs } = partsOf(steps);
  const outputs = [...next, ...rowOutputs];
  const { cotangents, found, moving } = pullStep(steps, gradients, wanted);
  const end = first + carried + sliced;
  const has = (from: number, to: number) =>
    [...found.keys()].filter((i) => i >= from && i < to && found[i] !== undefined && wanted[i]);
  const slices = has(first + carried, end);
  const captured = has(end, found.length);
  const given = [...outputs.keys()].slice(carried).filter((o) => gradients[o] !== undefined);
  const stored = moving.filter((i) => gradients[outputs.length + i] !== undefined);
  const tape = [
    ...node.outputs.slice(outputs.length, outputs.length + carried),
    ...node.inputs.slice(first + carried, end),
    ...given.map((o) => gradients[o] as Value),
    ...stored.map((i) => gradients[outputs.length + i] as Value),
  ];
  const start = [
    ...moving.map((i) => gradients[i] ?? zerosLike(node.outputs[i] as Value)),
    ...captured.map((i) => zerosLike(node.inputs[i] as Value)),
  ];
  const results = run(start, tape, (state, rows, leading) => {
    const own = [...leading, ...rows.slice(0, carried + sliced), ...node.inputs.slice(end)];
    const values = new Map(body.inputs.map((value, i) => [value, own[i] as Value]));
    carries.forEach((carry, i) => {
      if (next[i] === carry) values.set(carry, node.inputs[first + i] as Value); // needs no row at all
    });
    for (const [k, i] of moving.entries()) values.set(cotangents[i] as Value, state[k] as Value);
    for (const [k, o] of given.entries()) values.set(cotangents[o] as Value, rows[carried + sliced + k] as Value);
    const at = [...moving.map((i) => first + i), ...captured, ...slices];
    const made = substituteDefined(
      at.map((i) => found[i]),
      values,
    );
    const extra = new Map(stored.map((i, k) => [i, rows[carried + sliced + given.length + k] as Value]));
    const ofCarries = moving.map((i, k) => sum(made[k], extra.get(i)) ?? zerosLike(node.outputs[i] as Value));
    const sums = captured.map((_, k) => add(state[moving.length + k] as Value, made[moving.length + k] as Value));
    return { carries: [...ofCarries, ...sums], rows: made.slice(moving.length + captured.length) as Value[] };
  });
  const result = new Array<Value | undefined>(node.inputs.length).fill(undefined);
  for (const [k, i] of moving.entries()) result[first + i] = results.carries[k];
  for (const [k, i] of captured.entries()) result[i] = results.carries[moving.length + k];
  for (const [k, i] of slices.entries()) result[i] = results.rows[k];
  return result;
}

const sum = (a: Value | undefined, b: Value | undefined) => (a && b ? add(a, b) : (a ?? b));

function substituteDefined(values: readonly (Value | undefined)[], replacements: ReadonlyMap<Value, Value>) {
  const made = substitute(
    values.filter((value) => value !== undefined),
    replacements,
  );
  let next = 0;
  return values.map((value) => (value === undefined ? undefined : made[next++]));
}

/**
 * The pullback of one step, over the body's own inputs and one cotangent for each output: gradients `found` of the inputs
 * that lead to wanted ones, and the carries that a gradient comes to at all, through any number of steps (`moving`).
 */
function pullStep(steps: Steps, gradients: readonly (Value | undefined)[], wanted: readonly boolean[]) {
  const { body, first, leading, carried } = steps;
  const outputs = [...body.outputs.values()].slice(leading);
  const roots = outputs.map(identity); // one value may be several outputs
  const cotangents = outputs.map(({ dtype, shape }, o) => input(`cotangent${o}`, dtype, shape));
  const active = reachedInputs(
    steps,
    body.inputs.map((_, i) => i >= first && (wanted[i] ?? false)),
  ).map((yes, i) => yes && isFloat((body.inputs[i] as Value).dtype));
  const at = [...active.keys()].filter((i) => active[i]);
  const arrives = (o: number) =>
    (gradients[o] ?? (o < carried ? gradients[outputs.length + o] : undefined)) !== undefined;
  const moving = new Set([...Array(carried).keys()].filter((i) => active[first + i] && arrives(i)));
  for (;;) {
    const seeds = [...outputs.keys()].filter((o) => (o < carried ? moving.has(o) : arrives(o)));
    const gradientsAt = pullback(
      new Map(seeds.map((o) => [roots[o] as Value, cotangents[o] as Value])),
      at.map((i) => body.inputs[i] as Value),
      { recompute: false }, // all of a step is computed again anyway
    );
    const found = body.inputs.map((_, i) => gradientsAt[at.indexOf(i)]);
    const grown = [...Array(carried).keys()].filter((i) => found[first + i] !== undefined && !moving.has(i));
    if (grown.length === 0) return { cotangents, found, moving: [...moving].sort((a, b) => a - b) };
    for (const i of grown) moving.add(i);
  }
}
