/**
 * Scan: a step repeated over the slices of sequences, with values carried from one to the next. It is ONNX's Scan, which
 * runs a step in half the time of its Loop and faster than the same steps written one after the other.
 */
import { usageError } from "../../errors.js";
import { traceBody } from "../closure.js";
import type { Dim } from "../dims.js";
import { mapBody } from "../gradient/batch.js";
import { leavesLike, leavesOf, replaceLeaves, type Tree } from "../gradient/tree.js";
import { type Graph, topologicalOrder, type Value } from "../graph.js";
import { evaluateBody } from "../reference.js";
import { expand, reshape, transpose } from "./movement.js";
import { apply, type Operation, type ReferenceTensor } from "./operation.js";
import { range } from "./patterns.js";
import {
  dependence,
  partsOf,
  reachedInputs,
  reduced,
  repeatedGradient,
  type Steps,
  sliceReference,
  stackReference,
  stepTypes,
} from "./steps.js";

type ScanAttributes = { body: Graph; carried: number; sliced: number; reverse: boolean };

const stepsOf = ({ body, carried, sliced }: ScanAttributes): Steps => ({ body, first: 0, leading: 0, carried, sliced });

export const scanOperation: Operation<ScanAttributes> = {
  name: "scan",
  infer: (inputs, attributes) => stepTypes(inputs, stepsOf(attributes), inputs[attributes.carried]?.shape[0] ?? 0),
  emit(node, attributes, emitter) {
    const { carried, sliced, reverse } = attributes;
    const { body, start, carries, rows } = reduced(node, stepsOf(attributes), emitter);
    const outputs = [...carries, ...rows].map((value) => emitter.name(value));
    if (outputs.length === 0) return;
    const sequences = node.inputs.slice(carried, carried + sliced).map((value) => emitter.name(value));
    const direction = (list: readonly unknown[]) => list.map(() => (reverse ? 1 : 0));
    emitter.node("Scan", [...start, ...sequences], {
      outputs,
      attributes: {
        body,
        num_scan_inputs: sliced,
        scan_input_directions: direction(sequences),
        ...(rows.length > 0 ? { scan_output_directions: direction(rows) } : {}),
      },
    });
  },
  reference(inputs, attributes, sizes) {
    const { body, carried, sliced, reverse } = attributes;
    const { carries, rows: rowTypes } = partsOf(stepsOf(attributes));
    const sequences = inputs.slice(carried, carried + sliced);
    const length = sequences[0]?.shape[0] ?? 0;
    const types = [...rowTypes, ...carries];
    const rows = types.map(() => new Array<ReferenceTensor>(length));
    let state = inputs.slice(0, carried);
    for (let step = 0; step < length; step++) {
      const at = reverse ? length - 1 - step : step;
      const slices = sequences.map((sequence) => sliceReference(sequence, at));
      const results = evaluateBody(body, [...state, ...slices, ...inputs.slice(carried + sliced)], sizes);
      for (const [i, value] of [...results.slice(carried), ...state].entries())
        (rows[i] as ReferenceTensor[])[at] = value;
      state = results.slice(0, carried);
    }
    return [...state, ...types.map((type, i) => stackReference(rows[i] as ReferenceTensor[], type, length, sizes))];
  },
  gradient(node, gradients, wanted) {
    const attributes = node.attributes as ScanAttributes;
    const length = node.inputs[attributes.carried]?.shape[0] as Dim;
    return repeatedGradient(node, stepsOf(attributes), gradients, wanted, (start, tape, step) =>
      repeatOver(start, tape, length, !attributes.reverse, (carries, slices) => step(carries, slices, [])),
    );
  },
  batch(inputs, batched, node) {
    const attributes = node.attributes as ScanAttributes;
    const { body, carried, sliced, reverse } = attributes;
    const size = inputs[batched.indexOf(true)]?.shape[0] as Dim;
    const flags = reachedInputs(stepsOf(attributes), batched);
    const own = inputs.map((x, i) => {
      if (i < carried) return flags[i] && !batched[i] ? repeated(x, size) : x;
      return i < carried + sliced && batched[i] ? swapped(x) : x;
    });
    const length = node.inputs[carried]?.shape[0] as Dim;
    const slices = own.slice(carried, carried + sliced);
    const results = repeatOver(own.slice(0, carried), slices, length, reverse, (state, rows) =>
      batchedStep(
        mapBody(body, [...state, ...rows, ...own.slice(carried + sliced)], flags),
        flags.slice(0, carried),
        size,
      ),
    );
    const rows = dependence(partsOf(stepsOf(attributes)).rows, new Set(body.inputs.filter((_, i) => flags[i])));
    return [
      ...results.carries.map((x, i) => (flags[i] ? x : repeated(x, size))),
      ...results.rows.map((x, i) => (rows[i] ? swapped(x) : repeated(x, size))),
      ...results.stored.map((x, i) => (flags[i] ? swapped(x) : repeated(x, size))),
    ];
  },
};

/** The first two axes exchanged: rows of a batch to a batch of rows, and back. */
export function swapped(x: Value): Value {
  return transpose(x, [1, 0, ...x.shape.slice(2).map((_, i) => i + 2)]);
}

/** Outputs of a mapped step; carries that are to be batched and came out whole are repeated. */
export function batchedStep(made: ReturnType<typeof mapBody>, flags: readonly boolean[], size: Dim) {
  const values = made.map(({ value, batched }, i) => (flags[i] && !batched ? repeated(value, size) : value));
  return { carries: values.slice(0, flags.length), rows: values.slice(flags.length) };
}

/** A value repeated along a new leading axis. */
export function repeated(x: Value, size: Dim): Value {
  return expand(reshape(x, [1, ...x.shape]), [size, ...x.shape]);
}

/**
 * A scan of flat lists of values; `stored` are rows of the carries that each step began with. Sequences that the step does
 * not read are left out; where none is left, it runs over whole numbers up to `length`.
 */
export function repeatOver(
  start: readonly Value[],
  sequences: readonly Value[],
  length: Dim,
  reverse: boolean,
  step: (carries: readonly Value[], slices: readonly Value[]) => { carries: readonly Value[]; rows: readonly Value[] },
): { carries: Value[]; rows: Value[]; stored: Value[] } {
  const carried = start.length;
  const given = [...sequences, range(length)];
  const types = [...start, ...given.map(({ dtype, shape }) => ({ dtype, shape: shape.slice(1) }))];
  const { graph, captured } = traceBody((inputs) => {
    const made = step(inputs.slice(0, carried), inputs.slice(carried, -1));
    return [...made.carries, ...made.rows];
  }, types);
  const read = new Set(topologicalOrder(graph.outputs.values()));
  const isRead = (i: number) => read.has((graph.inputs[carried + i] as Value).node);
  const used = [...sequences.keys()].filter(isRead);
  const kept = used.length > 0 ? used : [sequences.length];
  const inputs = [
    ...graph.inputs.slice(0, carried),
    ...kept.map((i) => graph.inputs[carried + i] as Value),
    ...graph.inputs.slice(carried + given.length),
  ];
  const outputs = apply(scanOperation, [...start, ...kept.map((i) => given[i] as Value), ...captured], {
    body: { ...graph, inputs },
    carried,
    sliced: kept.length,
    reverse,
  });
  const stored = outputs.length - carried;
  return { carries: outputs.slice(0, carried), rows: outputs.slice(carried, stored), stored: outputs.slice(stored) };
}

/** What a step of a scan returns: the carry that the next step gets, and values of which the scan gives a row a step. */
export interface StepResult<C extends Tree, O extends Tree> {
  readonly carry: C;
  readonly outputs?: O;
}

export interface ScanOptions<C extends Tree, S extends Tree> {
  /** What the first step is given. */
  readonly carry: C;
  /** Values whose leading axis (one size for all, which may be symbolic) counts the steps. */
  readonly sequences?: S;
  /** How many steps there are; needed where there are no sequences. */
  readonly length?: Dim;
  /** From the last slice to the first; outputs keep the order of the sequences. Off unless given. */
  readonly reverse?: boolean;
}

/**
 * A step repeated over the slices of sequences: `fn` gets the carry and one slice of each sequence, and returns the next
 * carry (of the same types) and outputs, which are stacked along a new leading axis. ONNX's Scan.
 *
 * What `fn` computes from neither is computed once, before. There must be a step: ONNX Runtime refuses sequences of no slices. The gradient stores the carry that each step began with and
 * computes the step's inner values again, so its memory is one carry a step, however much a step does.
 *
 * @example scan((h, x) => { const next = tanh(add(matmul(h, w), x)); return { carry: next, outputs: next }; },
 *   { carry: h0, sequences: xs }) // a recurrent network
 */
export function scan<C extends Tree, S extends Tree = readonly [], O extends Tree = readonly []>(
  fn: (carry: C, slices: S) => StepResult<C, O>,
  { carry, sequences = [] as unknown as S, length, reverse = false }: ScanOptions<C, S>,
): { readonly carry: C; readonly outputs: O } {
  const flat = leavesOf(sequences);
  const steps = flat[0]?.shape[0] ?? length;
  if (steps === undefined)
    throw usageError("scan() needs sequences of at least one axis, or the length: how many steps");
  const wrong = flat.find(({ shape }) => shape[0] !== steps);
  if (wrong !== undefined || (length ?? steps) !== steps) {
    throw usageError(
      `scan(): every sequence needs one leading size; there are ${steps} and ${wrong === undefined ? length : (wrong.shape[0] ?? "a scalar")}`,
    );
  }
  let outputs: O = [] as unknown as O;
  const results = repeatOver(leavesOf(carry), flat, steps, reverse, (carries, slices) => {
    const made = fn(replaceLeaves(carry, carries), replaceLeaves(sequences, slices));
    outputs = made.outputs ?? outputs;
    return { carries: leavesLike(carry, made.carry, "the carry"), rows: leavesOf(outputs) };
  });
  return { carry: replaceLeaves(carry, results.carries), outputs: replaceLeaves(outputs, results.rows) };
}
