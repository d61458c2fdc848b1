/**
 * Connectionist temporal classification (Graves et al. 2006): the probability of a target is the sum over all ways to
 * spell it with blanks and repetitions, by the forward recursion in log space.
 */
import { usageError } from "../../errors.js";
import {
  add,
  and,
  cast,
  concat,
  constant,
  div,
  equal,
  exp,
  expand,
  formatShape,
  gatherElements,
  less,
  log,
  logSoftmax,
  max,
  mul,
  neg,
  notEqual,
  pad,
  range,
  reduceMean,
  reshape,
  scan,
  slice,
  squeeze,
  sub,
  unsqueeze,
  type Value,
  where,
} from "../../graph/index.js";
import { tensorOf } from "../../runtime/index.js";
import { type Reduction, reduced } from "./shared.js";

/** Stands for log 0: far below every sum of log-probabilities, and finite, so that gradients are. */
const nothing = -1e30;

export interface CtcOptions {
  /** The class that stands for no symbol; 0 unless given. */
  readonly blank?: number;
  /** "mean" divides each loss by its target's length first, as PyTorch does; "mean" unless given. */
  readonly reduction?: Reduction;
}

/**
 * CTC loss of logits [time, batch, classes] against targets int64 [batch, longest] (padded with anything), of which the
 * first `targetLengths` count (int64 [batch]), in the first `inputLengths` steps (int64 [batch]). Targets hold no blank.
 */
export function ctcLoss(
  logits: Value,
  targets: Value,
  inputLengths: Value,
  targetLengths: Value,
  { blank = 0, reduction = "mean" }: CtcOptions = {},
): Value {
  const [, batch, classes] = logits.shape as readonly [number, number, number];
  const [rows, longest] = targets.shape as readonly [number, number];
  if (logits.shape.length !== 3 || rows !== batch)
    throw usageError(
      `ctcLoss: logits [time, batch, classes] and targets [batch, longest]; these are ${formatShape(logits.shape)} and ${formatShape(targets.shape)}`,
    );
  const states = 2 * longest + 1;
  // blank, first, blank, second, ..., blank
  const inner = reshape(concat([unsqueeze(filled(targets, blank), 2), unsqueeze(targets, 2)], 2), [batch, 2 * longest]);
  const spelled = concat([inner, constant(tensorOf("int64", [batch, 1], new Array<number>(batch).fill(blank)))], 1);
  const labels = where(and(notEqual(spelled, -1), less(spelled, classes)), spelled, blank);
  const before = pad(slice(labels, 1, 0, states - 2), 1, 2, 0, { value: blank });
  const skips = and(notEqual(labels, blank), notEqual(labels, before));
  const emitted = scanned(logits, labels, batch, states);
  const start = concat([slice(constantRow(batch, states, 0), 1, 0, 1), constantRow(batch, states - 1, nothing)], 1);
  const { carry } = scan(
    ({ alpha, time }: { alpha: Value; time: Value }, { own, first }: { own: Value; first: Value }) => {
      const shifted = (by: number) => pad(slice(alpha, 1, 0, states - by), 1, by, 0, { value: nothing });
      const skip = where(skips, shifted(2), nothing);
      const onward = logSum([alpha, shifted(1), skip]);
      const opening = where(less(range(states), 2), 0, nothing);
      const reached = where(equal(first, 0), expand(opening, [batch, states]), onward);
      const next = add(reached, own);
      const running = unsqueeze(less(time, inputLengths), 1);
      return { carry: { alpha: where(running, next, alpha), time: add(time, 1) }, outputs: [] };
    },
    {
      carry: { alpha: start, time: constant(tensorOf("int64", [], [0])) },
      sequences: { own: emitted, first: range(logits.shape[0] as number) },
    },
  );
  const last = unsqueeze(mul(targetLengths, 2), 1);
  const ends = [last, max(sub(last, 1), 0)].map((at) => squeeze(gatherElements(carry.alpha, at, 1), 1)) as [
    Value,
    Value,
  ];
  const none = equal(targetLengths, 0); // the two ends are one state there
  const losses = neg(logSum([ends[0], where(none, nothing, ends[1])]));
  if (reduction !== "mean") return reduced(losses, reduction);
  return reduceMean(div(losses, max(cast(targetLengths, "float32"), 1)), [0]);
}

const filled = (like: Value, value: number) => add(mul(like, 0), value);
const constantRow = (rows: number, columns: number, value: number) =>
  constant(tensorOf("float32", [rows, columns], new Array<number>(rows * columns).fill(value)));

/** Log-probabilities of each state's label: [time, batch, states]. */
function scanned(logits: Value, labels: Value, batch: number, states: number): Value {
  const time = logits.shape[0] as number;
  const index = expand(unsqueeze(labels, 0), [time, batch, states]);
  return gatherElements(logSoftmax(logits), index, 2);
}

/** log sum exp of values of one shape, element by element. */
function logSum(values: readonly Value[]): Value {
  const top = values.reduce((a, b) => max(a, b));
  const sum = values.map((x) => exp(sub(x, top))).reduce((a, b) => add(a, b));
  return add(log(sum), top);
}
