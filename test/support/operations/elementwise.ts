/** Generated cases of the elementwise operations of all families. */
import { activationCases } from "./activations.js";
import { arithmeticCases } from "./arithmetic.js";
import type { OperationCases } from "./case.js";
import { comparisonCases } from "./comparison.js";
import { transcendentalCases } from "./transcendental.js";

export const elementwiseCases: Readonly<Record<string, OperationCases>> = {
  ...arithmeticCases,
  ...comparisonCases,
  ...transcendentalCases,
  ...activationCases,
};
