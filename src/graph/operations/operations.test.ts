/**
 * One suite for every operation of the table: the float64 reference against ONNX's own reference evaluator (a fixture),
 * and the emitted graph in ONNX Runtime against the reference (generated cases). An operation without cases fails.
 */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type OperationCase, operationCases } from "../../../test/support/operations/index.js";
import { readAttributes, type StoredAttribute } from "../../../test/support/operations/storedBody.js";
import { createRuntime } from "../../runtime/index.js";
import {
  apply,
  bindDims,
  type Dtype,
  evaluate,
  evaluateDim,
  type Graph,
  operationNamed,
  operations,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
  type ValueType,
} from "../index.js";

interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: number[];
  readonly data: (number | string)[];
}

interface StoredCase {
  readonly operation: string;
  readonly attributes: Readonly<Record<string, StoredAttribute>>;
  readonly inputs: StoredTensor[];
  readonly outputs: StoredTensor[];
}

const fixtures = new URL("../../../test/fixtures/graph/", import.meta.url);
const stored = readdirSync(fixtures)
  .filter((file) => file.endsWith(".json"))
  .flatMap((file) => JSON.parse(readFileSync(new URL(file, fixtures), "utf8")) as StoredCase[]);
const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const nonFinite: Readonly<Record<string, number>> = { inf: Infinity, "-inf": -Infinity, nan: NaN };

function read({ dtype, shape, data }: StoredTensor): Tensor {
  return tensorOf(
    dtype,
    shape,
    data.map((x) => (typeof x === "number" ? x : (nonFinite[x] as number))),
  );
}

/** The largest difference, relative to the wanted value where that is above 1; infinite where types or shapes differ. */
function difference(actual: Tensor | undefined, wanted: Tensor): number {
  if (actual?.dtype !== wanted.dtype || actual.shape.join() !== wanted.shape.join()) return Infinity;
  const [a, b] = [toNumbers(actual), toNumbers(wanted)];
  return b.reduce((worst, want, i) => {
    const own = a[i] as number;
    if (own === want || (Number.isNaN(own) && Number.isNaN(want))) return worst;
    const error = Math.abs(own - want) / Math.max(1, Math.abs(want));
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}

/** A graph whose inputs x0, x1, ... have these types and whose outputs y0, y1, ... are what `build` returns. */
function graphOf(types: readonly ValueType[], build: OperationCase["build"]): Graph {
  const inputs = Object.fromEntries(types.map((type, i) => [`x${i}`, type]));
  return trace((values) => {
    const made = build(types.map((_, i) => values[`x${i}`] as Value));
    const outputs = Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
    return Object.fromEntries(outputs.map((value, i) => [`y${i}`, value]));
  }, inputs);
}

const feedsOf = (tensors: readonly Tensor[]) => Object.fromEntries(tensors.map((value, i) => [`x${i}`, value]));

/** ONNX's evaluator computes norms in float32 whatever their input is. */
const fixtureTolerance = (name: string) => (name.endsWith("Norm") ? 1e-6 : 1e-13);

/** Operations that ONNX has no operator for: what they are instead. */
const withoutOperator: Readonly<Record<string, string>> = {
  stopGradient: "an identity, and an instruction to gradients",
  checkpoint: "an identity, and an instruction to gradients",
  barrier: "an identity, and an instruction to the order of computation",
  customGradient: "an identity, and an instruction to gradients",
  dimension: "a size of an input's shape",
};

describe.each([...operations.keys()])("%s", (name) => {
  it("means what ONNX's reference evaluator computes", () => {
    if (name in withoutOperator) return expect(operations.get(name)).toBeDefined();
    const cases = stored.filter(({ operation }) => operation === name);
    expect(cases.length).toBeGreaterThan(0);
    for (const { attributes, inputs, outputs } of cases) {
      const tensors = inputs.map(read);
      const graph = graphOf(tensors, (values) => apply(operationNamed(name), values, readAttributes(attributes)));
      const results = evaluate(graph, feedsOf(tensors));
      const errors = outputs.map((output, i) => difference(results[`y${i}`], read(output)));
      expect(Math.max(...errors), JSON.stringify({ attributes, inputs })).toBeLessThanOrEqual(fixtureTolerance(name));
    }
  });

  it("runs as the reference says, with the shapes that it infers", async () => {
    const entry = operationCases[name];
    if (entry === undefined) throw new Error(`the operation ${name} has no generated cases`);
    const property = fc.asyncProperty(entry.cases, async ({ tensors, shapes, build }) => {
      const types = tensors.map(({ dtype }, i): ValueType => ({ dtype, shape: shapes[i] as ValueType["shape"] }));
      const graph = graphOf(types, build);
      const feeds = Object.fromEntries(
        Object.entries(feedsOf(tensors)).filter(([key]) => graph.inputs.some((v) => v.node.attributes.name === key)),
      );
      const wanted = evaluate(graph, feeds);
      const actual = await runtime.compile(graph).run(feeds);
      const sizes = bindDims(graph.inputs, new Map(Object.entries(feeds).map(([key, { shape }]) => [key, shape])));
      for (const [key, { dtype, shape }] of graph.outputs) {
        expect(wanted[key]?.shape).toEqual(shape.map((dim) => evaluateDim(dim, sizes)));
        expect(wanted[key]?.dtype).toBe(dtype);
        expect(difference(actual[key], wanted[key] as Tensor)).toBeLessThanOrEqual(entry.tolerance);
      }
    });
    await fc.assert(property, { seed: 1, numRuns: 40 });
  });
});
