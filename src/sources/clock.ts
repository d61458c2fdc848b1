/** A clock that fires an abort signal after a silence: the one way in which this room gives up on somebody. */

export interface SilenceClock {
  readonly signal: AbortSignal;
  /** Somebody gave a sign: count from here again, if wanted with another limit (milliseconds). */
  restart(limit?: number): void;
  stop(): void;
}

/** Starts a clock of `limit` milliseconds; when it runs out, the signal aborts with `reason()`. */
export function silenceClock(limit: number, reason: () => Error): SilenceClock {
  const controller = new AbortController();
  const fire = () => controller.abort(reason());
  let [current, timer] = [limit, setTimeout(fire, limit)];
  return {
    signal: controller.signal,
    restart(next = current) {
      if (next === current) return void timer.refresh();
      clearTimeout(timer);
      [current, timer] = [next, setTimeout(fire, next)];
    },
    stop: () => clearTimeout(timer),
  };
}
