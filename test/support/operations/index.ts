/** Generated cases of every operation, by name; the shared suite runs each in the reference and in the runtime. */

import { barrierCases } from "./barriers.js";
import type { OperationCases } from "./case.js";
import { elementwiseCases } from "./elementwise.js";
import { indexingCases } from "./indexing.js";
import { linearCases } from "./linear.js";
import { movementCases } from "./movement.js";
import { patternCases } from "./patterns.js";
import { reductionCases } from "./reduction.js";
import { sortingCases } from "./sorting.js";

export type { OperationCase, OperationCases } from "./case.js";

export const operationCases: Readonly<Record<string, OperationCases>> = {
  ...barrierCases,
  ...elementwiseCases,
  ...movementCases,
  ...reductionCases,
  ...linearCases,
  ...indexingCases,
  ...patternCases,
  ...sortingCases,
};
