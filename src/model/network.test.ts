/** Networks of traced functions: record, compile, gradient, edit, other weights; and what is said of wrong uses. */
import { afterAll, describe, expect, it } from "vitest";
import {
  add,
  applyOne,
  argMax,
  cast,
  convolution,
  gather,
  matmul,
  mul,
  type Operation,
  operations,
  reduceSum,
  relu,
  stopGradient,
  sub,
  tanh,
  type Value,
} from "../graph/index.js";
import { createRuntime, type Tensor, tensorOf, toNumbers, zeros } from "../runtime/index.js";
import { createNetwork, type NetworkDefinition } from "./index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const x = tensorOf("float32", [2, 3], [1, -2, 3, 0.5, 0, -1]);
const w = tensorOf("float32", [3, 2], [1, -1, 0.5, 2, -1, 1]);
const v = tensorOf("float32", [2, 1], [2, -3]);

/** y = relu(x w) v, whose numbers are checked by hand: x w = [[-3, -2], [1.5, -1.5]], y = [0, 3]. */
const definition: NetworkDefinition = {
  inputs: { x: { dtype: "float32", shape: ["batch", 3] } },
  weights: { w, v },
  build({ inputs, weight, site }) {
    const pre = site("hidden.pre", matmul(inputs.x as Value, weight("w")));
    const act = site("hidden.act", relu(pre));
    return { y: matmul(act, weight("v")) };
  },
};
const network = createNetwork(definition, { runtime });
/** The numbers of a tensor, -0 as 0. */
const numbers = (value: Tensor | undefined) => [...toNumbers(value as Tensor)].map((number) => number + 0);
const sum = (value: Value) => reduceSum(value, [...value.shape.keys()]);

describe("record", () => {
  it("gives the values of sites, inputs and outputs, by names and globs", async () => {
    expect(network.sites()).toEqual(["x", "hidden.pre", "hidden.act", "y"]);
    expect(network.sites("hidden.*")).toEqual(["hidden.pre", "hidden.act"]);
    const found = await network.record({ x }, ["hidden.*", "y", "x", "hidden.act"]);
    expect(Object.keys(found)).toEqual(["hidden.pre", "hidden.act", "y", "x"]);
    expect(numbers(found["hidden.pre"])).toEqual([-3, -2, 1.5, -1.5]);
    expect(numbers(found["hidden.act"])).toEqual([0, 0, 1.5, 0]);
    expect(numbers(found.y)).toEqual([0, 3]);
    expect(found.x).toEqual(x);
  });

  it("takes batches of any size in one session", async () => {
    await network.record({ x }, "y");
    const { sessionsOpened } = runtime.statistics();
    const { y } = await network.record({ x: tensorOf("float32", [1, 3], [3, 0, 0]) }, "y");
    expect(y?.shape).toEqual([1, 1]);
    expect(numbers(y)).toEqual([6]);
    expect(runtime.statistics().sessionsOpened).toBe(sessionsOpened);
  });
});

describe("compile", () => {
  it("runs functions of sites and further inputs, many times", async () => {
    const program = network.compile(
      ({ site, input }) => ({ difference: sub(site("hidden.act"), input("other")), double: mul(site("y"), 2) }),
      { other: { dtype: "float32", shape: [2] } },
    );
    for (const other of [
      [1, 2],
      [0, -1],
    ]) {
      const found = await program({ x, other: tensorOf("float32", [2], other) });
      const [a, b] = other as [number, number];
      expect(numbers(found.difference)).toEqual([0 - a, 0 - b, 1.5 - a, 0 - b]);
      expect(numbers(found.double)).toEqual([0, 6]);
    }
    expect(program.nodes).toBeGreaterThan(3);
  });

  it("computes only what is asked for", () => {
    const early = network.compile(({ site }) => ({ out: site("hidden.pre") }));
    const late = network.compile(({ site }) => ({ out: site("y") }));
    expect(early.nodes).toBeLessThan(late.nodes);
  });
});

describe("gradient", () => {
  it("is taken at sites, inputs and outputs", async () => {
    const { value, sites } = await network.gradient({ x }, { of: ({ site }) => sum(site("y")), at: "**" });
    expect(numbers(value)).toEqual([3]);
    expect(numbers(sites.y)).toEqual([1, 1]);
    expect(numbers(sites["hidden.act"])).toEqual([2, -3, 2, -3]);
    expect(numbers(sites["hidden.pre"])).toEqual([0, 0, 2, 0]);
    expect(numbers(sites.x)).toEqual([0, 0, 0, 2, 1, -2]); // 2 times the first column of w
  });

  it("is each row's own for one number a row", async () => {
    const of = ({ site }: { site: (name: string) => Value }) => reduceSum(mul(site("y"), site("y")), 1);
    const { value, sites } = await network.gradient({ x }, { of, at: "y" });
    expect(numbers(value)).toEqual([0, 9]);
    expect(numbers(sites.y)).toEqual([0, 6]);
  });

  it("is the same from checkpoints", async () => {
    const options = {
      of: ({ site }: { site: (name: string) => Value }) => sum(tanh(site("y"))),
      at: ["x", "hidden.pre"],
    };
    const kept = await network.gradient({ x }, options);
    expect(await network.gradient({ x }, { ...options, checkpoint: "hidden.*" })).toEqual(kept);
    expect(numbers(kept.sites["hidden.pre"])[2]).toBeCloseTo(2 * (1 - Math.tanh(3) ** 2), 6);
  });

  it("stops where it is told to, and goes through what it is not", async () => {
    const of = ({ site }: { site: (name: string) => Value }) => sum(mul(stopGradient(site("hidden.act")), site("y")));
    const { sites } = await network.gradient({ x }, { of, at: "hidden.act" });
    // Each row's y times the sum of its own held activations: only the path through y counts.
    expect(numbers(sites["hidden.act"])).toEqual([0, 0, 3, -4.5]);
  });
});

describe("with", () => {
  it("edits sites in the order given, by names and globs, and leaves the network as it is", async () => {
    const twice = { site: "hidden.*", apply: (value: Value) => mul(value, 2) };
    const more = { site: "hidden.act", apply: (value: Value) => add(value, 1) };
    const view = network.with(twice, more);
    expect(numbers((await view.record({ x }, "hidden.act"))["hidden.act"])).toEqual([1, 1, 7, 1]);
    const turned = network.with(more).with(twice);
    expect(numbers((await turned.record({ x }, "hidden.act"))["hidden.act"])).toEqual([2, 2, 8, 2]);
    expect(numbers((await network.record({ x }, "y")).y)).toEqual([0, 3]);
  });

  it("keeps the value before edits, which a glob of the sites leaves alone", async () => {
    const more = { site: "hidden.act", apply: (value: Value) => add(value, 1) };
    const view = network.with(more).with({ site: "hidden.*", apply: (value) => mul(value, 2) }, more);
    expect(view.sites()).toEqual(["x", "hidden.pre", "hidden.act", "y"]);
    expect(view.sites("**@before")).toEqual(["hidden.pre@before", "hidden.act@before"]);
    const found = await view.record({ x }, ["hidden.act", "hidden.act@before", "hidden.pre@before"]);
    expect(numbers(found["hidden.act"])).toEqual([3, 3, 9, 3]);
    expect(numbers(found["hidden.act@before"])).toEqual([0, 0, 3, 0]);
    expect(numbers(found["hidden.pre@before"])).toEqual([-3, -2, 1.5, -1.5]);
    const { sites } = await view.gradient({ x }, { of: ({ site }) => sum(site("y")), at: "hidden.*@before" });
    expect(numbers(sites["hidden.act@before"])).toEqual([4, -6, 4, -6]);
    expect(numbers(sites["hidden.pre@before"])).toEqual([0, 0, 8, 0]);
  });

  it("edits inputs, and gradients go through edits", async () => {
    const view = network.with({ site: "x", apply: (value) => mul(value, -1) });
    const { value, sites } = await view.gradient({ x }, { of: ({ site }) => sum(site("y")), at: ["x", "hidden.pre"] });
    expect(numbers((await view.record({ x }, "hidden.pre"))["hidden.pre"])).toEqual([3, 2, -1.5, 1.5]);
    expect(numbers(value)).toEqual([6 - 6 - 4.5]);
    expect(numbers(sites["hidden.pre"])).toEqual([2, -3, 0, -3]);
    // At the edited input: what the network sees, whose gradient is w times that of hidden.pre.
    expect(numbers(sites.x)).toEqual([5, -5, -5, 3, -6, -3]);
  });
});

describe("withWeights", () => {
  it("gives views of one session with other numbers", async () => {
    await network.record({ x }, "y");
    const { sessionsOpened } = runtime.statistics();
    const view = network.withWeights({ v: tensorOf("float32", [2, 1], [10, 1]) });
    expect(numbers((await view.record({ x }, "y")).y)).toEqual([0, 15]);
    expect(numbers((await network.record({ x }, "y")).y)).toEqual([0, 3]);
    expect(runtime.statistics().sessionsOpened).toBe(sessionsOpened);
  });

  it("wants weights that the network has, of their types", () => {
    expect(() => network.withWeights({ u: v })).toThrow('the network has no weight "u"; the nearest are w, v');
    expect(() => network.withWeights({ v: w })).toThrow(
      'the weight "v" is float32[2, 1]; the values given are float32[3, 2]',
    );
    expect(() => network.withWeights({ v: tensorOf("int64", [2, 1], [1, 2]) })).toThrow(
      'the weight "v" is float32[2, 1]; the values given are int64[2, 1]',
    );
  });
});

describe("close", () => {
  it("closes a runtime of its own, and leaves one that it was given", async () => {
    const own = createNetwork(definition);
    await own.record({ x }, "y");
    await own.close();
    await expect(own.record({ x }, "y")).rejects.toThrow(/closed/);
    const shared = createNetwork(definition, { runtime });
    await shared.close();
    expect(numbers((await network.record({ x }, "y")).y)).toEqual([0, 3]);
  });
});

describe("wrong uses", () => {
  const scalar = ({ site }: { site: (name: string) => Value }) => sum(site("y"));
  const embedding = createNetwork(
    {
      inputs: { ids: { dtype: "int64", shape: ["batch"] } },
      weights: { table: w },
      build: ({ inputs, weight, site }) => {
        const read = site("read", gather(weight("table"), inputs.ids as Value));
        site("best", argMax(read, 1));
        site("aside", mul(read, 2));
        return { y: reduceSum(read, 1) };
      },
    },
    { runtime },
  );
  const ids = tensorOf("int64", [2], [2, 0]);

  it("names the sites nearest to one that is not there", async () => {
    const message = 'there is no site "hidden.pro"; the nearest are hidden.pre, hidden.act, x';
    await expect(network.record({ x }, "hidden.pro")).rejects.toThrow(message);
    await expect(network.gradient({ x }, { of: scalar, at: "hidden.pro" })).rejects.toThrow(message);
    expect(() => network.with({ site: "hidden.pro", apply: relu })).toThrow(message);
    expect(() => network.compile(({ site }) => ({ y: site("hidden.pro") }))).toThrow(message);
    await expect(network.record({ x }, [])).rejects.toThrow("no site was asked for");
  });

  it("reads one site by a name", () => {
    expect(() => network.compile(({ site }) => ({ out: site("hidden.*") }))).toThrow(
      '"hidden.*" stands for 2 sites; one is read here',
    );
    expect(() => network.compile(({ input }) => ({ out: input("z") }))).toThrow('the call has no input "z"');
  });

  it("wants weights that are given, and one value a name", () => {
    const build: NetworkDefinition["build"] = ({ inputs, weight }) => ({ y: matmul(inputs.x as Value, weight("u")) });
    expect(() => createNetwork({ ...definition, build }, { runtime })).toThrow(
      'the network has no weight "u"; the nearest are w, v',
    );
    expect(() =>
      createNetwork({ ...definition, build: ({ inputs }) => ({ x: relu(inputs.x as Value) }) }, { runtime }),
    ).toThrow('two values of the network are named "x" (inputs, sites, outputs): rename one');
  });

  it("differentiates one number, or one a row", async () => {
    await expect(network.gradient({ x }, { of: ({ site }) => site("y"), at: "x" })).rejects.toThrow(
      "a gradient is taken of one number, or of one a row; this has shape [batch, 1]: reduce it first",
    );
  });

  it("says that whole numbers have no gradient", async () => {
    const of = scalar;
    await expect(embedding.gradient({ ids }, { of, at: "ids" })).rejects.toThrow(
      /ids.* holds no floating-point numbers, so nothing has a gradient there: take it at a float value computed from it/,
    );
    await expect(embedding.gradient({ ids }, { of, at: "best" })).rejects.toThrow(/holds no floating-point numbers/);
    expect(numbers((await embedding.gradient({ ids }, { of, at: "read" })).sites.read)).toEqual([1, 1, 1, 1]);
  });

  it("says that what is differentiated does not depend on a site", async () => {
    const message = (site: string) =>
      `what is differentiated does not depend on ${site}, so it has no gradient there: name an earlier site`;
    await expect(embedding.gradient({ ids }, { of: scalar, at: "aside" })).rejects.toThrow(message("aside"));
    await expect(network.gradient({ x }, { of: ({ site }) => sum(site("hidden.pre")), at: "y" })).rejects.toThrow(
      message("y"),
    );
    const rounded = ({ site }: { site: (name: string) => Value }) =>
      sum(cast(argMax(site("hidden.act"), 1), "float32"));
    await expect(network.gradient({ x }, { of: rounded, at: "hidden.act" })).rejects.toThrow(message("hidden.act"));
  });

  it("says that an operation has no gradient rule", async () => {
    // Every operation of the table has one; this one joins it for the length of the test.
    const opaque = { ...(operations.get("relu") as Operation), name: "opaque" };
    delete (opaque as { gradient?: unknown }).gradient;
    const table = operations as Map<string, Operation>;
    table.set("opaque", opaque);
    try {
      const of = ({ site }: { site: (name: string) => Value }) => sum(applyOne(opaque, [site("y")], {}));
      await expect(network.gradient({ x }, { of, at: "x" })).rejects.toThrow(
        'the operation "opaque" has no gradient rule: put stopGradient() around what it computes, give it a rule with customGradient(), or take the gradient at a value downstream of it',
      );
    } finally {
      table.delete("opaque");
    }
  });

  it("refuses an edit that changes the type of a site", () => {
    expect(() => network.with({ site: "hidden.act", apply: (value) => reduceSum(value, 1) })).toThrow(/hidden\.act/);
  });

  it("says which feed is missing, or has another shape", async () => {
    await expect(network.record({}, "y")).rejects.toThrow(/"?x"?/);
    await expect(network.record({ x: zeros("float32", [2, 4]) }, "y")).rejects.toThrow(/x/);
  });

  it("gives outputs and further inputs names of their own", () => {
    expect(() => network.compile(({ site }) => ({ x: mul(site("y"), 2) }))).toThrow(/"x"/);
    const types = { x: { dtype: "float32", shape: ["batch", 3] } } as const;
    expect(() => network.compile(({ input }) => ({ z: input("x") }), types)).toThrow(/"x"/);
  });
});

it("records a convolution that is added to another (which the runtime would fuse into one without an output)", async () => {
  const filled = (...shape: number[]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return tensorOf(
      "float32",
      shape,
      Array.from({ length: count }, (_, i) => ((i * 7) % 11) / 11 - 0.4),
    );
  };
  const network = createNetwork(
    {
      inputs: { image: { dtype: "float32", shape: ["batch", 4, 4, 6] } },
      weights: { wide: filled(6, 4, 3, 3), narrow: filled(6, 4, 1, 1), one: filled(6), two: filled(6) },
      build({ inputs, weight, site }) {
        const image = inputs.image as Value;
        const first = site("first", convolution(image, weight("wide"), { pads: 1, bias: weight("one") }));
        const second = site("second", convolution(image, weight("narrow"), { bias: weight("two") }));
        return { sum: add(first, second) };
      },
    },
    { runtime },
  );
  const { first, second, sum } = await network.record({ image: filled(1, 4, 4, 6) }, ["first", "second", "sum"]);
  const own = [...toNumbers(first as Tensor)].map((x, i) => x + Number(second?.data[i]));
  // one addition in float32
  for (const [i, x] of toNumbers(sum as Tensor).entries()) expect(x).toBeCloseTo(own[i] as number, 6);
});
