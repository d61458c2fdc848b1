/** One suite over every environment, and what each of them is held against: fixtures, closed forms, physics. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { elementCount, random, type Tensor, tensorOf } from "../../runtime/index.js";
import {
  bandit,
  cartPole,
  type Environment,
  type Episodes,
  gridModel,
  gridWorld,
  swimmer,
  valueIteration,
} from "./index.js";

const environments: readonly (readonly [string, Environment])[] = [
  ["cart-pole", cartPole()],
  ["bandit", bandit({ arms: 4, limit: 20 })],
  ["grid world", gridWorld({ slip: 0.2, limit: 30 })],
  ["grid world, partial view", gridWorld({ view: 1, slip: 0.2, limit: 30 })],
  ["swimmer", swimmer({ links: 3, limit: 25 })],
];

const drawn = random(9, 9);

/** Actions that follow from the step's number. */
function actionsAt({ actions }: Environment, count: number, step: number): Tensor {
  const source = random(5, step);
  if (actions.kind === "discrete")
    return tensorOf(
      "int64",
      [count],
      Array.from({ length: count }, () => source.integer(actions.count)),
    );
  return tensorOf(
    "float32",
    [count, actions.size],
    Array.from({ length: count * actions.size }, () => source.normal()),
  );
}

/** Everything seen and paid in some steps, with a restart of what ended. */
function played(environment: Environment, count: number, seed: number, steps = 60) {
  let episodes = environment.start(count, random(seed, 0));
  const log: unknown[] = [[...environment.observe(episodes).data]];
  for (let step = 1; step <= steps; step++) {
    const source = random(seed, step);
    const made = environment.step(episodes, actionsAt(environment, count, step), source);
    const ended = made.terminated.map((flag, i) => flag | (made.truncated[i] as number));
    episodes = environment.restart(made.episodes, ended, source);
    log.push([
      [...made.rewards.data],
      [...made.terminated],
      [...made.truncated],
      [...environment.observe(episodes).data],
    ]);
  }
  return log;
}

describe.each(environments)("%s", (_, environment) => {
  it("plays the same episodes for a seed, and others for another", () => {
    const log = played(environment, 3, 7);
    expect(played(environment, 3, 7)).toEqual(log);
    expect(played(environment, 3, 8)).not.toEqual(log);
  });

  it("shows what it says it shows", () => {
    const { shape, low, high } = environment.observation;
    expect([low.length, high.length]).toEqual([elementCount(shape), elementCount(shape)]);
    let episodes = environment.start(4, random(1));
    for (let step = 0; step < 20; step++) {
      const seen = environment.observe(episodes);
      expect(seen.shape).toEqual([4, ...shape]);
      const outside = [...seen.data].filter((x, i) => {
        const k = i % low.length;
        return !(x >= (low[k] as number) && x <= (high[k] as number));
      });
      expect(outside).toEqual([]);
      episodes = environment.step(episodes, actionsAt(environment, 4, step), random(2, step)).episodes;
    }
  });

  it("changes none of its inputs", () => {
    const before = environment.start(2, random(3));
    const copy = structuredClone(before);
    environment.step(before, actionsAt(environment, 2, 0), random(4));
    environment.restart(before, Uint8Array.of(1, 1), random(5));
    expect(before).toEqual(copy);
  });

  it("is cut off at its limit, and restarts only what is asked for", () => {
    let episodes = environment.start(2, random(6));
    const late: Episodes = { ...episodes, elapsed: Int32Array.of(environment.limit - 1, 0) };
    const made = environment.step(late, actionsAt(environment, 2, 0), random(7));
    if (made.terminated[0] === 0) expect([...made.truncated]).toEqual([1, 0]);
    episodes = environment.restart(made.episodes, Uint8Array.of(1, 0), random(8));
    expect([...episodes.elapsed]).toEqual([0, 1]);
    for (const [name, column] of Object.entries(made.episodes.columns)) {
      const width = column.length / 2;
      expect((episodes.columns[name] as Float64Array).subarray(width)).toEqual(column.subarray(width));
    }
  });

  it("refuses wrong actions and flags", () => {
    const { actions } = environment;
    const episodes = environment.start(2, random(1));
    const step = (given: Tensor) => () => environment.step(episodes, given, drawn);
    if (actions.kind === "discrete") {
      expect(step(tensorOf("int64", [1], [0]))).toThrow(/actions are int64\[2\], not int64\[1\]/);
      expect(step(tensorOf("float32", [2], [0, 1]))).toThrow(/not float32/);
      expect(step(tensorOf("int64", [2], [0, actions.count]))).toThrow(/episode 1 is not one from 0/);
      expect(step(tensorOf("int64", [2], [-1, 0]))).toThrow(/action -1 of episode 0/);
    } else {
      const { size } = actions;
      expect(step(tensorOf("float32", [2, size + 1], new Float32Array(2 * size + 2)))).toThrow(/actions are float32/);
      expect(step(tensorOf("float32", [2, size], new Float32Array(2 * size).fill(Number.NaN)))).toThrow(/NaN/);
      const [far, edge] = [50, actions.high].map((x) =>
        step(tensorOf("float32", [2, size], new Float32Array(2 * size).fill(x)))(),
      );
      expect(far).toEqual(edge);
    }
    expect(() => environment.restart(episodes, new Uint8Array(3), drawn)).toThrow(/a flag each/);
    expect(() => environment.start(0, drawn)).toThrow(/whole number of at least 1/);
  });
});

interface CartPoleRun {
  readonly start: readonly number[];
  readonly actions: readonly number[];
  readonly states: readonly (readonly number[])[];
  readonly terminated: readonly boolean[];
}

interface SwimmerRun {
  readonly links: number;
  readonly gain: number;
  readonly start: readonly number[];
  readonly torques: readonly (readonly number[])[];
  readonly bodies: readonly (readonly number[])[];
  readonly rewards: readonly number[];
}

const fixture = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/environments/environments.json", import.meta.url), "utf8"),
) as { readonly cartPole: readonly CartPoleRun[]; readonly swimmer: readonly SwimmerRun[] };

/** The largest distance between numbers that belong together. */
const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] as number))));

describe("cart-pole", () => {
  it.each(fixture.cartPole.map((run, i) => [i, run] as const))("follows the published equations (run %i)", (_, run) => {
    let episodes: Episodes = { count: 1, columns: { state: Float64Array.from(run.start) }, elapsed: new Int32Array(1) };
    run.actions.forEach((action, i) => {
      const made = cartPole().step(episodes, tensorOf("int64", [1], [action]), drawn);
      episodes = made.episodes;
      // The same operations in float64: only the order of a product may differ, in the last bits over 60 steps.
      expect(farthest(episodes.columns.state as Float64Array, run.states[i] as readonly number[])).toBeLessThan(1e-13);
      expect(made.terminated[0]).toBe(Number(run.terminated[i]));
      expect(made.rewards.data[0]).toBe(1);
    });
  });
});

describe("grid world", () => {
  const map = ["S.#G", "..#.", "O..."];

  it("walks, is stopped by walls and edges, and ends at pits and goals", () => {
    const world = gridWorld({ map });
    let episodes = world.start(1, random(1));
    const walk = (actions: string) =>
      [...actions].map((direction) => {
        const made = world.step(episodes, tensorOf("int64", [1], ["URDL".indexOf(direction)]), drawn);
        episodes = made.episodes;
        return [episodes.columns.cell?.[0], Math.round((made.rewards.data[0] as number) * 100), made.terminated[0]];
      });
    expect(walk("ULRR")).toEqual([
      [0, -1, 0],
      [0, -1, 0],
      [1, -1, 0],
      [1, -1, 0],
    ]);
    expect(walk("DDRRUU").at(-1)).toEqual([3, 99, 1]);
    episodes = world.start(1, random(1));
    expect(walk("DD").at(-1)).toEqual([8, -101, 1]);
  });

  it("shows the window around the agent", () => {
    const world = gridWorld({ map, view: 1 });
    const seen = world.observe({ count: 1, columns: { cell: Float64Array.of(5) }, elapsed: new Int32Array(1) });
    const kinds = Array.from({ length: 9 }, (_, i) => {
      const cell = [...seen.data.subarray(3 * i, 3 * i + 3)];
      return cell.some((x) => x > 0) ? "#GO"[cell.indexOf(1)] : ".";
    });
    expect(kinds.join("")).toBe("..#..#O..");
  });

  it("refuses maps that make no sense", () => {
    expect(() => gridWorld({ map: ["S.", "G"] })).toThrow(/line 1 of the map has 1 cells/);
    expect(() => gridWorld({ map: ["SxG"] })).toThrow(/holds "x"/);
    expect(() => gridWorld({ map: ["..G"] })).toThrow(/needs an S and a G/);
    expect(() => gridWorld({ slip: 2 })).toThrow(/slip/);
  });

  it("is worth what the shortest path pays", () => {
    const { values, policy } = valueIteration(gridModel({ map }), { discount: 0.9 });
    // 7 steps from the start: -0.01 (1 - 0.9^7) / 0.1 + 0.9^6
    expect(values[0]).toBeCloseTo((-0.01 * (1 - 0.9 ** 7)) / 0.1 + 0.9 ** 6, 12);
    expect(policy[7]).toBe(0);
  });

  it("slips as the model says", () => {
    const model = gridModel({ map, slip: 0.4 });
    const { values, actionValues, policy } = valueIteration(model, { discount: 0.95 });
    // Bellman's equation, written out once more for every state.
    for (let s = 0; s < model.states; s++) {
      const outcomes = model.outcomes(s, policy[s] as number);
      const next = outcomes.map(
        (o) => o.probability * (o.reward + (o.terminated ? 0 : 0.95 * (values[o.next] as number))),
      );
      expect(next.reduce((a, b) => a + b, 0)).toBeCloseTo(values[s] as number, 10);
      expect(Math.max(...actionValues.subarray(4 * s, 4 * s + 4))).toBe(values[s]);
    }
    const world = gridWorld({ map, slip: 0.4 });
    const count = 4000;
    const made = world.step(
      world.start(count, random(1)),
      tensorOf("int64", [count], new Array(count).fill(1)),
      random(2),
    );
    const right = [...(made.episodes.columns.cell as Float64Array)].filter((cell) => cell === 1).length / count;
    expect(Math.abs(right - 0.7)).toBeLessThan(0.03); // 4 standard errors of a share of 0.6 + 0.4 / 4 in 4,000
  });

  it("says when it can't be solved", () => {
    const forever = {
      states: 1,
      actions: 1,
      outcomes: () => [{ probability: 1, next: 0, reward: 1, terminated: false }],
    };
    expect(() => valueIteration(forever, { discount: 1, maxSweeps: 50 })).toThrow(/after 50 sweeps/);
    expect(() => valueIteration(forever, { discount: 2 })).toThrow(/discount lies from 0 to 1/);
  });
});

describe("bandit", () => {
  it("pays around the means of its arms, and shows what it paid", () => {
    const world = bandit({ means: [-1, 2], deviation: 0.5 });
    const count = 2000;
    const start = world.start(count, random(1));
    const made = world.step(
      start,
      tensorOf(
        "int64",
        [count],
        Array.from({ length: count }, (_, i) => i % 2),
      ),
      random(2),
    );
    const mean = (arm: number) =>
      made.rewards.data.reduce((sum, x, i) => (i % 2 === arm ? sum + x : sum), 0) / (count / 2);
    expect(Math.abs(mean(0) + 1)).toBeLessThan(0.08); // 5 standard errors of 0.5 / sqrt(1,000)
    expect(Math.abs(mean(1) - 2)).toBeLessThan(0.08);
    expect([...world.observe(made.episodes).data.subarray(3, 6)]).toEqual([0, 1, made.rewards.data[1]]);
    expect(() => bandit({ arms: 3, means: [1] })).toThrow(/as many finite means/);
  });
});

describe("swimmer", () => {
  it.each(fixture.swimmer.map((run) => [run.links, run] as const))("moves as in the fixture (%i links)", (_, run) => {
    const { links, gain } = run;
    const world = swimmer({ links, gain });
    let episodes: Episodes = {
      count: 1,
      columns: { body: Float64Array.from(run.start), time: new Float64Array(1) },
      elapsed: new Int32Array(1),
    };
    run.torques.forEach((torques, i) => {
      const made = world.step(episodes, tensorOf("float32", [1, links - 1], torques), drawn);
      episodes = made.episodes;
      // The fixture's Jacobians are central differences with a step of 1e-5: errors of 1e-10, over 40 steps.
      expect(farthest(episodes.columns.body as Float64Array, run.bodies[i] as readonly number[])).toBeLessThan(1e-7);
      expect(made.rewards.data[0]).toBeCloseTo(run.rewards[i] as number, 6); // float32
    });
  });

  /** Mean reward of a wave of torques that travels towards the tail (lag above 0) or the head. */
  function speedOf(lag: number, options: Parameters<typeof swimmer>[0] = {}): number {
    const world = swimmer(options);
    let episodes = world.start(1, random(1));
    let sum = 0;
    for (let step = 0; step < 240; step++) {
      const torques = Array.from({ length: 5 }, (_, i) => Math.sin((2 * Math.PI * step) / 60 - lag * i));
      const made = world.step(episodes, tensorOf("float32", [1, 5], torques), drawn);
      episodes = made.episodes;
      if (step >= 60) sum += made.rewards.data[0] as number;
    }
    return sum;
  }

  it("swims by a travelling wave, backwards by its reverse, and not at all in a fluid that resists all motion alike", () => {
    const forward = speedOf(1);
    expect(forward).toBeGreaterThan(0.3);
    expect(speedOf(-1)).toBeLessThan(-0.3);
    // Its centre of mass then stands still but for what Euler's steps miss, which falls with their length.
    expect(Math.abs(speedOf(1, { dragAcross: 1, substeps: 24 }))).toBeLessThan(0.02 * forward);
  });

  it("says when its numbers stop being finite", () => {
    const world = swimmer({ links: 2, gain: 1e300, substeps: 1 });
    const go = () => {
      let episodes = world.start(1, random(1));
      for (let i = 0; i < 20; i++) episodes = world.step(episodes, tensorOf("float32", [1, 1], [1]), drawn).episodes;
    };
    expect(go).toThrow(/more substeps or less gain/);
    expect(() => swimmer({ links: 1 })).toThrow(/links must be a whole number of at least 2/);
  });
});
