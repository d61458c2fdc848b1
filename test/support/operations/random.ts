/** Generated cases of random numbers: keys of any rank and shapes of any size, some symbolic. */
import fc from "fast-check";
import { add, type Dim, randomBits, randomNormal, type Value } from "../../../src/graph/index.js";
import { exact, finish, type OperationCases, shapeOf, size, sizeOrNone, tensorArbitrary, whole } from "./case.js";

const word = fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(0, 1, 2 ** 32 - 1));

/** Numbers in the shape of an input, which is an output too, so that its sizes can be read. */
const drawn = (make: (key: Value, shape: readonly Dim[]) => Value) =>
  fc.tuple(shapeOf(0, 3, sizeOrNone), shapeOf(0, 2, size)).chain(([shape, keys]) =>
    finish({
      tensors: [tensorArbitrary("int64", [...keys, 2], word), tensorArbitrary("int64", shape, whole)],
      build: ([key, like]) => [make(key as Value, (like as Value).shape), add(like as Value, 0)],
      label: `keys of ${keys.length} dimensions`,
    }).map((own) => ({ ...own, shapes: own.shapes.map((dims, i) => (i === 0 ? [...dims.slice(0, -1), 2] : dims)) })),
  );

export const randomCases: Readonly<Record<string, OperationCases>> = {
  randomBits: exact(drawn(randomBits)),
  randomNormal: exact(drawn((key, shape) => randomNormal(key, shape))),
};
