/** What actions were worth: discounted returns, and generalised advantages (Schulman et al. 2016), from the last step back. */
import { usageError } from "../../errors.js";

/** Rewards of some steps of `count` episodes: rows are steps, then episodes. */
export interface Rewards {
  readonly count: number;
  readonly rewards: ArrayLike<number>;
  /** 1 where an episode ended after the step. */
  readonly ended: ArrayLike<number>;
}

export interface DiscountOptions {
  /** What a reward is worth a step later; 0.99 unless given. */
  readonly discount?: number;
}

/**
 * Returns: r + discount * (the return of the next step), which is 0 after an end, and `last` [count] (0 unless given) after
 * the last step. In the order of the rewards.
 */
export function discountedReturns(
  { count, rewards, ended }: Rewards,
  { discount = 0.99, last }: DiscountOptions & { readonly last?: ArrayLike<number> } = {},
): Float64Array {
  checkRows(count, { rewards, ended });
  checkShare("discount", discount);
  const returns = new Float64Array(rewards.length);
  for (let i = rewards.length - 1; i >= 0; i--) {
    const later = i + count < returns.length ? (returns[i + count] as number) : (last?.[i % count] ?? 0);
    returns[i] = (rewards[i] as number) + (ended[i] === 1 ? 0 : discount * later);
  }
  return returns;
}

export interface Valued extends Rewards {
  /** The critic's value before each step, and after it (before any restart). */
  readonly values: ArrayLike<number>;
  readonly nextValues: ArrayLike<number>;
  /** 1 where the episode ended of its own: nothing follows, whatever the critic says. */
  readonly terminated: ArrayLike<number>;
}

export interface AdvantageOptions extends DiscountOptions {
  /** From 0 (the critic's word for what follows) to 1 (what was really paid); 0.95 unless given. */
  readonly lambda?: number;
}

/**
 * Advantages, the sum over k of (discount lambda)^k d[t + k] up to the end of the episode, where
 * d[t] = r[t] + discount v[t + 1] - v[t]; and returns, advantages + values, which a critic is to learn.
 */
export function generalisedAdvantages(
  { count, rewards, ended, values, nextValues, terminated }: Valued,
  { discount = 0.99, lambda = 0.95 }: AdvantageOptions = {},
): { readonly advantages: Float64Array; readonly returns: Float64Array } {
  checkRows(count, { rewards, ended, values, nextValues, terminated });
  checkShare("discount", discount);
  checkShare("lambda", lambda);
  const surprises = Float64Array.from({ length: rewards.length }, (_, i) => {
    const after = terminated[i] === 1 ? 0 : discount * (nextValues[i] as number);
    return (rewards[i] as number) + after - (values[i] as number);
  });
  const advantages = discountedReturns({ count, rewards: surprises, ended }, { discount: discount * lambda });
  return { advantages, returns: advantages.map((x, i) => x + (values[i] as number)) };
}

function checkRows(count: number, columns: Readonly<Record<string, ArrayLike<number>>>): void {
  const length = columns.rewards?.length ?? 0;
  const odd = Object.entries(columns).find(([, column]) => column.length !== length);
  if (odd !== undefined) throw usageError(`${odd[0]} holds ${odd[1].length} numbers for ${length} rewards`);
  if (!Number.isInteger(count) || count < 1 || length % count !== 0)
    throw usageError(`${length} rewards are no whole steps of ${count} episodes`);
}

/** Throws where a number does not lie from 0 to 1. */
export function checkShare(what: string, value: number): void {
  if (!(value >= 0 && value <= 1)) throw usageError(`${what} lies from 0 to 1, not ${value}`);
}
