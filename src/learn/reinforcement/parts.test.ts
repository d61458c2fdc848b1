/** The parts of reinforcement learning by themselves: losses against PyTorch, returns against sums, memory, ranks, rollouts. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { gradients, mul, trace, type Value, type ValueType } from "../../graph/index.js";
import { createRuntime, random, type Tensor, tensorOf, toNumbers } from "../../runtime/index.js";
import { cartPole, type Environment, environmentOf } from "../environments/index.js";
import { flatten } from "../parameters.js";
import {
  actionValueLoss,
  actor,
  advantageActorCriticLoss,
  centredRanks,
  clippedPolicyLoss,
  collect,
  type Distribution,
  densePolicy,
  discountedReturns,
  generalisedAdvantages,
  playEpisodes,
  replayBuffer,
  sampleActions,
  startPlay,
} from "./index.js";

type Nested = number | readonly Nested[];

interface PolicyCase {
  readonly method: "a2c" | "ppo";
  readonly kind: Distribution["kind"];
  readonly inputs: Readonly<Record<string, Nested>>;
  readonly batch: Readonly<Record<"actions" | "advantages" | "returns" | "logProbabilities", Nested>>;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly gradients: Readonly<Record<string, Nested>>;
}

interface Fixture {
  readonly policies: readonly PolicyCase[];
  readonly actionValues: Readonly<Record<"values" | "actions" | "targets" | "gradient", Nested>> & {
    readonly loss: number;
  };
  readonly advantages: Readonly<Record<"count" | "discount" | "lambda", number>> &
    Readonly<
      Record<
        "rewards" | "values" | "nextValues" | "terminated" | "ended" | "advantages" | "discounted",
        readonly number[]
      >
    >;
}

const fixture = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/reinforcement/reinforcement.json", import.meta.url), "utf8"),
) as Fixture;

const runtime = createRuntime();
afterAll(() => runtime.close());

const numbersOf = (nested: Nested): readonly number[] =>
  typeof nested === "number" ? [nested] : nested.flatMap(numbersOf);

function tensorFrom(nested: Nested, dtype: "float32" | "int64" = "float32"): Tensor {
  const shape: number[] = [];
  for (let at: Nested = nested; typeof at !== "number"; at = at[0] as Nested) shape.push(at.length);
  return tensorOf(dtype, shape, numbersOf(nested));
}

/** The largest distance between numbers that belong together. */
const apart = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] as number))));

/** float32 sums of a dozen numbers of order 1. */
const rounding = 2e-6;

function expectClose(made: Tensor | undefined, wanted: Nested) {
  const [a, b] = [toNumbers(made as Tensor), numbersOf(wanted)];
  expect(a.length).toBe(b.length);
  expect(apart(a, b)).toBeLessThan(rounding);
}

const typesOf = (feeds: Readonly<Record<string, Tensor>>): Record<string, ValueType> =>
  Object.fromEntries(Object.entries(feeds).map(([name, { dtype, shape }]) => [name, { dtype, shape }]));

describe("losses", () => {
  it.each(fixture.policies.map((one) => [one.method, one.kind, one] as const))("%s, %s", async (method, kind, one) => {
    const inputs = Object.fromEntries(Object.entries(one.inputs).map(([name, x]) => [name, tensorFrom(x)]));
    const { actions, ...rest } = one.batch;
    const feeds = {
      ...inputs,
      ...Object.fromEntries(Object.entries(rest).map(([name, x]) => [name, tensorFrom(x)])),
      actions: tensorFrom(actions, kind === "categorical" ? "int64" : "float32"),
    };
    const graph = trace((given) => {
      const values = given as Readonly<Record<string, Value>> & Readonly<Record<keyof PolicyCase["batch"], Value>>;
      const distribution = (
        kind === "categorical"
          ? { kind, logits: values.logits }
          : { kind, mean: values.mean, logDeviation: values.logDeviation }
      ) as Distribution;
      const output = { actions: distribution, value: values.value as Value };
      const { loss, metrics = {} } = (method === "a2c" ? advantageActorCriticLoss : clippedPolicyLoss)(output, values);
      const names = Object.keys(inputs);
      const found = gradients(
        loss,
        names.map((name) => values[name] as Value),
      );
      return {
        loss,
        ...metrics,
        ...Object.fromEntries(names.map((name, i) => [`gradient ${name}`, found[i] as Value])),
      };
    }, typesOf(feeds));
    const made = await runtime.compile(graph, { weights: "fed" }).run(feeds);
    for (const [name, x] of Object.entries({ loss: one.loss, ...one.metrics })) expectClose(made[name], x);
    for (const [name, x] of Object.entries(one.gradients)) expectClose(made[`gradient ${name}`], x);
  });

  it("action values", async () => {
    const { values, actions, targets, loss, gradient } = fixture.actionValues;
    const feeds = { values: tensorFrom(values), actions: tensorFrom(actions, "int64"), targets: tensorFrom(targets) };
    const graph = trace((x) => {
      const made = actionValueLoss(x.values as Value, x.actions as Value, x.targets as Value);
      return { loss: made, gradient: gradients(made, [x.values as Value])[0] as Value };
    }, typesOf(feeds));
    const made = await runtime.compile(graph, { weights: "fed" }).run(feeds);
    expectClose(made.loss, loss);
    expectClose(made.gradient, gradient);
  });
});

describe("returns", () => {
  const { count, discount, lambda, advantages, discounted, ...columns } = fixture.advantages;
  it("are the sums that they stand for", () => {
    const rows = { count, ...columns };
    const found = generalisedAdvantages(rows, { discount, lambda });
    expect(apart(found.advantages, advantages)).toBeLessThan(1e-13); // float64, sums of nine numbers
    expect(
      apart(
        found.returns,
        advantages.map((x, i) => x + (columns.values[i] as number)),
      ),
    ).toBeLessThan(1e-13);
    expect(apart(discountedReturns(rows, { discount }), discounted)).toBeLessThan(1e-13);
  });

  it("of a reward of 1 are a geometric series, with the value of what follows", () => {
    const rows = { count: 1, rewards: [1, 1, 1, 1], ended: [0, 0, 0, 0] };
    expect(discountedReturns(rows, { discount: 0.5 })[0]).toBe(1.875);
    expect(discountedReturns(rows, { discount: 0.5, last: [2] })[0]).toBe(2);
    expect(discountedReturns({ ...rows, ended: [0, 1, 0, 0] }, { discount: 0.5, last: [2] })[0]).toBe(1.5);
  });

  it("of a critic that is right have no advantage; with lambda 1 they are what was paid", () => {
    const values = [1.75, 1.5, 1];
    const rows = { count: 1, rewards: [1, 1, 1], ended: [0, 0, 1], terminated: [0, 0, 1], values };
    const right = generalisedAdvantages({ ...rows, nextValues: [1.5, 1, 9] }, { discount: 0.5 });
    expect([...right.advantages]).toEqual([0, 0, 0]);
    const wrong = { ...rows, values: [3, -1, 2], nextValues: [-1, 2, 9] };
    expect([...generalisedAdvantages(wrong, { discount: 0.5, lambda: 1 }).returns]).toEqual([1.75, 1.5, 1]);
  });

  it("refuse columns that don't belong together", () => {
    expect(() => discountedReturns({ count: 2, rewards: [1, 2, 3], ended: [0, 0, 0] })).toThrow(/no whole steps of 2/);
    expect(() => discountedReturns({ count: 1, rewards: [1, 2], ended: [0] })).toThrow(/ended holds 1 numbers for 2/);
    expect(() => discountedReturns({ count: 1, rewards: [1], ended: [0] }, { discount: 1.5 })).toThrow(/from 0 to 1/);
  });
});

it("a replay buffer keeps the newest rows, and draws them together", () => {
  const memory = replayBuffer(4);
  expect(() => memory.draw(1, random(1))).toThrow(/empty/);
  const rows = (first: number, count: number) => ({
    x: tensorOf(
      "float32",
      [count, 2],
      Array.from({ length: 2 * count }, (_, i) => first + Math.floor(i / 2)),
    ),
    label: tensorOf(
      "int64",
      [count],
      Array.from({ length: count }, (_, i) => first + i),
    ),
  });
  memory.add(rows(0, 3));
  expect(memory.size()).toBe(3);
  memory.add(rows(3, 3));
  expect(memory.size()).toBe(4);
  const drawn = memory.draw(200, random(1));
  const labels = [...toNumbers(drawn.label as Tensor)];
  expect([...new Set(labels)].sort()).toEqual([2, 3, 4, 5]);
  expect([...toNumbers(drawn.x as Tensor)]).toEqual(labels.flatMap((x) => [x, x]));
  expect(() => memory.add({ x: tensorOf("float32", [1, 3], [1, 2, 3]) })).toThrow(/holds "x" as float32/);
  expect(() => replayBuffer(0)).toThrow(/capacity/);
});

it("ranks are centred, and equals share theirs", () => {
  expect([...centredRanks([3, 1, 2])]).toEqual([0.5, -0.5, 0]);
  expect([...centredRanks([5, 1, 5, 9, 1])]).toEqual([0.125, -0.375, 0.125, 0.5, -0.375]);
  expect([...centredRanks([7, 7])]).toEqual([0, 0]);
});

it("actions are drawn as the distribution says", async () => {
  const rows = 4000;
  const logits = [Math.log(0.2), Math.log(0.7), Math.log(0.1)];
  const graph = trace(
    ({ logits: own, mean, logDeviation, key }) => ({
      index: sampleActions({ kind: "categorical", logits: own as Value }, key as Value),
      number: sampleActions(
        { kind: "gaussian", mean: mean as Value, logDeviation: logDeviation as Value },
        key as Value,
      ),
    }),
    {
      logits: { dtype: "float32", shape: [rows, 3] },
      mean: { dtype: "float32", shape: [rows, 1] },
      logDeviation: { dtype: "float32", shape: [1] },
      key: { dtype: "int64", shape: [2] },
    },
  );
  const made = await runtime.compile(graph, { weights: "fed" }).run({
    logits: tensorOf("float32", [rows, 3], Array.from({ length: rows }, () => logits).flat()),
    mean: tensorOf("float32", [rows, 1], new Float32Array(rows).fill(2)),
    logDeviation: tensorOf("float32", [1], [Math.log(0.5)]),
    key: tensorOf("int64", [2], [3, 4]),
  });
  const index = toNumbers(made.index as Tensor);
  const share = (i: number) => index.filter((x) => x === i).length / rows;
  expect(Math.abs(share(1) - 0.7)).toBeLessThan(0.03); // 4 standard errors
  expect(Math.abs(share(2) - 0.1)).toBeLessThan(0.02);
  const number = toNumbers(made.number as Tensor);
  const mean = number.reduce((a, b) => a + b, 0) / rows;
  const deviation = Math.sqrt(number.reduce((a, b) => a + (b - mean) ** 2, 0) / rows);
  expect(Math.abs(mean - 2)).toBeLessThan(0.03); // 4 standard errors of 0.5 / sqrt(4,000)
  expect(Math.abs(deviation - 0.5)).toBeLessThan(0.025);
});

describe("rollouts", () => {
  /** Restarts are replayed from what was seen, which is the state rounded to float32. */
  const replayed = 1e-6;
  const environment = cartPole({ limit: 7 });
  const { parameters, policy } = densePolicy(environment, { seed: 3, hidden: [8], lastGain: 1 });
  const count = 3;

  it("hold what was seen, done and paid, and the critic's word on what was cut off", async () => {
    const act = actor({ environment, policy, parameters, count }, runtime);
    const own = flatten(parameters);
    const position = startPlay(environment, count, 5);
    const options = { environment, actor: act, parameters: own, steps: 20, seed: 5 };
    const rollout = await collect({ ...options, position });
    expect(rollout.finished).toEqual(new Array(6).fill(7));
    expect(rollout.observations.shape).toEqual([60, 4]);
    // Replayed step by step by the environment alone.
    let episodes = position.episodes;
    for (let k = 0; k < 20; k++) {
      const rows = [k * count, (k + 1) * count] as const;
      const seen = environment.observe(episodes);
      expect(apart(rollout.observations.data.subarray(rows[0] * 4, rows[1] * 4), seen.data)).toBeLessThan(replayed);
      const actions = { ...rollout.actions, shape: [count], data: rollout.actions.data.slice(...rows) } as Tensor;
      const { episodes: after } = environment.step(episodes, actions, random(0));
      const critic = (await act(own, environment.observe(after), { seed: 0, stream: 0 })).values?.data;
      expect(apart(rollout.nextValues.slice(...rows), critic as Float32Array)).toBeLessThan(replayed);
      const restarted = rollout.ended.slice(...rows);
      expect([...restarted]).toEqual(new Array(count).fill(Number(k % 7 === 6)));
      episodes = k % 7 === 6 ? startAgain(rollout.observations, (k + 1) * count) : after;
    }
    // Two halves are the whole.
    const first = await collect({ ...options, position, steps: 8 });
    const second = await collect({ ...options, position: first.position, steps: 12 });
    expect([...first.rewards, ...second.rewards]).toEqual([...rollout.rewards]);
    expect([...second.observations.data]).toEqual([...rollout.observations.data.subarray(8 * count * 4)]);
    expect(second.position).toEqual(rollout.position);
  });

  /** Episodes whose state is what was seen. */
  function startAgain(observations: Tensor<"float32">, row: number) {
    const state = Float64Array.from(observations.data.subarray(row * 4, (row + count) * 4));
    return { count, columns: { state }, elapsed: new Int32Array(count) };
  }

  it("record sites, and act under clamps", async () => {
    const options = { environment: cartPole({ limit: 30 }), policy, parameters, episodes: 5 };
    const played = await playEpisodes({ ...options, sites: "actor.*" }, runtime);
    const steps = Math.max(...played.lengths);
    expect(Object.entries(played.sites).map(([name, { shape }]) => [name, shape])).toEqual([
      ["actor.0", [steps, 5, 8]],
      ["actor.out", [steps, 5, 2]],
    ]);
    expect(played.returns).toEqual(played.lengths);
    const clamped = { site: "actor.out", apply: (x: Value) => mul(x, 0) };
    const left = await playEpisodes({ ...options, sites: "actor.out", edits: [clamped] }, runtime);
    expect(toNumbers(left.sites["actor.out"] as Tensor).every((x) => x === 0)).toBe(true);
    expect(Math.max(...left.lengths)).toBeLessThan(12); // the first of equals, always: the pole falls within a dozen steps
    await expect(playEpisodes({ ...options, sites: "actor.9" }, runtime)).rejects.toThrow(/no site "actor.9"/);
  });
});

it("a policy that does not fit its environment is refused", () => {
  const { parameters, policy } = densePolicy(cartPole(), { hidden: [4] });
  const other: Environment = environmentOf({
    name: "line",
    observation: { shape: [4], low: [0, 0, 0, 0], high: [1, 1, 1, 1] },
    actions: { kind: "continuous", size: 1, low: -1, high: 1 },
    limit: 5,
    columns: {},
    begin: () => undefined,
    move: () => ({ reward: 0, terminated: false }),
    see: () => undefined,
  });
  expect(() => actor({ environment: other, policy, parameters, count: 2 }, runtime)).toThrow(
    /the policy acts with int64\[2\]; line takes float32\[2, 1\]/,
  );
});
