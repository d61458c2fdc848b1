/** The learn room: parameters, losses, optimizers, training steps, checkpoints, recordings of training. */
export * from "./adapt/index.js";
export { type Checkpoint, type CheckpointOptions, checkpointSteps, readCheckpoint } from "./checkpoint.js";
export { type Clip, clipGradients } from "./clip.js";
export * from "./environments/index.js";
export { type Fans, fansOf, type Initialiser, initialisers } from "./initialisers.js";
export * from "./losses/index.js";
export * from "./modules/index.js";
export type { Optimizer, Update, Updated } from "./optimizer.js";
export * from "./optimizers/index.js";
export { flatten, type Mapped, type Parameters, parameterCount, rebuild, type Traced } from "./parameters.js";
export { type DigitOptions, digitsRecipe } from "./recipes/digits.js";
export type { PreparedRecipe, Recipe, RecipeOptions } from "./recipes/recipe.js";
export {
  loadTrainingRecording,
  type RecordInTraining,
  saveTrainingRecording,
  type TrainingRecording,
} from "./recordSites.js";
export * from "./reinforcement/index.js";
export {
  type LossResult,
  type StepContext,
  type StepDefinition,
  type StepOptions,
  type TrainingState,
  type TrainingStep,
  trainingStep,
} from "./step.js";
export { type BatchOf, type StepEvent, type Trained, type TrainOptions, train } from "./train.js";
