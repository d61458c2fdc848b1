/**
 * Control flow as people write it: recurrent networks against the same steps written out, loops whose number of steps only
 * running tells, what is stored for gradients, what bodies read from around them, and what errors say.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, describe, expect, it } from "vitest";
import { createRuntime } from "../../runtime/index.js";
import {
  add,
  cast,
  checkpoint,
  concat,
  constant,
  type Dim,
  dimension,
  elementCount,
  evaluate,
  exportOnnx,
  type Graph,
  grad,
  greater,
  ifElse,
  input,
  jvp,
  less,
  loop,
  matmul,
  mul,
  multiplyDims,
  reduceSum,
  reshape,
  scan,
  sigmoid,
  slice,
  splice,
  stopGradient,
  type Tensor,
  tanh,
  tensorOf,
  toNumbers,
  trace,
  type Value,
  weight,
} from "../index.js";
import { type GraphProto, ModelProtoSchema, type NodeProto } from "../onnx/generated/onnx.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const f64 = (shape: readonly Dim[]) => ({ dtype: "float64", shape }) as const;
const numbers = (...shape: number[]) =>
  tensorOf(
    "float64",
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(3 * i + 1)),
  );
const total = (x: Value) =>
  reduceSum(
    x,
    x.shape.map((_, axis) => axis),
  );

/** The largest difference, relative where the wanted number is above 1. */
function worst(actual: Readonly<Record<string, Tensor>>, wanted: Readonly<Record<string, Tensor>>): number {
  return Object.entries(wanted).reduce((most, [key, want]) => {
    expect(actual[key]?.shape).toEqual(want.shape);
    const own = toNumbers(actual[key] as Tensor);
    return toNumbers(want).reduce(
      (error, x, i) => Math.max(error, Math.abs((own[i] as number) - x) / Math.max(1, Math.abs(x))),
      most,
    );
  }, 0);
}

interface Cell {
  /** Sizes of the parameters and of the state. */
  readonly parameters: readonly (readonly number[])[];
  readonly states: number;
  readonly step: (state: readonly Value[], x: Value, parameters: readonly Value[]) => readonly Value[];
}

const width = 3;

/** h' = tanh(x W + h U + b). */
const rnn: Cell = {
  parameters: [[2, width], [width, width], [width]],
  states: 1,
  step: ([h], x, [w, u, b]) => [tanh(add(add(matmul(x, w as Value), matmul(h as Value, u as Value)), b as Value))],
};

/** Gates i, f, o and candidate g of Hochreiter & Schmidhuber 1997 with forget gates: c' = f c + i g, h' = o tanh(c'). */
const lstm: Cell = {
  parameters: [[2, 4 * width], [width, 4 * width], [4 * width]],
  states: 2,
  step: ([h, c], x, [w, u, b]) => {
    const all = add(add(matmul(x, w as Value), matmul(h as Value, u as Value)), b as Value);
    const part = (k: number) => slice(all, 1, k * width, (k + 1) * width);
    const cell = add(mul(sigmoid(part(0)), c as Value), mul(sigmoid(part(1)), tanh(part(3))));
    return [mul(sigmoid(part(2)), tanh(cell)), cell];
  },
};

type Run = (cell: Cell, start: readonly Value[], xs: Value, parameters: readonly Value[]) => readonly Value[];

const scanned: Run = (cell, start, xs, parameters) => {
  const { carry, outputs } = scan(
    (state: readonly Value[], x: Value) => {
      const carry = cell.step(state, x, parameters);
      return { carry, outputs: carry[0] as Value };
    },
    { carry: start, sequences: xs },
  );
  return [outputs, ...carry];
};

const unrolled =
  (steps: number): Run =>
  (cell, start, xs, parameters) => {
    let state = start;
    const rows: Value[] = [];
    for (let t = 0; t < steps; t++) {
      const x = reshape(slice(xs, 0, t, t + 1), xs.shape.slice(1));
      state = cell.step(state, x, parameters);
      rows.push(reshape(state[0] as Value, [1, ...(state[0] as Value).shape]));
    }
    return [concat(rows, 0), ...state];
  };

/** Values, gradients of everything, and a derivative along everything, of a recurrent network. */
function recurrentGraph(cell: Cell, run: Run, steps: Dim): Graph {
  const inputs = {
    xs: f64([steps, "batch", 2]),
    ...Object.fromEntries(Array.from({ length: cell.states }, (_, i) => [`s${i}`, f64(["batch", width])])),
    ...Object.fromEntries(cell.parameters.map((shape, i) => [`p${i}`, f64(shape)])),
  };
  return trace((values: Record<string, Value>) => {
    const names = Object.keys(inputs);
    const all = names.map((name) => values[name] as Value);
    const f = (given: readonly Value[]) => {
      const [xs, ...rest] = given as readonly [Value, ...Value[]];
      return run(cell, rest.slice(0, cell.states), xs, rest.slice(cell.states));
    };
    const loss = (given: Value[]) =>
      f(given)
        .map((y, i) => total(mul(mul(y, y), i + 1)))
        .reduce((a, b) => add(a, b));
    const made = f(all).map((y, i) => [`y${i}`, y] as const);
    const gradients = grad(loss)(all).map((g, i) => [`gradient of ${names[i]}`, g] as const);
    const tangents = jvp((given: readonly Value[]) => f(given), all, all).tangent.map(
      (t, i) => [`tangent${i}`, t] as const,
    );
    return Object.fromEntries([...made, ...gradients, ...tangents]);
  }, inputs);
}

function recurrentFeeds(cell: Cell, steps: number): Record<string, Tensor> {
  return Object.fromEntries([
    ["xs", numbers(steps, 2, 2)],
    ...Array.from({ length: cell.states }, (_, i) => [`s${i}`, numbers(2, width)]),
    ...cell.parameters.map((shape, i) => [`p${i}`, numbers(...shape)]),
  ]);
}

describe.each(Object.entries({ rnn, lstm }))("a recurrent network by scan: %s", (_, cell) => {
  it.each([1, 4])("is its steps written out, with its gradients and its derivatives: %s steps", async (steps) => {
    const wanted = evaluate(recurrentGraph(cell, unrolled(steps), steps), recurrentFeeds(cell, steps));
    for (const length of [steps, "steps"]) {
      const graph = recurrentGraph(cell, scanned, length);
      const feeds = recurrentFeeds(cell, steps);
      expect(worst(evaluate(graph, feeds), wanted)).toBeLessThan(1e-12); // the same float64 sums in another order
      expect(worst(await runtime.compile(graph).run(feeds), wanted)).toBeLessThan(1e-12); // float64 kernels
    }
  });
});

describe("a loop while a condition holds", () => {
  const fibonacci = trace(
    ({ limit }) => {
      const { carry, steps, outputs } = loop(({ a, b }) => ({ carry: { a: b, b: add(a, b) }, outputs: a }), {
        carry: { a: dimension(0), b: dimension(1) },
        while: ({ a }) => less(a, limit),
        maximum: 12,
      });
      return { first: carry.a, steps, numbers: outputs };
    },
    { limit: { dtype: "int64", shape: [] } },
  );

  it.each([
    [50, 55n, 10n, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 0, 0]],
    [0, 0n, 0n, new Array(12).fill(0)],
    [1e9, 144n, 12n, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]], // stopped by the maximum
  ])("finds the first Fibonacci number from %s on", async (limit, first, steps, list) => {
    const feeds = { limit: tensorOf("int64", [], [limit]) };
    for (const result of [evaluate(fibonacci, feeds), await runtime.compile(fibonacci).run(feeds)]) {
      expect(result.first?.data).toEqual(BigInt64Array.of(first));
      expect(result.steps?.data).toEqual(BigInt64Array.of(steps));
      expect([...toNumbers(result.numbers as Tensor)]).toEqual(list);
    }
  });

  it("has the gradient of the steps that were taken", () => {
    const power = (x: Value) =>
      loop((own: Value) => ({ carry: mul(own, x) }), { carry: x, while: (own) => less(own, 100), maximum: 20 }).carry;
    const graph = trace(({ x }) => ({ y: power(x), slope: grad(power)(x), second: grad(grad(power))(x) }), {
      x: f64([]),
    });
    const { y, slope, second } = evaluate(graph, { x: tensorOf("float64", [], [3]) }); // 3^5 = 243
    expect([y, slope, second].map((value) => value?.data[0])).toEqual([3 ** 5, 5 * 3 ** 4, 20 * 3 ** 3]);
  });

  it("needs no maximum to be run, and says that its gradient does", () => {
    const power = (x: Value) =>
      loop((own: Value) => ({ carry: mul(own, x) }), { carry: x, while: (own) => less(own, 100) }).carry;
    const graph = trace(({ x }) => ({ y: power(x), still: grad((own: Value) => stopGradient(power(own)))(x) }), {
      x: f64([]),
    });
    const { y, still } = evaluate(graph, { x: tensorOf("float64", [], [3]) });
    expect([y?.data[0], still?.data[0]]).toEqual([243, 0]);
    expect(() => trace(({ x }) => ({ slope: grad(power)(x) }), { x: f64([]) })).toThrow(
      "the gradient of a loop needs room for the carry of every step: give loop() `maximum`",
    );
  });
});

describe("bodies", () => {
  it("read weights and symbolic sizes from around them, at any depth, and give weights gradients", async () => {
    const w = weight("w", [2, 2], "float64");
    const net = (xs: Value, own: Value) =>
      scan(
        (h: Value, x: Value) => {
          const flat = (value: Value) => reshape(value, [multiplyDims("batch", 2)]);
          const back = (value: Value) => reshape(value, ["batch", 2]);
          const deeper = (value: Value) =>
            ifElse(
              greater(total(value), 0),
              value,
              (v) => matmul(back(flat(v)), own),
              (v) => mul(v, 0.5),
            );
          return { carry: add(deeper(h), x) };
        },
        { carry: reduceSum(xs, [0]), sequences: xs },
      ).carry;
    const graph = trace(({ xs }) => ({ y: net(xs, w), slope: grad((own: Value) => total(net(xs, own)))(w) }), {
      xs: f64(["steps", "batch", 2]),
    });
    const feeds = { xs: numbers(3, 2, 2) };
    const values = { w: numbers(2, 2) };
    const wanted = evaluate(graph, feeds, values);
    const program = runtime.compile(graph, { weights: "baked", values: new Map(Object.entries(values)) });
    expect(worst(await program.run(feeds), wanted)).toBeLessThan(1e-12); // float64 kernels
    const moved = (step: number) => {
      const changed = {
        w: tensorOf(
          "float64",
          [2, 2],
          [...values.w.data].map((x, i) => (i === 1 ? x + step : x)),
        ),
      };
      return toNumbers(evaluate(graph, feeds, changed).y as Tensor).reduce((a, b) => a + b);
    };
    expect(wanted.slope?.data[1]).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 8); // a cubic of numbers around 1
  });

  it("may have a size that no input of theirs has", async () => {
    const graph = trace(
      ({ xs }) => ({
        y: scan((sum: Value, x: Value) => ({ carry: add(sum, mul(x, cast(dimension("n"), "float64"))) }), {
          carry: constant(tensorOf("float64", [], [0])),
          sequences: xs,
        }).carry,
      }),
      { xs: f64(["steps"]), other: f64(["n"]) },
    );
    const feeds = { xs: tensorOf("float64", [2], [1, 2]), other: numbers(5) };
    expect(evaluate(graph, feeds).y?.data).toEqual(Float64Array.of(15));
    expect((await runtime.compile(graph).run(feeds)).y?.data).toEqual(Float64Array.of(15));
  });

  it("see what is spliced in at a value that they captured", () => {
    const graph = trace(
      ({ xs, k }, site) => {
        const scale = site("scale", mul(k, 2));
        return {
          y: scan((sum: Value, x: Value) => ({ carry: add(sum, mul(x, scale)) }), { carry: k, sequences: xs }).carry,
        };
      },
      { xs: f64(["steps"]), k: f64([]) },
    );
    const feeds = { xs: tensorOf("float64", [2], [1, 2]), k: tensorOf("float64", [], [5]) };
    expect(evaluate(graph, feeds).y?.data).toEqual(Float64Array.of(35));
    expect(
      evaluate(
        splice(graph, "scale", (x) => mul(x, 10)),
        feeds,
      ).y?.data,
    ).toEqual(Float64Array.of(305));
  });

  it("may hold checkpoints and lie below them: the gradients are the same", () => {
    const graphs = [checkpoint, (x: Value) => x].map((mark) => {
      const net = (h: Value, xs: Value) =>
        total(
          scan((own: Value, x: Value) => ({ carry: tanh(mark(add(mul(own, 2), x))) }), {
            carry: mark(mul(h, h)),
            sequences: mark(tanh(xs)),
          }).carry,
        );
      return trace(
        ({ h, xs }) => ({
          ...Object.fromEntries(
            grad(([a, b]: Value[]) => net(a as Value, b as Value))([h, xs]).map((g, i) => [`g${i}`, g]),
          ),
          along: jvp((a: Value) => net(a, xs), h, h).tangent,
        }),
        { h: f64(["n"]), xs: f64(["steps", "n"]) },
      );
    }) as [Graph, Graph];
    const feeds = { h: numbers(2), xs: numbers(3, 2) };
    expect(evaluate(graphs[0], feeds)).toEqual(evaluate(graphs[1], feeds));
  });

  it("run for the branch taken alone", async () => {
    const endless = (x: Value) =>
      loop((own: Value) => ({ carry: add(own, 1) }), { carry: x, while: (own) => less(own, 1e15) }).carry;
    const graph = trace(({ x }) => ({ y: ifElse(less(x, 0), x, endless, (own) => mul(own, 2)) }), { x: f64([]) });
    const feeds = { x: tensorOf("float64", [], [4]) };
    expect((await runtime.compile(graph).run(feeds)).y?.data).toEqual(Float64Array.of(8));
    expect(evaluate(graph, feeds).y?.data).toEqual(Float64Array.of(8));
  });
});

const proto = (graph: Graph) => fromBinary(ModelProtoSchema, exportOnnx(graph)).graph as GraphProto;
const nodesNamed = (graph: GraphProto, type: string) => graph.node.filter(({ opType }) => opType === type);
const bodiesIn = ({ attribute }: NodeProto) => attribute.flatMap(({ g }) => (g === undefined ? [] : [g]));

describe("the ONNX form", () => {
  const inputs = { h: f64(["n", 2]), xs: f64(["steps", "n", 2]), w: f64([2, 2]) };
  const run = (h: Value, xs: Value, w: Value) =>
    scan(
      (state, x) => ({
        carry: { fixed: state.fixed, h: tanh(add(matmul(state.h, state.fixed), x)), unread: add(state.unread, 1) },
        outputs: { a: state.h, b: mul(state.h, 2) },
      }),
      { carry: { fixed: w, h, unread: total(h) }, sequences: xs },
    );
  const form = (graph: Graph) => {
    const [node] = nodesNamed(proto(graph), "Scan") as [NodeProto];
    const [body] = bodiesIn(node) as [GraphProto];
    return { inputs: node.input.length, outputs: node.output.length, types: body.node.map(({ opType }) => opType) };
  };

  it("leaves out rows and carries that nothing reads, and captures carries that do not change", () => {
    const last = trace(({ h, xs, w }) => ({ y: run(h, xs, w).carry.h }), inputs);
    expect(form(last)).toEqual({ inputs: 2, outputs: 1, types: ["MatMul", "Add", "Tanh"] });
    const row = trace(({ h, xs, w }) => ({ y: run(h, xs, w).outputs.b }), inputs);
    expect(form(row)).toEqual({ inputs: 2, outputs: 2, types: ["MatMul", "Add", "Tanh", "Mul"] });
    const fixed = trace(({ h, xs, w }) => ({ y: run(h, xs, w).carry.fixed }), inputs);
    expect(nodesNamed(proto(fixed), "Scan")).toEqual([]);
  });

  it("stores carries where a gradient reads them, and runs forward once", () => {
    const graph = trace(({ h, xs, w }) => {
      const { carry } = run(h, xs, w);
      return { y: carry.h };
    }, inputs);
    const loss = trace(({ h, xs, w }) => ({ slope: grad((own: Value) => total(run(own, xs, w).carry.h))(h) }), inputs);
    expect(form(graph).outputs).toBe(1);
    expect(form(loss).outputs).toBe(2); // the last carry, and all that steps began with
    expect(nodesNamed(proto(loss), "Scan")).toHaveLength(2);
  });

  it("has no gradient of captured values in the backward loop where none is wanted", () => {
    const net = (h: Value, w: Value, sequences: Value) =>
      total(scan((own: Value, x: Value) => ({ carry: tanh(add(matmul(own, w), x)) }), { carry: h, sequences }).carry);
    const products = (slope: (h: Value, xs: Value, w: Value) => Value) => {
      const graph = trace(({ h, xs, w }) => ({ slope: slope(h, xs, w) }), inputs);
      const bodies = nodesNamed(proto(graph), "Scan").flatMap(bodiesIn);
      return bodies.flatMap(({ node }) => node).filter(({ opType }) => opType.endsWith("MatMul")).length;
    };
    const toState = (h: Value, xs: Value, w: Value) => grad((own: Value) => net(own, w, xs))(h);
    const toWeight = (h: Value, xs: Value, w: Value) => grad((own: Value) => net(h, own, xs))(w);
    expect(products(toState)).toBe(3); // forward, again, and back to the state
    expect(products(toWeight)).toBe(4); // the same, since later states depend on the weight, and to the weight
  });

  it("gives every value one name through all nestings", () => {
    const graph = trace(({ h, xs, w }) => {
      const twice = (own: Value) => run(own, xs, w).outputs.b;
      const y = scan((own: Value, x: Value) => ({ carry: add(own, reduceSum(twice(mul(x, own)), [0])) }), {
        carry: h,
        sequences: xs,
      }).carry;
      return { y, z: twice(h), in0: mul(h, 2) };
    }, inputs);
    const made = (part: GraphProto): string[] => [
      ...part.input.map(({ name }) => name),
      ...part.initializer.map(({ name }) => name),
      ...part.node.flatMap((node) => [...node.output, ...bodiesIn(node).flatMap(made)]),
    ];
    const names = made(proto(graph));
    expect(names.length).toBeGreaterThan(30);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe("no steps", () => {
  it.each(["scan", "loop"])("of a %s leave the carry and give no rows (the runtime's scan refuses)", async (how) => {
    const graph = trace(
      ({ h, xs, count }) => {
        const step = (own: Value) => ({ carry: mul(own, 2), outputs: add(own, 1) });
        const { carry, outputs } =
          how === "scan"
            ? scan(step, { carry: h, sequences: xs })
            : loop(step, { carry: h, count, maximum: xs.shape[0] as Dim });
        return { carry, outputs, xs };
      },
      { h: f64(["n"]), xs: f64(["steps"]), count: { dtype: "int64", shape: [] } },
    );
    const count = tensorOf("int64", [], [0]);
    const feeds = { h: numbers(3), xs: tensorOf("float64", [0], []), ...(how === "loop" ? { count } : {}) };
    const wanted = { carry: feeds.h, outputs: tensorOf("float64", [0, 3], []), xs: feeds.xs };
    expect(evaluate(graph, feeds)).toEqual(wanted);
    const ran = runtime.compile(graph).run(feeds);
    if (how === "loop") expect(await ran).toEqual(wanted);
    else await expect(ran).rejects.toThrow("while running Scan node"); // a limit of ONNX Runtime
  });
});

describe("errors say what is wrong", () => {
  const x = input("x", "float64", ["n", 2]);
  const flag = input("flag", "bool", []);
  const count = input("count", "int64", []);
  it.each<[string, () => unknown, string]>([
    [
      "branches of different types",
      () =>
        ifElse(
          flag,
          x,
          (own) => own,
          (own) => reduceSum(own, [0]),
        ),
      "the branches return different types: float64[n, 2] and float64[2]",
    ],
    [
      "a condition that is no bool",
      () =>
        ifElse(
          count,
          x,
          (own) => own,
          (own) => own,
        ),
      "the condition must be one bool",
    ],
    [
      "branches of different structures",
      () =>
        ifElse<Value, { a?: Value; b?: Value } & Record<string, Value>>(
          flag,
          x,
          (a) => ({ a }),
          (b) => ({ b }),
        ),
      'what the second branch returns must keep its structure: "a" is in one and not in the other',
    ],
    [
      "a carry that changes",
      () => scan((own: Value) => ({ carry: reduceSum(own, [0]) }), { carry: x, length: 3 }),
      "carry 0 comes out as float64[2]; expected float64[n, 2]",
    ],
    [
      "sequences of different lengths",
      () => scan((own: Value) => ({ carry: own }), { carry: x, sequences: [x, input("y", "float64", [4])] }),
      "every sequence needs one leading size; there are n and 4",
    ],
    [
      "a scan of no known length",
      () => scan((own: Value) => ({ carry: own }), { carry: x }),
      "or the length: how many",
    ],
    [
      "a count that is no whole number",
      () => loop((own: Value) => ({ carry: own }), { carry: x, count: x }),
      "the count must be one int64, a size, or a number, not float64[n, 2]",
    ],
    ["a loop without an end", () => loop((own: Value) => ({ carry: own }), { carry: x }), "needs a count, a condition"],
    [
      "rows of an unknown number of steps",
      () => loop((own: Value) => ({ carry: own, outputs: own }), { carry: x, count }),
      "outputs of an unknown number of steps need `maximum`",
    ],
    [
      "a condition of several numbers",
      () => loop((own: Value) => ({ carry: own }), { carry: x, while: (own) => less(own, 3) }),
      "the condition must be one bool",
    ],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
  });
});
