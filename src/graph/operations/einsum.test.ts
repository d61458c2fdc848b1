/** Einstein sums: NumPy's numbers for every form of equation, with symbolic sizes, in the runtime, and their gradients. */
import { afterAll, describe, expect, it } from "vitest";
import {
  derivativeError,
  referenceError,
  runtimeError,
  storedCases,
} from "../../../test/support/operations/functionChecks.js";
import { createRuntime } from "../../runtime/index.js";
import { type Dim, einsum, input, topologicalOrder } from "../index.js";

const runtime = createRuntime({ threads: 1 });
afterAll(() => runtime.close());

const cases = storedCases("einsum", "einsum").map((own) => ({ ...own, equation: own.attributes.equation as string }));
const value = (...shape: Dim[]) => input("x", "float32", shape);

describe.each(cases)("einsum $equation", (own) => {
  const build = (values: Parameters<typeof einsum>[1][]) => einsum(own.equation, ...values);

  it("is what NumPy says, whichever sizes are symbols", () => {
    for (const named of [[], [2], [3], [4], [2, 3], [2, 3, 4, 5]])
      expect(referenceError((values) => build([...values]), own, named)).toBeLessThan(1e-13); // sums of a few products
  });

  it("runs with its gradient, which is what differences say", async () => {
    // float32 sums of at most 24 products of ordinary numbers, and of as many in the gradient
    expect(await runtimeError(runtime, (values) => build([...values]), own.inputs, [2, 3, 4])).toBeLessThan(1e-5);
    // polynomials of a low degree: differences at four points are exact up to rounding over the step
    expect(derivativeError((values) => build([...values]), own.inputs)).toBeLessThan(1e-7);
  });
});

describe("einsum's road", () => {
  const kinds = (equation: string, ...shapes: Dim[][]) =>
    topologicalOrder([einsum(equation, ...shapes.map((shape) => value(...shape)))])
      .filter(({ inputs }) => inputs.length > 0)
      .map(({ operation }) => operation);

  it.each<[string, Dim[][], string[]]>([
    [
      "ij,jk->ik",
      [
        [2, 3],
        [3, 4],
      ],
      ["matmul"],
    ],
    [
      "ij,kj->ik",
      [
        [2, 3],
        [4, 3],
      ],
      ["matmul"],
    ],
    [
      "ij,jk->ki",
      [
        [2, 3],
        [3, 4],
      ],
      ["matmul"],
    ],
    [
      "bij,bjk->bik",
      [
        ["b", "s", 3],
        ["b", 3, "t"],
      ],
      ["matmul"],
    ],
    [
      "bsd,df->bsf",
      [
        ["b", "s", 3],
        [3, 4],
      ],
      ["reshape", "matmul", "reshape"],
    ],
    [
      "bshe,bthe->bhst",
      [
        ["b", "s", 2, 4],
        ["b", "t", 2, 4],
      ],
      ["transpose", "transpose", "matmul"],
    ],
    [
      "bi,bi->b",
      [
        ["b", 3],
        ["b", 3],
      ],
      ["mul", "reduceSum"],
    ],
  ])("%s needs no more than it must", (equation, shapes, wanted) => {
    expect(kinds(equation, ...shapes)).toEqual(wanted);
  });
});

describe("einsum's errors", () => {
  it.each<[string, Dim[][], string]>([
    ["ij;jk", [[2, 3]], 'einsum "ij;jk": expected letters'],
    ["ij->i->j", [[2, 3]], 'einsum "ij->i->j": expected letters'],
    ["..i...", [[2, 3]], 'einsum "..i...": expected letters'],
    ["ij,jk->ik", [[2, 3]], "it has 2 terms for 1 values"],
    ["ijk->i", [[2, 3]], '"ijk" does not fit a value of shape [2, 3]'],
    ["i->i", [[2, 3]], '"i" does not fit a value of shape [2, 3]'],
    ["ij->ik", [[2, 3]], '"k" of the result must occur once in it, and in a term'],
    ["ij->ii", [[2, 3]], '"i" of the result must occur once in it, and in a term'],
    ["ii->i", [[2, 3]], '"i" is 2 and also 3'],
    [
      "ij,jk->ik",
      [
        ["n", "m"],
        ["n", 4],
      ],
      '"j" is m and also n',
    ],
    [
      "...i,...i->...",
      [
        [2, 3, 4],
        [5, 3, 4],
      ],
      "an axis of ... is 2 and also 5",
    ],
  ])("%s", (equation, shapes, message) => {
    expect(() => einsum(equation, ...shapes.map((shape) => value(...shape)))).toThrow(message);
  });
});
