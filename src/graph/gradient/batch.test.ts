/**
 * vmap: for every operation of the table, a batch is the examples one by one; and the same of functions, gradients,
 * closures and trees. The operations' cases are those of the shared suites, so a new operation is covered as it comes.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type OperationCase, type OperationCases, operationCases } from "../../../test/support/operations/index.js";
import { smoothed } from "../../../test/support/operations/smooth.js";
import { createRuntime } from "../../runtime/index.js";
import {
  add,
  cast,
  type Dim,
  type Dtype,
  elementCount,
  evaluate,
  exp,
  type Graph,
  grad,
  ifElse,
  isFloat,
  less,
  loop,
  matmul,
  mul,
  operations,
  reduceSum,
  scan,
  sin,
  type Tensor,
  tanh,
  tensorOf,
  toNumbers,
  trace,
  type Value,
  vmap,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const examples = 3;

interface Batch {
  readonly case: OperationCase;
  /** Tensors of each example. */
  readonly each: readonly (readonly Tensor[])[];
  /** Which inputs have an example each; the others are shared. */
  readonly mapped: readonly boolean[];
}

/** Which inputs are mapped: by turns all, the first float, the last float, every float. */
function mappedInputs(tensors: readonly Tensor[], turn: number): boolean[] {
  const float = tensors.flatMap(({ dtype }, i) => (isFloat(dtype) ? [i] : []));
  if (turn % 4 === 0 || float.length === 0) return tensors.map(() => true);
  const chosen = turn % 4 === 1 ? float.slice(0, 1) : turn % 4 === 2 ? float.slice(-1) : float;
  return tensors.map((_, i) => chosen.includes(i));
}

function batches(entry: OperationCases, count: number): Batch[] {
  return fc
    .sample(entry.cases, { seed: 5, numRuns: count })
    .filter(({ tensors }) => tensors.length > 0 && tensors.every(({ data }) => data.length > 0))
    .map((own, turn) => {
      const mapped = mappedInputs(own.tensors, turn);
      const drawn = Array.from({ length: examples }, (_, k) => smoothed(own, entry, turn + 50 * k).tensors);
      const each = drawn.map((tensors) => tensors.map((x, i) => (mapped[i] ? x : (drawn[0]?.[i] as Tensor))));
      return { case: own, each, mapped };
    });
}

const withDtype = (x: Tensor, dtype: Dtype) =>
  isFloat(x.dtype) ? tensorOf(dtype, x.shape, toNumbers(x)) : tensorOf(x.dtype, x.shape, toNumbers(x));

const stacked = (tensors: readonly Tensor[]): Tensor => {
  const [first] = tensors as readonly [Tensor];
  return tensorOf(
    first.dtype,
    [tensors.length, ...first.shape],
    tensors.flatMap((x) => [...toNumbers(x)]),
  );
};

/** The graph of `build` with inputs x0, x1, ... and outputs y0, y1, ... */
function graphOf(
  tensors: readonly Tensor[],
  shapes: readonly (readonly Dim[])[],
  build: OperationCase["build"],
): Graph {
  const inputs = Object.fromEntries(
    tensors.map(({ dtype }, i) => [`x${i}`, { dtype, shape: shapes[i] as readonly Dim[] }]),
  );
  return trace((values) => {
    const made = build(tensors.map((_, i) => values[`x${i}`] as Value));
    const outputs = Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
    return Object.fromEntries(outputs.map((value, i) => [`y${i}`, value]));
  }, inputs);
}

const feedsOf = (graph: Graph, tensors: readonly Tensor[]) => {
  const used = new Set(graph.inputs.map(({ node }) => node.attributes.name));
  return Object.fromEntries(tensors.map((x, i) => [`x${i}`, x] as const).filter(([name]) => used.has(name)));
};

function mappedGraph({ case: own, each, mapped }: Batch, dtype: Dtype, size: Dim): { graph: Graph; tensors: Tensor[] } {
  const columns = (each[0] as readonly Tensor[]).map((_, i) =>
    each.map((tensors) => withDtype(tensors[i] as Tensor, dtype)),
  );
  const tensors = columns.map((column, i) => (mapped[i] ? stacked(column) : (column[0] as Tensor)));
  const shapes = own.shapes.map((shape, i) => (mapped[i] ? [size, ...shape] : shape));
  const unmapped = [...mapped.keys()].filter((i) => !mapped[i]);
  const one = (...values: Value[]): readonly Value[] => {
    const made = own.build(values);
    return Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
  };
  return { graph: graphOf(tensors, shapes, (values) => vmap(one, { unmapped })(...values)), tensors };
}

/** The largest difference, relative where the wanted number is above 1; infinite where types or shapes differ. */
function difference(actual: Tensor | undefined, wanted: Tensor): number {
  if (actual?.dtype !== wanted.dtype || actual.shape.join() !== wanted.shape.join()) return Infinity;
  const own = toNumbers(actual);
  return toNumbers(wanted).reduce((worst, want, i) => {
    if (own[i] === want || (Number.isNaN(own[i]) && Number.isNaN(want))) return worst;
    const error = Math.abs((own[i] as number) - want) / Math.max(1, Math.abs(want));
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}

describe.each([...operations.keys()])("a batch of %s", (name) => {
  const entry = operationCases[name] as OperationCases;
  const label = ({ case: own, mapped }: Batch) => `${own.label} mapped ${mapped.join()}`;

  it("is its examples one by one", () => {
    for (const [turn, batch] of batches(entry, 16).entries()) {
      const { graph, tensors } = mappedGraph(batch, "float64", turn % 2 === 0 ? "examples" : examples);
      const together = evaluate(graph, feedsOf(graph, tensors));
      const { shapes, build } = batch.case;
      const apart = batch.each.map((own) => {
        const one = graphOf(own, shapes, build);
        return evaluate(one, feedsOf(one, own));
      });
      for (const key of graph.outputs.keys()) {
        const wanted = stacked(apart.map((outputs) => outputs[key] as Tensor));
        // the same float64 sums, some in another order
        expect(difference(together[key], wanted), `${key} ${label(batch)}`).toBeLessThan(1e-12);
      }
    }
  });

  it("runs as the reference says", async () => {
    for (const batch of batches(entry, 3)) {
      const { graph, tensors } = mappedGraph(batch, "float32", "examples");
      const feeds = feedsOf(graph, tensors);
      const wanted = evaluate(graph, feeds);
      const actual = await runtime.compile(graph).run(feeds);
      for (const key of graph.outputs.keys())
        expect(difference(actual[key], wanted[key] as Tensor), `${key} ${label(batch)}`).toBeLessThan(
          Math.max(entry.tolerance, entry.gradientTolerance ?? 2e-5), // float32 of numbers that need not be the cases' own
        );
    }
  });
});

it("the suite sees a batch that is not its examples: the control that must fail", () => {
  const [batch] = batches(operationCases.exp as OperationCases, 16) as [Batch];
  const { graph, tensors } = mappedGraph(batch, "float64", "examples");
  const { y0 } = evaluate(graph, feedsOf(graph, tensors));
  const turned = stacked(
    [...batch.each]
      .reverse()
      .map(([x]) => tensorOf("float64", x?.shape ?? [], [...toNumbers(x as Tensor)].map(Math.exp))),
  );
  expect(difference(y0, turned)).toBeGreaterThan(1e-3);
});

const f64 = (shape: readonly Dim[]) => ({ dtype: "float64", shape }) as const;
const numbers = (...shape: number[]) =>
  tensorOf(
    "float64",
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(2 * i + 1)),
  );
const total = (x: Value) =>
  reduceSum(
    x,
    x.shape.map((_, axis) => axis),
  );

/** Outputs of a function of a batch, and of the function of one of its examples, in the reference. */
function bothWays(one: (x: Value) => Value, x: Tensor): [together: Tensor, apart: Tensor] {
  const mapped = trace((values) => ({ y: vmap(one)(values.x) }), { x: f64(["n", ...x.shape.slice(1)]) });
  const alone = trace((values) => ({ y: one(values.x) }), { x: f64(x.shape.slice(1)) });
  const size = elementCount(x.shape.slice(1));
  const each = Array.from({ length: x.shape[0] as number }, (_, i) => {
    const part = tensorOf("float64", x.shape.slice(1), toNumbers(x).subarray(i * size, (i + 1) * size));
    return evaluate(alone, { x: part }).y as Tensor;
  });
  return [evaluate(mapped, { x }).y as Tensor, stacked(each)];
}

describe("vmap", () => {
  it("of a gradient is the gradient of each example", () => {
    const w = tensorOf("float64", [2, 2], [0.3, -0.2, 0.5, 0.9]);
    const loss = (parameters: Value, x: Value) => total(mul(tanh(matmul(x, parameters)), 2));
    const graph = trace(
      ({ w: weights, xs }) => ({
        each: vmap(grad(loss), { unmapped: [0] })(weights, xs),
        all: grad(loss)(weights, xs),
      }),
      {
        w: f64([2, 2]),
        xs: f64(["n", 1, 2]),
      },
    );
    const { each, all } = evaluate(graph, { w, xs: numbers(5, 1, 2) });
    expect(each?.shape).toEqual([5, 2, 2]);
    const sums = [0, 1, 2, 3].map((k) =>
      toNumbers(each as Tensor).reduce((sum, x, i) => (i % 4 === k ? sum + x : sum), 0),
    );
    sums.forEach((sum, k) => {
      expect(sum).toBeCloseTo(toNumbers(all as Tensor)[k] as number, 12); // sums of five numbers in another order
    });
  });

  it.each<[string, (x: Value) => Value]>([
    [
      "a branch that each takes by itself",
      (x) =>
        ifElse(
          less(total(x), 0.4),
          x,
          (own) => mul(own, own),
          (own) => exp(own),
        ),
    ],
    [
      "loops of different numbers of steps",
      (x) =>
        loop((own: Value) => ({ carry: mul(own, 2) }), { carry: total(mul(x, x)), while: (own) => less(own, 9) }).carry,
    ],
    [
      "the gradient through such a loop",
      grad(
        (x: Value) =>
          loop((own: Value) => ({ carry: mul(own, own) }), {
            carry: add(total(mul(x, x)), 1.1),
            while: (own) => less(own, 9),
            maximum: 8,
          }).carry,
      ),
    ],
    [
      "the gradient of a scan",
      grad((x: Value) =>
        total(
          scan((own: Value, row: Value) => ({ carry: sin(add(own, row)), outputs: own }), {
            carry: total(x),
            sequences: x,
          }).outputs,
        ),
      ),
    ],
    ["vmap", (x) => vmap((row: Value) => mul(row, total(row)))(x)],
    [
      "a function that returns a constant",
      (x) => loop((own: Value) => ({ carry: own }), { carry: cast(less(x, x), "float64"), count: 2 }).carry,
    ],
  ])("of %s", (_, one) => {
    const [together, apart] = bothWays(one, numbers(4, 3));
    expect(difference(together, apart)).toBeLessThan(1e-12); // the same float64 sums, some in another order
  });

  it("takes and gives trees, repeats what no example changes, and reads what is around it", () => {
    const graph = trace(
      ({ a, b, shared }) => {
        const fn = ({ x, y }: { x: Value; y: Value }, [z]: readonly [Value]) => ({
          sum: add(mul(x, y), shared),
          same: [z],
        });
        const { sum, same } = vmap(fn, { unmapped: [1] })({ x: a, y: b }, [shared]);
        return { sum, same: same[0] as Value };
      },
      { a: f64(["n"]), b: f64(["n"]), shared: f64([2]) },
    );
    const feeds = {
      a: tensorOf("float64", [2], [1, 2]),
      b: tensorOf("float64", [2], [3, 4]),
      shared: tensorOf("float64", [2], [10, 20]),
    };
    const { sum, same } = evaluate(graph, feeds);
    expect(sum).toEqual(tensorOf("float64", [2, 2], [13, 23, 18, 28]));
    expect(same).toEqual(tensorOf("float64", [2, 2], [10, 20, 10, 20]));
  });

  it("says what it can't map over", () => {
    const inputs = { a: f64(["n", 2]), b: f64([3, 2]), c: f64([]) };
    const plus = (...xs: Value[]) => xs.reduce((p, q) => add(p, q));
    expect(() => trace(({ a, b }) => ({ y: vmap(plus)(a, b) }), inputs)).toThrow("the arguments have [n, 2], [3, 2]");
    expect(() => trace(({ c }) => ({ y: vmap(plus)(c) }), inputs)).toThrow(
      "needs a mapped argument with a leading axis",
    );
    expect(() => trace(({ a }) => ({ y: vmap(plus, { unmapped: [0] })(a) }), inputs)).toThrow(
      "needs a mapped argument",
    );
  });
});
