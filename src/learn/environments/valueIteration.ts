/**
 * Small worlds solved exactly: a table of what every action leads to, and value iteration on it (Bellman 1957). What agents
 * learn is held against this.
 */
import { failure, usageError } from "../../errors.js";

/** One thing that an action may lead to. */
export interface TabularOutcome {
  readonly probability: number;
  readonly next: number;
  readonly reward: number;
  readonly terminated: boolean;
}

/** A world of numbered states and actions. A state without outcomes is worth nothing. */
export interface TabularModel {
  readonly states: number;
  readonly actions: number;
  /** What an action in a state leads to; the probabilities sum to 1. */
  outcomes(state: number, action: number): readonly TabularOutcome[];
}

export interface TabularSolution {
  /** Discounted return of each state under the best policy. */
  readonly values: Float64Array;
  /** [states, actions], row-major: the same after one given action. */
  readonly actionValues: Float64Array;
  /** The best action of each state, the first of equals. */
  readonly policy: Int32Array;
  readonly sweeps: number;
}

export interface ValueIterationOptions {
  /** What a reward is worth a step later, from 0 to 1; 0.99 unless given. */
  readonly discount?: number;
  /** The largest change of a sweep at which it ends; 1e-12 unless given. */
  readonly tolerance?: number;
  /** 100,000 unless given. */
  readonly maxSweeps?: number;
}

/**
 * The best values: v(s) = max over a of the sum of p (r + discount v(s')) over the outcomes, repeated until it stands still.
 *
 * @throws where it does not within `maxSweeps`
 */
export function valueIteration(
  model: TabularModel,
  { discount = 0.99, tolerance = 1e-12, maxSweeps = 100_000 }: ValueIterationOptions = {},
): TabularSolution {
  if (!(discount >= 0 && discount <= 1)) throw usageError(`discount lies from 0 to 1, not ${discount}`);
  const { states, actions } = model;
  const outcomes = Array.from({ length: states * actions }, (_, i) =>
    model.outcomes(Math.floor(i / actions), i % actions),
  );
  const values = new Float64Array(states);
  const actionValues = new Float64Array(states * actions);
  for (let sweeps = 1; sweeps <= maxSweeps; sweeps++) {
    for (let i = 0; i < actionValues.length; i++)
      actionValues[i] = expectedReturn(outcomes[i] as readonly TabularOutcome[], values, discount);
    let change = 0;
    for (let s = 0; s < states; s++) {
      const best = Math.max(...actionValues.subarray(s * actions, (s + 1) * actions));
      change = Math.max(change, Math.abs(best - (values[s] as number)));
      values[s] = best;
    }
    if (change <= tolerance) return { values, actionValues, policy: bestActions(actionValues, actions), sweeps };
  }
  throw failure(`value iteration still changes values after ${maxSweeps} sweeps: a discount below 1 makes it end`);
}

function expectedReturn(outcomes: readonly TabularOutcome[], values: Float64Array, discount: number): number {
  return outcomes.reduce((sum, { probability, next, reward, terminated }) => {
    return sum + probability * (reward + (terminated ? 0 : discount * (values[next] as number)));
  }, 0);
}

function bestActions(actionValues: Float64Array, actions: number): Int32Array {
  return Int32Array.from({ length: actionValues.length / actions }, (_, s) => {
    const own = actionValues.subarray(s * actions, (s + 1) * actions);
    return own.indexOf(Math.max(...own));
  });
}
