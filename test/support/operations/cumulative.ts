/** Generated cases of running sums. */
import fc from "fast-check";
import { cumSum, type Value } from "../../../src/graph/index.js";
import { float, type OperationCases, sizeOrNone, summed, tensorArbitrary, whole, withAxis } from "./case.js";

const sums = withAxis(
  (shape, _, written) =>
    fc
      .tuple(
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom(["float32", float(-4, 4)] as const, ["int64", whole] as const, ["int32", whole] as const),
      )
      .map(([exclusive, reverse, [dtype, values]]) => ({
        tensors: [tensorArbitrary(dtype, shape, values)],
        build: ([x]) => cumSum(x as Value, written, { exclusive, reverse }),
        label: `${dtype} axis ${written} exclusive ${exclusive} reverse ${reverse}`,
      })),
  sizeOrNone,
);

export const cumulativeCases: Readonly<Record<string, OperationCases>> = {
  cumSum: summed(sums),
};
