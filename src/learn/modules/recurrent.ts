/** Recurrent layers over x [batch, time, inputs]: the inputs' products of all steps are one, before the scan. */
import {
  add,
  concat,
  type Dim,
  type MarkSite,
  matmul,
  mul,
  relu,
  reshape,
  scan,
  select,
  sigmoid,
  slice,
  sub,
  tanh,
  transpose,
  type Value,
  zerosLike,
} from "../../graph/index.js";
import type { Random, Tensor } from "../../runtime/index.js";
import { initialisers } from "../initialisers.js";
import type { Traced } from "../parameters.js";

type T = Tensor<"float32">;

/**
 * `input` [inputs, gates * hidden], `hidden` [hidden, gates * hidden], and their biases. Gates in PyTorch's order: LSTM
 * input, forget, cell, output; GRU reset, update, new.
 */
export interface RecurrentParameters {
  readonly [key: string]: T;
  readonly input: T;
  readonly hidden: T;
  readonly inputBias: T;
  readonly hiddenBias: T;
}

export type RecurrentKind = "rnn" | "gru" | "lstm";
const gates: Readonly<Record<RecurrentKind, number>> = { rnn: 1, gru: 3, lstm: 4 };

/** Uniform between -1 / sqrt(hidden) and that, as PyTorch begins. */
export function recurrentParameters(
  random: Random,
  kind: RecurrentKind,
  { inputs, hidden }: { readonly inputs: number; readonly hidden: number },
): RecurrentParameters {
  const initialise = initialisers.uniform(-1 / Math.sqrt(hidden), 1 / Math.sqrt(hidden));
  const width = gates[kind] * hidden;
  return {
    input: initialise(random, [inputs, width]),
    hidden: initialise(random, [hidden, width]),
    inputBias: initialise(random, [width]),
    hiddenBias: initialise(random, [width]),
  };
}

/** State of a recurrent layer, [batch, hidden]: `h`, and for an LSTM the cell `c`. */
export interface RecurrentState {
  readonly h: Value;
  readonly c?: Value;
}

export interface RecurrentCall {
  /** Zeros unless given. */
  readonly initial?: RecurrentState;
  /** From the last step to the first; outputs keep the order of time. Off unless given. */
  readonly reverse?: boolean;
  /** The simple network's nonlinearity; "tanh" unless given. */
  readonly nonlinearity?: "tanh" | "relu";
  /** Marks `state`, the states of all steps [batch, time, hidden], and for an LSTM `cell`. */
  readonly site?: MarkSite;
}

type Carry = Readonly<Record<string, Value>>;

/** A recurrent layer; returns the states of all steps [batch, time, hidden], and the last. */
export function recurrent(
  kind: RecurrentKind,
  parameters: Traced<RecurrentParameters>,
  x: Value,
  { initial, reverse = false, nonlinearity = "tanh", site = (_, value) => value }: RecurrentCall = {},
): { readonly output: Value; readonly last: RecurrentState } {
  const { input, hidden, inputBias, hiddenBias } = parameters as Readonly<Record<string, Value>> as {
    readonly [Key in "input" | "hidden" | "inputBias" | "hiddenBias"]: Value;
  };
  const size = hidden.shape[0] as number;
  // A GRU's new gate multiplies the hidden part with its bias, so that bias stays inside.
  const bias = kind === "gru" ? inputBias : add(inputBias, hiddenBias);
  const steps = transpose(add(matmul(x, input), bias), [1, 0, 2]);
  const zero = zerosLike(slice(select(steps, 0, 0), 1, 0, size));
  const carry: Carry = kind === "lstm" ? { h: initial?.h ?? zero, c: initial?.c ?? zero } : { h: initial?.h ?? zero };
  const made = scan<Carry, { step: Value }, Carry>(
    ({ h, c }, { step }) => {
      const product = matmul(h as Value, hidden);
      const next =
        kind === "lstm"
          ? lstmStep(add(step, product), c as Value, size)
          : kind === "gru"
            ? gruStep(step, add(product, hiddenBias), h as Value, size)
            : { h: (nonlinearity === "tanh" ? tanh : relu)(add(step, product)) };
      return { carry: next, outputs: next };
    },
    { carry, sequences: { step: steps }, reverse },
  );
  const output = site("state", transpose(made.outputs.h as Value, [1, 0, 2]));
  if (made.outputs.c !== undefined) site("cell", transpose(made.outputs.c, [1, 0, 2]));
  return { output, last: made.carry as unknown as RecurrentState };
}

const gate = (x: Value, at: number, size: number) => slice(x, 1, at * size, (at + 1) * size);

/** Hochreiter & Schmidhuber 1997, with a forget gate (Gers et al. 2000). */
function lstmStep(x: Value, c: Value, size: number): Carry {
  const open = sigmoid(slice(x, 1, 0, 2 * size));
  const cell = add(mul(gate(open, 1, size), c), mul(gate(open, 0, size), tanh(gate(x, 2, size))));
  return { h: mul(sigmoid(gate(x, 3, size)), tanh(cell)), c: cell };
}

/** Cho et al. 2014, in the form whose reset gate multiplies the hidden product (as cuDNN and PyTorch have it). */
function gruStep(x: Value, product: Value, h: Value, size: number): Carry {
  const both = sigmoid(add(slice(x, 1, 0, 2 * size), slice(product, 1, 0, 2 * size)));
  const fresh = tanh(add(gate(x, 2, size), mul(gate(both, 0, size), gate(product, 2, size))));
  return { h: add(fresh, mul(gate(both, 1, size), sub(h, fresh))) };
}

/** Two layers, one in each direction of time, joined along the last axis: [batch, time, 2 hidden]. */
export function bidirectional(
  kind: RecurrentKind,
  {
    forward,
    backward,
  }: { readonly forward: Traced<RecurrentParameters>; readonly backward: Traced<RecurrentParameters> },
  x: Value,
): Value {
  const there = recurrent(kind, forward, x).output;
  const back = recurrent(kind, backward, x, { reverse: true }).output;
  return concat([there, back], 2);
}

/** The states at the last step, [batch, hidden]. */
export function lastStep(output: Value): Value {
  const [batch, , size] = output.shape as readonly [Dim, Dim, Dim];
  return reshape(select(output, 1, -1), [batch, size]);
}
