/** Generated windows for convolutions and poolings: sizes that fit, and values whose spatial axes may be symbolic. */
import fc, { type Arbitrary } from "fast-check";
import { type Dim, multiplyDims, reshape, type Value } from "../../../src/graph/index.js";

/** A window along one spatial axis of a size that it fits. */
export interface Axis {
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
}

/** Padding is at most that many places, and smaller than the kernel where it is to be `within`. */
export const axisArbitrary = ({ within = false, dilated = true } = {}): Arbitrary<Axis> =>
  fc
    .record({
      kernel: fc.integer({ min: 1, max: 3 }),
      stride: fc.integer({ min: 1, max: 3 }),
      dilation: dilated ? fc.integer({ min: 1, max: 2 }) : fc.constant(1),
      before: fc.nat(2),
      after: fc.nat(2),
      more: fc.nat(2),
    })
    .map(({ more, ...axis }) => {
      const most = within ? axis.kernel - 1 : 2;
      const [before, after] = [Math.min(axis.before, most), Math.min(axis.after, most)];
      const span = (axis.kernel - 1) * axis.dilation + 1;
      return { ...axis, before, after, size: Math.max(1, span - before - after) + more };
    });

/** One to three axes, no more positions than a plain loop goes through quickly. */
export const axesArbitrary = (options?: Parameters<typeof axisArbitrary>[0]): Arbitrary<readonly Axis[]> =>
  fc.oneof(
    { weight: 2, arbitrary: fc.array(axisArbitrary(options), { minLength: 1, maxLength: 1 }) },
    { weight: 4, arbitrary: fc.array(axisArbitrary(options), { minLength: 2, maxLength: 2 }) },
    { weight: 1, arbitrary: fc.array(axisArbitrary(options), { minLength: 3, maxLength: 3 }) },
  );

export const positionsOf = (axes: readonly Axis[]): number[] =>
  axes.map(
    ({ size, kernel, stride, dilation, before, after }) =>
      Math.floor((size + before + after - (kernel - 1) * dilation - 1) / stride) + 1,
  );

export const optionsOf = (axes: readonly Axis[]) => ({
  strides: axes.map(({ stride }) => stride),
  dilations: axes.map(({ dilation }) => dilation),
  pads: [...axes.map(({ before }) => before), ...axes.map(({ after }) => after)],
});

export const kernelOf = (axes: readonly Axis[]): number[] => axes.map(({ kernel }) => kernel);

export const labelOf = (axes: readonly Axis[]): string =>
  axes
    .map(
      (a) => `size ${a.size} kernel ${a.kernel} stride ${a.stride} dilation ${a.dilation} pads ${a.before},${a.after}`,
    )
    .join("; ");

/**
 * How a spatial axis is fed where its size is to be symbolic: under a stride that divides it as that many times a symbol,
 * on two axes that `joined` makes one.
 */
function fedAxis({ size, stride }: Axis, name: string, symbolic: boolean): { shape: number[]; dims: Dim[] } {
  if (symbolic && stride === 1) return { shape: [size], dims: [name] };
  if (symbolic && size % stride === 0) return { shape: [size / stride, stride], dims: [name, stride] };
  return { shape: [size], dims: [size] };
}

/** The shape and dimensions under which a value [batch, channels, ...axes] is fed, and the value made of what was fed. */
export function fedValue(batch: number, channels: number, axes: readonly Axis[], symbolic: boolean) {
  const parts = axes.map((axis, i) => fedAxis(axis, `size${i}`, symbolic));
  return {
    shape: [batch, channels, ...parts.flatMap(({ shape }) => shape)],
    dims: [symbolic ? "batch" : batch, channels, ...parts.flatMap(({ dims }) => dims)] as Dim[],
    joined(x: Value): Value {
      const shape = [...x.shape.slice(0, 2), ...parts.map(({ dims }) => multiplyDims(...dims))];
      return shape.length === x.shape.length ? x : reshape(x, shape);
    },
  };
}
