/** Every method learns: cart-pole and the swimmer by their scores, a grid world up to its exact optimum. Seeds decide it all. */
import { afterAll, describe, expect, it } from "vitest";
import { mul, type Value } from "../../graph/index.js";
import { createRuntime, random, type Tensor, tensorOf } from "../../runtime/index.js";
import {
  cartPole,
  type Environment,
  environmentOf,
  gridModel,
  gridWorld,
  swimmer,
  valueIteration,
} from "../environments/index.js";
import { adam } from "../optimizers/index.js";
import { flatten, type Parameters } from "../parameters.js";
import {
  a2c,
  covarianceEvolution,
  densePolicy,
  dqn,
  evolutionStrategy,
  type Fitness,
  flatNumbers,
  type Learned,
  playEpisodes,
  policyFitness,
  ppo,
} from "./index.js";

const runtime = createRuntime();
afterAll(() => runtime.close());

/** All numbers of what was learned. */
const learnedBy = async (run: Promise<Learned<Parameters>>) => flatNumbers((await run).parameters);

describe("cart-pole", () => {
  const environment = cartPole();

  it("is solved by PPO", async () => {
    const { parameters, policy } = densePolicy(environment, { seed: 1 });
    const learned = await ppo({
      environment,
      policy,
      parameters,
      iterations: 260,
      episodes: 8,
      horizon: 32,
      epochs: 10,
      minibatches: 1,
      discount: 0.98,
      lambda: 0.8,
      entropyWeight: 0,
      optimizer: adam({ rate: 1e-3 }),
      seed: 1,
      runtime,
      onIteration: ({ meanReturn }) => meanReturn > 300,
    });
    const { meanReturn } = await playEpisodes({ environment, policy, parameters: learned.parameters }, runtime);
    expect(meanReturn).toBeGreaterThanOrEqual(475); // Gymnasium's threshold, over 100 episodes
  });

  it("is solved by evolution strategies", async () => {
    const { parameters, policy } = densePolicy(environment, { seed: 1, critic: false, hidden: [16], lastGain: 1 });
    const learned = await evolutionStrategy({
      parameters,
      fitness: policyFitness({ environment, policy, parameters, episodes: 4 }, runtime),
      iterations: 60,
      runtime,
      onIteration: ({ metrics }) => (metrics.fitness as number) > 480,
    });
    const { meanReturn } = await playEpisodes({ environment, policy, parameters: learned.parameters }, runtime);
    expect(meanReturn).toBeGreaterThanOrEqual(475);
  });
});

describe("a grid world is walked by its shortest path", () => {
  const environment = gridWorld({ limit: 50 });
  const model = gridModel();
  const { values } = valueIteration(model, { discount: 1 - 1e-12 });
  const optimum = values[model.starts[0] as number] as number;

  it("which value iteration finds", () => {
    expect(optimum).toBeCloseTo(1 - 0.07, 9); // seven steps
  });

  it("by A2C", async () => {
    const { parameters, policy } = densePolicy(environment, { seed: 1, hidden: [32] });
    const run = { environment, policy, parameters, iterations: 250, optimizer: adam({ rate: 5e-3 }), runtime };
    const learned = await a2c(run);
    const played = await playEpisodes({ environment, policy, parameters: learned.parameters, episodes: 3 }, runtime);
    expect(played.lengths).toEqual([7, 7, 7]);
    expect(played.meanReturn).toBeCloseTo(optimum, 6);
  });

  it("by DQN, whose values are those of value iteration along the path", async () => {
    const { parameters, policy } = densePolicy(environment, { seed: 1, hidden: [32], critic: false });
    const learned = await dqn({ environment, policy, parameters, iterations: 300, runtime });
    const options = { environment, policy, parameters: learned.parameters, episodes: 1, sites: "actor.out" };
    const played = await playEpisodes(options, runtime);
    expect(played.lengths).toEqual([7]);
    const exact = valueIteration(model, { discount: 0.99 }).values;
    const start = Math.max(...((played.sites["actor.out"] as Tensor).data as Float32Array).subarray(0, 4));
    expect(Math.abs(start - (exact[model.starts[0] as number] as number))).toBeLessThan(0.03); // learned, not exact
  });
});

describe("swimmer", () => {
  const clockSteps = 15;
  const environment = swimmer({ limit: 120, clockSteps });

  /** The best wave of torques: sines of the largest torque, over periods and lags. */
  function bestSine(): number {
    const scores = [8, 10, 12, clockSteps].flatMap((period) =>
      [0.4, 0.7, 1, 1.3].map((lag) => {
        let episodes = environment.start(1, random(1));
        let sum = 0;
        for (let k = 0; k < environment.limit; k++) {
          const torques = Array.from({ length: 5 }, (_, i) => Math.sin((2 * Math.PI * k) / period - lag * i));
          const made = environment.step(episodes, tensorOf("float32", [1, 5], torques), random(1));
          episodes = made.episodes;
          sum += made.rewards.data[0] as number;
        }
        return sum;
      }),
    );
    return Math.max(...scores);
  }

  it("learns by evolution to swim farther than the best sine", async () => {
    const { parameters, policy } = densePolicy(environment, { seed: 1, critic: false, hidden: [16], lastGain: 1 });
    const learned = await evolutionStrategy({
      parameters,
      fitness: policyFitness({ environment, policy, parameters }, runtime),
      iterations: 30,
      population: 24,
      runtime,
    });
    const play = (own: typeof parameters) =>
      playEpisodes({ environment, policy, parameters: own, episodes: 4 }, runtime);
    const [before, after] = [await play(parameters), await play(learned.parameters)];
    expect(Math.abs(before.meanReturn)).toBeLessThan(0.5);
    expect(after.meanReturn).toBeGreaterThan(1.05 * bestSine());
  });
});

/** A number is seen, and its half is the best action: reward -(a - x / 2)^2, episodes of one step. */
const halving: Environment = environmentOf({
  name: "halving",
  observation: { shape: [1], low: [-1], high: [1] },
  actions: { kind: "continuous", size: 1, low: -2, high: 2 },
  limit: 1,
  columns: { x: 1 },
  begin: ({ x }, row, source) => {
    (x as Float64Array)[row] = 2 * source.uniform() - 1;
  },
  move: ({ x }, row, [action]) => ({
    reward: -(((action as number) - ((x as Float64Array)[row] as number) / 2) ** 2),
    terminated: false,
  }),
  see: ({ x }, row, into) => into.set((x as Float64Array).subarray(row, row + 1)),
});

it("PPO learns actions that are numbers", async () => {
  const { parameters, policy } = densePolicy(halving, { seed: 2, hidden: [8] });
  const optimizer = adam({ rate: 5e-3 });
  const options = { environment: halving, policy, parameters, episodes: 64, horizon: 4, entropyWeight: 0, discount: 0 };
  const learned = await ppo({ ...options, iterations: 60, optimizer, runtime });
  const { meanReturn } = await playEpisodes({ environment: halving, policy, parameters: learned.parameters }, runtime);
  expect(meanReturn).toBeGreaterThan(-0.005); // from -1/12 for doing nothing
  const { data } = learned.parameters.logDeviation as Tensor<"float32">;
  expect(data[0]).toBeLessThan(-0.5); // and grows sure of it
});

describe("CMA-ES", () => {
  /** Rosenbrock's valley, whose top is 0 at (1, ..., 1). */
  const rosenbrock: Fitness = ({ shape: [count = 0, size = 0], data }) =>
    Array.from({ length: count }, (_, k) => {
      const x = data.subarray(k * size, (k + 1) * size);
      let sum = 0;
      for (let i = 0; i + 1 < size; i++)
        sum += 100 * ((x[i + 1] as number) - (x[i] as number) ** 2) ** 2 + (1 - (x[i] as number)) ** 2;
      return -sum;
    });

  it("finds the end of a bent valley, and of a narrow tilted one", async () => {
    const bent = await covarianceEvolution({ start: [-1, 0, 1, -1], fitness: rosenbrock, iterations: 350, runtime });
    expect(Math.max(...bent.best.map((x) => Math.abs(x - 1)))).toBeLessThan(1e-4);
    const tilted: Fitness = ({ shape: [count = 0], data }) =>
      Array.from({ length: count }, (_, k) => {
        const [x, y] = [data[2 * k] as number, data[2 * k + 1] as number];
        return -((x + y - 3) ** 2) - 1e6 * (x - y + 1) ** 2;
      });
    const narrow = await covarianceEvolution({ start: [0, 0], fitness: tilted, iterations: 200, runtime });
    expect(narrow.mean[0]).toBeCloseTo(1, 5);
    expect(narrow.mean[1]).toBeCloseTo(2, 5);
    expect(narrow.deviation).toBeLessThan(0.3);
    expect(narrow.history.get("best")?.at(-1)).toBe(narrow.fitness);
  });

  it("is the same for a seed, and refuses what is no search", async () => {
    const run = (seed: number) =>
      covarianceEvolution({ start: [0, 0], fitness: rosenbrock, iterations: 5, seed, runtime });
    expect((await run(3)).mean).toEqual((await run(3)).mean);
    expect((await run(3)).mean).not.toEqual((await run(4)).mean);
    const options = { fitness: rosenbrock, iterations: 1, runtime };
    expect(() => covarianceEvolution({ ...options, start: [] })).toThrow(/numbers to search/);
    expect(() => covarianceEvolution({ ...options, start: [1], deviation: 0 })).toThrow(/deviation/);
  });
});

describe("the same seed gives the same parameters, bit for bit", () => {
  const environment = gridWorld({ slip: 0.3, limit: 20 });
  const { parameters, policy } = densePolicy(environment, { hidden: [8] });
  const lone = densePolicy(environment, { hidden: [8], critic: false });
  const common = { environment, policy, parameters, iterations: 3 };
  const methods: readonly (readonly [string, (seed: number) => Promise<Learned<Parameters>>])[] = [
    ["A2C", (seed) => a2c({ ...common, seed, runtime })],
    ["PPO", (seed) => ppo({ ...common, seed, episodes: 4, horizon: 16, runtime })],
    ["DQN", (seed) => dqn({ ...common, ...lone, seed, warm: 100, targetEvery: 5, runtime })],
    [
      "evolution",
      (seed) => {
        const fitness = policyFitness({ environment, ...lone, seed, episodes: 2 }, runtime);
        return evolutionStrategy({ parameters: lone.parameters, fitness, iterations: 3, population: 6, seed, runtime });
      },
    ],
  ];

  it.each(methods)("%s", async (_, run) => {
    const numbers = await learnedBy(run(1));
    expect(await learnedBy(run(1))).toEqual(numbers);
    expect(await learnedBy(run(2))).not.toEqual(numbers);
  });
});

describe("runs", () => {
  const environment = cartPole();
  const { parameters, policy } = densePolicy(environment, { hidden: [8] });
  const common = { environment, policy, parameters, iterations: 5, episodes: 4, horizon: 8, runtime };

  it("tell of every iteration, keep their history, and stop where they are told", async () => {
    const told: number[] = [];
    const whole = await ppo({
      ...common,
      onIteration: ({ steps }) => {
        told.push(steps);
        return undefined;
      },
    });
    expect(told).toEqual([32, 64, 96, 128, 160]);
    expect([...whole.history.keys()]).toEqual(
      expect.arrayContaining(["steps", "meanReturn", "loss", "entropy", "divergence", "clipped"]),
    );
    expect(whole.history.get("steps")).toEqual(told);
    expect(whole.stopped).toBe(false);
    const cut = await ppo({ ...common, onIteration: ({ iteration }) => iteration === 2 });
    expect([cut.stopped, cut.history.get("loss")]).toEqual([true, whole.history.get("loss")?.slice(0, 2)]);
    const aborted = await ppo({ ...common, signal: AbortSignal.abort() });
    expect(aborted.stopped).toBe(true);
    expect(flatNumbers(aborted.parameters)).toEqual(flatNumbers(parameters));
  });

  it("learn under clamps: what a clamp silences is not trained", async () => {
    const edits = [{ site: "actor.0", apply: (x: Value) => mul(x, 0) }];
    const learned = flatten((await ppo({ ...common, edits })).parameters);
    const before = flatten(parameters);
    const same = (path: string) =>
      expect([...(learned.get(path) as Tensor<"float32">).data]).toEqual([
        ...(before.get(path) as Tensor<"float32">).data,
      ]);
    same("actor.0.weight");
    same("actor.1.weight");
    expect(() => same("actor.1.bias")).toThrow();
    expect(() => same("critic.0.weight")).toThrow();
  });

  it("refuse what can't be learned", async () => {
    const lone = densePolicy(environment, { hidden: [4], critic: false });
    expect(() => ppo({ ...common, ...lone })).toThrow(/needs a critic/);
    expect(() => ppo({ ...common, minibatches: 3 })).toThrow(/3 minibatches don't divide 32 rows/);
    expect(() => a2c({ ...common, horizon: 0 })).toThrow(/horizon must be a whole number of at least 1/);
    const body = swimmer({ links: 3 });
    const swims = densePolicy(body, { hidden: [4], critic: false });
    expect(() => dqn({ ...common, environment: body, ...swims })).toThrow(/those of swimmer are continuous/);
    const { runtime: own } = common;
    const evolve = (fitness: Fitness, population = 4) =>
      evolutionStrategy({ parameters: lone.parameters, fitness, iterations: 1, population, runtime: own });
    expect(() => evolve(() => [], 5)).toThrow(/an even number/);
    await expect(evolve(() => [1])).rejects.toThrow(/gave 1 numbers for 4 candidates/);
    await expect(evolve(() => [1, 2, Number.NaN, 3])).rejects.toThrow(/candidate 2 is no number/);
    const steep = { ...common, optimizer: adam({ rate: 1e38 }), clip: { value: 1e38 } };
    await expect(ppo(steep)).rejects.toThrow(/left the finite numbers at step \d+: the first is/);
  });
});
