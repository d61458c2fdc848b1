/**
 * Checks for functions that are made of operations and so are no entries of the table: stored cases of other tools, the
 * runtime against the reference, and gradients against differences of values.
 */
import { readFileSync } from "node:fs";
import {
  type Attributes,
  add,
  constant,
  type Dim,
  type Dtype,
  evaluate,
  type Graph,
  grad,
  isFloat,
  mul,
  reduceSum,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
} from "../../../src/graph/index.js";
import type { Runtime } from "../../../src/runtime/index.js";

export type Build = (values: readonly Value[]) => Value | readonly Value[];

export interface FunctionCase {
  readonly attributes: Attributes;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
}

type StoredCase = { operation: string; attributes: Attributes; inputs: StoredTensor[]; outputs: StoredTensor[] };

const nonFinite: Readonly<Record<string, number>> = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const read = ({ dtype, shape, data }: StoredTensor): Tensor =>
  tensorOf(
    dtype,
    shape,
    data.map((x) => (typeof x === "number" ? x : (nonFinite[x] as number))),
  );

/** The stored cases of a function in the fixture of a family. */
export function storedCases(family: string, name: string): FunctionCase[] {
  const text = readFileSync(new URL(`../../fixtures/graph/${family}.json`, import.meta.url), "utf8");
  return (JSON.parse(text) as StoredCase[])
    .filter(({ operation }) => operation === name)
    .map(({ attributes, inputs, outputs }) => ({ attributes, inputs: inputs.map(read), outputs: outputs.map(read) }));
}

const listOf = (made: Value | readonly Value[]) => (Array.isArray(made) ? (made as Value[]) : [made as Value]);

/** Inputs x0, x1, ... of the tensors' types; sizes in `named` are symbols. Outputs are y0, y1, ... */
function graphOf(tensors: readonly Tensor[], build: Build, named: readonly number[], dtype?: Dtype): Graph {
  const inputs = Object.fromEntries(
    tensors.map(({ dtype: own, shape }, i) => {
      const dims = shape.map((n): Dim => (named.includes(n) ? `n${n}` : n));
      return [`x${i}`, { dtype: dtype !== undefined && isFloat(own) ? dtype : own, shape: dims }];
    }),
  );
  return trace(
    (values) =>
      Object.fromEntries(
        listOf(build(tensors.map((_, i) => values[`x${i}`] as Value))).map((value, i) => [`y${i}`, value]),
      ),
    inputs,
  );
}

function feedsOf(graph: Graph, tensors: readonly Tensor[], dtype?: Dtype): Record<string, Tensor> {
  const used = new Set(graph.inputs.map(({ node }) => node.attributes.name));
  const fed = tensors.map((value) =>
    dtype !== undefined && isFloat(value.dtype) ? tensorOf(dtype, value.shape, toNumbers(value)) : value,
  );
  return Object.fromEntries(fed.map((value, i) => [`x${i}`, value] as const).filter(([name]) => used.has(name)));
}

/** The largest difference of two tensors, relative where the wanted number is above 1; infinite where shapes differ. */
export function difference(actual: Tensor | undefined, wanted: Tensor): number {
  if (actual === undefined || actual.shape.join() !== wanted.shape.join()) return Infinity;
  const [a, b] = [toNumbers(actual), toNumbers(wanted)];
  return b.reduce((worst, want, i) => {
    if (Object.is(a[i], want)) return worst;
    const error = Math.abs((a[i] as number) - want) / Math.max(1, Math.abs(want));
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}

/** How far the float64 reference of a function is from stored outputs. */
export function referenceError(build: Build, { inputs, outputs }: FunctionCase, named: readonly number[] = []): number {
  const graph = graphOf(inputs, build, named);
  const results = evaluate(graph, feedsOf(graph, inputs));
  return Math.max(...outputs.map((wanted, i) => difference(results[`y${i}`], wanted)));
}

/** How far the runtime's float32 outputs, and gradients of a function of them, are from the reference's. */
export async function runtimeError(
  runtime: Runtime,
  build: Build,
  tensors: readonly Tensor[],
  named: readonly number[] = [],
): Promise<number> {
  const errors = [build, gradientOf(build)].map(async (own) => {
    const graph = graphOf(tensors, own, named, "float32");
    const feeds = feedsOf(graph, tensors, "float32");
    const wanted = evaluate(graph, feeds);
    const actual = await runtime.compile(graph).run(feeds);
    return Math.max(0, ...Object.entries(wanted).map(([name, value]) => difference(actual[name], value)));
  });
  return Math.max(...(await Promise.all(errors)));
}

const all = (x: Value) => x.shape.map((_, axis) => axis);

/** A number that depends on every output unevenly, with second derivatives. */
const weighted = (outputs: readonly Value[]): Value =>
  outputs
    .filter(({ dtype }) => isFloat(dtype))
    .map((y, k) => reduceSum(mul(y, add(mul(y, 0.3), 0.7 + k)), all(y)))
    .reduce((a, b) => add(a, b));

/** The gradients of that number with respect to every float input. */
function gradientOf(build: Build): Build {
  return (values) => {
    const floats = values.filter(({ dtype }) => isFloat(dtype));
    return grad((xs: Value[]) => {
      let next = 0;
      return weighted(listOf(build(values.map((value) => (isFloat(value.dtype) ? (xs[next++] as Value) : value)))));
    })(floats);
  };
}

/**
 * The gradient and the second derivative of a function along a direction of its float inputs, in float64, against
 * four-point differences with a step of 1e-3: the larger error, relative where the wanted number is above 1.
 */
export function derivativeError(build: Build, tensors: readonly Tensor[]): number {
  const directions = tensors.map(({ shape, data }, k) =>
    tensorOf(
      "float64",
      shape,
      Array.from(data as ArrayLike<unknown>, (_, i) => Math.cos(3.7 * i + 1.3 * k)),
    ),
  );
  const along =
    (own: Build): Build =>
    (values) => {
      const floats = values.flatMap(({ dtype }, i) => (isFloat(dtype) ? [i] : []));
      return listOf(gradientOf(own)(values))
        .map((g, i) => mul(g, constant(directions[floats[i] as number] as Tensor)))
        .map((x) => reduceSum(x, all(x)))
        .reduce((a, b) => add(a, b));
    };
  const scalar: Build = (values) => weighted(listOf(build(values)));
  const value = (own: Build, step: number): number => {
    const moved = tensors.map((x, i) => {
      if (!isFloat(x.dtype)) return x;
      const direction = toNumbers(directions[i] as Tensor);
      return tensorOf(
        "float64",
        x.shape,
        toNumbers(x).map((from, j) => from + step * (direction[j] as number)),
      );
    });
    const graph = graphOf(moved, own, []);
    return toNumbers(evaluate(graph, feedsOf(graph, moved)).y0 as Tensor)[0] as number;
  };
  const slope = (own: Build) =>
    (value(own, -2e-3) - 8 * value(own, -1e-3) + 8 * value(own, 1e-3) - value(own, 2e-3)) / 12e-3;
  const error = (actual: number, wanted: number) => Math.abs(actual - wanted) / Math.max(1, Math.abs(wanted));
  const first = along(build);
  // `weighted` of a first derivative is a function of it, so its own gradient holds the second derivatives
  return Math.max(
    error(value(first, 0), slope(scalar)),
    error(
      value(along(first), 0),
      slope((v) => weighted(listOf(first(v)))),
    ),
  );
}
