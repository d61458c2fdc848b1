/** Generated cases of operations that take values in another order. */
import fc from "fast-check";
import {
  concat,
  flip,
  multiplyDims,
  reverseSequence,
  stridedSlice,
  subtractDims,
  type Value,
} from "../../../src/graph/index.js";
import { exact, finish, moved, type OperationCases, shapeOf, sizeOrNone, tensorArbitrary, withAxis } from "./case.js";

const steps = fc.integer({ min: -3, max: 3 }).filter((step) => step !== 0);

const strides = withAxis(
  (shape, axis, written) =>
    fc
      .tuple(fc.nat(3), steps, fc.nat(4), fc.constantFrom("flip", "count", "all"), fc.constantFrom(...moved))
      .map(([from, step, wanted, how, [dtype, values]]) => {
        const size = shape[axis] as number;
        const start = Math.min(from, Math.max(0, size - 1));
        const most = size === 0 ? 0 : 1 + Math.floor((step > 0 ? size - 1 - start : start) / Math.abs(step));
        return {
          tensors: [tensorArbitrary(dtype, shape, values)],
          build([value]) {
            const x = value as Value;
            const known = typeof x.shape[axis] === "number";
            if (how === "flip") return flip(x, written);
            if (how === "all" && size > 0 && (known || step < 0 || step === 1))
              return stridedSlice(x, written, start, step);
            return stridedSlice(x, written, start, step, Math.min(wanted, most));
          },
          label: `axis ${written} ${how} start ${start} step ${step} count ${Math.min(wanted, most)}`,
        };
      }),
  sizeOrNone,
);

/** Every so many of twice as many elements as a symbol stands for. */
const halves = shapeOf(1, 2, sizeOrNone).chain((shape) =>
  fc.tuple(fc.constantFrom(0, 1), fc.constantFrom(2, -2)).chain(([start, step]) =>
    finish({
      tensors: [tensorArbitrary("float32", shape, fc.integer({ min: -9, max: 9 }))],
      build([value]) {
        const x = value as Value;
        const [n = 1] = x.shape;
        const doubled = concat([x, x], 0);
        const last = subtractDims(multiplyDims(n, 2), 1 + start);
        return step > 0 ? stridedSlice(doubled, 0, start, step) : stridedSlice(doubled, 0, last, step, n);
      },
      label: `half, start ${start} step ${step}`,
    }),
  ),
);

const reversals = fc
  .tuple(shapeOf(2, 4), fc.constantFrom<0 | 1>(0, 1), fc.constantFrom(...moved))
  .chain(([shape, timeAxis, [dtype, values]]) => {
    const [time, rows] = [shape[timeAxis], shape[1 - timeAxis]] as [number, number];
    return finish({
      tensors: [
        tensorArbitrary(dtype, shape, values),
        tensorArbitrary("int64", [rows], fc.integer({ min: 0, max: time })),
      ],
      build: ([x, lengths]) => reverseSequence(x as Value, lengths as Value, { timeAxis }),
      label: `time axis ${timeAxis}`,
    });
  });

export const rearrangingCases: Readonly<Record<string, OperationCases>> = {
  stridedSlice: exact(fc.oneof(strides, halves)),
  reverseSequence: exact(reversals),
};
