/** Timing for benchmarks: interleaved rounds, so that whatever else the machine does falls on every variant alike. */
import { readFileSync } from "node:fs";

/** Median of numbers. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Milliseconds of each variant over interleaved rounds, after one round that is not counted. */
export async function interleave(variants, rounds) {
  const times = Object.fromEntries(Object.keys(variants).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(variants)) {
      const start = performance.now();
      await run();
      if (round >= 0) times[name].push(performance.now() - start);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, list]) => [name, summary(list)]));
}

/** Median, least and most. */
export function summary(values) {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values), runs: values.length };
}

/** Proportional set size of a process in bytes (Linux), or undefined. */
export function proportionalSetSize(process = "self") {
  try {
    const kilobytes = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${process}/smaps_rollup`, "utf8"))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

/** One line of the report: a ratio, its limit, and whether it is met. */
export function ratio(name, value, { atMost, atLeast, detail = "" } = {}) {
  const limit = atMost !== undefined ? `at most ${atMost}` : atLeast !== undefined ? `at least ${atLeast}` : "";
  const met = (atMost === undefined || value <= atMost) && (atLeast === undefined || value >= atLeast);
  return { name, value, limit, met: limit === "" ? undefined : met, detail };
}
