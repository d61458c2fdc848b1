/** Generated cases of values made of positions. */
import { add, type Dim, range, type Value } from "../../../src/graph/index.js";
import { exact, finish, type OperationCases, ordinary, shapeOf, sizeOrNone, tensorArbitrary } from "./case.js";

/** The size of an input's axis, which may be a symbol; the input is an output too, so that the size can be read. */
const ranges = shapeOf(1, 1, sizeOrNone).chain((shape) =>
  finish({
    tensors: [tensorArbitrary("float32", shape, ordinary)],
    build: ([x]) => [range((x as Value).shape[0] as Dim), add(x as Value, 0)],
  }),
);

export const patternCases: Readonly<Record<string, OperationCases>> = {
  range: exact(ranges),
};
