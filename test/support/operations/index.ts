/** Generated cases of every operation, by name; the shared suite runs each in the reference and in the runtime. */

import { barrierCases } from "./barriers.js";
import type { OperationCases } from "./case.js";
import { controlCases } from "./control.js";
import { convolutionCases } from "./convolution.js";
import { cumulativeCases } from "./cumulative.js";
import { elementwiseCases } from "./elementwise.js";
import { indexingCases } from "./indexing.js";
import { linearCases } from "./linear.js";
import { movementCases } from "./movement.js";
import { normalizationCases } from "./normalization.js";
import { patternCases } from "./patterns.js";
import { poolingCases } from "./pooling.js";
import { randomCases } from "./random.js";
import { rearrangingCases } from "./rearranging.js";
import { reductionCases } from "./reduction.js";
import { samplingCases } from "./sampling.js";
import { sortingCases } from "./sorting.js";

export type { OperationCase, OperationCases } from "./case.js";

export const operationCases: Readonly<Record<string, OperationCases>> = {
  ...barrierCases,
  ...controlCases,
  ...convolutionCases,
  ...poolingCases,
  ...samplingCases,
  ...elementwiseCases,
  ...movementCases,
  ...reductionCases,
  ...linearCases,
  ...normalizationCases,
  ...indexingCases,
  ...patternCases,
  ...sortingCases,
  ...rearrangingCases,
  ...cumulativeCases,
  ...randomCases,
};
