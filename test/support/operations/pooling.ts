/** Generated cases of poolings. */
import fc, { type Arbitrary } from "fast-check";
import {
  averagePool,
  lpPool,
  maxPool,
  maxPoolIndices,
  type PoolingOptions,
  type Tensor,
  type Value,
} from "../../../src/graph/index.js";
import {
  exact,
  float,
  type Numbers,
  type OperationCase,
  type OperationCases,
  summed,
  tensorArbitrary,
} from "./case.js";
import { type Axis, axesArbitrary, fedValue, kernelOf, labelOf, optionsOf } from "./windows.js";

type Make = (x: Value, kernel: readonly number[], options: PoolingOptions) => Value;

/** Whether every window has a place outside the padding: a dilated one may have none. */
const covered = (axes: readonly Axis[]) =>
  axes.every(({ dilation, before, after }) => dilation === 1 || before + after === 0);

/** Rounding up changes where the last window lies, so that its paddings may grow. */
const pooled = (make: Make, numbers: Numbers, rounded = true): Arbitrary<OperationCase> =>
  fc
    .record({
      axes: axesArbitrary({ within: true }).filter(covered),
      batch: fc.integer({ min: 1, max: 2 }),
      channels: fc.integer({ min: 1, max: 2 }),
      symbolic: fc.boolean(),
      ceilMode: rounded ? fc.boolean() : fc.constant(false),
    })
    .chain(({ axes, batch, channels, symbolic, ceilMode }) => {
      const x = fedValue(batch, channels, axes, symbolic);
      return tensorArbitrary("float32", x.shape, numbers).map(
        (made): OperationCase => ({
          label: `${labelOf(axes)}${ceilMode ? " ceil" : ""}${symbolic ? " symbolic" : ""}`,
          tensors: [made as Tensor],
          shapes: [x.dims],
          build: ([value]) => make(x.joined(value as Value), kernelOf(axes), { ...optionsOf(axes), ceilMode }),
        }),
      );
    });

/** Few different numbers, so that ties are common. */
const tied = fc.constantFrom(-1, 0, 1, 2);

const averages = fc
  .boolean()
  .chain((countIncludePad) =>
    pooled(
      (x, kernel, options) =>
        averagePool(x, kernel, countIncludePad ? { ...options, ceilMode: false, countIncludePad } : options),
      float(-8, 8),
    ),
  );

const norms = fc
  .integer({ min: 1, max: 4 })
  .chain((p) => pooled((x, kernel, options) => lpPool(x, kernel, { ...options, p }), float(-4, 4)));

export const poolingCases: Readonly<Record<string, OperationCases>> = {
  maxPool: exact(pooled(maxPool, fc.oneof(tied, float(-8, 8)))),
  maxPoolIndices: exact(pooled(maxPoolIndices, tied)),
  averagePool: summed(averages),
  // away from zero, where a norm has no slope
  lpPool: { ...summed(norms), smooth: [0.5, 3] },
};
