/** What every method of learning by acting takes, tells and returns. */
import { setImmediate } from "node:timers/promises";
import type { Runtime } from "../../runtime/index.js";
import type { Environment } from "../environments/index.js";
import { appendHistory, type History } from "../history.js";
import type { Parameters } from "../parameters.js";
import type { Policy } from "./policy.js";

/** What is told after each iteration. */
export interface LearnEvent {
  /** From 1. */
  readonly iteration: number;
  /** Steps of the environment so far, those of all episodes together. */
  readonly steps: number;
  /** The mean of what the last 100 episodes paid (fewer at first; NaN before one has ended). */
  readonly meanReturn: number;
  /** `loss` and metrics, averaged over the training steps of the iteration. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface LearnOptions<P extends Parameters> {
  readonly environment: Environment;
  readonly policy: Policy<P>;
  /** Where learning starts from. */
  readonly parameters: P;
  readonly iterations: number;
  /** Of everything random; 0 unless given. */
  readonly seed?: number;
  /** Told of every iteration. Learning ends where it says true. */
  readonly onIteration?: (event: LearnEvent) => boolean | undefined | Promise<boolean | undefined>;
  /** Stops after the iteration that runs. */
  readonly signal?: AbortSignal;
  /** Where it runs; one of its own unless given. */
  readonly runtime?: Runtime;
}

export interface Learned<P extends Parameters> {
  readonly parameters: P;
  /** By iteration: `steps`, `meanReturn`, `loss` and metrics. */
  readonly history: ReadonlyMap<string, readonly number[]>;
  /** Whether it ended before its last iteration. */
  readonly stopped: boolean;
}

/** What one iteration did. */
export interface Iterated {
  /** Steps of the environment in it. */
  readonly steps: number;
  /** What the episodes that ended have paid. */
  readonly finished: readonly number[];
  readonly metrics: Readonly<Record<string, number>>;
}

const remembered = 100;

/** Runs iterations, keeps their history, tells of each, and lets timers and Ctrl-C have their turn between them. */
export async function iterate(
  { iterations, onIteration, signal }: Pick<LearnOptions<Parameters>, "iterations" | "onIteration" | "signal">,
  once: (iteration: number) => Promise<Iterated>,
): Promise<Omit<Learned<Parameters>, "parameters">> {
  const history: History = new Map();
  let [recent, steps]: [readonly number[], number] = [[], 0];
  for (let iteration = 1; iteration <= iterations; iteration++) {
    if (signal?.aborted === true) return { history, stopped: true };
    const made = await once(iteration);
    steps += made.steps;
    recent = [...recent, ...made.finished].slice(-remembered);
    const meanReturn = recent.reduce((a, b) => a + b, 0) / recent.length;
    const rows = Object.entries({ steps, meanReturn, ...made.metrics });
    appendHistory(history, iteration - 1, new Map(rows.map(([name, x]) => [name, [x]])));
    const enough = await onIteration?.({ iteration, steps, meanReturn, metrics: made.metrics });
    if (enough === true) return { history, stopped: iteration < iterations };
    await setImmediate();
  }
  return { history, stopped: false };
}
