/**
 * The steer room: move a model's activations along directions that mean something. Vectors are plain data, steered models
 * are views, so that recording, generation, gradients and every method of the explain room work on them.
 */
export { type AdditionOptions, activationAddition } from "./addition.js";
export type { BatchOptions } from "./batches.js";
export {
  type Condition,
  type ConditionalModel,
  type ConditionDecision,
  type ConditionOptions,
  conditionalSteering,
  decideCondition,
  fitCondition,
} from "./condition.js";
export type { DirectionMethod } from "./directions.js";
export { type SteeringOptions, steeringVector, steeringVectors, type VectorScale } from "./extract.js";
export type { Positions } from "./positions.js";
export { type Refinement, type RefineOptions, type RefineStep, refineSteering } from "./refine.js";
export { type SteeringMode, type SteerOptions, steer, type TokenCondition } from "./steer.js";
export { type StrengthOptions, type StrengthPoint, sweepStrength } from "./strength.js";
export { loadSteering, randomVector, type SteeringVector, saveSteering } from "./vector.js";
