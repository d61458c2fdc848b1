/**
 * A bandit of many arms: each pays a normal number around a mean of its own (Robbins 1952; the ten-armed testbed of Sutton
 * & Barto, chapter 2). What was pulled and paid last is seen, so that an agent with memory can learn within an episode.
 */
import { usageError } from "../../errors.js";
import { type Environment, environmentOf, type ObservationSpace, requireWhole } from "./environment.js";

export interface BanditOptions {
  /** 10 unless given. */
  readonly arms?: number;
  /** What each arm pays on average. Drawn anew for every episode, from a standard normal, unless given. */
  readonly means?: readonly number[];
  /** Standard deviation of what an arm pays; 1 unless given. */
  readonly deviation?: number;
  /** Pulls of an episode; 100 unless given. */
  readonly limit?: number;
}

/**
 * A bandit. An action is an arm; the reward is what it pays. Seen is [arms + 1]: a 1 for the arm that was pulled last
 * (zeros at the start), and what it paid.
 */
export function bandit(options: BanditOptions = {}): Environment {
  const { means, arms = means?.length ?? 10, deviation = 1, limit = 100 } = options;
  requireWhole("bandit: arms", arms, 1);
  if (means !== undefined && (means.length !== arms || !means.every(Number.isFinite)))
    throw usageError(`bandit: ${arms} arms need as many finite means, not [${means.join(", ")}]`);
  if (!(deviation >= 0)) throw usageError(`bandit: deviation must be at least 0, not ${deviation}`);
  const bounds = (pulled: number, paid: number) => [...new Array<number>(arms).fill(pulled), paid];
  const observation: ObservationSpace = {
    shape: [arms + 1],
    low: bounds(0, Number.NEGATIVE_INFINITY),
    high: bounds(1, Number.POSITIVE_INFINITY),
  };
  return environmentOf({
    name: "bandit",
    observation,
    actions: { kind: "discrete", count: arms },
    limit,
    columns: { means: arms, seen: arms + 1 },
    begin({ means: column, seen }, row, random) {
      for (let i = 0; i < arms; i++) (column as Float64Array)[row * arms + i] = means?.[i] ?? random.normal();
      (seen as Float64Array).fill(0, row * (arms + 1), (row + 1) * (arms + 1));
    },
    move({ means: column, seen }, row, [action], random) {
      const arm = action as number;
      const reward = ((column as Float64Array)[row * arms + arm] as number) + deviation * random.normal();
      const own = (seen as Float64Array).subarray(row * (arms + 1), (row + 1) * (arms + 1));
      own.fill(0);
      own[arm] = 1;
      own[arms] = reward;
      return { reward, terminated: false };
    },
    see({ seen }, row, into) {
      into.set((seen as Float64Array).subarray(row * (arms + 1), (row + 1) * (arms + 1)));
    },
  });
}
