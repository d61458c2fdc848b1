/** Generated cases of values made of positions. */
import fc from "fast-check";
import { add, type Dim, range, tril, triu, type Value } from "../../../src/graph/index.js";
import { exact, finish, moved, type OperationCases, ordinary, shapeOf, sizeOrNone, tensorArbitrary } from "./case.js";

/** The size of an input's axis, which may be a symbol; the input is an output too, so that the size can be read. */
const ranges = shapeOf(1, 1, sizeOrNone).chain((shape) =>
  finish({
    tensors: [tensorArbitrary("float32", shape, ordinary)],
    build: ([x]) => [range((x as Value).shape[0] as Dim), add(x as Value, 0)],
  }),
);

const triangles = fc
  .tuple(
    shapeOf(2, 4, sizeOrNone),
    fc.constantFrom(triu, tril),
    fc.integer({ min: -5, max: 5 }),
    fc.boolean(),
    fc.constantFrom(...moved),
  )
  .chain(([shape, make, k, own, [dtype, values]]) =>
    finish({
      tensors: [tensorArbitrary(dtype, shape, values)],
      // `own`: a diagonal as far out as the first size, which may be a symbol
      build: ([x]) => make(x as Value, own ? ((x as Value).shape[0] as Dim) : k),
      label: `${make.name} ${own ? "own size" : k}`,
    }),
  );

export const patternCases: Readonly<Record<string, OperationCases>> = {
  range: exact(ranges),
  trilu: exact(triangles),
};
