/** Attention and positions: ONNX's numbers (with which PyTorch's agree), in the runtime, and their gradients. */
import { afterAll, describe, expect, it } from "vitest";
import {
  derivativeError,
  type FunctionCase,
  referenceError,
  runtimeError,
  storedCases,
} from "../../../test/support/operations/functionChecks.js";
import { createRuntime } from "../../runtime/index.js";
import {
  alibiBias,
  attention,
  concat,
  constant,
  type Dim,
  evaluate,
  input,
  rotaryAngles,
  rotaryEmbedding,
  rotaryFrequencies,
  type Tensor,
  tensorOf,
  toNumbers,
  trace,
  type Value,
} from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const value = (...shape: Dim[]) => input("x", "float32", shape);

describe("attention", () => {
  const cases = storedCases("attention", "attention");
  const build =
    ({ attributes }: FunctionCase, what: "output" | "pattern" = "output") =>
    ([q, k, v, mask]: readonly Value[]) =>
      attention(q as Value, k as Value, v as Value, { ...attributes, ...(mask && { mask }) })[what];

  it.each(cases.map((own, i) => [i, own] as const))("case %i is what ONNX computes", async (_, own) => {
    expect(referenceError(build(own), own)).toBeLessThan(1e-13);
    // 3 and 5 are queries, keys and the size of values, which may be unknown
    expect(referenceError(build(own), own, [3, 5])).toBeLessThan(1e-13);
    // float32: a few products of ordinary numbers
    expect(await runtimeError(runtime, build(own), own.inputs, [3, 5])).toBeLessThan(1e-5);
  });

  it.each(cases.map((own, i) => [i, own] as const))("case %i has the gradient that differences say", (_, own) => {
    const [q, k, v, mask] = own.inputs as readonly Tensor[];
    const fixed = mask !== undefined && [...toNumbers(mask)].some((x) => !Number.isFinite(x));
    const inputs = fixed ? [q, k, v] : own.inputs; // hidden keys can't be moved by a step
    const given: typeof build = (one) => (values) =>
      build(one)(fixed ? [...values, constant(tensorOf("float64", mask.shape, toNumbers(mask)))] : values);
    // smooth functions of numbers of the order of 1, at four points 1e-3 apart
    expect(derivativeError(given(own), inputs as Tensor[])).toBeLessThan(1e-7);
    expect(derivativeError(given(own, "pattern"), inputs as Tensor[])).toBeLessThan(1e-7);
  });

  it("gives nothing of hidden keys and zeros where all are hidden", () => {
    const graph = trace(({ q, k, v, mask }) => ({ ...attention(q, k, v, { mask, causal: true }) }), {
      q: { dtype: "float64", shape: [1, 1, 2, 2] },
      k: { dtype: "float64", shape: [1, 1, 3, 2] },
      v: { dtype: "float64", shape: [1, 1, 3, 1] },
      mask: { dtype: "bool", shape: [2, 3] },
    });
    const { output, pattern } = evaluate(graph, {
      q: tensorOf("float64", [1, 1, 2, 2], [1, 2, 3, 4]),
      k: tensorOf("float64", [1, 1, 3, 2], [1, 0, 0, 1, 5, 5]),
      v: tensorOf("float64", [1, 1, 3, 1], [10, 20, 40]),
      mask: tensorOf("bool", [2, 3], [0, 1, 1, 0, 1, 1]),
    });
    expect([...toNumbers(pattern as Tensor)]).toEqual([0, 0, 0, 0, 1, 0]);
    expect([...toNumbers(output as Tensor)]).toEqual([0, 20]);
  });

  it("continues from a cache: the last queries alone give the same rows", () => {
    const type = (n: Dim) => ({ dtype: "float64", shape: [1, 2, n, 2] }) as const;
    const graph = trace(
      ({ past, now }) => {
        const keys = concat([past, now], 2);
        const whole = attention(keys, keys, keys, { causal: true }).output;
        return { whole, part: attention(now, keys, keys, { causal: true, past: "past" }).output };
      },
      { past: type("past"), now: type("seq") },
    );
    const numbers = (n: number, k: number) =>
      tensorOf(
        "float64",
        [1, 2, n, 2],
        Array.from({ length: 4 * n }, (_, i) => Math.sin(k + i)),
      );
    const { whole, part } = evaluate(graph, { past: numbers(3, 1), now: numbers(2, 5) });
    const rows = (from: Tensor | undefined, queries: number) =>
      [0, 1].flatMap((head) =>
        [...toNumbers(from as Tensor)].slice((head + 1) * queries * 2 - 4, (head + 1) * queries * 2),
      );
    expect(rows(part, 2)).toEqual(rows(whole, 5));
  });

  it.each<[string, () => unknown, string]>([
    ["rank", () => attention(value(2, 3), value(2, 3), value(2, 3)), "each must be [batch, heads, positions, size]"],
    [
      "sizes",
      () => attention(value(1, 2, 3, 4), value(1, 2, 3, 5), value(1, 2, 3, 4)),
      "attention(q [1, 2, 3, 4], k [1, 2, 3, 5], v [1, 2, 3, 4]): batches, sizes of queries and keys",
    ],
    ["keys and values", () => attention(value(1, 2, 3, 4), value(1, 2, 3, 4), value(1, 2, 5, 4)), "must agree"],
    [
      "heads",
      () => attention(value(1, 3, 3, 4), value(1, 2, 3, 4), value(1, 2, 3, 4)),
      "the heads of keys must divide those of queries",
    ],
    ["frequencies", () => rotaryFrequencies(5), "the rotated size must be even and at least 2, not 5"],
    ["heads of ALiBi", () => alibiBias(0, value(3), value(3)), "heads must be a whole number of at least 1, not 0"],
  ])("refuses wrong %s", (_, call, message) => {
    expect(call).toThrow(message);
  });
});

describe("rotary embedding", () => {
  const build =
    ({ attributes }: FunctionCase) =>
    ([x, cosine, sine]: readonly Value[]) =>
      rotaryEmbedding(x as Value, {
        cosine: cosine as Value,
        sine: sine as Value,
        interleaved: attributes.interleaved as boolean,
      });
  const cases = storedCases("attention", "rotaryEmbedding").map((own) => {
    // ONNX's angles are [batch, positions, pairs]; here they broadcast against [batch, heads, positions, size]
    const [x, ...angles] = own.inputs as readonly Tensor[];
    const withHeads = angles.map(({ dtype, shape: [batch = 1, ...rest], data }) => ({
      dtype,
      shape: [batch, 1, ...rest],
      data,
    }));
    return { ...own, inputs: [x as Tensor, ...withHeads] };
  });

  it.each(cases.map((own, i) => [i, own] as const))("case %i is what ONNX computes", async (_, own) => {
    for (const named of [[], [2, 3, 5], [4, 6]]) expect(referenceError(build(own), own, named)).toBeLessThan(1e-13);
    expect(await runtimeError(runtime, build(own), own.inputs, [3, 5])).toBeLessThan(1e-5); // float32 rounding
    expect(derivativeError(build(own), own.inputs)).toBeLessThan(1e-7); // a polynomial
  });

  it("turns by position times frequency, so that products know only distances", () => {
    const frequencies = rotaryFrequencies(4, 100);
    expect(frequencies).toEqual([1, 0.1]);
    const graph = trace(({ x, at }) => ({ y: rotaryEmbedding(x, rotaryAngles(at, frequencies)) }), {
      x: { dtype: "float32", shape: ["n", 4] },
      at: { dtype: "int64", shape: ["n"] },
    });
    const x = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4];
    const { y } = evaluate(graph, { x: tensorOf("float32", [3, 4], x), at: tensorOf("int64", [3], [3, 10, 17]) });
    const rows = [0, 1, 2].map((i) => toNumbers(y as Tensor).slice(4 * i, 4 * i + 4));
    const product = (i: number, j: number) =>
      (rows[i] as Float64Array).reduce((sum, a, e) => sum + a * ((rows[j] as Float64Array)[e] as number), 0);
    expect(product(0, 1)).toBeCloseTo(product(1, 2), 4); // frequencies are float32
    expect(product(0, 0)).toBeCloseTo(30, 4);
    expect(product(0, 1)).not.toBeCloseTo(product(0, 2), 1);
  });
});

it.each(storedCases("attention", "alibiBias").map((own) => [own.attributes.heads as number, own] as const))(
  "the bias of ALiBi for %i heads is that of BLOOM",
  (heads, { inputs: [positions], outputs: [wanted] }) => {
    const graph = trace(({ at }) => ({ bias: alibiBias(heads, at, at) }), { at: { dtype: "int64", shape: ["seq"] } });
    const { bias } = evaluate(graph, { at: positions as Tensor });
    const [own, all] = [toNumbers(bias as Tensor), toNumbers(wanted as Tensor)];
    expect(bias?.shape).toEqual(wanted?.shape);
    own.forEach((x, i) => {
      const [query, key] = [Math.floor(i / 5) % 5, i % 5];
      if (key <= query)
        expect(x).toBeCloseTo(all[i] as number, 6); // slopes are float32
      else expect(x).toBe(own[i - query * 5 - key + key * 5 + query]); // a distance either way
    });
  },
);
