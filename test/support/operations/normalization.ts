/** Generated cases of normalisations, of rows and by channel. */
import fc from "fast-check";
import { batchNorm, instanceNorm, layerNorm, rmsNorm, type Value } from "../../../src/graph/index.js";
import { finish, float, type OperationCases, shapeOf, summed, tensorArbitrary } from "./case.js";

const normalized = (make: (x: Value, scale: Value, bias: Value) => Value, parameters: 1 | 2) =>
  shapeOf(2, 4).chain((shape) => {
    const width = [shape[shape.length - 1] as number];
    const extra = Array.from({ length: parameters }, () => tensorArbitrary("float32", width, float(-2, 2)));
    return finish({
      tensors: [tensorArbitrary("float32", shape, float(-8, 8)), ...extra],
      build: ([x, scale, bias]) => make(x as Value, scale as Value, bias as Value),
    });
  });

/** A value [batch, channels, ...places] and parameters [channels]; places may have as many axes as the runtime takes. */
const byChannel = (
  minimalRank: number,
  parameters: readonly ReturnType<typeof float>[],
  make: (values: Value[], epsilon: number) => Value,
) =>
  fc.tuple(shapeOf(minimalRank, 4), fc.constantFrom(0.1, 0.5)).chain(([shape, epsilon]) => {
    const own = parameters.map((values) => tensorArbitrary("float32", [shape[1] as number], values));
    return finish({
      tensors: [tensorArbitrary("float32", shape, float(-8, 8)), ...own],
      build: (values) => make([...values], epsilon),
      label: `epsilon ${epsilon}`,
    });
  });

const usual = float(-2, 2);

const batchNorms = byChannel(2, [usual, usual, usual, float(0.1, 4)], (values, epsilon) => {
  const [x, scale, bias, mean, variance] = values as [Value, Value, Value, Value, Value];
  return batchNorm(x, { scale, bias, mean, variance }, epsilon);
});

const instanceNorms = byChannel(3, [usual, usual], (values, epsilon) => {
  const [x, scale, bias] = values as [Value, Value, Value];
  return instanceNorm(x, { scale, bias }, epsilon);
});

const usualRange = [-2, 2.3] as const;

export const normalizationCases: Readonly<Record<string, OperationCases>> = {
  rmsNorm: { ...summed(normalized((x, scale) => rmsNorm(x, scale, 1e-3), 1)), smooth: [1, 3] },
  layerNorm: summed(normalized((x, scale, bias) => layerNorm(x, scale, bias, 1e-3), 2)),
  // a variance is positive
  batchNorm: { ...summed(batchNorms), smooth: [usualRange, usualRange, usualRange, usualRange, [1, 3]] },
  instanceNorm: summed(instanceNorms),
};
