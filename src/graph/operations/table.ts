/** The one table of operations. To add one: an entry in the file of its family, which is listed here. */
import { failure, nearestNames } from "../../errors.js";
import { barrierOperations } from "./barriers.js";
import { elementwiseOperations } from "./elementwise.js";
import { indexingOperations } from "./indexing.js";
import { linearOperations } from "./linear.js";
import { movementOperations } from "./movement.js";
import type { Operation } from "./operation.js";
import { patternOperations } from "./patterns.js";
import { reductionOperations } from "./reduction.js";
import { sortingOperations } from "./sorting.js";

/** Every operation by name. */
export const operations: ReadonlyMap<string, Operation> = new Map(
  [
    ...elementwiseOperations,
    ...movementOperations,
    ...reductionOperations,
    ...linearOperations,
    ...patternOperations,
    ...indexingOperations,
    ...sortingOperations,
    ...barrierOperations,
  ].map((operation) => [operation.name, operation as Operation]),
);

/** The table entry of an operation, or an error with the nearest names. */
export function operationNamed(name: string): Operation {
  const operation = operations.get(name);
  if (operation === undefined) {
    throw failure(
      `there is no operation "${name}"; the nearest are ${nearestNames(name, operations.keys()).join(", ")}`,
    );
  }
  return operation;
}
