/**
 * Connectionist temporal classification (Graves et al. 2006): the probability of a target is the sum over all ways to
 * spell it with blanks and repetitions, by the forward recursion in log space.
 */
import { usageError } from "../../errors.js";
import {
  add,
  and,
  cast,
  div,
  equal,
  exp,
  expand,
  formatShape,
  gatherElements,
  greater,
  greaterOrEqual,
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
  select,
  slice,
  squeeze,
  sub,
  unsqueeze,
  type Value,
  where,
} from "../../graph/index.js";
import { type Reduction, reduced } from "./shared.js";

/** Stands for log 0: far below every sum of log-probabilities, and finite, so that gradients are. */
const nothing = -1e30;

export interface CtcOptions {
  /** The class that stands for no symbol; 0 unless given. */
  readonly blank?: number;
  /** "mean" divides each loss by its target's length first, as PyTorch does; "mean" unless given. */
  readonly reduction?: Reduction;
  /** Whether a target that is too long for its input counts 0 instead of infinity. Off unless given. */
  readonly skipImpossible?: boolean;
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
  { blank = 0, reduction = "mean", skipImpossible = false }: CtcOptions = {},
): Value {
  checkShapes(logits, targets);
  const [time, batch, classes] = logits.shape as readonly [number, number, number];
  const known = and(greaterOrEqual(targets, 0), less(targets, classes)); // padding may be no class at all
  const labels = withBlanks(where(known, targets, blank), blank);
  const states = labels.shape[1] as number;
  const twoBefore = pad(slice(labels, 1, 0, states - 2), 1, 2, 0, { value: blank });
  const skips = and(notEqual(labels, blank), notEqual(labels, twoBefore)); // a blank between may be left out
  const index = expand(unsqueeze(labels, 0), [time, batch, states]);
  const emitted = gatherElements(logSoftmax(logits), index, 2);
  // Before the first step, all probability lies a state before the first two: it may go on to either.
  const opening = where(less(range(states), 2), 0, nothing);
  const first = add(expand(opening, [batch, states]), select(emitted, 0, 0));
  const { carry: alpha } = scan(
    (before: Value, { own, step }: { own: Value; step: Value }) => {
      const shifted = (by: number) => pad(slice(before, 1, 0, states - by), 1, by, 0, { value: nothing });
      const next = add(logSum([before, shifted(1), where(skips, shifted(2), nothing)]), own);
      const running = and(less(step, unsqueeze(inputLengths, 1)), greater(step, 0));
      return { carry: where(running, next, before) };
    },
    { carry: first, sequences: { own: emitted, step: range(time) } },
  );
  return summed(endOf(alpha, targetLengths), targetLengths, reduction, skipImpossible);
}

function checkShapes(logits: Value, targets: Value): void {
  const [rows, longest] = targets.shape;
  if (logits.shape.length === 3 && targets.shape.length === 2 && rows === logits.shape[1] && longest !== 0) return;
  throw usageError(
    `ctcLoss takes logits [time, batch, classes] and targets [batch, longest], not ${formatShape(logits.shape)} and ${formatShape(targets.shape)}`,
  );
}

/** blank, first, blank, second, ..., blank: [batch, 2 longest + 1]. */
function withBlanks(targets: Value, blank: number): Value {
  const [batch, longest] = targets.shape as readonly [number, number];
  const pairs = pad(unsqueeze(targets, 2), 2, 1, 0, { value: blank });
  return pad(reshape(pairs, [batch, 2 * longest]), 1, 0, 1, { value: blank });
}

/** -log of the probability to have ended in the last label or in the blank behind it: [batch]. */
function endOf(alpha: Value, targetLengths: Value): Value {
  const last = unsqueeze(mul(targetLengths, 2), 1);
  const at = (state: Value) => squeeze(gatherElements(alpha, state, 1), 1);
  const none = equal(targetLengths, 0); // the two are one there
  return neg(logSum([at(last), where(none, nothing, at(max(sub(last, 1), 0)))]));
}

/** Losses as a number. One that stands for probability 0 becomes infinity, or 0 where it is to be skipped. */
function summed(losses: Value, targetLengths: Value, reduction: Reduction, skipImpossible: boolean): Value {
  const each = where(greater(losses, -nothing / 2), skipImpossible ? 0 : Infinity, losses);
  if (reduction !== "mean") return reduced(each, reduction);
  return reduceMean(div(each, max(cast(targetLengths, "float32"), 1)), [0]);
}

/** log sum exp of values of one shape, element by element. */
function logSum(values: readonly Value[]): Value {
  const top = values.reduce((a, b) => max(a, b));
  const sum = values.map((x) => exp(sub(x, top))).reduce((a, b) => add(a, b));
  return add(log(sum), top);
}
