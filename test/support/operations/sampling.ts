/** Generated cases of images read at places between pixels. */
import fc from "fast-check";
import { gridSample, type Value } from "../../../src/graph/index.js";
import { finish, float, type OperationCases, ordinary, size, summed, tensorArbitrary } from "./case.js";

const places = fc.oneof({ weight: 4, arbitrary: float(-1.6, 1.6) }, fc.constantFrom(-1, 0, 1, 0.5));

const samples = fc
  .record({
    batch: fc.integer({ min: 1, max: 2 }),
    channels: fc.integer({ min: 1, max: 2 }),
    image: fc.tuple(size, size),
    sampled: fc.tuple(size, size),
    padding: fc.constantFrom<"zeros" | "border">("zeros", "border"),
    alignCorners: fc.boolean(),
  })
  .chain(({ batch, channels, image, sampled, padding, alignCorners }) =>
    finish({
      tensors: [
        tensorArbitrary("float32", [batch, channels, ...image], ordinary),
        tensorArbitrary("float32", [batch, ...sampled, 2], places),
      ],
      build: ([x, grid]) => gridSample(x as Value, grid as Value, { padding, alignCorners }),
      label: `${padding} alignCorners ${alignCorners}`,
    }).map((made) => ({ ...made, shapes: made.shapes.map((dims, i) => (i === 1 ? [...dims.slice(0, 3), 2] : dims)) })),
  );

export const samplingCases: Readonly<Record<string, OperationCases>> = {
  gridSample: summed(samples),
};
