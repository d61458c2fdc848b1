/** Environments to act in: seeded, many episodes side by side; and small worlds solved exactly. */
export { type BanditOptions, bandit } from "./bandit.js";
export { cartPole } from "./cartPole.js";
export {
  type ActionSpace,
  type Columns,
  type Environment,
  type Episodes,
  environmentOf,
  type ObservationSpace,
  type Outcome,
  type Rules,
  type Transition,
} from "./environment.js";
export { type GridOptions, gridModel, gridWorld } from "./gridWorld.js";
export { type SwimmerOptions, swimmer } from "./swimmer.js";
export {
  type TabularModel,
  type TabularOutcome,
  type TabularSolution,
  type ValueIterationOptions,
  valueIteration,
} from "./valueIteration.js";
