/** A moving average of parameters, which often does better than the last of them (Polyak & Juditsky 1992). */
import { add, mul, sub, type Value } from "../../graph/index.js";

/** The average after a step, of the one before and the new parameters by name: old + (1 - decay) (fresh - old). */
export function averaged(
  decay: number,
): (old: ReadonlyMap<string, Value>, fresh: ReadonlyMap<string, Value>) => Map<string, Value> {
  return (old, fresh) =>
    new Map([...old].map(([name, x]) => [name, add(x, mul(sub(fresh.get(name) as Value, x), 1 - decay))]));
}
