/**
 * One suite for every gradient rule of the table, over the generated cases of the operations: the float64 reference of the
 * gradient against differences of values, forward mode against the same, second derivatives in both orders, and the
 * emitted gradient in ONNX Runtime against the reference.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type OperationCase, type OperationCases, operationCases } from "../../../test/support/operations/index.js";
import { smoothed } from "../../../test/support/operations/smooth.js";
import { createRuntime } from "../../runtime/index.js";
import {
  add,
  constant,
  type Dtype,
  elementCount,
  evaluate,
  flat,
  type Graph,
  grad,
  hessianVectorProduct,
  isFloat,
  jvp,
  mul,
  operations,
  reduceSum,
  type Tensor,
  tensorOf,
  toNumbers,
  topologicalOrder,
  trace,
  type Value,
  type ValueType,
  vjp,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

/** A case whose float inputs lie away from kinks and ties, with a direction to move them in and weights of the outputs. */
interface Smooth {
  readonly case: OperationCase;
  readonly tensors: readonly Tensor[];
  /** Which inputs are floats. */
  readonly float: readonly number[];
  readonly directions: readonly Tensor[];
}

const cases = (entry: OperationCases, count: number): Smooth[] =>
  fc
    .sample(entry.cases, { seed: 2, numRuns: count })
    .map((own, k) => smoothed(own, entry, k))
    .filter((own) => own.float.length > 0 && own.tensors.every(({ data }) => data.length > 0));

/** Names and tensors that a graph of a case is fed: x0, x1, ... and a direction d0, d1, ... for each float input. */
function feedsOf({ tensors, directions, float }: Smooth, dtype: Dtype, graph: Graph): Record<string, Tensor> {
  const as = (value: Tensor) => tensorOf(dtype, value.shape, toNumbers(value));
  const all = [
    ...tensors.map((value, i) => [`x${i}`, float.includes(i) ? as(value) : value] as const),
    ...float.map((i, k) => [`d${i}`, as(directions[k] as Tensor)] as const),
  ];
  const used = new Set(graph.inputs.map(({ node }) => node.attributes.name));
  return Object.fromEntries(all.filter(([name]) => used.has(name)));
}

type Build = (f: (xs: readonly Value[]) => Value[], xs: Value[], directions: Value[]) => readonly Value[];

/** A graph of what `build` makes of the operation's float outputs as a function of its float inputs. */
function graphOf({ case: own, tensors, float }: Smooth, dtype: Dtype, build: Build): Graph {
  const typeOf = (i: number): ValueType => ({
    dtype: float.includes(i) ? dtype : (tensors[i] as Tensor).dtype,
    shape: own.shapes[i] as ValueType["shape"],
  });
  const inputs = Object.fromEntries([
    ...tensors.map((_, i) => [`x${i}`, typeOf(i)] as const),
    ...float.map((i) => [`d${i}`, typeOf(i)] as const),
  ]);
  return trace((values) => {
    const f = (xs: readonly Value[]) => {
      const given = tensors.map((_, i) => (float.includes(i) ? xs[float.indexOf(i)] : values[`x${i}`]) as Value);
      const made = own.build(given);
      return (Array.isArray(made) ? (made as readonly Value[]) : [made as Value]).filter((y) => isFloat(y.dtype));
    };
    const named = (prefix: string) => float.map((i) => values[`${prefix}${i}`] as Value);
    return Object.fromEntries(build(f, named("x"), named("d")).map((value, i) => [`y${i}`, value]));
  }, inputs);
}

/** The numbers that weight outputs: the same for every element, but not symmetric over outputs or positions. */
function weighted(outputs: readonly Value[]): Value {
  const terms = outputs.map((y, k) => {
    const all = y.shape.map((_, axis) => axis);
    const centred = mul(y, add(mul(y, 0.3), 0.7 + k)); // a square, so that second derivatives are not zero
    return reduceSum(centred, all);
  });
  return terms.reduce((a, b) => add(a, b));
}

const dot = (a: readonly Value[], b: readonly Value[]): Value =>
  a
    .map((x, i) => mul(x, b[i] as Value))
    .map((x) =>
      reduceSum(
        x,
        x.shape.map((_, axis) => axis),
      ),
    )
    .reduce((x, y) => add(x, y));

/** Outputs of a graph after the float inputs moved by `step` times the direction, as one list of numbers. */
function moved(own: Smooth, graph: Graph, step: number): number[] {
  const tensors = own.tensors.map((value, i) => {
    const k = own.float.indexOf(i);
    if (k < 0) return value;
    const from = toNumbers(value);
    const along = toNumbers(own.directions[k] as Tensor);
    return tensorOf(
      "float64",
      value.shape,
      from.map((x, j) => x + step * (along[j] as number)),
    );
  });
  const results = evaluate(graph, feedsOf({ ...own, tensors }, "float64", graph));
  return [...graph.outputs.keys()].flatMap((name) => [...toNumbers(results[name] as Tensor)]);
}

/** The derivative along the direction by differences at four points (their error falls with the fourth power of the step). */
function difference(own: Smooth, graph: Graph, { stops = false }: OperationCases): number[] {
  const step = stops ? 0 : 1e-3;
  const [a, b, c, d] = [-2, -1, 1, 2].map((n) => moved(own, graph, n * step)) as [
    number[],
    number[],
    number[],
    number[],
  ];
  return a.map((x, i) => (x - 8 * (b[i] as number) + 8 * (c[i] as number) - (d[i] as number)) / (12 * 1e-3));
}

const numbersOf = (own: Smooth, graph: Graph): number[] => moved(own, graph, 0);

/** The largest difference, relative where the wanted number is above 1. */
function worst(actual: readonly number[], wanted: readonly number[]): number {
  if (actual.length !== wanted.length) return Infinity;
  return wanted.reduce((most, want, i) => {
    const error = Math.abs((actual[i] as number) - want) / Math.max(1, Math.abs(want));
    return Number.isNaN(error) ? Infinity : Math.max(most, error);
  }, 0);
}

/** Fourth-order differences with a step of 1e-3 are good to some 1e-9 where the fifth derivative is of the order of 1000. */
const differenceTolerance = ({ differenceTolerance: own = 1e-7 }: OperationCases) => own;
/** Two exact computations in float64. */
const exactTolerance = 1e-10;

describe.each([...operations.keys()])("the gradient of %s", (name) => {
  const operation = operations.get(name);
  const entry = operationCases[name] as OperationCases;

  it("has a rule", () => {
    expect(operation?.gradient).toBeDefined();
  });

  it("is what differences of values say, backward and forward", () => {
    const checked = cases(entry, 25);
    for (const own of checked) {
      const value = graphOf(own, "float64", (f, xs) => f(xs));
      if (value.outputs.size === 0) continue; // whole numbers and booleans alone
      const wanted = difference(own, value, entry);
      const forward = graphOf(own, "float64", (f, xs, d) => [...jvp((x: readonly Value[]) => f(x), xs, d).tangent]);
      const label = `${own.case.label} ${JSON.stringify(own.tensors.map(({ shape }) => shape))}`;
      expect(worst(numbersOf(own, forward), wanted), label).toBeLessThan(differenceTolerance(entry));
      const scalar = graphOf(own, "float64", (f, xs) => [weighted(f(xs))]);
      const backward = graphOf(own, "float64", (f, xs, d) => [dot(grad((x: Value[]) => weighted(f(x)))(xs), d)]);
      expect(worst(numbersOf(own, backward), difference(own, scalar, entry)), label).toBeLessThan(
        differenceTolerance(entry),
      );
      const takesInputs = topologicalOrder(value.outputs.values()).some(
        (node) => node.operation === name && node.inputs.length > 0,
      );
      if (operation?.gradient === flat && takesInputs)
        expect(wanted.every((slope) => Math.abs(slope) < 1e-9)).toBe(true);
    }
  });

  it("has a gradient itself: forward over reverse and reverse over reverse agree with differences", () => {
    for (const own of cases(entry, 8)) {
      const value = graphOf(own, "float64", (f, xs) => f(xs));
      if (value.outputs.size === 0) continue;
      const scalar = (f: (xs: readonly Value[]) => Value[]) => (x: Value[]) => weighted(f(x));
      const first = graphOf(own, "float64", (f, xs) => grad(scalar(f))(xs));
      const forward = graphOf(own, "float64", (f, xs, d) => hessianVectorProduct(scalar(f), xs, d));
      const reverse = graphOf(own, "float64", (f, xs, d) => grad((x: Value[]) => dot(grad(scalar(f))(x), d))(xs));
      const wanted = difference(own, first, entry);
      expect(worst(numbersOf(own, forward), wanted), own.case.label).toBeLessThan(differenceTolerance(entry));
      expect(worst(numbersOf(own, reverse), numbersOf(own, forward)), own.case.label).toBeLessThan(exactTolerance);
    }
  });

  it("runs as its reference says", async () => {
    for (const own of cases(entry, 12)) {
      const build: Build = (f, xs) => {
        const { value, pullback } = vjp((x: readonly Value[]) => f(x), xs);
        return value.length === 0 ? [] : [...pullback(value)];
      };
      const graph = graphOf(own, "float32", build);
      if (graph.outputs.size === 0) continue;
      const feeds = feedsOf(own, "float32", graph);
      const wanted = evaluate(graph, feeds);
      const actual = await runtime.compile(graph).run(feeds);
      for (const [key, value] of Object.entries(wanted)) {
        const error = worst([...toNumbers(actual[key] as Tensor)], [...toNumbers(value)]);
        expect(error, own.case.label).toBeLessThan(entry.gradientTolerance ?? 2e-5);
      }
    }
  });
});

describe("the suite itself", () => {
  it("sees a wrong rule: the control that must fail", () => {
    const entry = operationCases.mul as OperationCases;
    const own = cases(entry, 25).find(({ float }) => float.length === 2) as Smooth;
    const value = graphOf(own, "float64", (f, xs) => f(xs));
    const wrong = graphOf(own, "float64", (f, xs, d) => [
      ...jvp((x: readonly Value[]) => f(x), xs, d).tangent.map((t) =>
        mul(t, constant(tensorOf("float64", [], [1.001]))),
      ),
    ]);
    expect(worst(numbersOf(own, wrong), difference(own, value, entry))).toBeGreaterThan(differenceTolerance(entry));
  });

  it("checks something for every operation with a slope", () => {
    const unchecked = [...operations.values()]
      .filter(({ gradient }) => gradient !== flat)
      .filter(
        ({ name }) =>
          !cases(operationCases[name] as OperationCases, 25).some(
            (own) => elementCount(own.tensors[0]?.shape ?? [0]) > 0,
          ),
      )
      .map(({ name }) => name);
    expect(unchecked).toEqual([]);
  });
});
