/** The one table of operations. To add one: an entry in the file of its family, which is listed here. */
import { failure, nearestNames } from "../../errors.js";
import { activationOperations } from "./activations.js";
import { arithmeticOperations } from "./arithmetic.js";
import { barrierOperations } from "./barriers.js";
import { bitwiseOperations } from "./bitwise.js";
import { castingOperations } from "./casting.js";
import { channelNormOperations } from "./channelNorms.js";
import { comparisonOperations } from "./comparison.js";
import { controlOperations } from "./control.js";
import { convolutionOperations } from "./convolution.js";
import { cumulativeOperations } from "./cumulative.js";
import { indexingOperations } from "./indexing.js";
import { linearOperations } from "./linear.js";
import { movementOperations } from "./movement.js";
import { normalizationOperations } from "./normalization.js";
import type { Operation } from "./operation.js";
import { patternOperations } from "./patterns.js";
import { poolingOperations } from "./pooling.js";
import { randomOperations } from "./random.js";
import { rearrangingOperations } from "./rearranging.js";
import { reductionOperations } from "./reduction.js";
import { samplingOperations } from "./sampling.js";
import { sortingOperations } from "./sorting.js";
import { transcendentalOperations } from "./transcendental.js";

/** Every operation by name. */
export const operations: ReadonlyMap<string, Operation> = new Map(
  [
    ...arithmeticOperations,
    ...comparisonOperations,
    ...bitwiseOperations,
    ...transcendentalOperations,
    ...activationOperations,
    ...castingOperations,
    ...movementOperations,
    ...reductionOperations,
    ...linearOperations,
    ...normalizationOperations,
    ...channelNormOperations,
    ...patternOperations,
    ...indexingOperations,
    ...sortingOperations,
    ...rearrangingOperations,
    ...cumulativeOperations,
    ...randomOperations,
    ...barrierOperations,
    ...convolutionOperations,
    ...poolingOperations,
    ...samplingOperations,
    ...controlOperations,
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
