/** Generated cases of convolutions, their transposes and the gradients of their kernels. */
import fc, { type Arbitrary } from "fast-check";
import {
  add,
  convolution,
  convolutionTranspose,
  convolutionWeight,
  type Dim,
  type Tensor,
  type Value,
} from "../../../src/graph/index.js";
import { float, type OperationCase, type OperationCases, summed, tensorArbitrary } from "./case.js";
import { type Axis, axesArbitrary, fedValue, kernelOf, labelOf, optionsOf, positionsOf } from "./windows.js";

interface Drawn {
  readonly axes: readonly Axis[];
  readonly batch: number;
  readonly groups: number;
  /** Channels of a group: of the input and of the output. */
  readonly inputs: number;
  readonly outputs: number;
  readonly symbolic: boolean;
  readonly biased: boolean;
}

const drawn: Arbitrary<Drawn> = fc.record({
  axes: axesArbitrary(),
  batch: fc.integer({ min: 1, max: 2 }),
  groups: fc.integer({ min: 1, max: 2 }),
  inputs: fc.integer({ min: 1, max: 2 }),
  outputs: fc.integer({ min: 1, max: 2 }),
  symbolic: fc.boolean(),
  biased: fc.boolean(),
});

interface Fed {
  readonly shape: readonly number[];
  readonly dims?: readonly Dim[];
}

function caseOf(fed: readonly Fed[], build: OperationCase["build"], label: string): Arbitrary<OperationCase> {
  const tensors = fc.tuple(...fed.map(({ shape }) => tensorArbitrary("float32", shape, float(-4, 4))));
  const shapes = fed.map(({ shape, dims = shape }) => dims);
  return tensors.map((made): OperationCase => ({ label, tensors: made as Tensor[], shapes, build }));
}

const label = ({ axes, groups, symbolic }: Drawn) => `${labelOf(axes)}; groups ${groups}${symbolic ? " symbolic" : ""}`;

const forward = drawn.chain((own) => {
  const { axes, batch, groups, inputs, outputs, symbolic, biased } = own;
  const x = fedValue(batch, groups * inputs, axes, symbolic);
  const w = { shape: [groups * outputs, inputs, ...kernelOf(axes)] };
  const bias = { shape: [groups * outputs] };
  const options = { ...optionsOf(axes), groups };
  return caseOf(
    biased ? [x, w, bias] : [x, w],
    ([a, b, c]) => convolution(x.joined(a as Value), b as Value, c === undefined ? options : { ...options, bias: c }),
    label(own),
  );
});

/** The paddings that ONNX names, and numbers that stand for all axes. */
const named = drawn.chain((own) => {
  const { batch, groups, inputs, outputs, symbolic } = own;
  const axes = own.axes.map((axis): Axis => ({ ...axis, size: axis.size + axis.before + axis.after }));
  const x = fedValue(batch, groups * inputs, axes, symbolic);
  const w = { shape: [groups * outputs, inputs, ...kernelOf(axes)] };
  return fc
    .constantFrom<"valid" | "sameUpper" | "sameLower" | 1>("valid", "sameUpper", "sameLower", 1)
    .chain((pads) =>
      caseOf(
        [x, w],
        ([a, b]) =>
          convolution(x.joined(a as Value), b as Value, { strides: axes.map(({ stride }) => stride), pads, groups }),
        `${pads} ${label({ ...own, axes })}`,
      ),
    );
});

const backward = drawn.chain((own) => {
  const { axes, batch, groups, inputs, outputs, symbolic, biased } = own;
  const { strides, dilations, pads } = optionsOf(axes);
  const positions = axes.map(({ size }) => size); // what was the input's size is now the number of windows
  const rest = axes.map(({ stride, size }) => (size + groups) % stride);
  const spans = axes.map((a) => (a.size - 1) * a.stride + (a.kernel - 1) * a.dilation + 1);
  const fits = axes.every((a, i) => (spans[i] as number) + (rest[i] as number) > a.before + a.after);
  const x = {
    shape: [batch, groups * inputs, ...positions],
    dims: symbolic
      ? ["batch", groups * inputs, ...positions.map((_, i) => `size${i}`)]
      : [batch, groups * inputs, ...positions],
  };
  const w = { shape: [groups * inputs, outputs, ...kernelOf(axes)] };
  const bias = { shape: [groups * outputs] };
  const options = { strides, dilations, pads: fits && !symbolic ? pads : 0, groups, outputPadding: rest };
  return caseOf(
    biased ? [x, w, bias] : [x, w],
    ([a, b, c]) => convolutionTranspose(a as Value, b as Value, c === undefined ? options : { ...options, bias: c }),
    `${label(own)} outputPadding ${rest.join()}`,
  );
});

const weights = drawn.chain((own) => {
  const { axes, batch, groups, inputs, outputs, symbolic } = own;
  const x = fedValue(batch, groups * inputs, axes, symbolic);
  // one value for each output channel, added to ones of the convolution's own shape: so that sizes may be symbols
  const like = { shape: [groups * outputs, inputs, ...kernelOf(axes)] };
  const y = { shape: [batch, groups * outputs, ...positionsOf(axes)] };
  const options = { ...optionsOf(axes), groups };
  if (!symbolic)
    return caseOf([x, y], ([a, b]) => convolutionWeight(a as Value, b as Value, kernelOf(axes), options), label(own));
  return caseOf(
    [x, like],
    ([a, b]) => {
      const input = x.joined(a as Value);
      return convolutionWeight(input, add(convolution(input, b as Value, options), 1), kernelOf(axes), options);
    },
    label(own),
  );
});

export const convolutionCases: Readonly<Record<string, OperationCases>> = {
  convolution: summed(fc.oneof({ weight: 2, arbitrary: forward }, named)),
  convolutionTranspose: summed(backward),
  convolutionWeight: summed(weights),
};
